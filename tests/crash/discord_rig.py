"""A daemon on Discord that is killed again and again, people who write on meanwhile, and a count at the server."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from adapters.testing.discord import Channel, DiscordServer, Person
from adapters.testing.faults import Gate
from config import Home
from tests.crash.platform_rig import PATIENCE, PlatformRig, Talk
from tests.support.daemon_child import ChildOptions
from tests.support.daemon_launcher import DaemonLauncher, DaemonProcess

PEOPLE: Final = 2
"""People with a conversation each; the first also writes in a channel, the second in a thread of it."""

SETTLED: Final = 0.5
"""Seconds after which the bot has a session on a machine that is not too busy; what comes sooner is fetched."""


class DiscordRig(PlatformRig):
    """The rig with Discord's loopback server.

    `late` counts the restarts after the window in which a nonce keeps a message from being shown twice, `late_sends`
    those of them before which a send was cut off.
    """

    sending = "create_message"

    def __init__(self, launcher: DaemonLauncher, home: Home, server: DiscordServer, chance: random.Random) -> None:
        self._server = server
        self._people = [server.person(f"person{number}") for number in range(PEOPLE)]
        general = server.channel(server.guild("Team", *self._people), "general")
        thread = self._people[1].opens_thread(general, "Thread")
        places = [(person, server.dm(person)) for person in self._people]
        places += [(self._people[0], general), (self._people[1], thread)]
        super().__init__(launcher, home, chance, [self._talk(person, channel) for person, channel in places])
        self._sends = 0
        self._cut_off = False
        self.late = 0
        self.late_sends = 0

    def _talk(self, person: Person, channel: Channel) -> Talk:
        bot = self._server.bot
        name = "" if channel.guild is None else f"{bot.mention} "
        return Talk(
            str(channel.id),
            lambda text: person.writes(channel, f"{name}{text}"),
            lambda: [message for message in channel.messages if message.author.id == bot.id],
        )

    async def begin(self) -> None:
        """Let the bot hear of each conversation: Discord tells it of none that begins while it is away."""
        self.start()
        for talk in self._talks:
            talk.labels.append(label := f"m{next(self._numbers)}")
            talk.plans[label] = "say"
        assert self._daemon is not None
        await self._daemon.ready()
        await self._server.until(lambda: self._server.gateway.received, PATIENCE)
        await asyncio.sleep(SETTLED)
        for talk in self._talks:
            talk.write(f"{talk.labels[0]} say")
        await self._server.until(lambda: not any(map(self._unanswered, self._talks)), PATIENCE)
        await self.stop()

    def options(self) -> ChildOptions:
        """How to run the daemon."""
        section = {
            "token": self._server.bot.token,
            "api_base_url": self._server.api_url,
            "gateway_url": self._server.gateway_url,
            "allowed_users": [str(person.id) for person in self._people],
            "max_messages": 20,
        }
        return ChildOptions(home=str(self._home.path), log=str(self.log), discord=section)

    def gate(self, call: str, skip: int) -> Gate[Any]:
        """A gate between accepting and answering such a call."""
        return self._server.gate(call, skip=skip)

    def start(self) -> DaemonProcess:
        """Start the daemon: at once, or minutes later, when Discord has forgotten nonces and sessions."""
        cut_off, self._cut_off = self._cut_off, False
        if (cut_off and not self.late_sends) or self._chance.random() < 0.5:
            self._server.forget_nonces()
            self._server.gateway.forget()
            self.late += 1
            self.late_sends += cut_off
        return super().start()

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._server.faults.clear()
        sends = self.kills[self.sending]
        self._cut_off, self._sends = sends > self._sends, sends

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{super().summary()}; {self.late} restarts after the window of nonces, {self.late_sends} of them with a"
            " send that was cut off"
        )

    def complaints(self) -> Sequence[str]:
        """What the server has to say at the end."""
        return [f"against the rules: {violation}" for violation in self._server.violations]
