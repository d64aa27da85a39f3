"""What an app sees: the JSON objects of messages and conversations."""

from adapters.testing.slack.accounts import Bot, Json, Profile
from adapters.testing.slack.channel import Channel, ChannelKind
from adapters.testing.slack.files import file_object
from adapters.testing.slack.message import Content, Message
from adapters.testing.slack.text import rich_text

MAX_THREAD_USERS = 5
"""How many of those who replied are named with the first message of a thread."""


def message_object(
    message: Message, base_url: str, *, metadata: bool = False, version: int = -1, threads: bool = True
) -> Json:
    """The `message` object (https://docs.slack.dev/reference/events/message); `version` counts what it has been.

    Metadata is in it when it is asked for (https://docs.slack.dev/messaging/message-metadata).
    """
    if message.tombstone:
        return _tombstone(message)
    shown = message.versions[version]
    answer: Json = {"type": "message"}
    if message.subtype is not None:
        answer["subtype"] = message.subtype
    answer |= _author(message.sender, message.subtype, message.username) | {"ts": message.ts}
    if message.client_msg_id is not None:
        answer["client_msg_id"] = message.client_msg_id
    answer |= {"team": message.channel.team.id} | content_fields(shown.content, base_url)
    if shown.edited:
        answer["edited"] = {"user": message.sender.id, "ts": f"{int(shown.at)}.000000"}
    if message.reactions:
        answer["reactions"] = [
            {"name": name, "users": list(users), "count": len(users)} for name, users in message.reactions.items()
        ]
    if metadata and shown.content.metadata is not None:
        answer["metadata"] = shown.content.metadata
    return answer | (thread_fields(message) if threads else {})


def content_fields(content: Content, base_url: str) -> Json:
    """The fields that hold what a message shows."""
    text = content.markdown if content.markdown is not None and not content.text else content.text
    answer: Json = {"text": text}
    blocks = list(content.blocks)
    if not blocks and text:
        blocks = [rich_text(text)]
    if blocks:
        answer["blocks"] = blocks
    if content.attachments:
        answer["attachments"] = list(content.attachments)
    if content.files:
        answer |= {"files": [file_object(each, base_url) for each in content.files], "upload": True}
    return answer


def thread_fields(message: Message) -> Json:
    """What a message says of its thread."""
    channel = message.channel
    if message.thread_ts is not None:
        root = channel.find(message.thread_ts)
        parent = {} if root is None else {"parent_user_id": root.sender.id}
        return {"thread_ts": message.thread_ts} | parent
    replies = channel.replies(message)
    if not replies:
        return {"thread_ts": message.ts} if channel.pane(message.ts) is not None else {}
    users = list(dict.fromkeys(each.sender.id for each in replies))
    return {
        "thread_ts": message.ts,
        "reply_count": len(replies),
        "reply_users_count": len(users),
        "reply_users": users[:MAX_THREAD_USERS],
        "latest_reply": replies[-1].ts,
        "is_locked": False,
        "subscribed": False,
    }


def channel_object(channel: Channel, bot: Bot) -> Json:
    """The `conversation` object (https://docs.slack.dev/reference/objects/conversation-object)."""
    base: Json = {
        "id": channel.id,
        "created": channel.created,
        "is_archived": channel.archived,
        "is_im": channel.kind is ChannelKind.DIRECT,
        "is_org_shared": False,
        "context_team_id": channel.team.id,
        "updated": 0,
    }
    if channel.kind is ChannelKind.DIRECT:
        other = next((each.id for each in channel.members.values() if each.id != bot.id), "")
        return base | {"user": other, "is_user_deleted": False, "priority": 0}
    private = channel.kind is not ChannelKind.PUBLIC
    return base | {
        "name": channel.name,
        "name_normalized": channel.name,
        "is_channel": channel.kind in {ChannelKind.PUBLIC, ChannelKind.PRIVATE},
        "is_group": channel.kind is ChannelKind.PRIVATE,
        "is_mpim": channel.kind is ChannelKind.GROUP,
        "is_private": private,
        "is_member": bot.id in channel.members,
        "is_general": False,
        "is_shared": False,
        "is_ext_shared": False,
        "creator": channel.creator,
        "num_members": len(channel.members),
        "topic": {"value": "", "creator": "", "last_set": 0},
        "purpose": {"value": "", "creator": "", "last_set": 0},
    }


def _author(sender: Profile, subtype: str | None, username: str | None) -> Json:
    """A bot's message has its `bot_id`; that of an old integration, `bot_message`, has no user
    (https://docs.slack.dev/reference/events/message/bot_message)."""
    if not sender.is_bot:
        return {"user": sender.id}
    bot = {"bot_id": sender.bot_id}
    if subtype == "bot_message":
        return bot | {"username": username or sender.name}
    return {"user": sender.id, "app_id": sender.app_id, "bot_profile": sender.bot_profile()} | bot


def _tombstone(message: Message) -> Json:
    """What is left of a deleted message with replies (https://docs.slack.dev/reference/events/message)."""
    return {
        "type": "message",
        "subtype": "tombstone",
        "text": "This message was deleted.",
        "user": "USLACKBOT",
        "hidden": True,
        "ts": message.ts,
    } | thread_fields(message)
