"""Owns the standard streams of a chat without a terminal: blocking reads and writes, kept off the loop."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from queue import SimpleQueue
from typing import Final, TextIO, TypeVar

from adapters.local.protocol import MAX_TEXT_BYTES
from adapters.local.screen import ScreenClosedError, ScreenFailedError

T = TypeVar("T")

READ_BYTES: Final = 64 * 1024
"""How much is read from standard input at once; what is not needed yet stays in the pipe."""

MAX_LINE_BYTES: Final = 2 * MAX_TEXT_BYTES
"""How much of one input line is kept. A longer line is refused anyway; the rest of it is thrown away."""

_BYTE_ORDER_MARK: Final = "\N{ZERO WIDTH NO-BREAK SPACE}"


class BlockingWorker:
    """Runs calls that may block for ever, one after another, in a thread that does not hold up the exit.

    An executor's threads are waited for at exit, and a reader that pages would keep a chat alive that the
    person has ended.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def call(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises. Cancelling this leaves the call itself running."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - it is raised where the call was made
                _settle(loop, future, error=error)
            else:
                _settle(loop, future, result=result)

        self._calls.put(work)
        return await future

    def stop(self) -> None:
        """End the thread once it has nothing more to do."""
        self._calls.put(None)

    def _run(self) -> None:
        while (work := self._calls.get()) is not None:
            work()


def _settle(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[T],
    *,
    result: T | None = None,
    error: Exception | None = None,
) -> None:
    def settle() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # the result of T, unless there is an error

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop has been closed: nobody waits any more
        return


class TextOutput:
    """Writes text to a stream, whole or not at all as far as a program can tell.

    Characters that the stream's encoding lacks are replaced.
    """

    def __init__(self, stream: TextIO, worker: BlockingWorker, *, encoding: str | None = None) -> None:
        self._stream = stream
        self._worker = worker
        self._encoding = encoding or getattr(stream, "encoding", None) or "utf-8"

    async def write(self, text: str) -> None:
        """Write and flush. Raises `ScreenClosedError` if nobody reads the stream any more, `ScreenFailedError` if it
        leads to where nothing can be written."""
        data = text.encode(self._encoding, "replace")
        try:
            await self._worker.call(lambda: self._write(data))
        except (ConnectionError, ValueError) as error:
            raise ScreenClosedError(f"standard output is closed ({error})") from error
        except OSError as error:
            if self._stream.isatty():
                raise ScreenClosedError(f"the terminal has gone ({error})") from error
            raise ScreenFailedError(f"standard output cannot be written: {error.strerror}") from error

    def _write(self, data: bytes) -> None:
        buffer = getattr(self._stream, "buffer", None)
        self._stream.flush()
        if buffer is None:
            self._stream.write(data.decode(self._encoding, "replace"))
        else:
            buffer.write(data)
        self._stream.flush()


class LineInput:
    """The messages on standard input: lines, joined where a backslash at a line's end continues one."""

    def __init__(
        self,
        stream: TextIO | None,
        worker: BlockingWorker,
        *,
        before_read: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._stream = stream
        self._worker = worker
        self._before_read = before_read
        self._buffer = bytearray()
        self._at_end = stream is None
        self._first = True

    async def messages(self) -> AsyncIterator[str]:
        """Each message once it is complete; blank ones are left out. Bytes that are no UTF-8 are replaced.

        Two backslashes at a line's end are two backslashes.
        """
        lines: list[str] = []
        while (line := await self._line()) is not None:
            if continues(line) and sum(map(len, lines)) <= MAX_LINE_BYTES:
                lines.append(line[:-1])
                continue
            message = "\n".join([*lines, line])
            lines.clear()
            if message.strip():
                yield message
        if rest := "\n".join(lines).strip():
            yield rest

    async def _line(self) -> str | None:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            if self._at_end:
                end = len(self._buffer)
                if not end:
                    return None
                break
            searched = len(self._buffer)
            if searched > MAX_LINE_BYTES:
                await self._skip_line()
                searched = 0
                continue
            await self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        text = line.removesuffix(b"\r").decode("utf-8", "replace")
        if self._first:
            self._first = False
            text = text.removeprefix(_BYTE_ORDER_MARK)
        return text

    async def _skip_line(self) -> None:
        """Keep the beginning of a line that is too long, and read up to its end."""
        kept = bytes(self._buffer[:MAX_LINE_BYTES])
        while (end := self._buffer.find(b"\n")) < 0 and not self._at_end:
            self._buffer.clear()
            await self._fill()
        rest = bytes(self._buffer[end:]) if end >= 0 else b""
        self._buffer[:] = kept + rest

    async def _fill(self) -> None:
        if self._before_read is not None:
            await self._before_read()
        data = await self._worker.call(self._read)
        self._at_end = not data
        self._buffer += data

    def _read(self) -> bytes:
        assert self._stream is not None
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):
            buffer = getattr(self._stream, "buffer", None)
            if buffer is None:
                return self._stream.read(READ_BYTES).encode("utf-8", "replace")
            data: bytes = buffer.read(READ_BYTES)
            return data
        try:
            return os.read(descriptor, READ_BYTES)
        except OSError:  # a terminal that has gone away, or a closed descriptor: the end of the input
            return b""


def continues(line: str) -> bool:
    """Whether the line ends in a backslash that asks for another line: an odd number of them."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1
