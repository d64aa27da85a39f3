"""The history of what was typed into the chat: a file in the home folder, readable by its owner alone."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prompt_toolkit.history import History

FILE_NAME: Final = "chat_history"

MAX_HISTORY_BYTES: Final = 1024 * 1024
"""From this size on the older half is dropped when a chat opens."""


def open_history(home: Path) -> "History":
    """The history kept in `home`; one that lasts only for this chat where no file can be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory, ThreadedHistory

    class ForgivingHistory(FileHistory):
        """A file that stops taking entries (a full disk) does not disturb the chat."""

        def store_string(self, string: str) -> None:
            try:
                super().store_string(string.encode("utf-8", "replace").decode("utf-8"))
            except OSError:
                return

    path = home / FILE_NAME
    try:
        _prepare(path)
    except OSError:
        return InMemoryHistory()
    return ThreadedHistory(ForgivingHistory(str(path)))


def _prepare(path: Path) -> None:
    """See that the file is there, closed to others, and not too long."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        size = os.fstat(descriptor).st_size
        if size <= MAX_HISTORY_BYTES:
            return
        tail = os.pread(descriptor, MAX_HISTORY_BYTES // 2, size - MAX_HISTORY_BYTES // 2)
        start = tail.find(b"\n# ")  # each entry begins with a comment line that holds its time
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, tail[start:] if start >= 0 else b"", 0)
    finally:
        os.close(descriptor)
