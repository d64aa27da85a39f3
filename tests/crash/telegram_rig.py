"""A daemon on Telegram that is killed again and again, people who write on meanwhile, and a count at the server."""

import random
from collections.abc import Sequence
from typing import Any, Final

from adapters.testing.faults import Gate
from adapters.testing.telegram import Chat, Person, TelegramServer
from config import Home
from tests.crash.platform_rig import PlatformRig, Talk
from tests.support.daemon_child import ChildOptions
from tests.support.daemon_launcher import DaemonLauncher

PEOPLE: Final = 3
"""People with a private chat each; the first is also alone with us in a group."""


class TelegramRig(PlatformRig):
    """The rig with Telegram's loopback server."""

    sending = "sendMessage"

    def __init__(self, launcher: DaemonLauncher, home: Home, server: TelegramServer, chance: random.Random) -> None:
        self._server = server
        self._people = [server.person(f"Person {number}") for number in range(PEOPLE)]
        places = [(person, server.private(person)) for person in self._people]
        places.append((self._people[0], server.supergroup("Group", self._people[0])))
        self._chats = {str(chat.id): chat for _, chat in places}
        super().__init__(launcher, home, chance, [self._talk(person, chat) for person, chat in places])

    def _talk(self, person: Person, chat: Chat) -> Talk:
        bot = self._server.bot
        name = "" if chat.is_private else f"@{bot.username} "
        return Talk(
            str(chat.id),
            lambda text: person.writes(chat, f"{name}{text}"),
            lambda: [message for message in chat.messages if message.sender.id == bot.id],
        )

    def options(self) -> ChildOptions:
        """How to run the daemon."""
        section = {
            "token": self._server.bot.token,
            "api_base_url": self._server.base_url,
            "allowed_users": [str(person.id) for person in self._people],
        }
        return ChildOptions(home=str(self._home.path), log=str(self.log), telegram=section)

    def gate(self, call: str, skip: int) -> Gate[Any]:
        """A gate between accepting and answering such a call."""
        return self._server.gate(call, skip=skip)

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._server.faults.clear()

    def complaints(self) -> Sequence[str]:
        """What the server has to say at the end."""
        wrong = [f"against the rules: {violation}" for violation in self._server.violations]
        if self._server.updates.waiting:
            wrong.append(f"{len(self._server.updates.waiting)} updates were never confirmed")
        return wrong

    def about(self, message: Any) -> str:
        """The number by which the bot knows a message."""
        return str(message.number(self._server.bot.id))

    def searches(self, talk: Talk) -> str:
        """How messages were looked for in a chat: the ids, and what was said of each."""
        asked = self._server.requests.of("editMessageReplyMarkup", chat=self._chats[talk.name])
        said = (str((each.answer or {}).get("description", each.status)) for each in asked)
        return "looked for: " + ", ".join(
            f"{each.parameters['message_id']} {words.rpartition(':')[2]}"
            for each, words in zip(asked, said, strict=True)
        )
