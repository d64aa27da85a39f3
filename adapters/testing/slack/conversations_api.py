"""Methods about conversations: which there are, who is in them, and what was written."""

from collections.abc import Iterable
from typing import Final

from adapters.testing.slack.accounts import Json
from adapters.testing.slack.channel import Channel, ChannelKind, micros
from adapters.testing.slack.errors import ApiError, missing_argument
from adapters.testing.slack.message import Message
from adapters.testing.slack.method import Call, Rule, page
from adapters.testing.slack.requests import Request
from adapters.testing.slack.view import channel_object, message_object

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 999
"""Messages and conversations of one answer (https://docs.slack.dev/reference/methods/conversations.history)."""
KINDS: Final = {
    "public_channel": ChannelKind.PUBLIC,
    "private_channel": ChannelKind.PRIVATE,
    "im": ChannelKind.DIRECT,
    "mpim": ChannelKind.GROUP,
}
MAX_PEOPLE: Final = 8
"""Users of a group message beside the one who opens it
(https://docs.slack.dev/reference/methods/conversations.open)."""


def conversations_list(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/conversations.list"""
    wanted = call.request.words("types") or ["public_channel"]
    if not set(wanted) <= set(KINDS):
        raise ApiError("invalid_types")
    for each in wanted:
        call.need(f"{KINDS[each].scope}:read")
    kinds = {KINDS[each] for each in wanted}
    found = [each for each in call.world.channels.values() if _visible(call, each) and each.kind in kinds]
    if call.request.flag("exclude_archived"):
        found = [each for each in found if not each.archived]
    some, following = page(found, call.request, DEFAULT_PAGE, MAX_PAGE)
    return {"channels": [channel_object(each, call.bot) for each in some]} | following


def conversations_info(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/conversations.info"""
    channel = call.channel()
    call.need(f"{channel.kind.scope}:read")
    return {"channel": channel_object(channel, call.bot)}


def conversations_members(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/conversations.members"""
    channel = call.channel()
    call.need(f"{channel.kind.scope}:read")
    some, following = page(list(channel.members), call.request, DEFAULT_PAGE, MAX_PAGE)
    return {"members": some} | following


def conversations_open(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/conversations.open"""
    if call.request.text("channel"):
        channel = call.channel()
    else:
        ids = call.request.words("users")
        if not ids:
            raise missing_argument("users")
        if len(ids) > MAX_PEOPLE:
            raise ApiError("too_many_users")
        people = [call.world.profiles.get(each) for each in ids]
        known = [each for each in people if each is not None and each.team is call.bot.team]
        if len(known) != len(people):
            raise ApiError("user_not_found")
        if call.bot.id in ids:
            raise ApiError("cannot_dm_bot")
        call.need("im:write" if len(known) == 1 else "mpim:write")
        channel = call.world.conversation(call.bot.team, [call.bot.profile, *known])
    shown = channel_object(channel, call.bot) if call.request.flag("return_im") else {"id": channel.id}
    return {"channel": shown, "already_open": True, "no_op": True}


def conversations_join(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/conversations.join"""
    channel = call.channel()
    if channel.kind is not ChannelKind.PUBLIC:
        raise ApiError("method_not_supported_for_channel_type")
    if channel.archived:
        raise ApiError("is_archived")
    channel.members.setdefault(call.bot.id, call.bot.profile)
    return {"channel": channel_object(channel, call.bot)}


def conversations_history(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/conversations.history: newest first, replies only where they were
    broadcast."""
    channel = call.readable("history")
    top = [each for each in channel.present() if each.thread_ts is None or each.broadcast]
    within = _between(reversed(top), call.request)
    some, following = page(within, call.request, DEFAULT_PAGE, MAX_PAGE)
    return _messages(call, some, following)


def conversations_replies(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/conversations.replies: the thread's first message, whatever the span of
    time, then the replies, oldest first."""
    channel = call.readable("history")
    message = channel.find(call.request.needed("ts"))
    if message is None:
        raise ApiError("thread_not_found")
    rest = [] if message.thread_ts is not None else channel.replies(message)
    some, following = page(_between(rest, call.request), call.request, DEFAULT_PAGE, MAX_PAGE)
    return _messages(call, [message, *some], following)


def _visible(call: Call, channel: Channel) -> bool:
    if channel.team is not call.bot.team:
        return False
    return channel.kind is ChannelKind.PUBLIC or call.bot.id in channel.members


def _between(messages: Iterable[Message], request: Request) -> list[Message]:
    """Messages of a span of time; its ends are in it where `inclusive` says so."""
    edge = 0 if request.flag("inclusive") else 1
    oldest, latest = _time(request, "oldest"), _time(request, "latest")
    found = list(messages)
    if oldest is not None:
        found = [each for each in found if micros(each.ts) >= oldest + edge]
    if latest is not None:
        found = [each for each in found if micros(each.ts) <= latest - edge]
    return found


def _time(request: Request, name: str) -> int | None:
    value = request.text(name)
    if not value or value == "now":
        return None
    try:
        return micros(value)
    except ValueError:
        raise ApiError(f"invalid_ts_{name}") from None


def _messages(call: Call, messages: Iterable[Message], following: Json) -> Json:
    metadata = call.request.flag("include_all_metadata")
    more = bool(following["response_metadata"]["next_cursor"])
    shown = [message_object(each, call.world.base_url, metadata=metadata) for each in messages]
    return {"messages": shown, "has_more": more, "pin_count": 0} | (following if more else {})


METHODS: Final = {
    "conversations.list": Rule(conversations_list, tier=2),
    "conversations.info": Rule(conversations_info),
    "conversations.members": Rule(conversations_members, tier=4),
    "conversations.open": Rule(conversations_open),
    "conversations.join": Rule(conversations_join, ("channels:join",)),
    "conversations.history": Rule(conversations_history),
    "conversations.replies": Rule(conversations_replies),
}
