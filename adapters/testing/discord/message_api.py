"""Messages and reactions: sending, editing, deleting, reading.

https://docs.discord.com/developers/resources/message
"""

from typing import Final

from adapters.testing.discord.accounts import Json
from adapters.testing.discord.channel import WRITABLE, Channel
from adapters.testing.discord.composing import Composer
from adapters.testing.discord.errors import bad_request, forbidden, invalid_form, missing_permissions, unknown
from adapters.testing.discord.mentions import PEOPLE
from adapters.testing.discord.message import SYSTEM, Message, MessageFlags
from adapters.testing.discord.method import Call, Route
from adapters.testing.discord.permissions import Permission
from adapters.testing.discord.requests import snowflake

MAX_NONCE: Final = 25
MAX_HISTORY: Final = 100
MAX_REACTIONS: Final = 20
"""Different emoji on one message (error 30010)."""
PLACES: Final = ("before", "after", "around")


def create_message(call: Call) -> Json:
    """A message with a nonce that is enforced, and was used in the last minutes, is the one from then."""
    channel = call.channel(Permission.SEND_MESSAGES)
    check_sending(call, channel)
    body = call.request.object()
    nonce = _nonce(body)
    if nonce is not None and body.get("enforce_nonce"):
        earlier = _sent_before(call, nonce)
        if earlier is not None:
            return call.show(earlier, nonce=True)
    composer = Composer(call.world, call.bot, channel, PEOPLE)
    answered = composer.answered(body)
    content = composer.compose(body, call.request.uploads, answered)
    message = call.world.post(channel, call.bot.user, content, reply_to=answered, nonce=nonce)
    if nonce is not None:
        call.world.nonces[(call.bot.id, str(nonce))] = (message, call.settings.monotonic())
    return call.show(message, nonce=True)


def check_sending(call: Call, channel: Channel) -> None:
    """Refuse what may not be written to at all."""
    if channel.type not in WRITABLE:
        raise bad_request(50008, "Cannot send messages in a non-text channel")
    if channel.is_dm and any((call.bot.id, user.id) in call.world.closed_to for user in channel.recipients):
        raise forbidden(50007, "Cannot send messages to this user")
    state = channel.thread
    closed = state is not None and state.archived and state.locked
    if closed and Permission.MANAGE_THREADS not in channel.permissions(call.bot.id):
        raise bad_request(50083, "Thread is archived")


def _nonce(body: Json) -> str | int | None:
    nonce = body.get("nonce")
    if nonce is None or isinstance(nonce, int):
        return nonce
    if len(str(nonce)) > MAX_NONCE:
        raise invalid_form("nonce", "NONCE_TYPE_TOO_LONG", f"Must be {MAX_NONCE} or fewer in length.")
    return str(nonce)


def _sent_before(call: Call, nonce: str | int) -> Message | None:
    found = call.world.nonces.get((call.bot.id, str(nonce)))
    if found is None or call.settings.monotonic() - found[1] > call.settings.nonce_seconds:
        return None
    return found[0]


def edit_message(call: Call) -> Json:
    """Only one's own, and not in an archived thread."""
    channel = call.channel()
    message = call.message(channel)
    if message.author.id != call.bot.id:
        raise forbidden(50005, "Cannot edit a message authored by another user")
    if MessageFlags.IS_VOICE_MESSAGE in message.flags:
        raise bad_request(50173, "Cannot edit a voice message")
    _check_open(channel)
    composer = Composer(call.world, call.bot, channel, PEOPLE)
    call.world.revise(message, composer.change(message, call.request.object(), call.request.uploads))
    return call.show(message)


def delete_message(call: Call) -> None:
    """One's own, or others' with a permission."""
    channel = call.channel()
    message = call.message(channel)
    if message.author.id != call.bot.id:
        if channel.is_dm:
            raise forbidden(50003, "Cannot execute action on a DM channel")
        call.require(channel, Permission.MANAGE_MESSAGES)
    call.world.delete(message)


def get_message(call: Call) -> Json:
    """One message."""
    return call.show(call.message(call.channel(Permission.READ_MESSAGE_HISTORY)))


def get_messages(call: Call) -> list[Json]:
    """A piece of the history, newest first; nothing without the permission to read it."""
    channel = call.channel()
    limit = call.request.limit(50, MAX_HISTORY)
    if Permission.READ_MESSAGE_HISTORY not in channel.permissions(call.bot.id):
        return []
    named = [name for name in PLACES if name in call.request.query]
    if len(named) > 1:
        raise invalid_form("_", "QUERY_EXCLUSIVE", "before, after and around are mutually exclusive")
    there = [each for each in channel.messages if each.deleted_at is None and each.ephemeral_for is None]
    there.sort(key=lambda each: each.id)
    if named:
        place = snowflake(named[0], call.request.query[named[0]])
        there = _piece(there, named[0], place, limit)
    return [call.show(message) for message in reversed(there[-limit:])]


def _piece(there: list[Message], where: str, place: int, limit: int) -> list[Message]:
    earlier = [each for each in there if each.id < place]
    later = [each for each in there if each.id > place]
    match where:
        case "before":
            return earlier[-limit:]
        case "after":
            return later[:limit]
        case _:
            half = limit // 2
            here = [each for each in there if each.id == place]
            return [*earlier[len(earlier) - min(half, len(earlier)) :], *here, *later[:half]][:limit]


def _emoji(call: Call) -> str:
    emoji = call.request.ids["emoji"]
    name, _, number = emoji.partition(":")
    custom = name != "" and number.isdecimal()
    if not custom and (emoji == "" or emoji.isascii()):
        raise unknown("Emoji")
    return emoji


def add_reaction(call: Call) -> None:
    """One's own reaction."""
    channel = call.channel(Permission.READ_MESSAGE_HISTORY)
    message, emoji = call.message(channel), _emoji(call)
    _check_open(channel)
    if emoji not in message.reactions:
        call.require(channel, Permission.ADD_REACTIONS)
        if len(message.reactions) >= MAX_REACTIONS:
            raise bad_request(30010, f"Maximum number of reactions reached ({MAX_REACTIONS})")
    if message.type in SYSTEM and not message.content.text:
        raise forbidden(50021, "Cannot execute action on a system message")
    call.world.react(message, call.bot.user, emoji, add=True)


def remove_reaction(call: Call) -> None:
    """Take one's own reaction back."""
    channel = call.channel()
    call.world.react(call.message(channel), call.bot.user, _emoji(call), add=False)


def remove_user_reaction(call: Call) -> None:
    """Take another's reaction away."""
    channel = call.channel()
    user = call.world.users.get(call.request.id("user_id"))
    if user is None:
        raise unknown("User")
    if channel.is_dm:
        raise missing_permissions()
    call.require(channel, Permission.MANAGE_MESSAGES)
    call.world.react(call.message(channel), user, _emoji(call), add=False)


def get_reactions(call: Call) -> list[Json]:
    """Who reacted with an emoji."""
    message = call.message(call.channel(Permission.READ_MESSAGE_HISTORY))
    limit = call.request.limit(25, MAX_HISTORY)
    return [user.object() for user in message.reactions.get(_emoji(call), [])][:limit]


def trigger_typing(call: Call) -> None:
    """Shown for ten seconds, or until a message comes
    (https://docs.discord.com/developers/resources/channel#trigger-typing-indicator)."""
    channel = call.channel(Permission.SEND_MESSAGES)
    check_sending(call, channel)
    call.world.types(channel, call.bot.user)


def _check_open(channel: Channel) -> None:
    if channel.thread is not None and channel.thread.archived:
        raise bad_request(50083, "Thread is archived")


MESSAGES = "/channels/{channel_id}/messages"
ONE = MESSAGES + "/{message_id}"
REACTIONS = ONE + "/reactions/{emoji}"
ROUTES = (
    Route("create_message", "POST", MESSAGES, create_message),
    Route("get_messages", "GET", MESSAGES, get_messages),
    Route("get_message", "GET", ONE, get_message),
    Route("edit_message", "PATCH", ONE, edit_message),
    Route("delete_message", "DELETE", ONE, delete_message),
    Route("add_reaction", "PUT", REACTIONS + "/@me", add_reaction),
    Route("remove_reaction", "DELETE", REACTIONS + "/@me", remove_reaction),
    Route("remove_user_reaction", "DELETE", REACTIONS + "/{user_id}", remove_user_reaction),
    Route("get_reactions", "GET", REACTIONS, get_reactions),
    Route("trigger_typing", "POST", "/channels/{channel_id}/typing", trigger_typing),
)
