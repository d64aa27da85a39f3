"""The interactive chat: a prompt that stays usable while replies stream in above it.

What is complete is printed above the prompt and belongs to the terminal's scrollback. What may still change (the last
block of a growing reply, what waits to be sent, the state) stands in a live area between the two, which is
drawn over and over and leaves nothing behind.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session, get_app
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus, is_done
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import ConditionalContainer, HSplit, Layout, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.patch_stdout import patch_stdout

from adapters.local.client import ChatClient
from adapters.local.completion import CommandCompleter
from adapters.local.history import open_history
from adapters.local.markup import MarkdownRenderer, plain
from adapters.local.options import LEAVE_COMMANDS, ChatOptions
from adapters.local.picker import SessionPicker
from adapters.local.pipe import CORRECTED_MARK, REPEATED_MARK, run_pipe
from adapters.local.protocol import Welcome
from adapters.local.reflow import FoldingRenderer, folds_lines, terminal_output
from adapters.local.reply import GrowingReply
from adapters.local.screen import OUTCOME_WORDS, ChatError, Line, LineOutcome, LineRefusedError, Update
from adapters.local.statusline import StatusLine
from adapters.local.streams import continues
from gateway.ports import Overview, SessionLine, Suggestion

FRAME_SECONDS: Final = 0.05
"""The shortest time between two drawings of the live area: faster than the eye reads, slow enough for the
terminal."""

BURST_SECONDS: Final = 0.02
"""A line feed this soon after another key was not typed by hand: it ends a line that a program sent."""

MAX_PARKED: Final = 16
"""Replies that were overtaken by another one and may still grow."""

MAX_SHOWN_QUEUE: Final = 3
"""How many waiting messages the live area names; it counts the others."""

HINT: Final = "Enter sends, Alt-Enter makes a new line, F2 lists sessions, /help lists commands, Ctrl-D leaves."


async def run_terminal(options: ChatOptions) -> int:
    """Chat with the person at the terminal until they leave; returns the exit code."""
    if options.dumb:
        return await run_pipe(options)
    with (
        create_app_session(
            input=create_input(options.stdin),
            output=terminal_output(options.stdout, options.environ),
        ),
        patch_stdout(raw=True),
    ):
        terminal = Terminal(options)
        failure = await terminal.run()
    if failure is None:
        return 0
    print(f"error: {failure}", file=options.stderr, flush=True)
    return 1


class Terminal:
    """One chat on one terminal: what is typed goes to the client, what comes goes to the screen."""

    def __init__(self, options: ChatOptions) -> None:
        self._renderer = MarkdownRenderer(options.environ)
        self._completer = CommandCompleter(self._suggest)
        self._picker = SessionPicker(self._sessions, lambda session_id: self._send(f"/resume {session_id}"))
        self._standing = StatusLine(
            self._overview, lambda: self._client.unanswered > 0, self._redraw, lambda: self._columns
        )
        self._session: PromptSession[str] = PromptSession(
            message=[("class:prompt", "> ")],
            history=open_history(options.home),
            completer=self._completer,
            complete_while_typing=Condition(lambda: get_app().current_buffer.text.startswith("/")),
            multiline=True,
            prompt_continuation="  ",
            key_bindings=self._bindings(),
            enable_suspend=True,
            color_depth=ColorDepth.DEPTH_1_BIT if options.environ.get("NO_COLOR") else None,
        )
        self._client = ChatClient(
            options.socket,
            self,
            version=options.version,
            new_id=options.new_id,
            patience=options.patience,
        )
        self._app = self._session.app
        self._output = self._app.output
        self._lock = asyncio.Lock()
        self._dirty = asyncio.Event()
        self._greeted = asyncio.Event()
        self._reply: GrowingReply | None = None
        self._reply_id = -1
        self._parked: OrderedDict[int, GrowingReply] = OrderedDict()
        self._preview: StyleAndTextTuples = []
        self._preview_columns = 0
        self._queued: deque[str] = deque()
        self._stop: Line | None = None
        self._waiting_since = 0.0
        self._quitting = False
        self._key_times = (0.0, 0.0)
        self._arrange(folds=folds_lines(options.environ))

    async def run(self) -> str | None:
        """Chat until the person leaves. Returns why the chat had to end, or None."""
        connection = asyncio.create_task(self._client.run())
        painting = asyncio.create_task(self._paint())
        ticking = asyncio.create_task(self._tick())
        standing = asyncio.create_task(self._stand())
        prompting = asyncio.create_task(self._prompt(connection))
        try:
            await asyncio.wait({connection, prompting, painting}, return_when=asyncio.FIRST_COMPLETED)
            self._exit()
            await prompting
            self._client.leave()
            painting.cancel()
            await self._print_rest()
            await connection
        except ChatError as error:
            return str(error)
        finally:
            self._picker.close()
            tasks = (connection, painting, ticking, standing, prompting)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return None

    # --- the screen of the client ----------------------------------------------------------------------

    async def welcome(self, welcome: Welcome) -> None:
        """The first lines on the screen: what this is, who answers, how to go on."""
        quit_help = {"quit": "Leave once the reply is out"}
        self._completer.commands = tuple((quit_help | dict(welcome.commands)).items())
        self._say(f"Hermes Gateway {welcome.version}", "bold")
        for line in welcome.banner:
            self._say(line)
        self._say(HINT, "dim")
        self._emit("\n")
        self._greeted.set()

    async def show(self, update: Update) -> None:
        """Show a delivery. Returns once a complete one is printed; a growing one appears soon after."""
        async with self._lock:
            if update.final:
                self._standing.wake()
            if update.kind == "reply":
                await self._show_reply(update)
            elif update.final:
                self._show_remark(update)

    async def refused(self, line: Line, reason: str) -> None:
        """Say that a message was not taken."""
        first_line = plain(line.text).split("\n", 1)[0]
        self._say_error(f"not sent: {reason} ({first_line[:60]})")

    async def report(self, text: str) -> None:
        """Say something about the connection."""
        self._say(text, "dim")

    # --- replies ---------------------------------------------------------------------------------------

    async def _show_reply(self, update: Update) -> None:
        reply = await self._turn_to(update.id)
        if update.first and update.repeated:
            self._say(REPEATED_MARK, "dim")
        if reply.grow(update) or (update.replaced and update.final and not reply.begun):
            self._say(CORRECTED_MARK, "dim")
        if not update.final:
            self._dirty.set()
            return
        await self._print_markdown(reply.take_all())
        self._reply, self._preview = None, []
        self._waiting_since = self._now()
        self._print_queued()
        self._turn_back()

    async def _turn_to(self, delivery_id: int) -> GrowingReply:
        """The reply with this id, which is from now on the one that grows on the screen."""
        if self._reply is not None and self._reply_id == delivery_id:
            return self._reply
        if self._reply is not None:
            await self._print_markdown(await asyncio.to_thread(self._reply.take_complete))
            self._parked[self._reply_id] = self._reply
        while len(self._parked) > MAX_PARKED:
            await self._print_markdown(self._parked.popitem(last=False)[1].take_all())
        if delivery_id not in self._parked:
            self._print_queued()  # what is answered at once stands below what asked for it
        self._reply = self._parked.pop(delivery_id, None) or GrowingReply()
        self._reply_id = delivery_id
        return self._reply

    def _turn_back(self) -> None:
        """Go on with the reply that was overtaken. Its last block was not printed: in two parts it is another text."""
        if self._parked:
            self._reply_id, self._reply = self._parked.popitem()
            self._dirty.set()

    async def _print_rest(self) -> None:
        """Print what there is of the replies that still grow."""
        for reply in (*self._parked.values(), self._reply):
            if reply is not None:
                await self._print_markdown(reply.take_all())

    def _show_remark(self, update: Update) -> None:
        if update.repeated:
            self._say(REPEATED_MARK, "dim")
        if update.kind == "error":
            self._say_error(plain(update.text))
        else:
            self._say(plain(update.text), "dim")
        self._emit("\n")
        self._waiting_since = self._now()
        if self._reply is None:
            self._print_queued()

    async def _paint(self) -> None:
        """Draw the growing reply again whenever it has grown, at a pace that leaves time for all else."""
        await asyncio.to_thread(self._renderer.render, "loads what it needs", self._columns)
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            started = self._now()
            async with self._lock:
                await self._repaint()
            await asyncio.sleep(max(FRAME_SECONDS, 3 * (self._now() - started)))

    async def _tick(self) -> None:
        """Let the seconds of the wait pass on the screen."""
        while True:
            await asyncio.sleep(1.0)
            if self._status():
                self._app.invalidate()

    async def _repaint(self) -> None:
        reply = self._reply
        if reply is None:
            return
        columns, rows = self._columns, self._preview_rows
        self._preview_columns = columns
        complete = await asyncio.to_thread(reply.take_complete)
        if complete:
            await self._print_markdown(complete)
        self._preview = await asyncio.to_thread(self._render_preview, reply.tail, columns, rows)
        self._app.invalidate()

    def _render_preview(self, text: str, columns: int, rows: int) -> StyleAndTextTuples:
        lines = self._renderer.render(text, columns).splitlines(keepends=True)
        if len(lines) > rows:
            lines = ["\x1b[2m⋮\x1b[0m\n", *lines[-rows + 1 :]]
        return to_formatted_text(ANSI("".join(lines)))

    async def _print_markdown(self, text: str) -> None:
        rendered = await asyncio.to_thread(self._renderer.render, text, self._columns)
        self._preview = []
        if rendered:
            self._emit(rendered + "\n")

    # --- printing --------------------------------------------------------------------------------------

    @property
    def _columns(self) -> int:
        """The width to write in. The last column stays free: some terminals wrap when it is filled."""
        return max(self._output.get_size().columns - 1, 8)

    @property
    def _preview_rows(self) -> int:
        """The height of a growing block: what is left once the prompt and the lines around it have theirs."""
        return max(self._output.get_size().rows - 8, 3)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _say(self, text: str, style: str = "") -> None:
        self._emit(self._renderer.styled(text, style, self._columns))

    def _say_error(self, text: str) -> None:
        self._say(f"error: {text}", "bold red")

    def _emit(self, text: str) -> None:
        """Write above the live area, for good."""
        if self._app.is_running:
            self._app.renderer.erase()
        self._output.write_raw(text.replace("\n", "\r\n"))
        self._output.flush()
        self._app.invalidate()

    def _echo(self, text: str) -> None:
        self._emit(self._renderer.quoted(plain(text), "> ", "bold cyan", self._columns))
        self._emit("\n")

    def _print_queued(self) -> None:
        while self._queued:
            self._echo(self._queued.popleft())

    # --- the live area ---------------------------------------------------------------------------------

    def _arrange(self, *, folds: bool) -> None:
        """Put the live area above the prompt, and have it drawn as the terminal needs it."""
        live = ConditionalContainer(
            Window(FormattedTextControl(self._live), dont_extend_height=True),
            filter=~is_done & Condition(lambda: bool(self._live())),
        )
        rows = [live, self._picker.container, self._session.layout.container, self._standing.container]
        layout = Layout(HSplit(rows), focused_element=self._session.default_buffer)
        self._session.layout = layout
        self._app.layout = layout
        self._app.key_processor.before_key_press += lambda _: self._note_key()
        if folds:
            self._app.renderer = FoldingRenderer(self._app.renderer.style, self._output)

    def _live(self) -> StyleAndTextTuples:
        if self._preview and self._preview_columns != self._columns:
            self._dirty.set()
        parts: StyleAndTextTuples = [*self._preview]
        for text in list(self._queued)[:MAX_SHOWN_QUEUE]:
            first_line = plain(text).split("\n", 1)[0]
            parts.append(("class:queued", f"queued: {first_line[: self._columns - 10]}\n"))
        if len(self._queued) > MAX_SHOWN_QUEUE:
            parts.append(("class:queued", f"and {len(self._queued) - MAX_SHOWN_QUEUE} more\n"))
        if status := self._status():
            parts.append(("class:status", status[: self._columns] + "\n"))
        if parts:
            style, last, *_ = parts[-1]
            parts[-1] = (style, last.removesuffix("\n"))
        return parts

    def _redraw(self) -> None:
        self._app.invalidate()

    # --- what is asked beside the chat -----------------------------------------------------------------

    async def _stand(self) -> None:
        await self._greeted.wait()
        await self._standing.run()

    async def _overview(self) -> Overview | None:
        told = await self._client.questions.ask("state")
        return None if told is None else told.state

    async def _suggest(self, typed: str) -> Sequence[Suggestion]:
        told = await self._client.questions.ask("words", typed)
        return () if told is None else told.words

    async def _sessions(self, text: str) -> Sequence[SessionLine] | None:
        told = await self._client.questions.ask("sessions", text)
        return None if told is None else told.sessions

    def _status(self) -> str:
        if not self._client.connected:
            return "no connection to the gateway"
        if not self._client.unanswered:
            return ""
        seconds = int(self._now() - self._waiting_since)
        if self._stop is not None and not self._stop.outcome.done():
            return f"stopping … {seconds} s"
        return f"answering … {seconds} s (Ctrl-C stops it)"

    # --- the keyboard ----------------------------------------------------------------------------------

    async def _prompt(self, connection: "asyncio.Task[None]") -> None:
        from prompt_toolkit.styles import Style

        greeted = asyncio.create_task(self._greeted.wait())
        await asyncio.wait({connection, greeted}, return_when=asyncio.FIRST_COMPLETED)
        if not greeted.done():
            greeted.cancel()
            return

        style = Style.from_dict({"prompt": "bold", "queued": "#888888", "status": "#888888", "chosen": "bold"})
        try:
            await self._session.prompt_async(style=style)
        except (EOFError, KeyboardInterrupt):
            return

    def _exit(self) -> None:
        if self._app.is_running and not self._app.is_done:
            self._app.exit(result="")

    def _note_key(self) -> None:
        self._key_times = (self._key_times[1], self._now())

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()
        typing = has_focus(DEFAULT_BUFFER)

        @bindings.add("enter", filter=typing)
        def _(event: KeyPressEvent) -> None:
            self._enter(event)

        @bindings.add("escape", "enter", filter=typing)
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @bindings.add("c-j", filter=typing)
        def _(event: KeyPressEvent) -> None:
            before, now = self._key_times
            if now - before < BURST_SECONDS:
                self._enter(event)
            else:
                event.current_buffer.insert_text("\n")

        @bindings.add("f2", filter=typing)
        def _(_event: KeyPressEvent) -> None:
            self._picker.open()

        self._picker.bind(bindings)

        @bindings.add("c-c", filter=typing)
        @bindings.add("<sigint>")
        def _(event: KeyPressEvent) -> None:
            self._interrupt(event)

        return bindings

    def _enter(self, event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and continues(buffer.text):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
            return
        text = buffer.text
        if not text.strip():
            buffer.reset()
            return
        if text.strip() in LEAVE_COMMANDS:
            buffer.reset()
            self._quit()
        elif self._send(text):
            buffer.append_to_history()
            buffer.reset()

    def _interrupt(self, event: KeyPressEvent) -> None:
        if self._client.unanswered:
            if self._stop is None or self._stop.outcome.done():
                self._stop = self._submit("/stop")
            else:
                self._say("Stopping; Ctrl-D leaves at once.", "dim")
        elif event.current_buffer.text:
            event.current_buffer.reset()
        else:
            self._say("Ctrl-D or /quit leaves.", "dim")

    def _send(self, text: str) -> bool:
        if self._submit(text) is None:
            return False
        if self._reply is None:
            self._echo(text)
        else:
            self._queued.append(text)
        return True

    def _submit(self, text: str) -> Line | None:
        if not self._client.unanswered:
            self._waiting_since = self._now()
        try:
            line = self._client.submit(text)
        except LineRefusedError as error:
            self._say_error(f"not sent: {error}")
            return None
        line.outcome.add_done_callback(self._line_ended)
        self._standing.wake()
        return line

    def _line_ended(self, outcome: "asyncio.Future[LineOutcome]") -> None:
        self._standing.wake()
        if outcome.cancelled():
            return
        words = OUTCOME_WORDS.get(outcome.result())
        if words:
            self._say(words, "dim")
        if self._quitting and not self._client.unanswered:
            self._exit()

    def _quit(self) -> None:
        if not self._client.unanswered:
            self._exit()
            return
        self._quitting = True
        self._say("Leaving once the reply is out; Ctrl-D leaves now.", "dim")
