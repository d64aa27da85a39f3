"""What Slack sends as the core has it: a message, what was changed or deleted, a button that was pressed, a command.
Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from adapters.base import Attachment, InboundMessage, MediaKind, Quote, SessionSource, as_quote, in_brackets
from adapters.slack.wording import Account, called_first, channels_in, people_in, plain, without_call
from config import Platform

WRITTEN: Final = frozenset({None, "file_share", "thread_broadcast", "me_message"})
"""Subtypes of messages that a person has written (https://docs.slack.dev/reference/events/message#subtypes)."""

BOT_MESSAGE: Final = "bot_message"
"""What old integrations write, which have no user."""

CHANGED: Final = "message_changed"
DELETED: Final = "message_deleted"

TOMBSTONE: Final = "tombstone"
"""What stands in the place of a deleted message that has replies: Slack tells of it as of a change."""

SLASH_COMMAND: Final = "hermes"
"""The slash command as the documents name it; who named it otherwise will have named it like the bot."""

_CLIPS: Final = {"slack_audio": MediaKind.VOICE, "slack_video": MediaKind.VIDEO}
"""What people record in Slack itself."""

_KINDS: Final = {"image": MediaKind.IMAGE, "audio": MediaKind.AUDIO, "video": MediaKind.VIDEO}

_NO_FILE: Final = frozenset({"tombstone", "hidden_by_limit"})
"""Modes of files that are gone, or that the workspace's plan hides."""

_STUB: Final = "check_file_info"
"""The `file_access` of a file of which only the id is told
(https://docs.slack.dev/apis/slack-connect/#check_file_info)."""

SHARED_CHARS: Final = 1_000
"""Characters that are told of a shared message in the text, as many as the core keeps of a quote."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Names:
    """The names that are known, of people and channels, by id."""

    known: Mapping[str, str]

    def of(self, thing: str | None) -> str | None:
        """The name, or None."""
        return self.known.get(thing or "")


@dataclass(frozen=True, slots=True)
class Written:
    """A message that a person has written, as far as it can be read without asking anybody.

    `thread` is the `ts` of the thread's first message where it is a reply. `changed`: it is told because it was edited.
    """

    channel: str
    ts: str
    user: str
    text: str
    thread: str | None
    is_dm: bool
    event: Json
    changed: bool = False
    from_bot: bool = False

    @property
    def place(self) -> str | None:
        """The thread that it is answered in: a top-level message of a channel opens its own."""
        return self.thread if self.thread is not None or self.is_dm else self.ts

    def people(self) -> Iterator[str]:
        """The ids of all whose names are of use."""
        yield self.user
        yield from people_in(self.text)
        for share in shares_of(self.event):
            yield str(share.get("author_id") or "")
            yield from people_in(str(share.get("text") or ""))

    def channels(self) -> Iterator[str]:
        """The ids of all channels whose names are of use."""
        if not self.is_dm:
            yield self.channel
        yield from channels_in(self.text)


def read_message(event: Json, account: Account) -> Written | str:
    """A message of an event or of a channel's history; or why there is nothing in it for us."""
    subtype = event.get("subtype")
    if subtype == CHANGED:
        return _read_change(event, account)
    if subtype not in WRITTEN and subtype != BOT_MESSAGE:
        return f"a message of the kind {subtype}"
    bot = event.get("bot_id") or (event.get("bot_profile") or {}).get("id")
    user = event.get("user") or bot
    if not user or user == "USLACKBOT":
        return "nobody has written it"
    if account.user_id == user or (bot and bot == account.bot_id):
        return "our own message"
    if bot and account.user_id not in people_in(str(event.get("text") or "")):
        return "a bot's message, which does not call us"
    ts, channel = str(event.get("ts") or ""), str(event.get("channel") or "")
    if not ts or not channel:
        return "a message without a place"
    thread = event.get("thread_ts")
    return Written(
        channel=channel,
        ts=ts,
        user=str(user),
        text=str(event.get("text") or ""),
        thread=str(thread) if thread and thread != ts else None,
        is_dm=is_dm(channel, event.get("channel_type")),
        event=event,
        from_bot=bool(bot),
    )


def _read_change(event: Json, account: Account) -> Written | str:
    """An edit. A preview that was added, and what is left of a deleted message, is none."""
    now, before = event.get("message") or {}, event.get("previous_message") or {}
    if not now.get("edited"):
        return "a change that is no edit"
    if now.get("text") == before.get("text") and now.get("files") == before.get("files"):
        return "an edit that changes nothing"
    around = {name: event[name] for name in ("channel", "channel_type") if name in event}
    read = read_message({**now, **around}, account)
    if isinstance(read, str):
        return read
    return replace(read, changed=True)


def read_deletion(event: Json, account: Account) -> Written | None:
    """The message that an event says is deleted, as it was; None for another event, and where it was nothing for us."""
    now, before = event.get("message") or {}, event.get("previous_message") or {}
    if event.get("subtype") != DELETED and (event.get("subtype"), now.get("subtype")) != (CHANGED, TOMBSTONE):
        return None
    around = {name: event[name] for name in ("channel", "channel_type") if name in event}
    if not before and event.get("channel") and event.get("deleted_ts"):
        channel = str(event["channel"])  # Slack's documents have deletions that do not say of what
        return Written(
            channel, str(event["deleted_ts"]), "", "", None, is_dm(channel, event.get("channel_type")), event
        )
    read = read_message({"ts": event.get("deleted_ts") or now.get("ts"), **before, **around}, account)
    return read if isinstance(read, Written) else None


def is_dm(channel: str, channel_type: object) -> bool:
    """Whether it is a conversation with one person."""
    return channel_type == "im" if channel_type else channel.startswith("D")


# --- who it is for -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rules:
    """When a message in a channel is for us. `commands` are the names of the core's own."""

    require_mention: bool = True
    follow_threads: bool = True
    free_channels: frozenset[str] = frozenset()
    commands: frozenset[str] = frozenset()


def is_called(written: Written, account: Account) -> bool:
    """Whether it mentions us."""
    return account.user_id in people_in(written.text)


def is_addressed(written: Written, account: Account, rules: Rules, *, ours: bool) -> bool:
    """Whether it is meant for us. `ours`: we were called into its thread."""
    if written.is_dm or not rules.require_mention or written.channel in rules.free_channels:
        return True
    if is_called(written, account) or _command(written.text, account, rules) is not None:
        return True
    if called_first(written.text) is not None:
        return False
    answers_us = written.thread is not None and written.event.get("parent_user_id") == account.user_id
    return answers_us or (ours and rules.follow_threads)


def _command(text: str, account: Account, rules: Rules) -> str | None:
    """The command that a text is: one that is written out, or its bare name after our mention."""
    bare = without_call(text, account.user_id)
    first, _, rest = bare.strip().partition(" ")
    if first.startswith("/"):
        name = first.removeprefix("/").lower()
        if name in rules.commands:
            return bare.strip()
        if name not in (SLASH_COMMAND, account.name.lower()):
            return None  # a path, say
        within = rest.strip().removeprefix("/")
        return f"/{within}" if within.partition(" ")[0].lower() in rules.commands else None
    return f"/{first.lower()}" if bare != text and not rest and first.lower() in rules.commands else None


# --- the core's messages -------------------------------------------------------------------------------


def message_of(written: Written, account: Account, rules: Rules, names: Names, *, addressed: bool) -> InboundMessage:
    """A message as the core has it, without its position and its update."""
    text = _command(written.text, account, rules)
    if text is None:
        text = plain(without_call(written.text, account.user_id), names.of).strip()
        shared = _also_shared(written.event, account, names)
        text = "\n".join([text, *_words(written.event), *shared]).strip("\n")
    return InboundMessage(
        source=_source(written.channel, written.is_dm, written.user, written.place, names),
        message_id=written.ts,
        text=text,
        addressed=addressed,
        sent_at=time_of(written.ts),
        attachments=attachments_in(_files(written.event)),
        quote=_quote(written.event, account, names),
        team=account.team_id,
        from_bot=written.from_bot,
    )


def press_of(payload: Json, account: Account, names: Names) -> InboundMessage | None:
    """What somebody has pressed or selected; None where it is none of ours."""
    actions: Sequence[Json] = payload.get("actions") or ({},)
    action, person, channel = actions[0], payload.get("user") or {}, (payload.get("channel") or {}).get("id")
    value = action.get("value") or (action.get("selected_option") or {}).get("value")
    if not channel or not value or not str(value).startswith("/") or not person.get("id"):
        return None
    container, user = payload.get("container") or {}, str(person["id"])
    thread = container.get("thread_ts")
    if thread == container.get("message_ts"):
        thread = None  # what we have shown outside of threads stays there when somebody replies below it
    source = _source(str(channel), is_dm(str(channel), None), user, str(thread) if thread else None, names)
    at = action.get("action_ts") or payload.get("trigger_id")
    return InboundMessage(source, f"press:{container.get('message_ts')}:{user}:{at}", str(value), team=account.team_id)


def command_of(payload: Json, account: Account, rules: Rules, names: Names) -> InboundMessage | None:
    """A slash command. What follows it is a command of the core where it names one, and else a message."""
    channel, user, trigger = payload.get("channel_id"), payload.get("user_id"), payload.get("trigger_id")
    if not channel or not user or not trigger:
        return None
    text = plain(str(payload.get("text") or "help"), names.of).strip()
    if text.partition(" ")[0].lower() in rules.commands:
        text = f"/{text}"
    # Its name says nothing: a conversation of two is called "directmessage" in a command, and any channel may be.
    source = _source(str(channel), is_dm(str(channel), None), str(user), None, names)
    return InboundMessage(source, f"command:{trigger}", text, team=account.team_id)


def _source(channel: str, direct: bool, user: str, thread: str | None, names: Names) -> SessionSource:
    name = names.of(user)
    return SessionSource(
        platform=Platform.SLACK,
        chat_id=channel,
        chat_name=name if direct else names.of(channel),
        chat_type="dm" if direct else "group",
        user_id=user,
        user_name=name,
        thread_id=thread,
    )


def time_of(ts: str) -> datetime | None:
    """When a message was written."""
    try:
        return datetime.fromtimestamp(float(ts), UTC)
    except (ValueError, OverflowError):
        return None


# --- what it holds -------------------------------------------------------------------------------------


def _files(event: Json) -> list[Json]:
    """The files of a message, and of those that it shares, which hold their own
    (https://github.com/ColeMurray/background-agents/pull/1143)."""
    return [file for each in (event, *shares_of(event)) for file in each.get("files") or ()]


def stubs_in(event: Json) -> list[str]:
    """The ids of files of which nothing else is told."""
    return [str(each["id"]) for each in _files(event) if _is_stub(each)]


def completed(event: Json, told: Mapping[str, Json]) -> Json:
    """The event with what was told of such files since, by id."""
    if not stubs_in(event):
        return event
    whole = {**event, **_completed_files(event, told)}
    if event.get("attachments"):
        whole["attachments"] = [{**each, **_completed_files(each, told)} for each in event["attachments"]]
    return whole


def _completed_files(holder: Json, told: Mapping[str, Json]) -> Json:
    files = holder.get("files") or ()
    whole = [{**each, **told.get(str(each["id"]), {})} if _is_stub(each) else each for each in files]
    return {"files": whole} if whole else {}


def _is_stub(file: Json) -> bool:
    return file.get("file_access") == _STUB and bool(file.get("id"))


def attachments_in(files: Sequence[Json]) -> tuple[Attachment, ...]:
    """The files that can be fetched."""
    return tuple(_attachment(file) for file in files if file.get("id") and not _why_not(file))


def _attachment(file: Json) -> Attachment:
    media_type = str(file.get("mimetype") or "") or None
    family = (media_type or "").partition("/")[0]
    kind = _CLIPS.get(str(file.get("subtype"))) or _KINDS.get(family) or MediaKind.DOCUMENT
    size = file.get("size")
    name = file.get("name") or file.get("title")
    return Attachment(
        kind, str(file["id"]), str(name) if name else None, media_type, size if isinstance(size, int) else None
    )


def _why_not(file: Json) -> str | None:
    """Why a file cannot be fetched."""
    if file.get("mode") in _NO_FILE:
        return "which is gone, or which the workspace's plan hides"
    if file.get("is_external"):
        return f"which is kept elsewhere: {file.get('url_private') or 'no address'}"
    return None


def _words(event: Json) -> list[str]:
    """What a message holds besides text and files that can be fetched. Nothing is left out in silence."""
    files = _files(event)
    words = [f"[a file, {file.get('name') or 'without a name'}, {why}]" for file in files if (why := _why_not(file))]
    if not event.get("text") and not files and shares_of(event):
        words.append("[a message is shared]")
    elif not event.get("text") and not files:
        fallbacks = [str(each.get("fallback") or each.get("text") or "") for each in event.get("attachments") or ()]
        words += [each for each in fallbacks if each] or ["[a message without text]"]
    return words


def shares_of(event: Json) -> list[Json]:
    """The messages that a message shares."""
    attached = event.get("attachments") or ()
    return [each for each in attached if each.get("is_share") or each.get("is_msg_unfurl")]


def _quote(event: Json, account: Account, names: Names) -> Quote | None:
    """The message that a message shares; the first of several."""
    return next((_shared(share, account, names) for share in shares_of(event)), None)


def _also_shared(event: Json, account: Account, names: Names) -> Iterator[str]:
    """The further messages that a message shares, in words: it can quote one alone."""
    for share in shares_of(event)[1:]:
        shared = _shared(share, account, names)
        whose = "your own message" if shared.ours else f"a message of {in_brackets(shared.author) or 'somebody else'}"
        yield f"[also shared: {whose}]\n{as_quote(shared.text, SHARED_CHARS)}"


def _shared(share: Json, account: Account, names: Names) -> Quote:
    text = plain(str(share.get("text") or share.get("fallback") or ""), names.of)
    author_id = share.get("author_id")
    author = names.of(str(author_id)) or share.get("author_name") or share.get("author_subname")
    ours = author_id == account.user_id or (share.get("bot_id") or "") == account.bot_id
    ts = share.get("ts")
    return Quote(text or "[a message]", str(author) if author else None, ours=ours, message_id=str(ts) if ts else None)
