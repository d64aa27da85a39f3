"""Owns what the set-up is about to write: what holds already, the changes, and their safe way into the file."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from config import ConfigError, load_settings
from config.environment import CUSTOMARY, customary_of, variable_of
from gateway.cli.output import write_whole
from gateway.logs import Redactor
from gateway.setup.edit import Add, CannotEditError, Change, Put, edited, values_in

Key = tuple[str, ...]

_ADDRESSES: Final[Mapping[Key, str]] = {
    ("platforms", "telegram", "api_base_url"): "https://api.telegram.org",
    ("platforms", "discord", "api_base_url"): "https://discord.com/api/v10",
    ("platforms", "slack", "api_base_url"): "https://slack.com/api/",
}


class ChangedError(Exception):
    """Somebody else has written the file since it was read."""


@dataclass(slots=True)
class Draft:
    """A configuration file that is being thought over. Nothing is written before `save`.

    `text` is what is there, None where there is no file yet; `environ` may hold values besides.
    """

    path: Path
    text: str | None
    template: str
    environ: Mapping[str, str]
    changes: dict[Key, Change] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, path: Path, environ: Mapping[str, str]) -> Draft:
        """The draft of a file. Raises OSError where it cannot be read, `CannotEditError` where it is no YAML."""
        from config.template import render_template

        text = cls._read(path)
        values_in(text or "")
        return cls(path, text, render_template(), environ)

    @staticmethod
    def _read(path: Path) -> str | None:
        try:
            return path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise CannotEditError("") from None

    # --- what holds ----------------------------------------------------------------------------------------

    def current(self, *key: str) -> str:
        """The value that holds for a key, from the environment or the file; empty where there is none."""
        for name in (variable_of(key), customary_of(key)):
            if name and self.environ.get(name, "").strip():
                return self.environ[name].strip()
        written = self.written(*key)
        if written.startswith("${") and written.endswith("}"):
            return self.environ.get(written[2:-1], "").strip()
        return written

    def written(self, *key: str) -> str:
        """What the file has under a key, a reference as such; empty where it has nothing."""
        return values_in(self.text or "").get(key, "")

    def has(self, *section: str) -> bool:
        """Whether the file, or a change, has something under a section."""
        below = [*values_in(self.text or ""), *self.changes]
        return any(key[: len(section)] == section for key in below)

    def address(self, platform: str) -> str:
        """Where a platform is, without a slash at the end."""
        key = ("platforms", platform, "api_base_url")
        return (self.current(*key) or _ADDRESSES[key]).rstrip("/")

    def variable(self, *key: str) -> str:
        """The variable of the environment that holds a key now, under the name that people know; empty if none does."""
        name = next((name for name, path in CUSTOMARY.items() if path == key), "")
        return name if name and self.environ.get(name, "").strip() else ""

    # --- changing ------------------------------------------------------------------------------------------

    def put(self, key: Key, value: str | bool) -> None:
        """Have a key hold a value."""
        self.changes[key] = Put(value)

    def put_secret(self, key: Key, value: str) -> None:
        """The same, for a value that must not be shown; a reference to the environment is none."""
        if not value.startswith("${"):
            self.secrets.add(value)
        self.put(key, value)

    def add(self, key: Key, *values: str) -> None:
        """Have a list hold these values too."""
        before = self.changes.get(key)
        have = before.values if isinstance(before, Add) else ()
        self.changes[key] = Add(tuple(dict.fromkeys((*have, *values))))

    def result(self) -> str:
        """The text with the changes. Raises `CannotEditError`."""
        return edited(self.template if self.text is None else self.text, self.changes)

    def shown(self) -> list[str]:
        """The changes as lines for people, secrets left out: of a new file its keys, of another the difference."""
        redact = Redactor(self.secrets)
        if self.text is None:
            return [redact(f"{'.'.join(key)}: {_in_words(change)}") for key, change in self.changes.items()]
        lines = difflib.unified_diff(self.text.splitlines(), self.result().splitlines(), lineterm="", n=1)
        return [redact(line) for line in lines if not line.startswith(("---", "+++"))]

    def by_hand(self) -> list[str]:
        """The same as keys and values, for a file that only its author can change."""
        redact = Redactor(self.secrets)
        return [redact(f"{'.'.join(key)}: {_in_words(change)}") for key, change in self.changes.items()]

    # --- writing -------------------------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """What would be wrong with the configuration, in words. Raises OSError, `CannotEditError`."""
        content = self.result()
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".yaml")
        trial = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(content)
            load_settings(trial, environ=self.environ)
        except ConfigError as error:
            return [str(problem).replace(name, str(self.path)) for problem in error.problems]
        finally:
            trial.unlink(missing_ok=True)
        return []

    def save(self) -> Path | None:
        """Write the file, readable by its owner alone; where the one that was there is kept, if there was one.

        Raises OSError, `CannotEditError`, and `ChangedError` where somebody else has written it meanwhile.
        """
        content = self.result()
        if self._read(self.path) != self.text:
            raise ChangedError(f"{self.path} has been changed meanwhile")
        kept = None
        if self.text is not None:
            kept = name_for_copy(self.path)
            write_whole(kept, self.path.read_bytes())
        write_whole(self.path, content)
        return kept


def name_for_copy(path: Path) -> Path:
    """A name beside a file that nothing has yet: `gateway.yaml.bak`, then `gateway.yaml.bak2` and so on."""
    number = 1
    while True:
        name = path.with_name(f"{path.name}.bak{'' if number == 1 else number}")
        if not os.path.lexists(name):
            return name
        number += 1


def _in_words(change: Change) -> str:
    if isinstance(change, Add):
        return ", ".join(change.values)
    return str(change.value).lower() if isinstance(change.value, bool) else change.value
