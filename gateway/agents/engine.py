"""One turn with a model: stream its answer, run the tools it asks for, keep the prompt within its context."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from genai_prices import calc_price
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import (
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ToolReturnPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from gateway.agents.context import (
    TokenEstimator,
    cut_in_half,
    cut_to_fit,
    row_size,
    shorten,
    spoken,
    text_size,
    tools_size,
    turn_starts,
)
from gateway.agents.errors import REQUEST_ERRORS, ErrorWords, is_bad_image, is_overflow, refuses_images, refuses_tools
from gateway.agents.images import NOT_TAKEN, Refusals, Sight, with_images
from gateway.agents.messages import (
    repaired,
    sendable,
    step_calls,
    step_text,
    to_model_messages,
    to_rows,
    unanswered_calls,
    user_request,
    with_unique_ids,
)
from gateway.agents.reading import read_answer
from gateway.brought import split_calls
from gateway.ports import (
    AgentEvent,
    AgentTurn,
    Call,
    ClientTool,
    Done,
    Message,
    Notice,
    Text,
    Tool,
    ToolCalls,
    ToolResult,
    ToolStarted,
    Usage,
)
from gateway.session.text import flatten_text

log = logging.getLogger(__name__)

REMEMBERED_CUTS: Final = 1000
"""Sessions whose cut is remembered; for another one it is found again, which costs a request at worst."""

LOW_WATER: Final = 0.75
"""A history that has to be cut is cut to this part of the context, so that the next turns need no cut of
their own, and the server's cache of the prompt stays good for them."""

RESERVE_TOKENS: Final = 1024
"""Room for the answer where the configuration sets no limit on it; at most a quarter of the context."""

LEAST_RESULT_LENGTH: Final = 500
"""Characters below which the result of a tool is not shortened further."""

HTTP_GRACE_SECONDS: Final = 5.0
"""How much longer than our own the HTTP client's timeouts are, so that ours speaks first."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the configuration says about the requests of one agent."""

    timeout: float
    """Seconds without progress after which a request is given up."""
    max_tool_rounds: int
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    prices_from: str | None = None
    """The address whose prices hold; None for those of the model's own provider."""
    free: bool = False
    """Whether requests cost nothing."""
    settings: ModelSettings | None = None
    """Settings that the model's provider calls for."""
    extra_body: Mapping[str, Any] | None = None
    """Further fields of each request, for a server that is known to take them."""
    images: bool | None = True
    """Whether the model is shown images; None: unless its server refuses them."""


@dataclass(slots=True)
class _TurnState:
    """What is known in one turn: the prompt so far, and what was left out of it."""

    turn: AgentTurn
    current: list[ModelMessage]
    sizes: tuple[int, ...]
    starts: tuple[int, ...]
    fixed_size: int
    """Bytes of the system prompt and the tools."""
    sight: Sight
    cut: int = 0
    told: int = 0
    """The cut that the person was last told of."""
    noticed: bool = False
    used_ids: set[str] = field(default_factory=set)
    rounds: int = 0
    response: ModelResponse | None = None
    sent: bool = False
    """Whether the person has seen something of the present step."""

    def size(self) -> int:
        """The bytes of the whole prompt as it would be sent now."""
        return self.fixed_size + self.current_size() + sum(self.sizes[self.cut :])

    def current_size(self) -> int:
        return sum(row_size(row) for row in to_rows(self.current))


class ModelEngine:
    """Runs turns with one model. Holds no conversation: only how far each session's history was cut."""

    def __init__(self, model: Model, options: EngineOptions, words: ErrorWords) -> None:
        self._model = model
        self._options = options
        self._words = words
        self._estimator = TokenEstimator()
        self._cuts: OrderedDict[str, tuple[int, str]] = OrderedDict()
        able = bool(model.profile.get("supports_image_input", True))
        self._takes_images = able if options.images is None else options.images
        self._refusals = Refusals()
        self._takes_tools = options.max_tool_rounds > 0

    async def run(self, turn: AgentTurn) -> AsyncGenerator[AgentEvent, None]:
        """Answer one turn; see `Agent.run`. Raises `AgentError`."""
        state = self._begin(turn)
        pending, theirs = split_calls(unanswered_calls(turn.resumed), turn.client_tools)
        if pending:
            async with aclosing(self._run_calls(state, pending)) as events:
                async for event in events:
                    yield event
        if theirs:
            yield Done("tool_calls")
            return
        while True:
            last = state.rounds >= self._options.max_tool_rounds
            async with aclosing(self._step(state, allow_tools=not last)) as events:
                async for event in events:
                    yield event
            response = state.response
            assert response is not None
            calls = step_calls(response)
            if not calls:
                yield Done(self._done_reason(response))
                return
            if last:
                yield Notice(_rounds_notice(self._options.max_tool_rounds))
                yield Done("max_tool_rounds")
                return
            yield ToolCalls(step_text(response), calls)
            calls, theirs = split_calls(calls, turn.client_tools)
            if calls:
                async with aclosing(self._run_calls(state, calls)) as events:
                    async for event in events:
                        yield event
            if theirs:
                yield Done("tool_calls")
                return
            state.rounds += 1

    def _begin(self, turn: AgentTurn) -> _TurnState:
        if not self._takes_tools:
            turn = replace(turn, tools=(), client_tools=())
        sizes = tuple(row_size(row) for row in turn.history)
        cut = self._known_cut(turn)
        return _TurnState(
            turn=turn,
            current=to_model_messages([*turn.inputs, *turn.resumed]),
            sizes=sizes,
            starts=turn_starts(turn.history),
            fixed_size=text_size(turn.system_prompt) + tools_size((*turn.tools, *turn.client_tools)),
            cut=cut,
            told=cut,
            used_ids={call.id for row in to_model_messages(turn.resumed) for call in _calls_of(row)},
            rounds=sum(1 for row in turn.resumed if row.get("role") == "assistant" and row.get("tool_calls")),
            sight=Sight(self._refusals, turn.session_id, instead=None if self._takes_images else NOT_TAKEN),
        )

    # --- one request ---------------------------------------------------------------------------------

    async def _step(self, state: _TurnState, *, allow_tools: bool) -> AsyncGenerator[AgentEvent, None]:
        """Ask the model once, with less of the history each time it says that the prompt is too long."""
        state.sent = False
        self._fit(state)
        while True:
            try:
                async with aclosing(self._stream(state, allow_tools=allow_tools)) as events:
                    async for event in events:
                        yield event
            except REQUEST_ERRORS as error:
                if is_overflow(error) and not state.sent:
                    if self._leave_out_more(state):
                        continue
                    raise self._words.too_long(None, self._options.context_tokens) from None
                if not state.sent and self._do_without(state, error):
                    continue
                told, secret = self._words.explain(error), self._words.holds_secret(error)
                log.info("a request to %s failed", self._words.model, exc_info=None if secret else error)
                raise told from (None if secret else error)
            break
        response = state.response
        assert response is not None
        if _was_cut_short(response):
            raise self._words.cut_short()
        self._estimator.learn(state.size(), response.usage.input_tokens)
        yield self._usage(response)
        if response.finish_reason == "error":
            raise self._words.failed_inside()
        state.response = response = with_unique_ids(response, state.used_ids)
        state.current.append(response)

    def _do_without(self, state: _TurnState, error: Exception) -> bool:
        """Leave out what the server says its model does not take, from now on; of images those that may be bad."""
        if shown := state.sight.shown([*to_model_messages(state.turn.history[state.cut :]), *state.current]):
            if is_bad_image(error):
                state.sight.doubt(shown)
                return True
            if self._options.images is None and refuses_images(error):
                state.sight.hide_all(NOT_TAKEN)
                self._takes_images = False
                return True
        if (state.turn.tools or state.turn.client_tools) and refuses_tools(error):
            if not state.turn.client_tools:  # what a program brings may be refused for how it is described
                log.warning("the model takes no tools, and is given none from now on: %s", self._words.model)
                self._takes_tools = False
            state.turn = replace(state.turn, tools=(), client_tools=())
            return True
        return False

    async def _stream(self, state: _TurnState, *, allow_tools: bool) -> AsyncGenerator[Text | Notice, None]:
        parameters = self._parameters(state.turn)
        messages = await asyncio.to_thread(self._messages, state, parameters)
        request = model_request_stream(
            self._model,
            messages,
            model_settings=self._settings(allow_tools=allow_tools or not parameters.function_tools),
            model_request_parameters=parameters,
        )
        async with aclosing(read_answer(request, self._options.timeout)) as events:
            async for event in events:
                if isinstance(event, ModelResponse):
                    state.response = event
                    continue
                for shown in self._shown(state, event):
                    state.sent = True
                    yield shown

    def _messages(self, state: _TurnState, parameters: ModelRequestParameters) -> list[ModelMessage]:
        """The messages to send; on a thread, for a history of thousands of messages takes its time."""
        history = to_model_messages(state.turn.history[state.cut :])
        whole = with_images(repaired([*history, *state.current]), state.sight)
        tools = {tool.name for tool in parameters.function_tools}
        return [sendable(message, tools) for message in self._model.prepare_messages(whole, parameters)]

    def _shown(self, state: _TurnState, event: ModelResponseStreamEvent) -> list[Text | Notice]:
        """What a person sees of an event: its text, and before the first of it what was left out."""
        refused = state.sight.settle()
        shown: list[Text | Notice] = [] if refused is None else [Notice(refused)]
        if state.cut > state.told and not state.noticed:
            shown.append(Notice(_cut_notice(spoken(state.turn.history[: state.cut])), trimmed=True))
            state.noticed = True
            self._remember_cut(state)
        if text := _text_of(event):
            shown.append(Text(text))
        return shown

    def _parameters(self, turn: AgentTurn) -> ModelRequestParameters:
        tools: Sequence[Tool | ClientTool] = (*turn.tools, *turn.client_tools)
        return ModelRequestParameters(
            function_tools=[
                ToolDefinition(
                    name=tool.name, description=tool.description, parameters_json_schema=dict(tool.parameters)
                )
                for tool in tools
            ],
            instruction_parts=[InstructionPart(content=turn.system_prompt)] if turn.system_prompt else [],
        )

    def _settings(self, *, allow_tools: bool) -> ModelSettings:
        """The settings of a request; retries are the turn's own affair, never the SDK's."""
        options = self._options
        settings = (options.settings or ModelSettings()).copy()
        settings["max_retries"] = 0
        settings["timeout"] = options.timeout + HTTP_GRACE_SECONDS
        if options.max_output_tokens is not None:
            settings["max_tokens"] = options.max_output_tokens
        if options.temperature is not None:
            settings["temperature"] = options.temperature
        if options.extra_body is not None:
            settings["extra_body"] = dict(options.extra_body)
        if not allow_tools:
            settings["tool_choice"] = "none"
        for name in self._model.unsupported_settings:
            settings.pop(name, None)
        return settings

    def _usage(self, response: ModelResponse) -> Usage:
        usage = response.usage
        cached = usage.cache_read_tokens + usage.cache_write_tokens
        cost = 0.0 if self._options.free else self._cost(response)
        return Usage(
            input_tokens=max(usage.input_tokens - cached, 0),
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            last_prompt_tokens=usage.input_tokens or None,
            model=str(response.model_name or "") or None,  # whatever a server puts there
            cost_usd=cost,
            cost_status="unknown" if cost is None else "estimated",
        )

    def _cost(self, response: ModelResponse) -> float | None:
        """US dollars by the prices that came with the library; None where it knows none. No network."""
        if not response.usage.input_tokens and not response.usage.output_tokens:
            return None
        try:
            if self._options.prices_from is None:
                return float(response.cost().total_price)
            price = calc_price(response.usage, response.model_name or "", provider_api_url=self._options.prices_from)
            return float(price.total_price)
        except (AttributeError, LookupError, TypeError, ValueError, AssertionError):
            return None

    def _done_reason(self, response: ModelResponse) -> str:
        reason = response.finish_reason
        return "stop" if reason in (None, "tool_call") else str(reason)

    # --- tools ---------------------------------------------------------------------------------------

    async def _run_calls(self, state: _TurnState, calls: Sequence[Call]) -> AsyncGenerator[AgentEvent, None]:
        """Run calls one after the other, then take in what people wrote meanwhile."""
        results: list[ModelRequestPart] = []
        for call in calls:
            yield ToolStarted(call.id)
            content = await state.turn.run_tool(call)
            results.append(ToolReturnPart(tool_name=call.name, content=content, tool_call_id=call.id))
            yield ToolResult(call.id, call.name, content)
        state.current.append(ModelRequest(parts=results))
        state.current.extend(user_request(await state.turn.take_steering()))

    # --- the context ---------------------------------------------------------------------------------

    def _fit(self, state: _TurnState) -> None:
        """Leave out the oldest turns until the prompt fits a context of known size. Raises `AgentError`."""
        context = self._options.context_tokens
        if context is None:
            return
        reserve = self._options.max_output_tokens or min(RESERVE_TOKENS, context // 4)
        budget = max(context - reserve, context // 4)
        if self._estimator.tokens(state.size()) <= budget:
            return
        one = self._estimator.tokens(1_000_000) / 1_000_000
        fixed = state.fixed_size + state.current_size()
        for tokens in (budget * LOW_WATER, budget):
            cut = cut_to_fit(state.sizes, state.starts, state.cut, int(tokens / one) - fixed)
            if cut < len(state.sizes):
                break
        state.cut = cut
        while self._estimator.tokens(state.size()) > budget:
            if not self._shorten_results(state):
                raise self._words.too_long(self._estimator.tokens(state.size()), context)

    def _leave_out_more(self, state: _TurnState) -> bool:
        """Halve what is sent of the history, then the tools' results; False if nothing is left to halve."""
        if state.cut < len(state.sizes):
            state.cut = cut_in_half(state.sizes, state.starts, state.cut)
            return True
        if state.sight.shown(state.current):
            state.sight.hide_all(NOT_TAKEN)
            return True
        return self._shorten_results(state)

    def _shorten_results(self, state: _TurnState) -> bool:
        """Halve the longest result among this turn's tools; False if all of them are short already."""
        parts = [part for message in state.current for part in message.parts if isinstance(part, ToolReturnPart)]
        longest = max((len(part.model_response_str()) for part in parts), default=0)
        if longest <= LEAST_RESULT_LENGTH:
            return False
        limit = max(longest // 2, LEAST_RESULT_LENGTH // 2)
        state.current = [_with_short_results(message, limit) for message in state.current]
        return True

    def _known_cut(self, turn: AgentTurn) -> int:
        """Where this session's history was cut before, if the message at that place is still the same."""
        cut, first = self._cuts.get(turn.session_id, (0, ""))
        return cut if cut < len(turn.history) and _fingerprint(turn.history[cut]) == first else 0

    def _remember_cut(self, state: _TurnState) -> None:
        following = [*state.turn.history[state.cut :], *state.turn.inputs]
        if not following:
            return
        session = state.turn.session_id
        self._cuts[session] = (state.cut, _fingerprint(following[0]))
        self._cuts.move_to_end(session)
        while len(self._cuts) > REMEMBERED_CUTS:
            self._cuts.popitem(last=False)


def _fingerprint(row: Message) -> str:
    return f"{row.get('role')}:{hash(flatten_text(row.get('content')))}"


def _calls_of(message: ModelMessage) -> tuple[Call, ...]:
    return step_calls(message) if isinstance(message, ModelResponse) else ()


def _text_of(event: ModelResponseStreamEvent) -> str:
    match event:
        case PartStartEvent(part=TextPart(content=text)):
            return text
        case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return text
        case _:
            return ""


def _was_cut_short(response: ModelResponse) -> bool:
    """Whether a stream ended before its end: it gave no reason, and where servers give none, no usage."""
    if response.state == "incomplete":
        return True
    if (response.provider_details or {}).get("finish_reason"):
        return False
    if response.finish_reason is None:
        return True
    reported = response.usage.input_tokens or response.usage.output_tokens
    return response.finish_reason == "stop" and not reported


def _with_short_results(message: ModelMessage, limit: int) -> ModelMessage:
    if not isinstance(message, ModelRequest):
        return message
    return replace(
        message,
        parts=[
            ToolReturnPart(
                tool_name=part.tool_name,
                content=shorten(part.model_response_str(), limit),
                tool_call_id=part.tool_call_id,
            )
            if isinstance(part, ToolReturnPart)
            else part
            for part in message.parts
        ],
    )


def _cut_notice(messages: int) -> str:
    oldest = "oldest message" if messages == 1 else f"{messages} oldest messages"
    return f"This conversation has grown longer than the model can read: it no longer sees the {oldest}."


def _rounds_notice(rounds: int) -> str:
    return f"The answer ends here: in one turn the model may use tools {rounds} times at most."
