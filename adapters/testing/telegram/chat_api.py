"""The methods about chats: what one is, who is in it, and leaving it."""

from collections.abc import Mapping

from adapters.testing.telegram.accounts import Json, Profile
from adapters.testing.telegram.chat import Chat, Standing
from adapters.testing.telegram.errors import bad_request
from adapters.testing.telegram.message import Content
from adapters.testing.telegram.method import Call, Method
from adapters.testing.telegram.sending import open_chat
from adapters.testing.telegram.world import World

RIGHTS = (
    "can_manage_chat",
    "can_delete_messages",
    "can_manage_video_chats",
    "can_restrict_members",
    "can_promote_members",
    "can_change_info",
    "can_invite_users",
    "can_post_stories",
    "can_edit_stories",
    "can_delete_stories",
    "can_post_messages",
    "can_edit_messages",
    "can_pin_messages",
    "can_manage_topics",
)
GIFTS = ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels")


def member_object(chat: Chat, profile: Profile, standing: Standing | None) -> Json:
    """The `ChatMember` object (https://core.telegram.org/bots/api#chatmember)."""
    member: Json = {"user": profile.user(), "status": standing or "left"}
    if chat.owner is not None and profile.id == chat.owner.id and not chat.is_private:
        return member | {"status": "creator", "is_anonymous": False}
    if standing == "administrator":
        return member | {"can_be_edited": False, "is_anonymous": False} | dict.fromkeys(RIGHTS, True)
    return member | ({"until_date": 0} if standing == "kicked" else {})


def profile_of(world: World, chat: Chat, account: int) -> Profile | None:
    """The account of an id, if it is a bot's or a member's."""
    bots = {bot.id: bot.profile for bot in world.bots.values()}
    return bots.get(account) or chat.members.get(account)


def get_chat(call: Call) -> Json:
    """https://core.telegram.org/bots/api#getchat"""
    chat = open_chat(call)
    gifts = dict.fromkeys(GIFTS, False)
    linked = {} if chat.linked is None else {"linked_chat_id": chat.linked.id}
    return chat.object() | linked | {"accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": gifts}


def get_chat_member(call: Call) -> Json:
    """https://core.telegram.org/bots/api#getchatmember"""
    chat = open_chat(call)
    account = call.request.integer("user_id", 0) or 0
    profile = profile_of(call.world, chat, account)
    if profile is None:
        raise bad_request("user not found")
    standing = chat.bots.get(account) or ("member" if account in chat.members else None)
    return member_object(chat, profile, standing)


def get_chat_administrators(call: Call) -> list[Json]:
    """https://core.telegram.org/bots/api#getchatadministrators"""
    chat = open_chat(call)
    if chat.is_private:
        raise bad_request("there are no administrators in the private chat")
    bots = [bot.profile for bot in call.world.bots.values() if chat.bots.get(bot.id) == "administrator"]
    owners = [] if chat.owner is None else [chat.owner]
    return [member_object(chat, profile, "administrator") for profile in (*owners, *bots)]


def get_chat_member_count(call: Call) -> int:
    """https://core.telegram.org/bots/api#getchatmembercount"""
    chat = open_chat(call)
    return len(chat.members) + sum(standing in {"member", "administrator"} for standing in chat.bots.values())


def leave_chat(call: Call) -> bool:
    """https://core.telegram.org/bots/api#leavechat"""
    chat, bot = open_chat(call), call.request.bot
    if chat.is_private:
        raise bad_request("chat member status can't be changed in private chats")
    call.world.post(chat, bot.profile, Content(service={"left_chat_member": bot.profile.user()}))
    chat.bots[bot.id] = "left"
    return True


METHODS: Mapping[str, Method] = {
    "getChat": get_chat,
    "getChatMember": get_chat_member,
    "getChatAdministrators": get_chat_administrators,
    "getChatMemberCount": get_chat_member_count,
    "leaveChat": leave_chat,
}
