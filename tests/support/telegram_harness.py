"""Telegram for the conformance suite: the loopback server, with people, places and faults."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapters.testing.conformance import (
    Ability,
    AdapterFactory,
    Fault,
    File,
    Harness,
    Passing,
    Place,
    PlaceKind,
    Shown,
)
from adapters.testing.telegram import ApiError, Bot, Chat, FloodLimits, Media, Message, Person, TelegramServer, Topic
from adapters.testing.telegram import Fault as ServerFault
from tests.support.telegram import MARK, QuickTelegram

FRIENDS = 8
KINDS = {"image/png": "photo"}

ON_SENDING = {
    Fault.RATE_LIMIT: ServerFault.flood(1),
    Fault.ERROR_BEFORE: ServerFault.error(),
    Fault.ERROR_AFTER: ServerFault.error(accepted=True),
    Fault.NO_ANSWER: ServerFault.silence(accepted=True),
    Fault.DROPPED: ServerFault.drop(),
    Fault.SLOW_BODY: ServerFault.slow(0.4),
}


class CountingServer(TelegramServer):
    """Counts the requests that it refuses for their token."""

    refused = 0

    def _bot(self, token: str) -> Bot:
        try:
            return super()._bot(token)
        except ApiError:
            self.refused += 1
            raise


@dataclass(frozen=True)
class Seat:
    """A person in a chat, and in a topic of it."""

    chat: Chat
    person: Person
    topic: Topic | None = None

    @property
    def thread(self) -> int | None:
        return None if self.topic is None else self.topic.id


class TelegramHarness(Harness):
    """`friends` is how many people there are who are let in; each private place takes one."""

    name = "telegram"
    supports = frozenset(Ability)
    faults = frozenset(Fault)

    def __init__(
        self, adapter: AdapterFactory = QuickTelegram, *, limits: FloodLimits | None = None, friends: int = FRIENDS
    ) -> None:
        self.adapter = adapter
        self.server = CountingServer(limits=limits)
        self._bot = self.server.bot
        self._friends = [self.server.person(f"Friend {number}") for number in range(friends)]
        self._free = iter(self._friends)
        self._mallory = self.server.person("Mallory")
        self._ann = next(self._free)
        self._forum = self.server.forum("Forum", self._ann)
        self._numbers = itertools.count(1)
        self.secrets = [self._bot.token]
        self.violations = self.server.violations

    async def start(self, home: Path) -> None:
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()

    def section(self) -> Mapping[str, Any]:
        return {
            "token": self._bot.token,
            "api_base_url": self.server.base_url,
            "allowed_users": [str(friend.id) for friend in self._friends],
        }

    def place(self, kind: PlaceKind, *, stranger: bool = False) -> Place:
        person = self._mallory if stranger else self._ann
        match kind:
            case PlaceKind.DM:
                person = person if stranger else next(self._free)
                seat = Seat(self.server.private(person), person)
            case PlaceKind.GROUP:
                seat = Seat(self.server.supergroup(f"Group {next(self._numbers)}", person), person)
            case PlaceKind.THREAD:
                topic = person.opens_topic(self._forum, f"Topic {next(self._numbers)}")
                seat = Seat(self._forum, person, topic)
            case PlaceKind.GENERAL:
                seat = Seat(self._forum, person)
        return Place(kind, seat)

    def write(self, place: Place, text: str) -> Message:
        seat: Seat = place.handle
        if not seat.chat.is_private:
            text = f"@{self._bot.username} {text}"
        return seat.person.writes(seat.chat, text, topic=seat.topic)

    def edit(self, place: Place, message: Message, text: str) -> None:
        place.handle.person.edits(message, text)

    def delete(self, place: Place, message: Message) -> None:
        place.handle.person.deletes(message)

    def attach(self, place: Place, file: File, caption: str) -> None:
        seat: Seat = place.handle
        media = Media(KINDS.get(file.media_type, "document"), file.data, file.name, file.media_type)
        seat.person.sends(seat.chat, media, caption, topic=seat.topic)

    def shown(self, place: Place) -> Sequence[Shown]:
        seat: Seat = place.handle
        return [
            self._shown(message)
            for message in seat.chat.messages
            if message.sender.id == self._bot.id and (not seat.chat.forum or message.thread == seat.thread)
        ]

    def _shown(self, message: Message) -> Shown:
        return Shown(
            str(message.id),
            tuple(text.removeprefix(MARK).lstrip("\n") for text in message.texts if text),
            gone=message.deleted_at is not None,
            marked=message.text.startswith(MARK),
            file=self._file(message),
            buttons=tuple(button["text"] for button in _buttons(message)),
        )

    def _file(self, message: Message) -> File | None:
        if message.content.media is None:
            return None
        about = message.content.media[message.content.kind]
        about = about[-1] if isinstance(about, list) else about
        media = self.server.world.files.get(about["file_id"]).media
        return File(media.name or "", media.data, media.mime or "")

    def press(self, place: Place, shown: Shown, label: str) -> None:
        seat: Seat = place.handle
        message = next(message for message in seat.chat.messages if str(message.id) == shown.id)
        data = next(button["callback_data"] for button in _buttons(message) if button["text"] == label)
        seat.person.presses(message, data)

    def passing(self, place: Place) -> Passing:
        seat: Seat = place.handle
        drafts = tuple(draft.text for draft in seat.chat.drafts if draft.thread == seat.thread)
        typing = [action for action in seat.chat.actions if action.name == "typing" and action.thread == seat.thread]
        return Passing(drafts, len(typing))

    def menu(self) -> Sequence[str]:
        return [command["command"] for menu in self.server.world.commands.values() for command in menu]

    def inject(self, fault: Fault, place: Place) -> None:
        match fault:
            case Fault.DUPLICATE_UPDATE:
                self.server.updates.repeat()
            case Fault.REORDERED_UPDATES:
                self.server.updates.reverse()
            case Fault.HALF_OPEN:
                self.server.inject(ServerFault.silence(), "getUpdates")
            case _:
                self.server.inject(ON_SENDING[fault], "sendMessage", chat=place.handle.chat)

    def revoke(self) -> None:
        self.server.revoke(self._bot)
        self._bot = replace(self._bot, token=f"{self._bot.id}:{'BB-another-of-no-value'.ljust(35, '_')}")
        self.server.world.bots[self._bot.token] = self._bot
        self.secrets = [*self.secrets, self._bot.token]

    def logins(self) -> int:
        return self.server.refused


def _buttons(message: Message) -> list[dict[str, Any]]:
    return [button for row in (message.content.markup or {}).get("inline_keyboard", []) for button in row]
