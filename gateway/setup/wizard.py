"""Owns the order of the set-up: what is asked, in which order, and what is written at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.cli.errors import CommandError
from gateway.setup import agent, discord, slack, telegram
from gateway.setup.ask import Dialogue
from gateway.setup.draft import ChangedError, Draft
from gateway.setup.edit import CannotEditError
from gateway.setup.web import Web

PLATFORMS: Final = ("telegram", "discord", "slack")
PARTS: Final = (*PLATFORMS, "agent")

_TITLES: Final = ("Telegram", "Discord", "Slack")


@dataclass(frozen=True, slots=True)
class Wizard:
    """The set-up of one file. `running`: a gateway runs in this home, and reads the file when it changes."""

    path: Path
    environ: Mapping[str, str]
    talk: Dialogue
    web: Web
    running: bool = False

    def run(self, parts: Sequence[str]) -> bool:
        """Ask about these parts, or about everything; whether something was written.

        Raises `CommandError`. KeyboardInterrupt leaves everything as it was.
        """
        try:
            draft = Draft.open(self.path, self.environ)
        except CannotEditError as error:
            raise CommandError(
                f"{self.path} cannot be read as it is; `hermes-gateway config check` says what is wrong with it"
            ) from error
        except OSError as error:
            raise CommandError(f"{self.path} cannot be read ({error.strerror})") from error
        self._greet(draft, whole=not parts)
        done = [part for part in parts or self._chosen(draft) if self._part(part)(draft)]
        return self._written(draft, done)

    def _greet(self, draft: Draft, *, whole: bool) -> None:
        if whole:
            self.talk.title("Setting up Hermes Gateway")
        if draft.text is None:
            self.talk.tell(f"The answers go into {self.path}, at the end. Ctrl-C leaves everything as it is.")
        else:
            self.talk.tell(
                f"{self.path} is there already: what you change is shown before it is written, the rest stays as it"
                " is, and the old file is kept. Ctrl-C leaves everything as it is."
            )

    def _chosen(self, draft: Draft) -> Sequence[str]:
        """Everything that the person wants to be asked about."""
        parts = []
        if not draft.written("agent") or self.talk.yes(
            f"The agent {draft.written('agent')} answers. Change that?", default=False
        ):
            parts.append("agent")
        self.talk.title("Where do people write?")
        self.talk.tell("The terminal is always there. Enter alone adds nothing to it; 1 3 chooses two.")
        there = [f"{title}{' (is set up)' if draft.has('platforms', name) else ''}" for name, title in _named()]
        return (*parts, *(PLATFORMS[number] for number in self.talk.choose_some("Numbers", there)))

    def _part(self, name: str) -> Callable[[Draft], bool]:
        match name:
            case "telegram":
                return lambda draft: telegram.set_up(draft, self.talk, self.web, running=self.running)
            case "discord":
                return lambda draft: discord.set_up(draft, self.talk, self.web)
            case "slack":
                return lambda draft: slack.set_up(draft, self.talk, self.web)
            case _:
                return lambda draft: agent.set_up(draft, self.talk, self.web)

    def _written(self, draft: Draft, done: Sequence[str]) -> bool:
        for part in done:
            if part in PLATFORMS and draft.written("platforms", part, "enabled") == "false":
                draft.put(("platforms", part, "enabled"), True)
        if not draft.changes:
            self.talk.title("Nothing has changed")
            return False
        try:
            return self._save(draft)
        except CannotEditError as error:
            lines = "\n".join(f"  {line}" for line in draft.by_hand())
            where = str(error) or "its beginning"
            raise CommandError(
                f"{self.path} is written in a way that cannot be changed line by line (at {where}),"
                f" and was left alone. Write there yourself:\n{lines}"
            ) from error
        except ChangedError as error:
            raise CommandError(f"{error}, and was left alone; run the set-up again") from error
        except OSError as error:
            raise CommandError(f"cannot write {self.path}: {error.strerror}; check the folder") from error

    def _save(self, draft: Draft) -> bool:
        new = draft.text is None
        shown = draft.shown()
        if not shown:
            self.talk.title("Nothing has changed")
            return False
        self.talk.title("What is written" if new else "What changes")
        for line in shown:
            self.talk.tell(f"  {line}")
        faults = draft.faults()
        for fault in faults:
            self.talk.bad(fault)
        if faults:
            self.talk.hint("The gateway does not start with a file that is wrong.")
        if not self.talk.yes(f"Write {self.path}?", default=not faults):
            return False
        kept = draft.save()
        explained = "Every key is explained in it; edit it freely." if new else "Edit it freely."
        self.talk.good(f"Written: {self.path}, which you alone can read. {explained}")
        if kept is not None:
            self.talk.good(f"The file as it was: {kept}")
        return True


def _named() -> Sequence[tuple[str, str]]:
    return tuple(zip(PLATFORMS, _TITLES, strict=True))
