"""Methods about files: room for an upload, sharing what was uploaded, and what there is to know of a file.

https://docs.slack.dev/messaging/working-with-files
"""

from typing import Final

from adapters.testing.slack.accounts import Json
from adapters.testing.slack.channel import Channel, ChannelKind
from adapters.testing.slack.errors import ApiError, missing_argument
from adapters.testing.slack.files import MAX_UPLOAD, StoredFile, file_object
from adapters.testing.slack.message import Content
from adapters.testing.slack.method import Call, Rule


def get_upload_url(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/files.getUploadURLExternal"""
    name, length = call.request.needed("filename"), call.request.integer("length", 0)
    if length <= 0:
        raise missing_argument("length")
    if length > MAX_UPLOAD:
        raise ApiError("file_upload_size_restricted")
    stored = call.world.files.announce(call.bot.profile, name, length, call.world.clock())
    return {"upload_url": f"{call.world.base_url}/upload/v1/{stored.id}", "file_id": stored.id}


def complete_upload(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/files.completeUploadExternal

    The answer does not tell in which messages the files are: files.info does, and the event of the message.
    """
    stored = [_uploaded(call, each) for each in call.request.objects("files")]
    if not stored:
        raise missing_argument("files")
    channels = _places(call)
    thread_ts = call.request.text("thread_ts")
    roots = [channel.root(thread_ts) for channel in channels] if thread_ts else []
    if any(root is None for root in roots):
        raise ApiError("thread_not_found")
    if any(root is not None and not root.takes_replies for root in roots):
        raise ApiError("cannot_reply_to_message")
    for each in stored:
        each.completed = True
    content = Content(call.request.text("initial_comment"), files=tuple(stored))
    for channel in channels:
        root = channel.root(thread_ts) if thread_ts else None
        call.world.post(
            channel,
            call.bot.profile,
            content,
            thread_ts=None if root is None else root.ts,
            subtype="file_share",
        )
    return {"files": [file_object(each, call.world.base_url) for each in stored]}


def files_info(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/files.info"""
    stored = call.world.files.get(call.request.needed("file"))
    if not stored.completed or not visible(call, stored):
        raise ApiError("file_not_found")
    return {"file": file_object(stored, call.world.base_url, shares=True), "comments": []}


def visible(call: Call, stored: StoredFile) -> bool:
    """Whether a bot may see a file: its own, and what is in conversations that it is in."""
    if stored.owner is call.bot.profile:
        return True
    places = [call.world.channels[channel] for _, channel in stored.shares]
    return any(call.bot.id in channel.members for channel in places)


def _uploaded(call: Call, named: Json) -> StoredFile:
    stored = call.world.files.get(str(named.get("id", "")))
    if stored.owner is not call.bot.profile or stored.data is None or stored.completed:
        raise ApiError("file_not_found")
    stored.title = str(named.get("title") or stored.name)
    return stored


def _places(call: Call) -> list[Channel]:
    named = [call.request.text("channel_id"), *call.request.words("channels")]
    channels = [call.world.known_channel(call.bot, each) for each in named if each]
    for channel in channels:
        if call.bot.id not in channel.members:
            raise ApiError("not_in_channel" if channel.kind is ChannelKind.PUBLIC else "channel_not_found")
        if channel.archived:
            raise ApiError("is_archived")
    return channels


METHODS: Final = {
    "files.getUploadURLExternal": Rule(get_upload_url, ("files:write",), tier=4),
    "files.completeUploadExternal": Rule(complete_upload, ("files:write",), tier=4),
    "files.info": Rule(files_info, ("files:read",), tier=4),
}
