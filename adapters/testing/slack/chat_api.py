"""Methods that write, change and delete messages."""

from typing import Final

from adapters.testing.slack.accounts import Json, Profile
from adapters.testing.slack.channel import Channel, ChannelKind, Ephemeral
from adapters.testing.slack.composing import read_change, read_content
from adapters.testing.slack.errors import ApiError
from adapters.testing.slack.message import Message
from adapters.testing.slack.method import Call, Rule
from adapters.testing.slack.view import message_object


def post_message(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/chat.postMessage"""
    channel = writable(call)
    content = read_content(call.request, call.world)
    if content.empty:
        raise ApiError("no_text")
    thread_ts = thread_of(call, channel)
    message = call.world.post(
        channel,
        call.bot.profile,
        content,
        thread_ts=thread_ts,
        broadcast=thread_ts is not None and call.request.flag("reply_broadcast"),
    )
    shown = message_object(message, call.world.base_url, metadata=True)
    return {"channel": channel.id, "ts": message.ts, "message": shown}


def post_ephemeral(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/chat.postEphemeral; nothing keeps it, and no event tells of it."""
    channel = writable(call)
    user = call.request.needed("user")
    if user not in channel.members:
        raise ApiError("user_not_in_channel")
    content = read_content(call.request, call.world)
    if content.empty:
        raise ApiError("no_text")
    now = call.world.clock()
    ephemeral = Ephemeral(channel.new_ts(now), user, call.bot.profile, content, now, thread_of(call, channel))
    channel.ephemerals.append(ephemeral)
    call.world.changes.note()
    return {"message_ts": ephemeral.ts}


def update(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/chat.update"""
    channel = call.channel()
    message = _own(call, channel, "cant_update_message")
    if message.streaming:
        raise ApiError("streaming_state_conflict")
    window = channel.team.edit_window
    if window is not None and call.world.clock() - message.sent_at > window:
        raise ApiError("edit_window_closed")
    content = read_change(call.request, call.world, message.content)
    call.world.revise(message, content, edited=bool(content.text) and not content.blocks)
    shown = message_object(message, call.world.base_url, metadata=True)
    return {"channel": channel.id, "ts": message.ts, "text": shown["text"], "message": shown}


def delete(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/chat.delete"""
    channel = call.channel()
    message = _own(call, channel, "cant_delete_message")
    call.world.delete(message)
    return {"channel": channel.id, "ts": message.ts}


def writable(call: Call) -> Channel:
    """The conversation that a message goes to; the id of a user stands for their direct messages. Raises
    `ApiError`."""
    named = call.request.needed("channel")
    person: Profile | None = call.world.profiles.get(named)
    if person is not None and person.team is call.bot.team and person is not call.bot.profile:
        channel = call.world.conversation(call.bot.team, [call.bot.profile, person])
    else:
        channel = call.world.known_channel(call.bot, named)
    if channel.archived:
        raise ApiError("is_archived")
    if call.bot.id not in channel.members and "chat:write.public" not in call.bot.scopes:
        raise ApiError("not_in_channel" if channel.kind is ChannelKind.PUBLIC else "channel_not_found")
    return channel


def thread_of(call: Call, channel: Channel, name: str = "thread_ts") -> str | None:
    """The thread that a message goes to: that of the message which is named. Raises `ApiError`.

    What Slack answers where there is no such message is not documented.
    """
    named = call.request.text(name)
    if not named:
        return None
    root = channel.root(named)
    if root is None:
        raise ApiError("thread_not_found")
    if not root.takes_replies:
        raise ApiError("cannot_reply_to_message")
    return root.ts


def _own(call: Call, channel: Channel, refusal: str) -> Message:
    message = channel.find(call.request.needed("ts"))
    if message is None or message.tombstone:
        raise ApiError("message_not_found")
    if message.sender is not call.bot.profile:
        raise ApiError(refusal)
    return message


METHODS: Final = {
    "chat.postMessage": Rule(post_message, ("chat:write",), tier=4, per_channel=True),
    "chat.postEphemeral": Rule(post_ephemeral, ("chat:write",), tier=4),
    "chat.update": Rule(update, ("chat:write",)),
    "chat.delete": Rule(delete, ("chat:write",)),
}
