"""Owns the home folder: where it is, and the names of what it holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

HOME_VARIABLE: Final = "HERMES_GATEWAY_HOME"
"""Environment variable that names the home folder."""

DEFAULT_HOME: Final = "~/.hermes-gateway"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds everything the gateway keeps, readable by its owner alone."""

    path: Path

    @classmethod
    def locate(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Return the home that the environment names, or the default one; nothing is created.

        Args:
            environ: the environment to read; the process's own if not given.
        """
        environ = os.environ if environ is None else environ
        named = environ.get(HOME_VARIABLE) or DEFAULT_HOME
        return cls(Path(named).expanduser().absolute())

    @property
    def config_file(self) -> Path:
        """The configuration."""
        return self.path / "gateway.yaml"

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.path / "gateway.db"

    @property
    def sessions_dir(self) -> Path:
        """Sessions as JSONL files: the fallback, the mirror, and what is imported."""
        return self.path / "sessions"

    @property
    def media_dir(self) -> Path:
        """Files that came in, and that may go out."""
        return self.path / "media"

    @property
    def memory_dir(self) -> Path:
        """Notes from earlier conversations; made when the first is written."""
        return self.path / "memory"

    @property
    def socket(self) -> Path:
        """The daemon's socket."""
        return self.path / "gateway.sock"

    @property
    def lock(self) -> Path:
        """The lock of the one process that may write."""
        return self.path / "gateway.lock"

    @property
    def logs_dir(self) -> Path:
        """Log files."""
        return self.path / "logs"

    def ensure(self) -> Self:
        """Create the folder and those inside it, with mode 0700, and return the home.

        A home that is there and open to others is closed to them.

        Raises:
            OSError: a folder cannot be created or its mode cannot be set.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.path, self.sessions_dir, self.media_dir, self.logs_dir):
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.stat().st_mode & 0o077:
                folder.chmod(0o700)
        return self
