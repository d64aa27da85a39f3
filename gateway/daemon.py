"""The daemon: builds the parts, hands them to each other, runs them together, and stops them in good order."""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from typing import Any

from config import GatewayConfig, Home, LiveConfig, Platform
from gateway import session_changes
from gateway.access import Gate, People
from gateway.access.door import Door
from gateway.access.rights import Rights
from gateway.admissions import Admissions
from gateway.api.interface import HttpInterface, Probes
from gateway.aside import Aside
from gateway.clock import SystemClock
from gateway.commands.access import AccessCommands
from gateway.commands.builtin import builtin_commands
from gateway.commands.compact import Summaries
from gateway.commands.look import TerminalLook
from gateway.commands.memory import MemoryCommands
from gateway.commands.services import CommandServices
from gateway.connections import AdapterFactory, AdapterPool
from gateway.constants import TAKE_UP_AGAIN_SECONDS
from gateway.control import ControlServer, answer
from gateway.corrections import ChatMove, Corrections
from gateway.counts import counts
from gateway.erasure import Eraser
from gateway.homes import Homes
from gateway.host import HostServices
from gateway.ids import Ids
from gateway.importing import intake
from gateway.inbox import Inbox
from gateway.lanes import Lanes
from gateway.lifecycle import ExpiryWatcher
from gateway.limits import Limits
from gateway.lock import hold
from gateway.logs import Redactor, redacted, secrets_of
from gateway.mcp.door import ToolDoor
from gateway.media.content import Attachments
from gateway.media.files import session_folders
from gateway.media.outgoing import OutgoingFiles
from gateway.media.store import MediaStore
from gateway.media.transcriber import Transcriber
from gateway.metrics.report import report
from gateway.mirror import JsonlMirror
from gateway.naming import Namer
from gateway.outbox import Outbox
from gateway.pairing import Pairing
from gateway.parts import Parts
from gateway.ports import Agent, AgentError, Clock, FrameConnection, StorageBusyError, Tool
from gateway.readiness import readiness
from gateway.reload import ConfigSource, Reloader
from gateway.remembering.memory import Memory
from gateway.retention import Retention
from gateway.roster import AgentRoster
from gateway.search import STOP_BATCHES, SearchIndexer
from gateway.secret import install_secret
from gateway.session.store import ActiveProcesses, SessionStore
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.probe import Probe, no_probe
from gateway.storage.restore import apply_staged
from gateway.tools.files import send_file_tool
from gateway.tools.toolkit import SessionTools
from gateway.transcript import together
from gateway.turns import TurnRunner
from gateway.updates import Updates
from gateway.version import program_version

log = logging.getLogger(__name__)


class Daemon:
    """One gateway over one home. `local_only` leaves out every platform but the terminal, and HTTP.

    `source` is where the configuration came from: it is read again when its files change, and when `reload` says so.
    `on_config` is told of each configuration that has come into force then. `redact` learns its secrets.

    `clock`, `ids`, `probe`, `tools`, `agents` (which exist already, by name), `adapters` (what builds them, by
    platform, in place of what is installed) and `has_active_processes` (whether background work goes on under a
    session key: no policy resets such a session) are injected by tests and by programs that embed the gateway.
    """

    def __init__(
        self,
        config: GatewayConfig,
        home: Home,
        *,
        local_only: bool = False,
        clock: Clock | None = None,
        ids: Ids | None = None,
        probe: Probe = no_probe,
        tools: Sequence[Tool] = (),
        agents: Mapping[str, Agent] | None = None,
        adapters: Mapping[str, AdapterFactory] | None = None,
        has_active_processes: ActiveProcesses | None = None,
        source: ConfigSource | None = None,
        on_config: Callable[[GatewayConfig], object] = lambda _config: None,
        redact: Redactor | None = None,
    ) -> None:
        self._config = LiveConfig(config)
        self._home = home
        self._local_only = local_only
        self._clock = clock or SystemClock()
        self._ids = ids or Ids()
        self._probe = probe
        self._tools = tuple(tools)
        self._roster = AgentRoster(self._config, home, self._clock, agents)
        self._adapters = adapters
        self._has_active_processes = has_active_processes
        self._source = source
        self._on_config = on_config
        self._redact = redact or Redactor(secrets_of(config, os.environ))
        self._counters: Counter[str] = Counter()
        self._started_at = self._clock.now()
        self._stop = asyncio.Event()
        self._stop_at_once = asyncio.Event()
        self._reload_asked = asyncio.Event()
        self._parts: Parts | None = None
        self._ready = False
        self._address: str | None = None

    @property
    def banner(self) -> tuple[str, ...]:
        """Lines that say which agent answers, and how to get a better one."""
        return self._roster.banner

    def stop(self) -> None:
        """End `run`: the first call lets running turns finish, the second does not wait for them."""
        if self._stop.is_set():
            self._stop_at_once.set()
        self._stop.set()

    def reload(self) -> None:
        """Read the configuration again soon, and put in force what has changed. Before `run` is ready: then."""
        self._reload_asked.set()

    async def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Run until stopped. `on_ready` is called once everything is up.

        Raises `LockHeldError`, `StorageError`, `ControlError`, or what the HTTP listener raises for a port in use.
        """
        self._home.ensure()
        holder = "hermes-gateway chat" if self._local_only else "hermes-gateway run"
        with hold(self._home.lock, holder):
            await asyncio.to_thread(apply_staged, self._home, self._clock.now())
            async with self._open() as parts:
                self._parts = parts
                try:
                    await self._run(parts, on_ready)
                finally:
                    self._ready = False
                    self._parts = None

    # --- building --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Parts]:
        config, clock, counters = self._config, self._clock, self._counters
        storage = config.current.storage
        async with Database.open(
            self._home.database,
            synchronous=storage.synchronous,
            reserve_bytes=storage.reserve_kb * 1024,
            clock=clock,
            probe=self._probe,
        ) as database:
            secret = await install_secret(database)
            people = await People.loaded(database)
            gate, pairing, limits = Gate(config, people), Pairing(config, secret), Limits(config, clock)
            http = await HttpInterface.open(database, config, clock, people, gate, self._roster)
            homes = await Homes.open(database, config)
            store = SessionStore(
                database, config, clock=clock, ids=self._ids, has_active_processes=self._has_active_processes
            )
            control = ControlServer(counters)
            control.serve("control", self._serve_control)
            control.serve(intake.SERVICE, intake.Intake(database, config, clock).serve)
            control.serve(session_changes.SERVICE, session_changes.SessionChanges(database, clock, self._ids).serve)

            def wake(platform: Platform, account: str) -> None:
                outbox.wake(platform, account)

            async def settled(platform: Platform, account: str) -> None:
                await outbox.settled(platform, account)

            def moved(move: ChatMove) -> None:
                outbox.move_chat(move.platform, move.account, move.old, move.new)
                lanes.move(move.slots)

            updates = Updates(database, clock, counters)
            services = HostServices(
                clock=clock,
                inbox=lambda: inbox,
                corrections=lambda: corrections,
                updates=lambda: updates,
                banner=lambda: self.banner,
                commands=lambda: commands.menu,
                names=lambda: commands.names,
                look=lambda: look,
                serve=control.serve,
                on_connected=wake,
                settled=settled,
            )
            given = {**http.adapters, **(self._adapters or {})}
            adapters = AdapterPool(config, self._platforms(config.current), services, counters, given)
            outbox = Outbox(database, config, clock, adapters.find, counters, probe=self._probe, meters=http.meters)
            http.connect(homes, outbox.offer, self._redact.values, control)
            media = self._home.media_dir
            files = OutgoingFiles(media, config, clock, counters)
            fetched = MediaStore(media, config, clock, adapters.find, counters)
            attachments = Attachments(fetched, Transcriber(config), config)
            rights = Rights(config, gate)
            sessions = SessionTools(
                database, config, clock, self._ids, counters, agents=self._roster, gate=gate, rights=rights,
                limits=limits, homes=homes, tell=outbox.offer, redact=self._redact.values, probe=self._probe,
            )  # fmt: skip
            memory = Memory(
                database, config, self._home, clock, counters, self._roster,
                probe=self._probe, redact=self._redact.values,
            )  # fmt: skip
            namer = Namer(database, Aside(self._roster, clock, self._ids), config, clock, counters)
            send_file = send_file_tool(files, database, clock, outbox.offer, self._redact.values)
            runner = TurnRunner(
                database,
                store,
                outbox,
                self._roster,
                adapters,
                config,
                clock,
                self._ids,
                counters,
                tools=(send_file, *sessions.tools, *self._tools),
                awaited=sessions.awaited,
                pii_secret=secret,
                probe=self._probe,
                attachments=attachments,
                files=files,
                homes=homes,
                memory=memory,
                rights=rights,
                limits=limits,
                redact=self._redact.values,
                on_end=together(namer.note, http.ledger.note_end),
                on_ended=http.service.turn_ended,
                meters=http.meters,
            )
            lanes = Lanes(
                database, lambda: inbox, outbox, runner, adapters, config, clock, counters, gate=gate, probe=self._probe
            )
            inbox = Inbox(
                database,
                store,
                config,
                clock,
                on_message=lanes.offer,
                on_delivery=outbox.offer,
                is_urgent=lanes.is_immediate,
                is_full=lambda: lanes.is_full,
                door=Door(config, clock, gate=gate, pairing=pairing, limits=limits, counters=counters, secret=secret),
                redact=self._redact.values,
                probe=self._probe,
                meters=http.meters,
            )
            corrections = Corrections(
                database, config, clock, on_changed=lanes.change, on_moved=moved, on_delivery=outbox.offer, gate=gate,
                clean=inbox.clean,
            )  # fmt: skip
            admissions = Admissions(database, pairing, people, clock, on_change=gate.changed, on_delivery=outbox.offer)
            eraser = Eraser(database, self._home, clock, memory)
            at_hand = CommandServices(
                clock, self._ids, config, database, store, lanes, self._roster, adapters.find, files,
                eraser.erase, gate.role, rights.may_run, rights.agent, homes,
            )  # fmt: skip
            people_commands, summaries = AccessCommands(admissions, pairing, gate, clock), Summaries(at_hand)
            more = (*MemoryCommands(memory).commands(), *people_commands.commands())
            commands = builtin_commands(at_hand, more, summaries)
            look = TerminalLook(at_hand, commands, summaries)
            lanes.use(commands)
            sessions.connect(lanes, eraser.erase)
            door = ToolDoor(sessions, database, clock, secret, counters)
            control.serve("mcp", door.serve)
            self._roster.lend(door.server)
            watcher = ExpiryWatcher(store, lanes, lambda: config.current.sessions.expiry_check_seconds, counters)
            indexer = SearchIndexer(database)
            mirror = JsonlMirror(
                database,
                self._home.sessions_dir,
                clock,
                counters,
                enabled=config.current.storage.jsonl_mirror,
                probe=self._probe,
            )
            reloader = Reloader(
                config,
                self._source,
                self._roster,
                adapters,
                clock,
                counters,
                self._redact,
                asked=self._reload_asked,
                platforms=self._platforms,
                on_change=self._on_config,
            )
            folders = (self._home.sessions_dir, *session_folders(media))
            yield Parts(
                database,
                store,
                outbox,
                lanes,
                self._roster,
                adapters,
                control,
                watcher,
                indexer,
                mirror,
                reloader,
                Retention(database, config, clock, counters, folders, media=media),
                eraser,
                updates,
                admissions,
                memory,
                namer,
                door,
                http,
            )

    def _platforms(self, config: GatewayConfig) -> list[Platform]:
        if self._local_only:
            return [Platform.LOCAL]
        programs = [name for name in (Platform.API_SERVER, Platform.WEBHOOK) if config.is_on(name)]
        return list(dict.fromkeys((*config.enabled_platforms, *programs)))

    # --- running ---------------------------------------------------------------------------------------------

    async def _run(self, parts: Parts, on_ready: Callable[[], None] | None) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(parts.roster.close)
            stack.push_async_callback(parts.memory.close)
            await self._start_agent(parts.roster)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            parts.adapters.load()
            outbox_ready, lanes_ready, recovered = asyncio.Event(), asyncio.Event(), asyncio.Event()
            parts.database.on_recovered(recovered.set)
            background = [tasks.create_task(parts.outbox.run(outbox_ready), name="outbox")]
            await outbox_ready.wait()
            background.append(tasks.create_task(parts.lanes.run(lanes_ready), name="lanes"))
            await lanes_ready.wait()
            indexing = tasks.create_task(parts.indexer.run(self._counters), name="search index")
            mirroring = tasks.create_task(parts.mirror.run(), name="mirror")
            background += [
                tasks.create_task(parts.watcher.run(), name="expiry watcher"),
                tasks.create_task(parts.retention.run(), name="retention"),
                tasks.create_task(parts.eraser.tidy(), name="what purges left"),
                tasks.create_task(parts.namer.run(), name="naming"),
                tasks.create_task(parts.http.prune(parts.eraser, self._counters), name="old requests"),
                tasks.create_task(parts.memory.run(), name="memory"),
                tasks.create_task(self._take_up_after_outages(parts, recovered), name="recovery"),
            ]
            # A platform may call as soon as its adapter runs: the listener comes first.
            async with self._http(parts) as self._address, parts.control.listen(self._home.socket):
                background.append(tasks.create_task(parts.adapters.run(), name="adapters"))
                self._ready = True
                log.info("ready")
                reloading = tasks.create_task(parts.reloader.run(), name="reload")
                if on_ready is not None:
                    on_ready()
                await self._stop.wait()
                self._ready = False
                parts.reloader.close()
                reloading.cancel()
                indexing.cancel()
                mirroring.cancel()
                await self._drain(parts)
                parts.http.service.stop()
            for task in background:
                task.cancel()

    async def _start_agent(self, roster: AgentRoster) -> None:
        """Get the default agent ready before anyone writes. If it cannot be, each message is told why."""
        try:
            await roster.get(roster.default)
        except Exception as error:
            unexpected = not isinstance(error, AgentError)
            log.warning("the agent %s cannot be started: %s", roster.default, error, exc_info=unexpected)
            self._counters["agents.start_errors"] += 1

    async def _drain(self, parts: Parts) -> None:
        """Let running turns and their replies finish, as long as that may take; a second stop cuts it short."""
        log.info("stopping")

        async def finish() -> None:
            await parts.lanes.drain()
            await parts.outbox.drain()
            await parts.memory.drain()
            with suppress(StorageError, StorageBusyError):
                await parts.indexer.catch_up(STOP_BATCHES)
            with suppress(StorageError, StorageBusyError, OSError):
                await parts.mirror.catch_up()

        work = asyncio.create_task(finish(), name="drain")
        at_once = asyncio.create_task(self._stop_at_once.wait(), name="stop at once")
        seconds = self._config.current.drain_seconds
        try:
            await asyncio.wait({work, at_once}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, at_once):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _take_up_after_outages(self, parts: Parts, recovered: asyncio.Event) -> None:
        """What lay in the database while it could not be read is taken up once it can be."""
        while True:
            await recovered.wait()
            recovered.clear()
            try:
                await parts.admissions.take_up()
                await parts.http.take_up()
                await parts.outbox.take_up()
                await parts.lanes.take_up()
            except Exception:
                log.exception("what waited in the database could not be taken up; it is tried again")
                self._counters["storage.recovery_errors"] += 1
                await asyncio.sleep(TAKE_UP_AGAIN_SECONDS)
                recovered.set()

    def _http(self, parts: Parts) -> AbstractAsyncContextManager[str | None]:
        """Serve HTTP, where it is wanted; gives the address that it listens on."""
        if self._local_only:
            return nullcontext()
        probes = Probes(self._health, self._readiness, lambda: report(parts, self._counters, self._readiness))
        return parts.http.listen(probes, parts.adapters.http_handler, self._redact, parts.door)

    # --- how it stands ---------------------------------------------------------------------------------------

    def _health(self) -> Mapping[str, Any]:
        return {"version": program_version()}

    def _readiness(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether messages can be taken and answered, and if not, why."""
        parts = self._parts
        if not self._ready or parts is None:
            return False, {"reasons": ["the gateway is starting or stopping"]}
        return readiness(parts)

    async def status(self) -> dict[str, Any]:
        """How the gateway stands, as plain data."""
        parts = self._parts
        if parts is None:
            return {"version": program_version(), "running": False}
        reloader, redact = parts.reloader, self._redact
        database = parts.database
        return {
            "version": program_version(),
            "running": True,
            "pid": os.getpid(),
            "mode": "chat" if self._local_only else "daemon",
            "started_at": self._started_at.isoformat(),
            "agent": parts.roster.default,
            "http": self._address,
            "adapters": redacted(parts.adapters.states, redact),
            "config": {
                "file": str(reloader.file) if reloader.file else None,
                "reload": reloader.last.to_dict() if reloader.last else None,
            },
            "turns": parts.lanes.counts,
            **await counts(database),
            "updates": await parts.updates.counts(),
            "storage": redacted({**database.state.to_dict(), "queued": database.writer.queued}, redact),
            "mirror": await parts.mirror.status(),
            "memory": redacted(await parts.memory.status(), redact),
            "counters": dict(sorted(self._counters.items())),
        }

    async def _serve_control(self, connection: FrameConnection, hello: Mapping[str, Any]) -> None:
        operation, parts = hello.get("op"), self._parts
        if operation == "status":
            await answer(connection, {"ok": True, "status": await self.status()})
        elif operation == "reload" and parts is not None:
            result = await parts.reloader.reload("request")
            await answer(connection, {"ok": True, "reload": result.to_dict()})
        elif operation == "sessions.delete" and parts is not None:
            await answer(connection, await parts.eraser.serve(hello))
        elif str(operation).startswith("pairing.") and parts is not None:
            await answer(connection, await parts.admissions.serve(hello))
        elif str(operation).startswith("keys.") and parts is not None:
            await answer(connection, await parts.http.keys.serve(hello))
        else:
            known = "keys.list, pairing.list and its like, reload, sessions.delete, status"
            await answer(connection, {"ok": False, "error": f"unknown operation; known: {known}"})
