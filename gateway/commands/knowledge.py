"""The commands that tell what is known: search, export, what was spent, and why a session began and will end."""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from config import GatewayConfig, SessionResetPolicy
from gateway.commands.services import LABEL, NO_SESSION, CommandServices, ago, counted, current, label, meant, scope_of
from gateway.commands.table import (
    Arguments,
    Command,
    CommandRefusedError,
    Effect,
    Parameter,
    Reply,
    buttons,
    in_family,
    say,
)
from gateway.inbound import InboundRecord
from gateway.media.outgoing import RefusedFileError
from gateway.search import match_expression
from gateway.session import records, slots
from gateway.session.entry import SessionEntry
from gateway.session.reset import next_reset_at, reset_reason
from gateway.session.scope import OwnHit, SessionView, search_own
from gateway.storage import import_queries, queries
from gateway.storage.codec import decode_message, from_micros, optional_instant
from gateway.storage.errors import StorageError

log = logging.getLogger(__name__)

FAMILY: Final = "What is known"

HITS: Final = 6
"""Messages of one page of a search."""

MOST_PAGES: Final = 100

FORMATS: Final = ("markdown", "json", "jsonl")
SUFFIXES: Final = {"markdown": "md", "json": "json", "jsonl": "jsonl"}

EXPORT_AS_TEXT: Final = 20_000
"""Characters of an export that are shown as text where no file can be sent: some ten messages of most platforms."""

TIME: Final = "%Y-%m-%d %H:%M %Z"

RULES: Final = {
    "idle": "because nothing was said for a while (rule: idle)",
    "daily": "because a new day began (rule: daily)",
}
"""Why a session has ended by itself."""

GONE: Final = ("session_delete", "session_joined")
"""Ends of sessions that are not there any more for people: being deleted, or the rest of one that joined another."""


class KnowledgeCommands:
    """Commands that change nothing."""

    def __init__(self, services: CommandServices) -> None:
        self._services = services

    def commands(self) -> list[Command]:
        """In the order in which help lists them."""
        words = Parameter("words", "text", required=True)
        form = Parameter("markdown|json|jsonl", "choice", choices=FORMATS)
        session = Parameter("session", "text")
        return in_family(
            FAMILY,
            [
                Command("search", "Find what was said in your sessions", self._search, immediate=True,
                        aliases=("find",), parameters=(words,)),
                Command("export", "Get a session as a file", self._export, parameters=(form, session)),
                Command("usage", "Show the tokens and the cost of this session", self._usage, immediate=True),
                Command("why", "Show why this session began, and when it ends", self._why, immediate=True),
            ],
        )  # fmt: skip

    # --- search ----------------------------------------------------------------------------------------------

    async def _search(self, record: InboundRecord, given: Arguments) -> Effect:
        page, words = _page(given.text("words"))
        expression = match_expression(words)
        if expression is None:
            raise CommandRefusedError("Give a word to look for, as in `/search invoice`.")
        services, offset = self._services, (page - 1) * HITS
        try:
            found = await search_own(services.database, scope_of(record), expression, limit=HITS + 1, offset=offset)
        except StorageError as error:
            log.warning("a search was refused: %s", error)
            raise CommandRefusedError("What was said cannot be searched at present. Try it again later.") from error
        if not found:
            return say("There is nothing more." if page > 1 else f"Nothing was found for “{words}”.")
        now = self._services.clock.now()
        lines = [f"- “{hit.title}”, {ago(hit.time, now)}: {_on_one_line(hit.snippet)}" for hit in found[:HITS]]
        rows = _sessions_of(found[:HITS])
        if len(found) > HITS:
            more = f"/search page={page + 1} {words}"
            rows.append([("More", more)])
            lines += ["", f"`{more}` shows more."]
        return say("\n".join(lines), buttons(*rows))

    # --- export ----------------------------------------------------------------------------------------------

    async def _export(self, record: InboundRecord, given: Arguments) -> Effect:
        form = given.text("markdown|json|jsonl") or FORMATS[0]
        view = await meant(self._services, record, f"export {form}", given.text("session"))
        text = await self._rendered(view, form)
        connection = self._services.connection(record.source.platform, record.account)
        if connection is not None and connection.adapter.capabilities.media:
            return await self._as_file(record, view, form, text)
        if len(text) > EXPORT_AS_TEXT:
            raise CommandRefusedError(
                f"“{view.title}” is too long to be shown here as text ({len(text):,} characters). Its operator gets it "
                f"with `hermes-gateway sessions export {view.entry.session_id}`."
            )
        return say(text)

    async def _as_file(self, record: InboundRecord, view: SessionView, form: str, text: str) -> Effect:
        name = f"{_file_name(view.title)}.{SUFFIXES[form]}"
        session_id = view.entry.session_id
        try:
            file = await self._services.files.keep(
                text.encode("utf-8", "replace"), name, session_id=session_id, key=f"export:{record.id}"
            )
        except RefusedFileError as error:
            raise CommandRefusedError(f"“{view.title}” could not be exported: {error}.") from error
        words = f"“{view.title}”: {counted(view.entry.message_count, 'message')}."
        return lambda _connection: Reply(words, file=file)

    async def _rendered(self, view: SessionView, form: str) -> str:
        from gateway.cli.transcripts import Format, render
        from gateway.inspection import SessionSummary, TranscriptMessage

        rows = await self._services.database.read(queries.LOAD_MESSAGES_WITH_TIMES, (view.entry.session_id,))

        def write() -> str:
            messages = [
                TranscriptMessage(
                    decode_message(row["role"], row["content"], row["data"]),
                    row["turn_id"],
                    from_micros(row["created_at"]),
                )
                for row in rows
            ]
            summary = SessionSummary(view.entry, view.agent, view.pinned, view.archived)
            return render(summary, messages, Format(form))

        return await asyncio.to_thread(write)

    # --- numbers and reasons ---------------------------------------------------------------------------------

    def _usage(self, record: InboundRecord, _given: Arguments) -> Effect:
        def effect(connection: sqlite3.Connection) -> str:
            return _usage_words(records.load_entry(connection, current(connection, record).session_id))

        return effect

    def _why(self, record: InboundRecord, _given: Arguments) -> Effect:
        now, config = self._services.clock.now(), self._services.config.current

        def effect(connection: sqlite3.Connection) -> str | Reply:
            slot = slots.slot_row(connection, record.identity)
            if slot["session_id"] is None:
                return _has_ended(connection, slot)
            entry = records.load_entry(connection, slot["session_id"])
            before = connection.execute(queries.GET_SESSION, (entry.predecessor_id,)).fetchone()
            imported = connection.execute(import_queries.IMPORTED_AT, (entry.session_id,)).fetchone()
            imported_at = optional_instant(imported["imported_at"])
            began = _began(entry, before, imported_at)
            return "\n\n".join([began, _will_end(entry, imported_at, record, config, now)])

        return effect


def _page(text: str) -> tuple[int, str]:
    """The page that stands before the words, where one does."""
    first, _, rest = text.partition(" ")
    number = first.removeprefix("page=")
    page = Parameter("page", "number", most=MOST_PAGES).read(number) if first != number else None
    return (int(page), rest.strip()) if page is not None and rest.strip() else (1, text)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _sessions_of(hits: Sequence[OwnHit]) -> list[list[tuple[str, str]]]:
    """A button for each session that something was found in."""
    titles = dict.fromkeys((hit.session_id, hit.title) for hit in hits)
    return [[(label(title), f"/resume {session_id}")] for session_id, title in titles]


def _file_name(title: str) -> str:
    """A name that every file system takes."""
    name = "".join(letter if letter.isalnum() or letter in " -_" else " " for letter in title)
    return " ".join(name.split())[:LABEL].strip() or "session"


def _usage_words(entry: SessionEntry) -> str:
    lines = [
        f"- in: {entry.input_tokens:,} tokens",
        f"- out: {entry.output_tokens:,} tokens",
        f"- read from a cache: {entry.cache_read_tokens:,}, written to one: {entry.cache_write_tokens:,}",
        f"- together: {entry.total_tokens:,} tokens in {counted(entry.message_count, 'message')}",
    ]
    if entry.last_prompt_tokens:
        lines.append(f"- the latest prompt: {entry.last_prompt_tokens:,} tokens")
    if entry.model:
        lines.append(f"- model: {entry.model}")
    cost = f"${entry.estimated_cost_usd:.4f} ({entry.cost_status})" if entry.estimated_cost_usd else "not known"
    return "\n".join([*lines, f"- cost: {cost}"])


def _has_ended(connection: sqlite3.Connection, slot: sqlite3.Row) -> Reply:
    """Why a slot is empty. Raises `CommandRefusedError` where none has ended there that can be told of."""
    last = connection.execute(queries.GET_SESSION, (slot["previous_session_id"],)).fetchone()
    ended = optional_instant(last["ended_at"]) if last is not None and last["slot_id"] == slot["id"] else None
    if last is None or ended is None or last["end_reason"] in GONE:
        raise CommandRefusedError(NO_SESSION)
    why = RULES.get(last["end_detail"], "on command")
    words = (
        f"The last session here, {last['id']}, ended at {ended:{TIME}} {why}. It is kept; /resume goes back to it. "
        "Your next message begins a new one."
    )
    return Reply(words, buttons([("Back to it", f"/resume {last['id']}")]))


def _began(entry: SessionEntry, before: sqlite3.Row | None, imported_at: datetime | None) -> str:
    """Why the session began."""
    since = f"This session began at {entry.created_at:{TIME}}"
    if imported_at is not None:
        return f"{since} elsewhere, and was imported at {imported_at:{TIME}}."
    if before is None:
        return f"{since}, with your first message here."
    kept = f"The one before is kept as session {before['id']}."
    if entry.auto_reset_reason in RULES:
        return f"{since} {RULES[entry.auto_reset_reason]}. {kept}"
    ended = optional_instant(before["ended_at"])
    if before["end_detail"] == "switch" or ended is None:
        return f"{since} as a branch, or when another session was left. {kept}"
    return f"{since} because the one before was ended on command at {ended:{TIME}}. {kept}"


def _will_end(
    entry: SessionEntry, imported_at: datetime | None, record: InboundRecord, config: GatewayConfig, now: datetime
) -> str:
    """When the session ends by itself, and by which rule. One that was imported is quiet only since it came in."""
    source = record.source
    policy, setting = _policy(config, str(source.platform), source.chat_type)
    if policy.mode == "none":
        return f"It does not end by itself (`{setting}.mode` is none); /new ends it."
    rules = []
    if policy.mode in ("idle", "both"):
        rules.append(f"idle, after {counted(policy.idle_minutes, 'minute')} without a message")
    if policy.mode in ("daily", "both"):
        rules.append(f"daily, at {policy.at_hour:02}:00 {config.timezone}")
    rule = f"By the rule in `{setting}` ({' or '.join(rules)})"
    quiet_since = entry.updated_at if imported_at is None else max(entry.updated_at, imported_at)
    reason = reset_reason(policy, quiet_since, now, config.zone)
    if reason is not None:
        return f"{rule} it is over already ({reason}): your next message begins a new one."
    until = next_reset_at(policy, quiet_since, config.zone)
    if until is None:
        return f"{rule} it does not end within the calendar."
    return f"{rule} it ends at {until.astimezone(config.zone):{TIME}}, unless something is said before."


def _policy(config: GatewayConfig, platform: str, chat_type: str) -> tuple[SessionResetPolicy, str]:
    """The policy that holds, and the setting that it is from."""
    sessions = config.sessions
    if any(name == platform for name in sessions.reset_by_platform):
        return config.get_reset_policy(platform, chat_type), f"sessions.reset_by_platform.{platform}"
    if any(name == chat_type for name in sessions.reset_by_type):
        return config.get_reset_policy(platform, chat_type), f"sessions.reset_by_type.{chat_type}"
    return sessions.reset, "sessions.reset"
