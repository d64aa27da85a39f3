"""Owns logging: records leave the event loop through a bounded queue, lose their secrets, and reach file and stderr."""

import json
import logging
import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import quote

from pydantic import SecretStr

from config import GatewayConfig, Home, LoggingConfig
from config.addresses import address_secrets
from config.schema import SECRET_NAME

LOG_FILE_NAME: Final = "gateway.log"
"""The newest log file in the home's `logs/`; older ones have a number added, 1 the newest of them."""

LOG_FILE_BYTES: Final = 10 * 1024 * 1024
"""Size at which a log file is put aside for a new one."""

LOG_FILES_KEPT: Final = 5
"""How many older log files are kept; with the newest one they bound what logs take on the disk."""

LOG_QUEUE_LIMIT: Final = 10_000
"""Records that may wait to be written; beyond it they are dropped and counted, so that memory is bounded."""

LOG_FLUSH_SECONDS: Final = 5.0
"""How long the end of the program waits for the last records; a disk that hangs must not hold it for ever."""

MAX_LINE_CHARS: Final = 32_768
"""The longest message, and the longest traceback, that is written; the rest is cut off."""

MIN_SECRET_CHARS: Final = 4
"""Shorter values are not looked for: they would be found in every other word."""

MIN_ENVIRONMENT_SECRET_CHARS: Final = 8
"""The same for values of the environment and of addresses, which may not be a secret although the name says so."""

MASK: Final = "***"

NOISY: Final = (
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "openai",
    "aiohttp.access",
    "aiosqlite",
    "asyncio",
    "markdown_it",
)
"""Loggers that tell of each request, some with the token in its address: heard from warnings on."""

SHAPES: Final = re.compile(
    r"""
    (?<!\d)\d{6,12}(?::|%3A)[A-Za-z0-9_-]{30,64}                      # Telegram
  | (?<![\w-])[MNO][A-Za-z0-9_-]{22,30}\.[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]{27,}   # Discord
  | (?<![A-Za-z0-9])(?:xox[a-z]|xapp)-[A-Za-z0-9-]{8,}                # Slack
  | (?<![A-Za-z0-9])(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}                   # OpenAI, Anthropic and others
  | (?<![A-Za-z0-9])(?:gsk_|hf_|xai-|AIza|gh[a-z]_|github_pat_|glpat-|npm_)[A-Za-z0-9_-]{16,}
                                                    # Groq, Hugging Face, xAI, Google, GitHub, GitLab, npm
  | (?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])          # Amazon
  | (?<![A-Za-z0-9])(?:[sr]k_(?:live|test)_|whsec_|ya29\.|GOCSPX-)[A-Za-z0-9_-]{16,}  # Stripe, Google
  | (?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}        # SendGrid
  | (?<=hooks\.slack\.com/services/)[A-Za-z0-9/]{20,}                 # Slack's webhooks
  | (?<=/api/webhooks/)\d{15,21}/[A-Za-z0-9_-]{30,}                   # Discord's
  | -----BEGIN\ [A-Z\ ]*PRIVATE\ KEY-----[\s\S]*?(?:-----END\ [A-Z\ ]*PRIVATE\ KEY-----|\Z)
  | (?<![\w.-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*  # JSON web tokens
    """,
    re.VERBOSE,
)
"""Tokens that are known by their form, wherever they come from."""

LABELLED: Final = re.compile(
    r"""(?ix)
    ( \bbearer\s+
    | \bauthorization["']?\s*[:=]\s*["']?(?:[a-z]+\s+)?
    | [?&](?:access_token|token|api_?key|key|secret|signature|sig)=
    | ://[^/\s:@"']*:(?=[^/\s@"']+@)
    )
    [^\s"'&,;@<>]+"""
)
"""What stands behind words that announce a secret; the words themselves stay."""


class Redactor:
    """Takes secrets out of a text: those it was given, and what has the form of one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: frozenset[str] = frozenset()
        self._values: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Take these out too. Secrets of before stay known: a text may still come that has one."""
        new = {form for secret in secrets if len(secret) >= MIN_SECRET_CHARS for form in _written(secret)}
        if new <= self._forms:
            return
        self._forms |= new
        longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
        self._values = re.compile("|".join(map(re.escape, longest_first)))

    def values(self, text: str) -> str:
        """The text with `***` in the place of each secret that was given; what only looks like one stays."""
        return text if self._values is None else self._values.sub(MASK, text)

    def __call__(self, text: str) -> str:
        """The text with `***` in the place of each secret, and of what has the form of one."""
        text = self.values(text)
        return LABELLED.sub(rf"\g<1>{MASK}", SHAPES.sub(MASK, text))


def redacted(value: Any, redact: Callable[[str], str]) -> Any:  # noqa: ANN401 - plain data of any form
    """Plain data with the secrets taken out of its texts; keys stay as they are."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redacted(below, redact) for key, below in value.items()}
    return [redacted(below, redact) for below in value] if isinstance(value, list | tuple) else value


def _written(secret: str) -> set[str]:
    """A secret as it may stand in a text: plain, in an address, in JSON, as Python shows it.

    One of the environment need not be valid text, and no address holds such a one.
    """
    addressed = {quote(secret, safe, errors="replace") for safe in ("/", "")}
    return {secret, *addressed, json.dumps(secret)[1:-1], repr(secret)[1:-1]}


def secrets_of(config: GatewayConfig, environ: Mapping[str, str]) -> frozenset[str]:
    """Every secret that the configuration holds, and those that the environment has under a name of one."""
    found = {value for value in _secrets_in(config, "") if len(value) >= MIN_SECRET_CHARS}
    named = (value.strip() for name, value in environ.items() if SECRET_NAME.search(name))
    return frozenset(found.union(value for value in named if len(value) >= MIN_ENVIRONMENT_SECRET_CHARS))


def _secrets_in(value: object, name: str) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from _secrets_in(below, str(key))
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _secrets_in(below, name)
    elif isinstance(value, str):
        if SECRET_NAME.search(name):
            yield value
        else:
            yield from (each for each in address_secrets(value) if len(each) >= MIN_ENVIRONMENT_SECRET_CHARS)
    else:
        for field in getattr(value, "__pydantic_fields__", ()):
            yield from _secrets_in(getattr(value, field), field)


# --- lines -------------------------------------------------------------------------------------------------


class TextFormatter(logging.Formatter):
    """One line for people. What could steer a terminal is escaped.

    A traceback follows, indented; without `traces` only its last line stands there, in brackets.
    """

    def __init__(self, redact: Callable[[str], str], *, traces: bool = True) -> None:
        super().__init__()
        self._redact = redact
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line end."""
        turn = getattr(record, "turn_id", "")
        head = f"{_time_of(record)} {record.levelname:<7} {record.name}{f' [turn {turn}]' if turn else ''}: "
        line = head + _visible(_cut(self._redact(record.getMessage())))
        if not record.exc_text:
            return line
        trace = self._redact(record.exc_text)
        if not self._traces:
            return f"{line} ({_visible(_last_words(trace))})"
        return line + "".join(f"\n  {_visible(part)}" for part in _cut(trace).split("\n"))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and turn_id and exception where there are any."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The object, without a line end; ASCII only, so that any text can pass."""
        fields: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(self._redact(record.getMessage())),
        }
        if turn := getattr(record, "turn_id", ""):
            fields["turn_id"] = turn
        if record.exc_text:
            fields["exception"] = _cut(self._redact(record.exc_text))
        return json.dumps(fields)


def _time_of(record: logging.LogRecord) -> str:
    instant = datetime.fromtimestamp(record.created, UTC)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}Z"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LINE_CHARS else f"{text[:MAX_LINE_CHARS]}… ({len(text)} characters)"


def _last_words(trace: str) -> str:
    """The error that a traceback ends with; a group's stands before those in it."""
    said = [line for line in trace.split("\n") if line and not line.startswith((" ", "+", "|", "Traceback"))]
    return _cut(said[-1] if said else trace.split("\n", 1)[0])


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


# --- the way of a record -----------------------------------------------------------------------------------


class _Intake(QueueHandler):
    """Takes records from whoever logs: never waits, never fails, and counts what it has to drop."""

    def __init__(self, records: "queue.Queue[Any]", turn_id: Callable[[], str]) -> None:
        super().__init__(records)
        self.dropped = 0
        self._turn_id = turn_id
        self._traces = logging.Formatter()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record with its message and traceback as text, so that nothing it was made from is kept alive."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            message = f"{record.msg!r} (this message does not fit its {len(record.args or ())} arguments)"
        plain = logging.LogRecord(
            record.name, record.levelno, record.pathname, record.lineno, message, None, None, record.funcName
        )
        plain.created = record.created
        if record.exc_info and record.exc_info[0] is not None:
            plain.exc_text = self._traces.formatException(record.exc_info)
        plain.__dict__["turn_id"] = self._turn_id()
        return plain

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue the record, or drop it where too many wait."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class names it
        """Count a record that could not be taken, such as one whose argument has no text."""
        del record
        self.dropped += 1


class _Outlet(QueueListener):
    """Writes the records in a thread of its own, and says when some were dropped."""

    def __init__(self, records: "queue.Queue[Any]", intake: _Intake, handlers: Iterable[logging.Handler]) -> None:
        super().__init__(records, *handlers, respect_handler_level=True)
        self._records = records
        self._intake = intake
        self._reported = 0

    def handle(self, record: logging.LogRecord) -> None:
        """Write one record, after a word on those that were dropped before it."""
        super().handle(record)
        self.report()

    def report(self) -> None:
        """Write how many records were dropped since the last time."""
        dropped = self._intake.dropped
        if dropped > self._reported:
            text = f"{dropped - self._reported} log lines were dropped: they came faster than they could be written"
            self._reported = dropped
            super().handle(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None))

    def finish(self) -> None:
        """Write what waits and end the thread, within `LOG_FLUSH_SECONDS`."""
        thread: threading.Thread | None = self._thread
        if thread is None:
            return
        try:
            self._records.put(None, timeout=LOG_FLUSH_SECONDS)
        except queue.Full:
            return
        thread.join(LOG_FLUSH_SECONDS)
        self._thread = None
        if not thread.is_alive():
            self.report()


class _Stream(logging.StreamHandler[TextIO]):
    """Standard error; whoever reads it may have gone."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class names it
        """Say nothing: there is nobody to tell."""
        del record


class _File(RotatingFileHandler):
    """The log file, readable by its owner alone. A fault of the disk is told once, to `tell`."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        super().__init__(path, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES_KEPT, encoding="utf-8", delay=True)
        self._tell = tell
        self._told = False

    def _open(self) -> Any:  # noqa: ANN401 - the base class's type
        def opener(path: str, flags: int) -> int:
            descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
            os.fchmod(descriptor, 0o600)
            return descriptor

        return open(self.baseFilename, "a", encoding="utf-8", errors="backslashreplace", opener=opener)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class names it
        """Lose the record; the gateway goes on without its log file."""
        del record
        if not self._told:
            self._told = True
            self._tell(f"cannot write the log file {self.baseFilename}: {sys.exc_info()[1]}")


@contextmanager
def logging_to(
    config: LoggingConfig,
    home: Home,
    *,
    redact: Callable[[str], str],
    turn_id: Callable[[], str] = lambda: "",
    stream: TextIO | None = None,
    stream_traces: bool = False,
) -> Iterator[Callable[[], int]]:
    """Send what the program logs to the home's log file and to `stream`, while the context lasts.

    Args:
        config: level and form of the lines, and whether there is a file.
        home: the folders exist.
        redact: takes secrets out of a text.
        turn_id: the turn that the running code works for, or "".
        stream: also gets every line; None leaves the file alone.
        stream_traces: tracebacks go to `stream` too; without a file they always do.

    Yields a function that says how many lines were dropped. The last lines are written at the end.
    """
    handlers: list[logging.Handler] = [] if stream is None else [_Stream(stream)]

    def tell(text: str) -> None:
        for handler in handlers:
            if isinstance(handler, _Stream):
                handler.handle(logging.LogRecord(__name__, logging.ERROR, __file__, 0, text, None, None))

    if config.file:
        handlers.append(_File(home.logs_dir / LOG_FILE_NAME, tell))
    for handler in handlers:
        traces = stream_traces or not config.file or isinstance(handler, _File)
        form = JsonFormatter(redact) if config.format == "json" else TextFormatter(redact, traces=traces)
        handler.setFormatter(form)
    records: queue.Queue[Any] = queue.Queue(LOG_QUEUE_LIMIT)
    intake = _Intake(records, turn_id)
    outlet = _Outlet(records, intake, handlers)
    outlet.start()
    try:
        with _attached(intake, config.level):
            yield lambda: intake.dropped
    finally:
        outlet.finish()
        for handler in handlers:
            handler.close()


def set_level(level: str) -> None:
    """Have the program log from this level on, as `logging.level` names it."""
    least = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(least)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(least, logging.WARNING))


@contextmanager
def _attached(intake: logging.Handler, level: str) -> Iterator[None]:
    """Have the root logger, and Python's warnings, speak to `intake` alone; then all is as it was before."""
    root = logging.getLogger()
    noisy = [logging.getLogger(name) for name in NOISY]
    before, root_level, levels = root.handlers[:], root.level, [logger.level for logger in noisy]
    root.handlers[:] = [intake]
    set_level(level)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(root_level)
        for logger, was in zip(noisy, levels, strict=True):
            logger.setLevel(was)
