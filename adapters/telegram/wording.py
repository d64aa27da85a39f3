"""The text of a message as the agent reads it: who it is for, and what its entities hold besides characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from telegram import MessageEntity

_AFTER_MENTION: Final = " \t\n,:;–—-"
"""What people write between a name that they call and what they want."""


@dataclass(frozen=True, slots=True)
class Account:
    """Our own account; `username` without the @. `reads_all`: it is shown everything that is said in groups. `topics`:
    its private chats have topics."""

    id: int
    username: str
    reads_all: bool = False
    topics: bool = False

    def is_named(self, name: str) -> bool:
        """Whether a username, with or without the @, is ours; case does not matter."""
        return bool(self.username) and name.removeprefix("@").casefold() == self.username.casefold()


class Wording:
    """A text with its entities, whose offsets count UTF-16 code units."""

    def __init__(self, text: str, entities: Sequence[MessageEntity], account: Account) -> None:
        self._units = text.encode("utf-16-le", "surrogatepass")
        self._entities = sorted(entities, key=lambda entity: entity.offset)
        self._account = account

    def _covered(self, entity: MessageEntity) -> str:
        return self._slice(entity.offset, entity.offset + entity.length)

    def _slice(self, start: int, end: int | None = None) -> str:
        return self._units[2 * start : None if end is None else 2 * end].decode("utf-16-le", "surrogatepass")

    def _is_ours(self, entity: MessageEntity) -> bool:
        if entity.type == MessageEntity.TEXT_MENTION:
            return entity.user is not None and entity.user.id == self._account.id
        return entity.type == MessageEntity.MENTION and self._account.is_named(self._covered(entity))

    @property
    def mentions_us(self) -> bool:
        """Whether we are called by name anywhere in it."""
        return any(self._is_ours(entity) for entity in self._entities)

    def command(self) -> tuple[str, str] | None:
        """The command that the text begins with, and the bot that it names, which may be nobody (an empty text)."""
        first = next((each for each in self._entities if each.type == MessageEntity.BOT_COMMAND), None)
        if first is None or first.offset != 0:
            return None
        name, _, bot = self._covered(first).partition("@")
        return name, bot

    @property
    def is_for_another_bot(self) -> bool:
        """Whether it is a command that names another bot."""
        command = self.command()
        return command is not None and bool(command[1]) and not self._account.is_named(command[1])

    def plain(self) -> str:
        """The text: without our name at its start and behind a command, and with the addresses of links."""
        text, end = "", None
        for entity in reversed(self._entities):
            replacement = self._replacement(entity)
            if replacement is None or (end is not None and entity.offset + entity.length > end):
                continue
            text = f"{replacement}{self._slice(entity.offset + entity.length, end)}{text}"
            end = entity.offset
        text = f"{self._slice(0, end)}{text}"
        name = next((entity for entity in self._entities if self._is_ours(entity)), None)
        if name is not None and not self._slice(0, name.offset).strip():
            return text.lstrip().removeprefix(self._covered(name)).lstrip(_AFTER_MENTION)
        return text

    def _replacement(self, entity: MessageEntity) -> str | None:
        """What stands for an entity in the text; None where that is what it covers."""
        covered = self._covered(entity)
        if entity.type == MessageEntity.TEXT_LINK and entity.url and entity.url.rstrip("/") != covered.rstrip("/"):
            return f"{covered} ({entity.url})"
        if entity.type == MessageEntity.BOT_COMMAND and "@" in covered:
            name, _, bot = covered.partition("@")
            return name if self._account.is_named(bot) else None
        return None
