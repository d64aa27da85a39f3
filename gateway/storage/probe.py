"""Named steps of the storage: nothing happens there but in tests, which kill the process at one."""

from collections.abc import Callable
from typing import TypeAlias

Probe: TypeAlias = Callable[[str], None]
"""Called with the name of each step."""


def no_probe(_step: str) -> None:
    """The probe outside tests."""
