"""Discord for the conformance suite: the loopback server, with people, places and faults."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapters.testing.conformance import (
    Ability,
    Fault,
    File,
    Harness,
    Passing,
    Place,
    PlaceKind,
    Shown,
)
from adapters.testing.discord import Bot, Channel, DiscordServer, Message, Person
from adapters.testing.discord import Fault as ServerFault
from adapters.testing.discord import File as ServerFile
from tests.support.discord import MARK, QuickDiscord

FRIENDS = 8
HEARTBEAT = 2.0

ON_SENDING = {
    Fault.RATE_LIMIT: ServerFault.flood(1),
    Fault.ERROR_BEFORE: ServerFault.error(),
    Fault.ERROR_AFTER: ServerFault.error(accepted=True),
    Fault.NO_ANSWER: ServerFault.silence(accepted=True),
    Fault.DROPPED: ServerFault.drop(),
    Fault.SLOW_BODY: ServerFault.slow(0.4),
}

ESCAPED = re.compile(r"\\([^0-9A-Za-z\s])")


class CountingServer(DiscordServer):
    """Counts the requests that it refuses for their token."""

    refused = 0

    def _bot(self, authorization: str) -> Bot:
        try:
            return super()._bot(authorization)
        except Exception:
            self.refused += 1
            raise


@dataclass(frozen=True)
class Seat:
    """A person in a channel, a thread or a conversation."""

    channel: Channel
    person: Person


class DiscordHarness(Harness):
    """One guild, its people, and a stranger who is a member too."""

    name = "discord"
    adapter = QuickDiscord
    supports = frozenset(Ability) - {Ability.GENERAL}
    faults = frozenset(Fault)

    def __init__(self) -> None:
        self._server = CountingServer(heartbeat_seconds=HEARTBEAT)
        self._bot = self._server.bot
        self._friends = [self._server.person(f"friend{number}") for number in range(FRIENDS)]
        self._free = iter(self._friends)
        self._mallory = self._server.person("mallory")
        self._ann = next(self._free)
        self._guild = self._server.guild("Team", *self._friends, self._mallory)
        self._lobby = self._server.channel(self._guild, "lobby")
        self._numbers = itertools.count(1)
        self.secrets = [self._bot.token]
        self.violations = self._server.violations

    async def start(self, home: Path) -> None:
        """Start the server."""
        del home
        await self._server.start()

    async def stop(self) -> None:
        """Stop it."""
        await self._server.stop()

    def section(self) -> Mapping[str, Any]:
        """The bot's section."""
        return {
            "token": self._bot.token,
            "api_base_url": self._server.api_url,
            "gateway_url": self._server.gateway_url,
            "allowed_users": [str(friend.id) for friend in self._friends],
        }

    def place(self, kind: PlaceKind, *, stranger: bool = False) -> Place:
        """A conversation, a channel, or a thread."""
        person = self._mallory if stranger else self._ann
        match kind:
            case PlaceKind.DM:
                person = person if stranger else next(self._free)
                seat = Seat(self._server.dm(person), person)
            case PlaceKind.GROUP:
                seat = Seat(self._server.channel(self._guild, f"group-{next(self._numbers)}"), person)
            case PlaceKind.THREAD:
                seat = Seat(person.opens_thread(self._lobby, f"Thread {next(self._numbers)}"), person)
            case _:
                raise NotImplementedError
        return Place(kind, seat)

    def write(self, place: Place, text: str) -> Message:
        """Write, with the bot's name where there are others."""
        seat: Seat = place.handle
        return seat.person.writes(seat.channel, self._called(seat, text))

    def _called(self, seat: Seat, text: str) -> str:
        return text if seat.channel.guild is None else f"{self._bot.mention} {text}".rstrip()

    def edit(self, place: Place, message: Message, text: str) -> None:
        """Change what was written."""
        place.handle.person.edits(message, self._called(place.handle, text))

    def delete(self, place: Place, message: Message) -> None:
        """Take it back."""
        place.handle.person.deletes(message)

    def attach(self, place: Place, file: File, caption: str) -> None:
        """Send a file."""
        seat: Seat = place.handle
        sent = ServerFile(file.name, file.data, file.media_type)
        seat.person.sends(seat.channel, sent, text=self._called(seat, caption))

    def shown(self, place: Place) -> Sequence[Shown]:
        """What the bot ever sent to the place."""
        seat: Seat = place.handle
        return [
            _shown(message)
            for message in seat.channel.messages
            if message.author.id == self._bot.id and message.ephemeral_for is None
        ]

    def press(self, place: Place, shown: Shown, label: str) -> None:
        """Press a button, or choose an option."""
        seat: Seat = place.handle
        message = next(message for message in seat.channel.messages if str(message.id) == shown.id)
        button = next(button for button in _buttons(message) if button["label"] == label)
        seat.person.presses(message, button["custom_id"])

    def passing(self, place: Place) -> Passing:
        """How often the bot was seen to type."""
        seat: Seat = place.handle
        return Passing((), sum(typing.user.id == self._bot.id for typing in seat.channel.typing))

    def menu(self) -> Sequence[str]:
        """The commands that are offered."""
        return [command["name"] for place in self._server.world.commands.values() for command in place.values()]

    def inject(self, fault: Fault, place: Place) -> None:
        """Let something go wrong."""
        match fault:
            case Fault.DUPLICATE_UPDATE:
                self._server.gateway.mishaps.repeat(1)
            case Fault.REORDERED_UPDATES:
                self._server.gateway.mishaps.reverse(2)
            case Fault.HALF_OPEN:
                self._server.gateway.half_open()
            case _:
                self._server.inject(ON_SENDING[fault], "create_message", channel=place.handle.channel)

    def revoke(self) -> None:
        """Reset the token."""
        self._server.revoke(self._bot)
        self._bot = replace(self._bot, token=f"bot-{self._bot.id}.another.of-no-value")
        self._server.world.bots[self._bot.id] = self._bot
        self._server.gateway.bots[self._bot.token] = self._bot
        self.secrets = [*self.secrets, self._bot.token]

    def logins(self) -> int:
        """How often a token was refused."""
        return self._server.refused


def _shown(message: Message) -> Shown:
    attachment = next(iter(message.content.attachments), None)
    return Shown(
        str(message.id),
        tuple(_plain(text) for text in message.texts if text),
        gone=message.deleted_at is not None,
        marked=message.text.startswith(MARK),
        file=None
        if attachment is None
        else File(attachment.file.name, attachment.file.data, attachment.file.content_type or ""),
        buttons=tuple(button["label"] for button in _buttons(message)),
    )


def _plain(text: str) -> str:
    return ESCAPED.sub(r"\1", text.removeprefix(MARK).lstrip("\n"))


def _buttons(message: Message) -> list[dict[str, Any]]:
    return [button for row in message.content.components for button in row.get("components", [])]
