"""People on one platform, for the soak of all platforms: in a process of their own, beside its loopback server.

`python -m tests.soak.people '{"platform": "slack", "seed": 1}'` serves one until its standard input ends. It prints the
daemon's section for the platform, reads orders, one JSON object a line, and prints one for each that is carried out.
"""

import asyncio
import gc
import itertools
import json
import random
import re
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from adapters.testing import discord, slack, telegram
from adapters.testing.faults import Fault
from tests.crash.platform_rig import MARK, Message
from tests.soak.child import answer_to
from tests.support.slack import RULES

PLANS: Final = ("short",) * 8 + ("long", "long", "flaky")
PATIENCE_SECONDS: Final = 180.0
"""How long one answer may take at most, faults and a busy machine included: what is lost never comes."""

PAUSE_SECONDS: Final = 0.5
"""How long people think at most before they write again."""

PEOPLE: Final = 3
FAULT_SECONDS: Final = 0.1
"""How often something goes wrong in a storm."""

FAULTS: Final = (Fault.drop(accepted=True), Fault.error(), Fault.error(accepted=True))
DISCORD_SETTLED: Final = 0.5
"""Seconds after which the bot has a session; what somebody writes for the first time ever before that is lost."""

FREEZE_SECONDS: Final = 5.0
"""How often what was said is taken out of the garbage collector's sight."""

HEARTBEAT_SECONDS: Final = 3.0
"""Often enough that a dead connection is noticed while somebody waits, and no rule is broken on a busy machine."""


@dataclass(slots=True)
class Talk:
    """One place where one person writes: how, all that stands there, and what of it is the bot's."""

    name: str
    write: Callable[[str], object]
    messages: Callable[[], Sequence[Any]]
    is_ours: Callable[[Any], bool]
    asked: dict[str, str] = field(default_factory=dict)
    """What was written, by its label."""

    def ours(self, since: int = 0) -> Iterator[Message]:
        """What the bot shows here now, of all that came after so many messages."""
        for message in self.messages()[since:]:
            if self.is_ours(message) and message.deleted_at is None:
                yield message


@dataclass(frozen=True, slots=True)
class Verdict:
    """How much was written, how many answers say that they may be repeats, and what is wrong."""

    written: int
    marked: int
    wrong: list[str]


class World(ABC):
    """A platform with people who talk to the bot."""

    sending: str
    """What the server calls sending a message."""

    bursts: Sequence[int] = (1, 1, 1, 2)
    """How many messages somebody writes before they wait for an answer."""

    server: Any
    talks: list[Talk]

    @abstractmethod
    def section(self) -> Mapping[str, Any]:
        """The daemon's settings for it."""

    @abstractmethod
    async def listened_to(self) -> None:
        """Wait until the bot hears what is written."""

    @abstractmethod
    async def hang_up(self, chance: random.Random) -> None:
        """The connection to the bot ends, in one way or another."""

    def forget(self) -> None:
        """Forget what nobody here asks about: the requests that were made."""
        self.server.requests.clear()


class TelegramWorld(World):
    """Private chats, and a group."""

    sending = "sendMessage"

    def __init__(self, server: telegram.TelegramServer) -> None:
        self.server = server
        people = [server.person(f"Person {number}") for number in range(PEOPLE)]
        chats = [(person, server.private(person)) for person in people]
        chats.append((people[0], server.supergroup("Group", people[0])))
        self.talks = [self._talk(person, chat) for person, chat in chats]

    def _talk(self, person: telegram.Person, chat: telegram.Chat) -> Talk:
        bot = self.server.bot
        name = "" if chat.is_private else f"@{bot.username} "
        return Talk(
            f"Telegram {chat.id}",
            lambda text: person.writes(chat, f"{name}{text}"),
            lambda: chat.messages,
            lambda message: message.sender.id == bot.id,
        )

    def section(self) -> Mapping[str, Any]:
        return {"token": self.server.bot.token, "api_base_url": self.server.base_url, "allowed_users": ["*"]}

    async def listened_to(self) -> None:
        return

    async def hang_up(self, chance: random.Random) -> None:
        fault = chance.choice((Fault.drop(), Fault.reset(), Fault.error()))
        self.server.inject(fault, "getUpdates")


class DiscordWorld(World):
    """Direct messages, a channel, and a thread of it."""

    sending = "create_message"

    def __init__(self, server: discord.DiscordServer) -> None:
        self.server = server
        people = [server.person(f"person{number}") for number in range(PEOPLE)]
        general = server.channel(server.guild("Team", *people), "general")
        places = [(person, server.dm(person)) for person in people]
        places += [(people[0], general), (people[1], people[1].opens_thread(general, "Thread"))]
        self.talks = [self._talk(person, channel) for person, channel in places]

    def _talk(self, person: discord.Person, channel: discord.Channel) -> Talk:
        bot = self.server.bot
        name = "" if channel.guild is None else f"{bot.mention} "
        return Talk(
            f"Discord {channel.id}",
            lambda text: person.writes(channel, f"{name}{text}"),
            lambda: channel.messages,
            lambda message: message.author.id == bot.id,
        )

    def section(self) -> Mapping[str, Any]:
        server = self.server
        urls = {"api_base_url": server.api_url, "gateway_url": server.gateway_url}
        return {"token": server.bot.token, "allowed_users": ["*"], **urls}

    async def listened_to(self) -> None:
        await self.server.until(lambda: self.server.gateway.connections, PATIENCE_SECONDS)
        await asyncio.sleep(DISCORD_SETTLED)

    async def hang_up(self, chance: random.Random) -> None:
        gateway = self.server.gateway
        chance.choice((gateway.cut, gateway.half_open, gateway.ask_to_reconnect, gateway.invalidate))()

    def forget(self) -> None:
        super().forget()
        self.server.gateway.received.clear()
        self.server.gateway.dispatched.clear()


class SlackWorld(World):
    """Direct messages, a chat in the pane, whose answers are streams, and a thread of a channel."""

    sending = "chat.postMessage"
    bursts = (1,)
    """Over the two connections that there are while Slack changes them, neighbours may change places."""

    def __init__(self, server: slack.SlackServer) -> None:
        self.server = server
        people = [server.person(f"Person{number}") for number in range(PEOPLE)]
        general = server.channel("general", *people)
        pane = people[0].opens_assistant(server.bot).root
        self.talks = [self._talk(person, server.direct(person), None) for person in people]
        self.talks += [self._talk(people[0], pane.channel, pane), self._talk(people[1], general, None, opens=True)]

    def _talk(
        self, person: slack.Person, channel: slack.Channel, root: slack.Message | None, *, opens: bool = False
    ) -> Talk:
        """What one person writes, in a thread, or with `opens` in the one that their first message opens."""
        bot, roots = self.server.bot, [root]

        def write(text: str) -> None:
            named = f"{bot.profile.mention} {text}" if channel.name else text
            message = person.writes(channel, named, thread=roots[0])
            if opens and roots[0] is None:
                roots[0] = message

        def is_ours(message: slack.Message) -> bool:
            thread = None if roots[0] is None else roots[0].ts
            return message.sender.id == bot.id and message.thread_ts == thread and not message.subtype

        place = "in a thread" if root is not None or opens else ""
        return Talk(f"Slack {channel.id} {place}".strip(), write, lambda: channel.messages, is_ours)

    def section(self) -> Mapping[str, Any]:
        server = self.server
        tokens = {"bot_token": server.bot.token, "app_token": server.app.token}
        return {**tokens, "api_base_url": server.api_url, "allowed_users": ["*"]}

    async def listened_to(self) -> None:
        await self.server.until(lambda: self.server.events.sockets.live, PATIENCE_SECONDS)

    async def hang_up(self, chance: random.Random) -> None:
        sockets = self.server.events.sockets
        match chance.choice(("refresh", "abort", "freeze")):
            case "refresh":
                await sockets.disconnect("refresh_requested")
            case "abort":
                sockets.abort()
            case "freeze":
                sockets.freeze()


@asynccontextmanager
async def world_of(platform: str) -> AsyncIterator[World]:
    """The platform's server, and people on it."""
    match platform:
        case "telegram":
            async with telegram.TelegramServer() as server:
                yield TelegramWorld(server)
        case "discord":
            async with discord.DiscordServer(heartbeat_seconds=HEARTBEAT_SECONDS) as server:
                yield DiscordWorld(server)
        case _:
            async with slack.SlackServer(rules=RULES) as server:
                yield SlackWorld(server)


# --- what people do ------------------------------------------------------------------------------------


class People:
    """Write, wait for their answers, and write again; and say in the end what was wrong."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._numbers = itertools.count(1)
        self._writing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._storm: asyncio.Task[None] | None = None

    async def obey(self, order: Mapping[str, Any]) -> object:
        """Carry out an order; what is to be said about it. Raises TimeoutError for an answer that does not come."""
        match order["do"]:
            case "begin":
                await self._world.listened_to()
                await asyncio.gather(*(self._ask(talk, 1) for talk in self._world.talks))
            case "write":
                self._writing = True
                self._tasks = [asyncio.create_task(self._live(talk)) for talk in self._world.talks]
            case "quiet":
                self._writing = False
                await asyncio.gather(*self._tasks)
            case "hang up":
                await self._world.hang_up(self._chance)
            case "storm":
                self._storm = asyncio.create_task(self._let_fail())
            case "clear":
                if self._storm is not None:
                    self._storm.cancel()
                self._world.server.faults.clear()
            case "verdict":
                return asdict(self._verdict())
        return None

    async def _live(self, talk: Talk) -> None:
        while self._writing:
            await self._ask(talk, self._chance.choice(self._world.bursts))
            await asyncio.sleep(self._chance.uniform(0, PAUSE_SECONDS))

    async def _ask(self, talk: Talk, count: int) -> None:
        since, labels = len(talk.messages()), []
        for _ in range(count):
            labels.append(label := f"m{next(self._numbers)}")
            talk.asked[label] = f"{label} {self._chance.choice(PLANS)}"
            talk.write(talk.asked[label])

        def answered() -> bool:
            shown = {body_of(message) for message in talk.ours(since)}
            return all(answer_to(talk.asked[label]).strip() in shown for label in labels)

        try:
            await self._world.server.until(answered, PATIENCE_SECONDS)
        except TimeoutError:
            shown = [message.text[:60] for message in talk.ours(since)]
            raise TimeoutError(f"lost: {labels} in {talk.name} have no answer, but {shown}") from None

    async def _let_fail(self) -> None:
        while True:
            self._world.server.inject(self._chance.choice(FAULTS), self._world.sending)
            await asyncio.sleep(self._chance.uniform(0, FAULT_SECONDS))

    # --- the verdict -------------------------------------------------------------------------------------

    def _verdict(self) -> Verdict:
        wrong = [fault for talk in self._world.talks for fault in _wrong_in(talk)]
        # A daemon that was killed has not heard that it is to wait.
        broken = (each for each in self._world.server.violations if "Retry-After" not in each)
        wrong += [f"against the rules: {violation}" for violation in broken]
        marked = sum(is_marked(message) for talk in self._world.talks for message in talk.ours())
        return Verdict(sum(len(talk.asked) for talk in self._world.talks), marked, wrong)


def is_marked(message: Message) -> bool:
    """Whether a message says that it may be a repeat."""
    return MARK in message.text.partition("\n")[0]


def body_of(message: Message) -> str:
    """What a message says, without the mark of a repeat."""
    return (message.text.partition("\n")[2] if is_marked(message) else message.text).strip()


def _wrong_in(talk: Talk) -> Iterator[str]:
    """Each question has its answer, once and in its place; and nothing else is there."""
    wanted = {answer_to(text).strip(): label for label, text in talk.asked.items()}
    plain: Counter[str] = Counter()
    places: dict[str, int] = {}
    for place, message in enumerate(talk.ours()):
        label = wanted.get(body_of(message))
        if label is None:
            yield f"stray: {message.text[:80]!r} in {talk.name} is no answer"
            continue
        places.setdefault(label, place)
        plain[label] += not is_marked(message)
    yield from (f"lost: {label} in {talk.name} has no answer" for label in talk.asked if label not in places)
    yield from (f"repeated: {label} in {talk.name}, {times} times" for label, times in plain.items() if times > 1)
    order = sorted(places, key=places.__getitem__)
    if order != sorted(order, key=_number):
        yield f"order: {talk.name} has {order}"


def _number(label: str) -> int:
    found = re.search(r"\d+", label)
    assert found is not None
    return int(found.group())


async def _keep_light(world: World) -> None:
    """What was said stays as long as the platform: a collector that looks through all of it again holds everybody up,
    for seconds after an hour, and a bot's heartbeat would count as late."""
    while True:
        world.forget()
        gc.collect()  # of what is new alone
        gc.freeze()
        await asyncio.sleep(FREEZE_SECONDS)


async def serve(platform: str, seed: int) -> None:
    """Be the platform, and do as told, until standard input ends."""
    async with world_of(platform) as world, asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(_keep_light(world))
        people = People(world, random.Random(f"{seed} {platform}"))
        print(json.dumps(world.section()), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                said: Any = {"said": await people.obey(json.loads(line))}
            except TimeoutError as error:
                said = {"failed": str(error)}
            print(json.dumps(said), flush=True)
        keeping.cancel()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run(serve(given["platform"], given["seed"]))
