"""The command line: `hermes-gateway`, or `python hermes_gateway.py`."""

import asyncio
import contextlib
import logging
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import (
    backups,
    completion,
    configuration,
    imports,
    keys,
    logs,
    mcp,
    pairing,
    reports,
    send,
    service,
    sessions,
    setup,
)
from gateway.cli.errors import FAILED, PROGRAM, USAGE, CommandError, Invocation, explain, unforeseen
from gateway.cli.options import ConfigFile, debug_of, examples, find_home, load, prepared_home
from gateway.cli.output import discard_output, prepare_streams, say

if TYPE_CHECKING:
    from adapters.local import ChatOptions
    from config import GatewayConfig, Home, Settings
    from gateway.daemon import Daemon
    from gateway.logs import Redactor
    from gateway.reload import ConfigSource

JOIN_SECONDS: Final = 30.0
"""How long a chat waits for a gateway that holds the home and is not up yet: a local model may have to load."""

JOIN_POLL_SECONDS: Final = 0.2
"""How often it looks meanwhile."""

HEIR_POLL_SECONDS: Final = 1.0
"""How often a chat that goes through the gateway of another chat looks whether that is still there."""

SAY_WAITING_SECONDS: Final = 1.0
"""A wait that is longer than this is told to the person."""

STOP_AT_ONCE_SECONDS: Final = 5.0
"""How long a gateway that was told to stop at once may take before its work is cancelled."""

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

app = typer.Typer(
    name=PROGRAM,
    help="Puts an AI agent where people already talk, and loses nothing on the way.",
    epilog=examples(
        "hermes-gateway chat                 talk to the agent here, in the terminal",
        "hermes-gateway setup                answer questions, and have the rest written",
        "hermes-gateway run                  connect the platforms that it names",
        "hermes-gateway status               how the gateway is",
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from gateway.version import program_version

        typer.echo(f"{PROGRAM} {program_version()}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks when something fails.")] = False,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.find_object(Invocation).debug = debug  # type: ignore[union-attr]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 1 failed, 2 usage, 78 configuration.

    Args:
        arguments: the words after the program's name; those of this process if not given.
    """
    invocation = Invocation()
    prepare_streams()
    try:
        code = _call(list(sys.argv[1:] if arguments is None else arguments), invocation)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last place before the user
        if invocation.debug:
            traceback.print_exception(error)
        lines, code = explain(error) or ((unforeseen(error),), FAILED)
        for line in lines:
            say(line)
    return code


def _call(arguments: list[str], invocation: Invocation) -> int:
    """Have the command that is meant run; a mistake in the words is explained in one line."""
    command = typer.main.get_command(app)
    try:
        result = command.main(arguments, prog_name=PROGRAM, standalone_mode=False, obj=invocation)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else PROGRAM
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.format_message(), err=True)
            return USAGE
        say(f"{PROGRAM}: {' '.join(error.format_message().split())} (`{where} --help` shows what there is)")
        return error.exit_code
    except typer.Abort:
        return FAILED
    return result if isinstance(result, int) else 0


@contextlib.contextmanager
def _logging(config: "GatewayConfig", home: "Home", *, to_stderr: bool, debug: bool) -> Iterator["Redactor"]:
    """Log to the home, and to standard error where asked; what nobody foresaw is logged with its traceback.

    Yields what takes the secrets out of it.
    """
    from gateway.logs import Redactor, logging_to, secrets_of
    from gateway.turns import turn_id_of_task

    redact = Redactor(secrets_of(config, os.environ))
    with logging_to(
        config.logging,
        home,
        redact=redact,
        turn_id=turn_id_of_task.get,
        stream=sys.stderr if to_stderr else None,
        stream_traces=debug,
    ):
        try:
            yield redact
        except Exception as error:
            if explain(error) is None:
                logging.getLogger(PROGRAM).critical("the gateway ends with an error", exc_info=error)
            raise


# --- run ---------------------------------------------------------------------------------------------------


@app.command(
    epilog=examples(
        "hermes-gateway run",
        "hermes-gateway run --config /etc/hermes-gateway.yaml",
        "HERMES_GATEWAY_HOME=/srv/gateway hermes-gateway run",
    )
)
def run(context: typer.Context, config: ConfigFile = None) -> None:
    """Run the gateway with all its platforms.

    It stays in the foreground. SIGTERM or Ctrl-C lets running turns and their replies finish; a second one stops
    it at once. A change of the configuration file is put in force while it runs; SIGHUP has it read at once.
    """
    from gateway.reload import ConfigSource

    backups.settle(find_home())
    source = ConfigSource.open(lambda: load(config))
    home = prepared_home()
    with _logging(source.settings.config, home, to_stderr=True, debug=debug_of(context)) as redact:
        asyncio.run(_run(source, home, redact))


async def _run(source: "ConfigSource", home: "Home", redact: "Redactor") -> None:
    from gateway.memory import settle
    from gateway.notify import ServiceManager

    gateway, manager = _Gateway(_daemon(source, home, redact)), ServiceManager()

    def stop() -> None:
        manager.stopping()
        gateway.stop()

    with _on_signals(stop, hangup=_reload_unless_alone(gateway)):
        async with manager.watched():
            if await gateway.started():
                settle()
                line = _ready_line(await gateway.daemon.status())
                say(line)
                manager.ready(line)
            await gateway.ended()


def _ready_line(status: dict[str, Any]) -> str:
    platforms = ", ".join(_platform(name, adapter) for name, adapter in status["adapters"].items()) or "none"
    return (
        f"ready: {PROGRAM} {status['version']}, pid {status['pid']}, agent {status['agent']},"
        f" platforms {platforms}, http {status['http'] or 'off'}"
    )


def _platform(name: str, adapter: Mapping[str, Any]) -> str:
    """A platform's name, and how it is where it is not well: `telegram (failed: …)`."""
    if adapter["state"] == "connected":
        return name
    reason = f": {adapter['reason']}" if adapter.get("reason") else ""
    return f"{name} ({adapter['state']}{reason})"


def _daemon(source: "ConfigSource", home: "Home", redact: "Redactor", *, local_only: bool = False) -> "Daemon":
    from gateway.daemon import Daemon
    from gateway.logs import set_level

    return Daemon(
        source.settings.config,
        home,
        local_only=local_only,
        source=source,
        on_config=lambda config: set_level(config.logging.level),
        redact=redact,
    )


def _reload_unless_alone(gateway: "_Gateway") -> Callable[[], None]:
    """What SIGHUP does: it means "reload", but also that the terminal is gone that the gateway was started from."""
    attached = _has_terminal()

    def hangup() -> None:
        if attached and not _has_terminal():
            gateway.stop()
        else:
            gateway.daemon.reload()

    return hangup


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


class _Gateway:
    """A daemon in this process, and the task that it runs in."""

    def __init__(self, daemon: "Daemon") -> None:
        self.daemon = daemon
        self._ready = asyncio.Event()
        self._signals = 0
        self.task = asyncio.create_task(daemon.run(self._ready.set), name="gateway")

    async def started(self) -> bool:
        """Wait until it is ready; False if it ended before."""
        return await _comes_first(self._ready, self.task)

    def stop(self) -> None:
        """Stop in good order; the second call stops at once. Before it is ready there is nothing to finish."""
        self._signals += 1
        self.daemon.stop()
        if not self._ready.is_set():
            self.task.cancel()
        elif self._signals == 2:
            asyncio.get_running_loop().call_later(STOP_AT_ONCE_SECONDS, self.task.cancel)

    async def ended(self) -> None:
        """Wait for its end. Raises what it ended with, unless that was `stop`."""
        await asyncio.wait({self.task})
        if not self.task.cancelled():
            self.task.result()


@contextlib.contextmanager
def _on_signals(call: Callable[[], object], *, hangup: Callable[[], object] | None = None) -> Iterator[None]:
    """Have the signals that mean "stop" call this; one that is ignored (nohup) stays ignored.

    `hangup` is called for SIGHUP instead.
    """
    loop = asyncio.get_running_loop()
    taken = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in taken:
        loop.add_signal_handler(number, hangup if hangup is not None and number == signal.SIGHUP else call)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


# --- chat --------------------------------------------------------------------------------------------------


@app.command(
    epilog=examples(
        "hermes-gateway chat",
        "hermes-gateway chat 'What is the capital of France?'",
        "hermes-gateway chat --agent echo hello",
        "printf 'one\\ntwo\\n' | hermes-gateway chat --json",
    )
)
def chat(
    context: typer.Context,
    message: Annotated[
        list[str] | None, typer.Argument(metavar="MESSAGE", help="The one message to send.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    agent: Annotated[str | None, typer.Option("--agent", metavar="NAME", help="Talk to this agent.")] = None,
    config: ConfigFile = None,
) -> None:
    """Talk to the agent in this terminal.

    Goes through the gateway that runs; if none does, one is started for the time of the chat. Without a terminal,
    each line of standard input is one message (a backslash at its end continues it), and replies go to standard
    output. --config is for a gateway that is started: one that runs has its own configuration.
    """
    from adapters.local import ChatOptions

    home = prepared_home()
    if config is not None:
        load(config)  # what is wrong with it is told, whether or not a gateway has to be started
    text = " ".join(message) if message else None
    options = ChatOptions(socket=home.socket, home=home.path, message=text, json_mode=json)
    keeper = _Keeper(home, lambda name: load(config, agent=name), config, agent, debug_of(context))
    raise typer.Exit(asyncio.run(_chat(keeper, options)))


async def _chat(keeper: "_Keeper", options: "ChatOptions") -> int:
    """Chat through whatever gateway the keeper finds or starts; the exit code."""
    from adapters.local import chat as converse

    keeping = asyncio.create_task(keeper.run(), name="keeper")
    try:
        with _on_signals(keeping.cancel):
            if not await _comes_first(keeper.ready, keeping):
                return INTERRUPTED
        talk = asyncio.create_task(converse(options), name="chat")
        with _on_signals(talk.cancel):
            await asyncio.wait({talk, keeping}, return_when=asyncio.FIRST_COMPLETED)
        talk.cancel()
        await asyncio.wait({talk})
        return INTERRUPTED if talk.cancelled() else talk.result()
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        if not keeping.cancelled():
            keeping.result()


async def _comes_first(event: asyncio.Event, task: "asyncio.Task[Any]") -> bool:
    """Wait for either; whether it was the event, with the task still going on."""
    waiting = asyncio.create_task(event.wait(), name="waiting")
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return event.is_set() and not task.done()


@dataclass(frozen=True, slots=True)
class _Keeper:
    """Sees to it that there is a gateway to chat through: one that runs, or one in this process.

    `configuration` is asked, with the name of the agent, only if a gateway has to be started here; `file` is the one
    that the person named for it. `agent` is the one that must answer; None leaves the choice to the configuration.
    """

    home: "Home"
    configuration: "Callable[[str | None], Settings]"
    file: Path | None = None
    agent: str | None = None
    debug: bool = False
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Keep a gateway until cancelled; `ready` is set once it can be reached.

        One that another chat lends us is replaced, with the same agent, when that chat ends. The daemon's absence
        is its operator's to end: were its place taken, it could not come back. Raises what `Daemon.run` raises,
        and `CommandError`.
        """
        from gateway.lock import LockHeldError

        clock = asyncio.get_running_loop().time
        begin, said, agent = clock(), False, self.agent
        while True:
            other = await self._other()
            if other is not None:
                self.ready.set()
                agent = str(other["agent"])
                await asyncio.sleep(HEIR_POLL_SECONDS if other.get("mode") == "chat" else math.inf)
                continue
            try:
                await self._serve(agent)
            except LockHeldError:
                if not self.ready.is_set() and clock() - begin > JOIN_SECONDS:
                    raise
            if not (said or self.ready.is_set()) and clock() - begin > SAY_WAITING_SECONDS:
                said = True
                say("Waiting for the gateway that is starting or stopping …")
            await asyncio.sleep(JOIN_POLL_SECONDS)

    async def _other(self) -> Mapping[str, Any] | None:
        """The status of the gateway that runs, None if none does. Raises `CommandError` if it has another agent."""
        from gateway.status import ask

        status = await ask(self.home.socket)
        if status is None or not status.get("running"):
            return None
        other = status["agent"]
        if self.agent not in (None, other) and not self.ready.is_set():
            raise CommandError(
                f"the gateway that runs (pid {status.get('pid')}) answers with the agent {other}, not {self.agent};"
                " leave out --agent, or stop it first"
            )
        if self.file is not None and not self.ready.is_set():
            whose = f"pid {status.get('pid')}, agent {other}"
            say(f"{self.file} is not used: the gateway that runs ({whose}) has its own configuration.")
        return status

    async def _serve(self, agent: str | None) -> None:
        """Be the gateway, with the terminal alone, until cancelled. Raises what `Daemon.run` raises."""
        from gateway.reload import ConfigSource

        backups.settle(self.home)
        source = ConfigSource.open(lambda: self.configuration(agent))
        with _logging(source.settings.config, self.home, to_stderr=False, debug=self.debug) as redact:
            gateway = _Gateway(_daemon(source, self.home, redact, local_only=True))
            try:
                if await gateway.started():
                    self.ready.set()
                await gateway.ended()
            finally:
                await _leave(gateway)


async def _leave(gateway: _Gateway) -> None:
    """Stop the gateway of this process; where that takes its time, the person is told why."""
    gateway.stop()
    with _on_signals(gateway.stop):
        done, _ = await asyncio.wait({gateway.task}, timeout=SAY_WAITING_SECONDS)
        if not done:
            say("Finishing what is under way; Ctrl-C stops it at once …")
        await gateway.ended()


# --- the other commands ------------------------------------------------------------------------------------


app.command(epilog=setup.SETUP_EXAMPLES)(setup.setup)
app.command(epilog=reports.STATUS_EXAMPLES)(reports.status)
app.command(epilog=logs.LOGS_EXAMPLES)(logs.logs)
app.command(epilog=reports.UNANSWERED_EXAMPLES)(reports.unanswered)
app.command(epilog=reports.DOCTOR_EXAMPLES)(reports.doctor)
app.command(epilog=backups.BACKUP_EXAMPLES)(backups.backup)
app.command(epilog=backups.RESTORE_EXAMPLES)(backups.restore)
app.command("import", epilog=imports.IMPORT_EXAMPLES)(imports.import_)
app.command(epilog=mcp.MCP_EXAMPLES)(mcp.mcp)
app.command(epilog=send.SEND_EXAMPLES)(send.send)
app.command(epilog=pairing.AUDIT_EXAMPLES)(pairing.audit)
app.add_typer(sessions.app)
app.add_typer(pairing.app)
app.add_typer(keys.app)
app.add_typer(configuration.app)
app.add_typer(service.app)
app.command(epilog=completion.COMPLETION_EXAMPLES)(completion.completion)


if __name__ == "__main__":
    sys.exit(main())
