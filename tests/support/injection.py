"""Makes calls of the system fail at random in this process, which was started under `fiu-run -x`."""

import asyncio
import ctypes
import io
import itertools
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

LIBRARY: Final = "libfiu.so.0"
FAIL: Final = 1
"""What a failure point tells its caller: any number but 0 makes the call fail."""

Fault: TypeAlias = tuple[str, float, int]
"""The name of a failure point as libfiu knows it, how probable a failure of each call is, and its `errno`."""

PATIENCE_SECONDS: Final = 10.0


SWITCH_FAULTS: Final = signal.SIGUSR2
"""The signal that lets faults which always come begin, and end, and begin again."""


def inject(faults: Sequence[Fault]) -> None:
    """Let these calls fail from now on, each at random and by itself. Raises OSError if one is unknown to libfiu.

    Those that always come, with a probability of 1, come only when `SWITCH_FAULTS` says so.
    """
    if not faults:
        return
    library = ctypes.CDLL(LIBRARY)
    library.fiu_enable_random.argtypes = (
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_uint,
        ctypes.c_float,
    )
    library.fiu_init(0)

    def enable(faults: Sequence[Fault]) -> None:
        for name, probability, number in faults:
            if library.fiu_enable_random(name.encode(), FAIL, number, 0, probability):
                raise OSError(f"libfiu cannot enable {name}")

    constant = [fault for fault in faults if fault[1] >= 1]
    on = itertools.cycle((True, False))

    def switch() -> None:
        if next(on):
            enable(constant)
        else:
            for name, _probability, _number in constant:
                library.fiu_disable(name.encode())

    enable([fault for fault in faults if fault[1] < 1])
    asyncio.get_running_loop().add_signal_handler(SWITCH_FAULTS, switch)


def unfailing_write(descriptor: int, data: bytes) -> None:
    """One short write of the test's own, by a call that no test lets fail."""
    os.writev(descriptor, [data])


class UnfailingStream(io.TextIOBase):
    """A text stream on a descriptor, for a log that tells of faults and has none."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, text: str) -> int:
        unfailing_write(self._descriptor, text.encode("utf-8", "backslashreplace"))
        return len(text)


def until_done(call: Callable[[], object]) -> None:
    """Do what belongs to the test itself, however often it fails. Raises OSError if it goes on failing."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            call()
            return
    call()
