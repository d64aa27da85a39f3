"""Methods that write a message piece by piece.

https://docs.slack.dev/reference/methods/chat.startStream, chat.appendStream and chat.stopStream

Which events Slack sends of a stream is not documented. Here one tells of the message when it begins, and one of a
change when it ends.
"""

from dataclasses import replace
from typing import Final

from adapters.testing.slack.accounts import Json
from adapters.testing.slack.blocks import check_blocks
from adapters.testing.slack.channel import Channel, ChannelKind
from adapters.testing.slack.chat_api import thread_of, writable
from adapters.testing.slack.composing import read_metadata
from adapters.testing.slack.errors import ApiError, missing_argument
from adapters.testing.slack.message import Content, Message, Stream, Version
from adapters.testing.slack.method import Call, Rule
from adapters.testing.slack.requests import Request
from adapters.testing.slack.text import MAX_MARKDOWN
from adapters.testing.slack.view import message_object

STREAM_LIFE: Final = 300.0
"""Seconds after which Slack ends a stream; that it does so is seen in practice, after how long is not documented."""
CHUNKS: Final = frozenset({"markdown_text", "task_update", "plan_update", "blocks"})


def start_stream(call: Call) -> Json:
    """Only a reply in a thread is streamed; in a channel it has to be said for whom."""
    channel = writable(call)
    thread_ts = thread_of(call, channel)
    if thread_ts is None:
        raise missing_argument("thread_ts")
    if channel.kind is not ChannelKind.DIRECT:
        _check_recipient(call)
    text, chunks = _piece(call.request)
    now = call.world.clock()
    stream = Stream(call.world.monotonic(), _mode(call.request), chunks)
    message = call.world.post(channel, call.bot.profile, Content(markdown=text), thread_ts=thread_ts)
    message.stream = stream
    channel.clear_status(thread_ts, now)
    return {"channel": channel.id, "ts": message.ts}


def append_stream(call: Call) -> Json:
    """A piece more; what people see grows, and no event tells of it."""
    channel, message, stream = _open(call)
    text, chunks = _piece(call.request)
    if not text and not chunks:
        raise ApiError("no_text")
    _grow(call, message, stream, text, chunks, ())
    return {"channel": channel.id, "ts": message.ts}


def stop_stream(call: Call) -> Json:
    """The last piece, blocks below it, and metadata; from then on it is a message as any other."""
    channel, message, stream = _open(call)
    blocks = check_blocks(call.request.object("blocks", "invalid_blocks_format"))
    metadata = read_metadata(call.request)
    text, chunks = _piece(call.request)
    _grow(call, message, stream, text, chunks, blocks, metadata)
    stream.stopped = True
    call.world.tell_changed(message)
    return {
        "channel": channel.id,
        "ts": message.ts,
        "message": message_object(message, call.world.base_url, metadata=True),
    }


def _check_recipient(call: Call) -> None:
    for name in ("user", "team"):
        if not call.request.text(f"recipient_{name}_id"):
            raise ApiError(f"missing_recipient_{name}_id")
    if call.request.text("recipient_user_id") not in call.world.profiles:
        raise ApiError("user_not_found")
    if call.request.text("recipient_team_id") not in call.world.teams:
        raise ApiError("team_not_found")


def _open(call: Call) -> tuple[Channel, Message, Stream]:
    channel = writable(call)
    message = channel.find(call.request.needed("ts"))
    if message is None:
        raise ApiError("message_not_found")
    if message.sender is not call.bot.profile:
        raise ApiError("message_not_owned_by_app")
    stream = message.stream
    if stream is not None and call.world.monotonic() - stream.started > STREAM_LIFE:
        stream.stopped = True
    if stream is None or stream.stopped:
        raise ApiError("message_not_in_streaming_state")
    mode = _mode(call.request)
    if mode is not None and stream.mode not in {None, mode}:
        raise ApiError("streaming_mode_mismatch")
    stream.mode = stream.mode or mode
    return channel, message, stream


def _mode(request: Request) -> str | None:
    """How pieces come: all of a stream come the same way; None where a request has none."""
    return next((name for name in ("chunks", "markdown_text") if request.parameters.get(name)), None)


def _piece(request: Request) -> tuple[str, list[Json]]:
    """The text that a request adds, and everything else that came in chunks. Raises `ApiError`."""
    chunks = request.objects("chunks", "invalid_chunks")
    if request.text("markdown_text") and chunks:
        raise ApiError("cannot_provide_both_markdown_text_and_chunks")
    if any(each.get("type") not in CHUNKS for each in chunks):
        raise ApiError("invalid_chunks")
    texts = [str(each.get("text", "")) for each in chunks if each["type"] == "markdown_text"]
    text = request.text("markdown_text") or "".join(texts)
    if len(text) > MAX_MARKDOWN:
        raise ApiError("msg_too_long")
    return text, [each for each in chunks if each["type"] != "markdown_text"]


def _grow(
    call: Call,
    message: Message,
    stream: Stream,
    text: str,
    chunks: list[Json],
    blocks: tuple[Json, ...],
    metadata: Json | None = None,
) -> None:
    stream.chunks += chunks
    before = message.content
    grown = replace(
        before,
        markdown=(before.markdown or "") + text,
        blocks=before.blocks + blocks,
        metadata=metadata or before.metadata,
    )
    message.versions.append(Version(grown, call.world.clock()))
    call.world.changes.note()


METHODS: Final = {
    "chat.startStream": Rule(start_stream, ("chat:write",), tier=2),
    "chat.appendStream": Rule(append_stream, ("chat:write",), tier=4),
    "chat.stopStream": Rule(stop_stream, ("chat:write",), tier=2),
}
