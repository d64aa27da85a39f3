"""A daemon on Slack that is killed again and again, people who write on meanwhile, and a count at the server."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.testing.faults import Gate
from adapters.testing.slack import Channel, Fault, Message, Person, SlackServer
from config import Home
from tests.crash.platform_rig import PATIENCE, PlatformRig, Talk
from tests.support.daemon_child import ChildOptions
from tests.support.daemon_launcher import DaemonLauncher

PEOPLE: Final = 2
"""People with direct messages each, and a chat in the bot's pane; the second also writes in a thread of a channel."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as the rig knows messages."""

    message: Message

    @property
    def id(self) -> str:
        """Its `ts`."""
        return self.message.ts

    @property
    def text(self) -> str:
        """What it says now, without the marks of italics."""
        return _bare(self.message.text)

    @property
    def texts(self) -> Sequence[str]:
        """Everything that it has said."""
        return [_bare(text) for text in self.message.texts]

    @property
    def sent_at(self) -> float:
        """When it came to be there."""
        return self.message.sent_at

    @property
    def deleted_at(self) -> float | None:
        """When it was taken away."""
        return self.message.deleted_at


def _bare(text: str) -> str:
    return text.removeprefix("_") if text.startswith("_(") else text


class SlackRig(PlatformRig):
    """The rig with Slack's loopback server."""

    sending = "chat.postMessage"

    def __init__(self, launcher: DaemonLauncher, home: Home, server: SlackServer, chance: random.Random) -> None:
        self._server = server
        self._people = [server.person(f"Person{number}") for number in range(PEOPLE)]
        general = server.channel("general", *self._people)
        panes = [(person, person.opens_assistant(server.bot).root) for person in self._people]
        talks = [self._talk(person, server.direct(person)) for person in self._people]
        talks += [self._talk(person, root.channel, root) for person, root in panes]
        talks.append(self._talk(self._people[1], general, opens=True))
        super().__init__(launcher, home, chance, talks)

    def _talk(self, person: Person, channel: Channel, thread: Message | None = None, *, opens: bool = False) -> Talk:
        """What one person writes, in a thread, or with `opens` in the one that their first message opens."""
        roots = [] if thread is None else [thread]
        name = f"{self._server.bot.profile.mention} " if opens else ""

        def write(text: str) -> None:
            message = person.writes(channel, f"{name}{text}", thread=roots[0] if roots else None)
            if opens and not roots:
                roots.append(message)

        def ours() -> list[Sent]:
            root = roots[0].ts if roots else None
            sent = (message for message in channel.messages if message.sender.id == self._server.bot.id)
            return [Sent(each) for each in sent if each.thread_ts == root and each.subtype != "assistant_app_thread"]

        return Talk(f"{channel.id} {'in a thread' if roots or opens else ''}".strip(), write, ours)

    async def begin(self) -> None:
        """Let the bot hear of each conversation: what is written first of all while it is away cannot be fetched."""
        self.start()
        assert self._daemon is not None
        await self._daemon.ready()
        await self._server.until(lambda: self._server.events.sockets.live, PATIENCE)
        for talk in self._talks:
            talk.labels.append(label := f"m{next(self._numbers)}")
            talk.plans[label] = "say"
            talk.write(f"{label} say")
        await self._server.until(lambda: not any(map(self._unanswered, self._talks)), PATIENCE)
        await self.stop()

    def options(self) -> ChildOptions:
        """How to run the daemon."""
        section = {
            "bot_token": self._server.bot.token,
            "app_token": self._server.app.token,
            "api_base_url": self._server.api_url,
            "allowed_users": [person.id for person in self._people],
            "max_messages": 20,
        }
        return ChildOptions(home=str(self._home.path), log=str(self.log), slack=section)

    def gate(self, call: str, skip: int) -> Gate[Any]:
        """A gate between accepting and answering such a call."""
        return self._server.gate(call, skip=skip)

    async def dies_after_an_acknowledgement(self, skip: int) -> None:
        """Start the daemon, and kill it right after it has acknowledged so many events."""
        count = len(self._acknowledged()) + skip + 1
        self.start()
        try:
            await self._server.until(lambda: len(self._acknowledged()) >= count, PATIENCE / 6)
        except TimeoutError:
            await self._kill("random")
        else:
            await self._kill("acknowledgement")

    def _acknowledged(self) -> list[object]:
        return [each for each in self._server.events.all if each.acknowledged and "bot_id" not in each.event]

    def clear(self) -> None:
        """Let nothing go wrong any more; sometimes what is asked next is too much."""
        self._server.faults.clear()
        if self._chance.random() < 0.2:
            self._server.inject(Fault.flood(0), "conversations.history", "conversations.replies", times=2)

    def complaints(self) -> Sequence[str]:
        """What the server has to say at the end."""
        return [
            f"against the rules: {violation}" for violation in self._server.violations if "Retry-After" not in violation
        ]
