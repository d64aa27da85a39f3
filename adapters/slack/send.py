"""What goes out: messages, files, edits, and the sign that something is being written."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from adapters.base import (
    Button,
    Delivery,
    Found,
    NotConnectedError,
    OutgoingFile,
    RetryLaterError,
    SearchOutcome,
    Target,
    UndeliverableError,
)
from adapters.markup.slack import SlackMessage, escaped
from adapters.memory import Memory
from adapters.slack import files, find
from adapters.slack.client import CallError, Client, NotSentError, SlackError
from adapters.slack.compose import MARK, REPEATED, TextFile
from adapters.slack.constants import (
    BUTTONS_IN_ROW,
    MAX_BUTTON_LABEL,
    MAX_BUTTON_VALUE,
    MAX_CAPTION,
    MAX_OPTION_VALUE,
    MAX_OPTIONS,
    MAX_ROWS,
    MAX_SECTION,
    NO_STATUS_SECONDS,
    Timing,
)
from adapters.slack.failures import NoRepliesError, delivery_error, refuses_token
from adapters.slack.streams import Streams

log = logging.getLogger(__name__)

THINKING: Final = "is thinking…"
"""What people see after the bot's name while an answer is written."""

CHOOSE: Final = "Choose…"

STREAMING: Final = "streaming_state_conflict"
"""Of a message that is streamed, and so cannot be changed (https://docs.slack.dev/reference/methods/chat.update)."""

Json = dict[str, Any]


class Sender:
    """Makes the calls that people see something of. Every method raises `DeliveryError`.

    `lost` is told of a call that could not leave, and of a token that was refused. `user_id` is the bot's own.
    `streams` shows growing answers where it can, edits do elsewhere. `shown` is told of each delivery that people see
    something of. `previews`: whether a link in a message is shown with a preview of its page. `now` gives seconds that
    never go back.
    """

    def __init__(
        self,
        client: Client,
        timing: Timing,
        lost: Callable[[], None],
        user_id: str,
        streams: Streams,
        shown: Callable[[Delivery], None],
        *,
        previews: bool,
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._web = client.web
        self._timing = timing
        self._lost = lost
        self._user_id = user_id
        self._streams = streams
        self._shown = shown
        self._previews = previews
        self._conversations: Memory[str, str] = Memory()
        self._written: Memory[tuple[str, str | None], int] = Memory()
        self._unthreaded: Memory[tuple[str, str | None], bool] = Memory()
        """Places in threads that there cannot be."""
        self._now = now
        self._shows_status = True
        self._status_not_before = 0.0

    async def send(self, delivery: Delivery) -> str:
        """Show the delivery's part as a new message; returns its id."""
        try:
            message_id = await self._send(self._placed(delivery))
        except NoRepliesError as error:
            if delivery.target.thread_id is None:
                raise
            log.info("an answer goes to the channel itself: %s", error)
            self._unthreaded[_place(delivery.target)] = True
            message_id = await self._send(self._placed(delivery))
        self._shown(delivery)
        return message_id

    def _placed(self, delivery: Delivery) -> Delivery:
        """The delivery where it can be shown: what can be in no thread stands in the conversation itself."""
        if _place(delivery.target) not in self._unthreaded:
            return delivery
        return replace(delivery, target=replace(delivery.target, thread_id=None))

    async def _send(self, delivery: Delivery) -> str:
        channel = await self._channel(delivery.target)
        try:
            match delivery.content:
                case SlackMessage() as message:
                    return await self._message(delivery, channel, message)
                case TextFile() as text:
                    comment = REPEATED if delivery.repeated else ""
                    upload = files.of_text(text.name, text.text, comment)
                    return await files.send(self._client, delivery.target, channel, upload, self._timing)
                case OutgoingFile() as file:
                    return await self._file(delivery, channel, file)
        except NotConnectedError:
            self._lost()
            raise
        finally:
            self._note(delivery.target)
        raise UndeliverableError(f"Slack has no form for a {type(delivery.content).__name__}")

    async def edit(self, delivery: Delivery) -> None:
        """Make the message show the delivery's part. A file stays as it is: it is made of a complete text."""
        message = delivery.content
        if not isinstance(message, SlackMessage):
            return
        channel, ts = await self._channel(delivery.target), _ts(delivery)
        try:
            if not await self._streams.grow(delivery, channel, ts):
                await self._change(delivery, channel, ts, message)
        except SlackError as error:
            raise self._failure(error, delivery.target) from None
        self._shown(delivery)

    async def _change(self, delivery: Delivery, channel: str, ts: str, message: SlackMessage) -> None:
        """Put other content into a message. What an earlier process has begun to stream is ended for that."""
        shown = self._content(delivery, message)
        shown |= {"metadata": find.metadata_of(delivery)} if delivery.final else {}
        try:
            await self._client.call(self._web.chat_update(channel=channel, ts=ts, **shown))
        except CallError as error:
            if error.error != STREAMING:
                raise
            await self._streams.end(delivery, channel, ts)
            await self._client.call(self._web.chat_update(channel=channel, ts=ts, **shown))

    async def delete(self, delivery: Delivery) -> None:
        """Take the message away."""
        channel = await self._channel(delivery.target)
        try:
            await self._client.call(self._web.chat_delete(channel=channel, ts=_ts(delivery)))
        except SlackError as error:
            if not isinstance(error, CallError) or error.error != "message_not_found":
                raise self._failure(error, delivery.target) from None

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        """Look for a message whose send had no answer."""
        channel = await self._channel(delivery.target)
        return await find.find(self._client, self._placed(delivery), channel, self._timing, self._user_id)

    async def typing(self, target: Target) -> None:
        """Show under a thread that an answer is being written; outside of threads, Slack has no place for it."""
        if not self._shows_status or not target.thread_id or self._now() < self._status_not_before:
            return
        key = _place(target)
        before = self._written.get(key)
        await self._status(target, THINKING)
        if self._written.get(key) != before:
            # An answer was shown meanwhile, and would have taken the status away.
            await self._status(target, "")

    async def _status(self, target: Target, status: str) -> None:
        call = self._web.assistant_threads_setStatus(
            channel_id=target.chat_id, thread_ts=target.thread_id or "", status=status
        )
        try:
            await self._client.call(call)
        except SlackError as error:
            if isinstance(error, CallError) and error.error == "missing_scope":
                log.info(
                    "people are not shown that an answer is being written: the bot lacks the scope %s", error.needed
                )
                self._shows_status = False
            failure = self._failure(error, target)
            if isinstance(failure, RetryLaterError):
                # Slack limits each method by itself: no answer waits for this one.
                self._status_not_before = self._now() + (failure.retry_after or NO_STATUS_SECONDS)
                raise UndeliverableError(f"no status is shown for a while: {error}") from None
            raise failure from None

    # --- messages --------------------------------------------------------------------------------------------

    async def _message(self, delivery: Delivery, channel: str, message: SlackMessage) -> str:
        self._streams.outgrown(delivery.id)
        try:
            begun = await self._streams.begin(delivery, channel)
        except SlackError as error:
            raise self._failure(error, delivery.target) from None
        return begun or await self._post(delivery, channel, message)

    async def _post(self, delivery: Delivery, channel: str, message: SlackMessage) -> str:
        shown = self._content(delivery, message)
        shown |= {"thread_ts": delivery.target.thread_id} if delivery.target.thread_id else {}
        call = self._web.chat_postMessage(
            channel=channel,
            metadata=find.metadata_of(delivery),
            unfurl_links=self._previews,
            unfurl_media=self._previews,
            **shown,
        )
        answer = await self._told(call, delivery.target)
        return str(answer["ts"])

    def _content(self, delivery: Delivery, message: SlackMessage) -> Json:
        """What people see, with the mark of a repeat, which stays as an answer grows."""
        mark = MARK if delivery.repeated else ""
        return {"text": f"{mark}{message.content}"} | self._blocks(delivery, message, mark)

    def _blocks(self, delivery: Delivery, message: SlackMessage, mark: str) -> Json:
        """What can be pressed stands in blocks, and then so does the text: `verbatim`, since Slack would make mentions
        of plain words there (https://docs.slack.dev/reference/block-kit/composition-objects/text-object)."""
        rows = keyboard(delivery.buttons)
        if not rows:
            return {}
        first, *others = message.pieces(MAX_SECTION - len(mark))
        texts = ({"type": "mrkdwn", "text": text, "verbatim": True} for text in (f"{mark}{first}", *others))
        return {"blocks": [*({"type": "section", "text": text, "expand": True} for text in texts), *rows]}

    async def _file(self, delivery: Delivery, channel: str, file: OutgoingFile) -> str:
        comment = f"{REPEATED}\n{file.caption}".strip() if delivery.repeated else file.caption
        if len(comment) > MAX_CAPTION:
            comment = f"{comment[: MAX_CAPTION - 1].rstrip()}…"
        async with files.opened(file, escaped(comment)) as upload:
            return await files.send(self._client, delivery.target, channel, upload, self._timing)

    # --- calls -----------------------------------------------------------------------------------------------

    async def _channel(self, target: Target) -> str:
        """The conversation; the id of a person stands for their direct messages."""
        if not target.chat_id.startswith(("U", "W")):
            return target.chat_id
        if target.chat_id not in self._conversations:
            answer = await self._told(self._web.conversations_open(users=target.chat_id), target)
            self._conversations[target.chat_id] = str(answer["channel"]["id"])
        return self._conversations[target.chat_id]

    async def _told(self, call: Awaitable[Any], target: Target) -> Mapping[str, Any]:
        """The answer to a call, its error in the words of the core."""
        try:
            return await self._client.call(call)
        except SlackError as error:
            raise self._failure(error, target) from None

    def _failure(self, error: SlackError, target: Target) -> Exception:
        if isinstance(error, NotSentError) or refuses_token(error):
            self._lost()
        return delivery_error(error, target)

    def _note(self, target: Target) -> None:
        key = _place(target)
        self._written[key] = self._written.get(key, 0) + 1


def _place(target: Target) -> tuple[str, str | None]:
    return target.chat_id, target.thread_id


def keyboard(rows: Sequence[Sequence[Button]]) -> list[Json]:
    """Buttons in blocks, but for those whose command is longer than Slack keeps. A long row is a menu."""
    blocks: list[Json] = []
    for number, row in enumerate(rows[:MAX_ROWS]):
        buttons = [each for each in row if each.label and 1 <= len(each.command) <= MAX_BUTTON_VALUE]
        if not buttons:
            continue
        is_menu = len(buttons) > BUTTONS_IN_ROW and all(len(each.command) <= MAX_OPTION_VALUE for each in buttons)
        elements = (
            [_menu(buttons, number)]
            if is_menu
            else [_button(each, f"press:{number}:{place}") for place, each in enumerate(buttons[:25])]
        )
        blocks.append({"type": "actions", "block_id": f"row:{number}", "elements": elements})
    return blocks


def _button(button: Button, action_id: str) -> Json:
    return {"type": "button", "action_id": action_id, "text": _label(button.label), "value": button.command}


def _menu(buttons: Sequence[Button], number: int) -> Json:
    options = [{"text": _label(each.label), "value": each.command} for each in buttons[:MAX_OPTIONS]]
    return {
        "type": "static_select",
        "action_id": f"press:{number}:menu",
        "placeholder": _label(CHOOSE),
        "options": options,
    }


def _label(text: str) -> Json:
    shown = text if len(text) <= MAX_BUTTON_LABEL else f"{text[: MAX_BUTTON_LABEL - 1]}…"
    return {"type": "plain_text", "text": shown, "emoji": False}


def _ts(delivery: Delivery) -> str:
    if delivery.message_id is None or not find.is_message_id(delivery.message_id):
        raise UndeliverableError(f"{delivery.message_id} is no message of Slack that can be changed")
    return delivery.message_id
