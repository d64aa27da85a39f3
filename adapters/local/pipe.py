"""The chat without a terminal: a message a line in, replies out, for scripts and pipes."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Final, Literal, TextIO, TypeAlias

from adapters.local.client import ChatClient
from adapters.local.markup import MarkdownRenderer, plain
from adapters.local.options import LEAVE_COMMANDS, ChatOptions
from adapters.local.protocol import Welcome
from adapters.local.screen import (
    OUTCOME_WORDS,
    ChatError,
    Line,
    LineOutcome,
    LineRefusedError,
    ScreenClosedError,
    ScreenFailedError,
    Update,
)
from adapters.local.streams import BlockingWorker, LineInput, TextOutput

RECONNECT_SECONDS: Final = 120.0
"""How long a script waits for a gateway that has gone away: a restart with an upgrade takes less."""

_FAILURES: Final = frozenset({LineOutcome.FAILED, LineOutcome.REFUSED, LineOutcome.UNANSWERED})

GREETING: Final = "A line is a message; a backslash at its end continues it. /help lists the commands, Ctrl-D leaves."

REPEATED_MARK: Final = "(repeated: this reply may have been shown before an interruption)"
CORRECTED_MARK: Final = "(corrected: this takes the place of the reply above)"

ObjectType: TypeAlias = Literal["message", "delta", "notice", "error"]

_STEERING: Final = (*range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_ESCAPED: Final = {code: f"\\u{code:04x}" for code in _STEERING}
"""What JSON allows in a string and some readers take for the end of a line, or a terminal for an order, and how it is
written instead."""


class PipeScreen:
    """Replies on standard output; everything else on standard error, or as JSON objects."""

    def __init__(
        self,
        out: TextOutput,
        err: TextOutput,
        *,
        json_mode: bool,
        form: Callable[[str], str],
        greeting: bool,
    ) -> None:
        self._out = out
        self._err = err
        self._json = json_mode
        self._form = form
        self._greeting = greeting
        self._greeted = asyncio.Event()
        self._streamed: set[int] = set()

    async def welcome(self, welcome: Welcome) -> None:
        """A person is told who answers; a script did not ask."""
        if self._greeting:
            await self._out.write("\n".join([*welcome.banner, GREETING, ""]))
        self._greeted.set()

    async def prompt(self) -> None:
        """Ask a person for the next message."""
        if self._greeting:
            await self._greeted.wait()
            await self._out.write("> ")

    async def show(self, update: Update) -> None:
        """Write a reply once it is complete, or, as JSON, each piece of it."""
        if self._json:
            await self._show_json(update)
        elif update.final:
            await self._show_plain(update)

    async def refused(self, line: Line, reason: str) -> None:
        """Say that a message was not taken."""
        await self.fail(f"not sent: {reason}", quote=line.text)

    async def report(self, text: str) -> None:
        """Tell standard error."""
        await self._tell(text)

    async def fail(self, reason: str, *, quote: str | None = None) -> None:
        """Say that something went wrong, where errors are expected."""
        if self._json:
            await self._object("error", reason)
            return
        start = f" ({shown})" if quote is not None and (shown := _shortened(quote)) else ""
        await self._tell(f"error: {reason}{start}")

    async def _show_plain(self, update: Update) -> None:
        text = self._form(update.text)
        body = text if text.endswith("\n") else text + "\n"
        if update.kind == "error":
            await self._tell(f"error: {text}")
        elif update.kind == "notice":
            await self._tell(text)
        elif update.own is False:
            await self._tell(f"reply to an earlier message:\n{text}")
        else:
            mark = REPEATED_MARK if update.repeated else CORRECTED_MARK if update.replaced else ""
            await self._out.write(f"{mark}\n{body}" if mark else body)

    async def _show_json(self, update: Update) -> None:
        """The deltas of a reply, joined from the last one that replaces the others, are always what it says so far."""
        foreign = update.own is False and update.id not in self._streamed
        if update.kind != "reply" or foreign:
            if update.final:
                await self._object("error" if update.kind == "error" else "notice", update.text, update)
            return
        if update.repeated:
            await self._object("notice", REPEATED_MARK, update)
        streams = not update.final or update.id in self._streamed
        if streams and (update.piece or update.replaced):
            self._streamed.add(update.id)
            await self._object("delta", update.piece, update, replace=update.replaced)
        if update.final:
            self._streamed.discard(update.id)
            await self._object("message", update.text, update, replace=update.replaced and not streams)

    async def _object(
        self, kind: ObjectType, text: str, update: Update | None = None, *, replace: bool = False
    ) -> None:
        fields: dict[str, object] = {
            "type": kind,
            "text": text.encode("utf-8", "replace").decode("utf-8"),
            "session_id": update.session_id if update else None,
            "turn_id": update.turn_id if update else None,
        }
        if replace:
            fields["replace"] = True
        await self._out.write(json.dumps(fields, ensure_ascii=False).translate(_ESCAPED) + "\n")

    async def _tell(self, text: str) -> None:
        """For people, also where a program gets the replies: nothing in it steers their terminal."""
        text = plain(text) if self._form is str else text
        try:
            await self._err.write(text.rstrip("\n") + "\n")
        except ScreenClosedError:
            return  # nobody listens there; the replies matter


async def run_pipe(options: ChatOptions) -> int:
    """Chat from standard input, or with the one message given; returns the exit code.

    It is 0 once the last reply is out, and 1 if the gateway was lost, if a message was refused or failed, or if a reply
    cannot be written.
    At a terminal that can only show lines there is a prompt, and Ctrl-C stops the reply.
    """
    reader = BlockingWorker("chat-input")
    writers = (BlockingWorker("chat-output"), BlockingWorker("chat-errors"))
    screen = PipeScreen(
        TextOutput(options.stdout, writers[0], encoding="utf-8" if options.json_mode else None),
        TextOutput(options.stderr, writers[1]),
        json_mode=options.json_mode,
        form=_form(options),
        greeting=options.at_terminal,
    )
    client = ChatClient(
        options.socket,
        screen,
        version=options.version,
        new_id=options.new_id,
        patience=RECONNECT_SECONDS if options.patience is None else options.patience,
    )
    try:
        with _stopping(client) if options.at_terminal else nullcontext():
            return await _converse(client, screen, _messages(options, screen, reader))
    except ScreenFailedError as error:
        _discard(options.stdout)
        await screen.report(f"error: {error}")
        return 1
    except ScreenClosedError:
        _discard(options.stdout)
        return 0
    except ChatError as error:
        await screen.fail(str(error))
        return 1
    finally:
        for worker in (reader, *writers):
            worker.stop()


def _form(options: ChatOptions) -> Callable[[str], str]:
    """How a reply is written: as it is for a program, rendered for a person, without control characters where
    the terminal shows lines only."""
    if options.json_mode or not options.stdout.isatty():
        return str
    if options.dumb:
        return plain
    renderer = MarkdownRenderer(options.environ)
    return lambda text: renderer.render(plain(text), shutil.get_terminal_size().columns - 1)


@contextmanager
def _stopping(client: ChatClient) -> Iterator[None]:
    """Have Ctrl-C ask for the reply to be stopped while one is awaited, and leave otherwise."""
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if not client.unanswered:
            client.leave()
            return
        with suppress(LineRefusedError):
            client.submit("/stop")

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _discard(stream: TextIO) -> None:
    """Send what is still buffered for a reader that has gone to nowhere, so that the exit is quiet."""
    try:
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError):
        return
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


async def _messages(options: ChatOptions, screen: PipeScreen, reader: BlockingWorker) -> AsyncIterator[str]:
    if options.message is not None:
        yield options.message
        return
    async for message in LineInput(options.stdin, reader, before_read=screen.prompt).messages():
        if message.strip() in LEAVE_COMMANDS:
            return
        yield message


async def _converse(client: ChatClient, screen: PipeScreen, messages: AsyncIterator[str]) -> int:
    connection = asyncio.create_task(client.run())
    feeding = asyncio.create_task(_feed(client, screen, messages))
    try:
        await asyncio.wait({connection, feeding}, return_when=asyncio.FIRST_COMPLETED)
        if not feeding.done():
            await connection
            return 0
        client.leave()
        failed = await feeding
        await connection
    finally:
        for task in (connection, feeding):
            task.cancel()
        await asyncio.gather(connection, feeding, return_exceptions=True)
    return 1 if failed else 0


async def _feed(client: ChatClient, screen: PipeScreen, messages: AsyncIterator[str]) -> bool:
    """Send each message once the reply to the one before is out; returns whether one of them failed."""
    failed = False
    async for message in messages:
        try:
            line = client.submit(message)
        except LineRefusedError as error:
            await screen.fail(f"not sent: {error}", quote=message)
            failed = True
            continue
        outcome = await line.outcome
        if outcome in OUTCOME_WORDS:
            await screen.report(OUTCOME_WORDS[outcome])
        failed = failed or outcome in _FAILURES
    return failed


def _shortened(text: str) -> str:
    line = " ".join(text[:200].split())
    return line if len(line) <= 60 else line[:59] + "…"
