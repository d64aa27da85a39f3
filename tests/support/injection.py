"""Makes calls of the system fail at random in this process, which was started under `fiu-run -x`."""

import ctypes
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


def inject(faults: Sequence[Fault]) -> None:
    """Let these calls fail from now on, each at random and by itself. Raises OSError if one is unknown to libfiu."""
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
    for name, probability, number in faults:
        if library.fiu_enable_random(name.encode(), FAIL, number, 0, probability):
            raise OSError(f"libfiu cannot enable {name}")


def until_done(call: Callable[[], object]) -> None:
    """Do what belongs to the test itself, however often it fails. Raises OSError if it goes on failing."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            call()
            return
    call()
