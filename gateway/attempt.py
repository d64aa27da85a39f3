"""One attempt at a turn: the agent runs, and what it does is stored before it goes on."""

import asyncio
import itertools
import json
import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from config import LiveConfig
from gateway.access.rights import Rights
from gateway.brought import STRAY, are_stray_results, newest_exchange
from gateway.constants import MAX_ANSWER_CHARS, MEDIA_SIGN_SECONDS
from gateway.homes import Homes
from gateway.inbound import InboundRecord
from gateway.journal import Step, add_step
from gateway.media.content import Attachments
from gateway.ports import (
    Agent,
    AgentError,
    AgentEvent,
    AgentTurn,
    Brought,
    Call,
    Clock,
    Done,
    Message,
    StorageBusyError,
    Tool,
    ToolContext,
)
from gateway.remembering.hooks import NO_MEMORY, TurnMemory
from gateway.session.context import build_session_context
from gateway.session.prompt import ContextPrompts
from gateway.session.store import SessionStore
from gateway.storage import queries
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.probe import Probe
from gateway.storage.shadow import check_known
from gateway.stream import ReplyStream
from gateway.transcript import WithdrawnError, absorb
from gateway.turn import Connections, Failure, Roster, Turn, user_message

log = logging.getLogger(__name__)

OUTCOME_UNKNOWN: Final = (
    "The gateway was interrupted while this call ran. Whether it took effect is unknown, and it was not run again."
)
INTERRUPTED: Final = Failure(
    "interrupted: the gateway was stopped while the agent worked, and this agent cannot go on", retryable=False
)
CUT_SHORT: Final = Failure("the agent ended before its answer was complete", retryable=True)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every attempt works with."""

    database: Database
    store: SessionStore
    roster: Roster
    connections: Connections
    config: LiveConfig
    clock: Clock
    counters: Counter[str]
    tools: Mapping[str, Tool]
    prompts: ContextPrompts
    probe: Probe
    attachments: Attachments | None = None
    rights: Rights | None = None
    redact: Callable[[str], str] = str
    homes: Homes | None = None
    memory: TurnMemory = NO_MEMORY


class Attempt:
    """Runs the agent once. After `close` nothing that the agent still does counts, whenever it ends.

    `waiting` gives the messages that came in meanwhile and may join the turn, first to last; `absorbed` is told
    which of them have.
    """

    def __init__(
        self,
        turn: Turn,
        stream: ReplyStream,
        workshop: Workshop,
        *,
        waiting: Callable[[], Sequence[InboundRecord]],
        absorbed: Callable[[Sequence[InboundRecord]], None],
    ) -> None:
        self._turn = turn
        self._stream = stream
        self._workshop = workshop
        self._waiting = waiting
        self._absorbed = absorbed
        self._steering = asyncio.Lock()
        self._closed = False
        self._begun_before = frozenset(turn.progress.begun)
        self._results_before = dict(turn.progress.results)
        self.complete = False
        """The agent has said that its answer is complete."""
        self._takes_images = False
        self.resumable = True
        """Whether the agent can go on with what it did in an attempt that was cut short."""
        self.moved_at = workshop.clock.monotonic()
        """When the agent last showed a sign of life, by the monotonic clock; nothing but the agent moves it."""

    def close(self) -> None:
        """The attempt is over."""
        self._closed = True

    async def run(self) -> Failure | None:
        """Run the agent to its end; why it failed, if it did. Raises `StorageError` and `StorageBusyError`."""
        turn = self._turn
        try:
            async with self._workshop.roster.use(turn.agent) as (turn.agent, agent):
                return await self._answer(agent)
        except (StorageError, StorageBusyError):
            raise
        except AgentError as error:
            log.warning("the agent %s failed: %s", turn.agent, error)
            return Failure(str(error), error.retryable, error.retry_after)
        except Exception as error:
            log.exception("the agent %s failed unexpectedly", turn.agent)
            self._workshop.counters["turns.agent_errors"] += 1
            return Failure(f"the agent failed unexpectedly ({type(error).__name__})", retryable=True)

    async def _answer(self, agent: Agent) -> Failure | None:
        turn = self._turn
        self.resumable = agent.capabilities.resumable
        self._takes_images = agent.capabilities.images
        if not self.resumable and (turn.interrupted or turn.progress.messages):
            return INTERRUPTED
        turn.interrupted, turn.begun = False, True
        request = await self._request()
        if are_stray_results([*request.history, *request.inputs]):
            return Failure(STRAY, retryable=False)
        events = agent.run(request)
        try:
            async for event in events:
                if self._closed:
                    return None
                await self._take(event)
                if self.complete:
                    return None
        finally:
            # A generator is closed where it stands, not when its memory happens to be freed.
            if (close := getattr(events, "aclose", None)) is not None:
                await close()
        return CUT_SHORT

    def _moved(self) -> None:
        self.moved_at = self._workshop.clock.monotonic()

    async def _take(self, event: AgentEvent) -> None:
        """Store what the event tells before the agent goes on."""
        self._moved()
        progress = self._turn.progress
        step = progress.note(event)
        if step is not None:
            await self._journal(step)
            self._moved()
            self._workshop.probe(f"turn.{step.kind}")
        elif isinstance(event, Done):
            self.complete, self._turn.done_reason = True, event.reason
            self._stream.complete()
        elif len(progress.step_text) > MAX_ANSWER_CHARS:
            raise AgentError(f"the answer grew beyond {MAX_ANSWER_CHARS:,} characters")
        elif progress.step_text:
            self._turn.spoke_at = self._turn.spoke_at or self._workshop.clock.now()
            self._stream.touch()
            self._workshop.probe("turn.text")

    async def _journal(self, step: Step, claimed: Sequence[InboundRecord] = ()) -> None:
        """Store a step, and give the messages that it absorbs to the turn; then take it in. All of it or nothing."""
        turn = self._turn

        def job(connection: sqlite3.Connection) -> None:
            check_known(connection, connection.execute(queries.TURN_IS_OPEN, (turn.id,)).fetchone(), "the turn")
            add_step(connection, turn.id, step)
            for record in claimed:
                absorb(connection, turn.id, record)

        written = self._workshop.database.write(job)
        try:
            await asyncio.shield(written)
        except asyncio.CancelledError:
            # What is queued becomes durable all the same; memory says the same as the journal.
            await asyncio.wait([written])
            if written.exception() is None:
                self._keep(step, claimed)
            raise
        self._keep(step, claimed)

    def _keep(self, step: Step, claimed: Sequence[InboundRecord]) -> None:
        self._turn.progress.take(step)
        if claimed:
            self._turn.inbound.extend(claimed)
            self._absorbed(claimed)

    # --- what the agent is given -------------------------------------------------------------------------------

    async def _request(self) -> AgentTurn:
        turn, shop = self._turn, self._workshop
        history, turn.history = turn.history, None
        if history is None:
            history = await shop.store.load_transcript(turn.entry.session_id)
        await self._enclose(turn.inbound)
        source, config = turn.first.source, shop.config.current
        connected, traits = shop.connections.connected(), shop.connections.traits()
        context = build_session_context(
            source, config, turn.entry, connected=connected, traits=traits, home=shop.homes.get if shop.homes else None
        )
        prompt = shop.prompts.of(context, redact_pii=config.redact_pii)
        inputs, resumed = turn.inputs, list(turn.progress.messages)
        recalled = await shop.memory.recall(turn, inputs)
        presented = await self._present([*history, *inputs, *resumed])
        begin, end = len(history), len(history) + len(inputs)
        brought = turn.first.extra.brought or Brought()
        if brought.messages:
            begin = newest_exchange(presented[:end])
        theirs = {tool.name for tool in brought.tools}
        return AgentTurn(
            turn_id=turn.id,
            session_id=turn.entry.session_id,
            source=source,
            system_prompt="\n\n".join(part for part in (prompt, recalled, brought.instructions) if part),
            history=presented[:begin],
            inputs=presented[begin:end],
            resumed=presented[end:],
            client_tools=brought.tools,
            tools=self._tools(theirs),
            run_tool=self._run_tool,
            take_steering=self._take_steering,
            recalled=recalled,
        )

    async def _enclose(self, records: Sequence[InboundRecord]) -> None:
        """Fetch what came with these messages."""
        turn, attachments = self._turn, self._workshop.attachments
        for record in records:
            if attachments is None or not record.attachments or record.id in turn.enclosed:
                continue
            async with self._busy():
                turn.enclosed[record.id] = await attachments.enclose(record, turn.entry.session_id)

    async def _present(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Messages of a transcript in the form that the agent takes."""
        attachments = self._workshop.attachments
        if attachments is None or not any(isinstance(message.get("content"), list) for message in messages):
            return messages
        async with self._busy():
            return await attachments.present(messages, images=self._takes_images)

    @asynccontextmanager
    async def _busy(self) -> AsyncIterator[None]:
        """While the gateway fetches files, or a tool waits, the agent is not silent. Both have limits of their own."""

        async def go_on() -> None:
            while True:
                self._moved()
                await asyncio.sleep(MEDIA_SIGN_SECONDS)

        signs = asyncio.create_task(go_on(), name=f"files of turn {self._turn.id}")
        try:
            yield
        finally:
            signs.cancel()
            self._moved()

    async def _take_steering(self) -> Sequence[Message]:
        """Absorb what came in since the turn began: from now on these messages are this turn's."""
        async with self._steering:
            await self._enclose(() if self._closed else tuple(self._waiting()))
            records = tuple(itertools.takewhile(self._is_ready, () if self._closed else self._waiting()))
            if not records:
                return ()
            self._moved()
            messages = [user_message(record, self._turn.enclosed.get(record.id)) for record in records]
            step = self._turn.progress.steered([record.id for record in records], messages)
            try:
                await self._journal(step, records)
            except WithdrawnError:
                return ()  # what waits beside it is there the next time, or has a turn of its own
            self._workshop.probe("turn.steer")
            return await self._present(messages)

    def _is_ready(self, record: InboundRecord) -> bool:
        """Whether what came with a message has been fetched."""
        known = self._workshop.attachments is None or record.id in self._turn.enclosed
        return known or not record.attachments

    def _tools(self, theirs: Collection[str]) -> tuple[Tool, ...]:
        """What this turn's agent may use, but for the names that are taken by `theirs`."""
        rights, tools = self._workshop.rights, self._workshop.tools
        allowed = None if rights is None else rights.tools(self._turn.first)
        return tuple(
            tool for name, tool in tools.items() if name not in theirs and (allowed is None or name in allowed)
        )

    def _may_use(self, tool: str) -> bool:
        """Whether this turn's agent gets a tool: who joined the turn may do as much as who began it."""
        rights = self._workshop.rights
        return rights is None or rights.may_use(self._turn.first, tool)

    async def _run_tool(self, call: Call) -> str:
        """One call; what an earlier attempt did is not done again. What goes wrong is a result too."""
        if self._closed:
            raise asyncio.CancelledError
        if call.id in self._results_before:
            return self._results_before[call.id]
        tool = self._workshop.tools.get(call.name)
        if tool is None or not self._may_use(call.name):
            return f"Error: there is no tool named {call.name!r}."
        if call.id in self._begun_before and not tool.idempotent:
            return OUTCOME_UNKNOWN
        try:
            arguments = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError) as error:
            return f"Error: the arguments are not JSON: {error}."
        if not isinstance(arguments, dict):
            return "Error: the arguments must be a JSON object."
        if call.id not in self._turn.progress.begun:
            # An agent that forgot to announce it: no call runs that the journal does not know of.
            await self._journal(self._turn.progress.started(call.id))
        first, session_id = self._turn.first, self._turn.entry.session_id
        context = ToolContext(
            call.id, self._turn.id, session_id, first.source, first.account, self._turn.target.thread_id
        )
        try:
            async with self._busy() if tool.waits else nullcontext():
                result = await tool.run(arguments, context)
        except Exception as error:
            log.exception("the tool %s failed", call.name)
            self._workshop.counters["turns.tool_errors"] += 1
            return self._workshop.redact(f"Error: {type(error).__name__}: {error}")
        self._workshop.probe("turn.tool-ran")
        self._moved()
        return self._workshop.redact(result)
