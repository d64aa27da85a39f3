"""The workspaces that the app is installed in: what belongs to each, and which of them something belongs to.

The app has a bot of its own in each, with a token of its own; events of all of them come the same way. The ids of
Slack's conversations are unique over workspaces, and a conversation that two of them share has one id in both.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.background import Background
from adapters.base import AccountError, AdapterHost, NotConnectedError, RawUpdate
from adapters.connection import Connection, Sleep
from adapters.memory import Memory
from adapters.slack.backfill import Backfill
from adapters.slack.client import Client
from adapters.slack.constants import EVENT, Timing
from adapters.slack.context import ThreadContext
from adapters.slack.intake import Intake
from adapters.slack.marks import Marks
from adapters.slack.mentions import Mentions
from adapters.slack.names import NameBook
from adapters.slack.normalise import Rules
from adapters.slack.positions import CHANNEL, Positions, micros
from adapters.slack.receive import MESSAGES, Receiver, Signals
from adapters.slack.rooms import Rooms
from adapters.slack.send import Sender
from adapters.slack.streams import Streams
from adapters.slack.stubs import Stubs
from adapters.slack.watch import Watch
from adapters.slack.wording import Account
from config.platforms import SlackConfig

log = logging.getLogger(__name__)

Json = Mapping[str, Any]

SEPARATOR: Final = "/"
"""Between a further workspace's id and what belongs to it."""


@dataclass(frozen=True, slots=True)
class Bot:
    """A bot that Slack knows: its connection to the Web API, who it is, and which token it has: 0 is `bot_token`."""

    client: Client
    account: Account
    number: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the workspaces have in common. `pane_opened` is told of a pane that somebody has opened."""

    config: SlackConfig
    host: AdapterHost
    connection: Connection
    timing: Timing
    sleep: Sleep
    background: Background
    rules: Callable[[], Rules]
    pane_opened: Callable[[Client, Json], None]


class Workspace:
    """One of them. The names of what it keeps begin with `prefix`: nothing for the first."""

    def __init__(self, bot: Bot, around: Surroundings, cursors: Mapping[str, str]) -> None:
        self.client, self.account, self.number = bot.client, bot.account, bot.number
        first = not bot.number
        config, host, timing = around.config, around.host, around.timing
        self.prefix = "" if first else f"{self.account.team_id}{SEPARATOR}"
        self.positions = Positions(cursors, self.prefix)
        self.names = NameBook(self.client, host, timing)
        self.watch = Watch(
            self.client,
            around.connection,
            timing,
            around.sleep,
            answers_for_connection=first and config.mode == "http",
        )
        context = ThreadContext(self.client, self.account, self.names, timing)
        rooms = Rooms(self.client, self.positions, timing)
        marks = Marks(self.client, around.background) if config.reactions else None
        signals = Signals(
            self.watch.suspect,
            lambda pane: around.pane_opened(self.client, pane),
            marks.waiting if marks is not None else lambda _channel, _ts: None,
        )
        self.receiver = Receiver(
            host, self.account, around.rules, self.names, self.positions, context, rooms, signals, self.prefix
        )
        self.backfill = Backfill(
            self.client,
            host,
            self.account,
            self.receiver,
            self.positions,
            around.connection,
            timing,
            around.sleep,
        )
        self.receiver.gate = self.backfill
        self.receiver.mentions = self.mentions = Mentions(timing)
        self.receiver.stubs = self.stubs = Stubs(self.client, around.background, timing)
        streams = Streams(self.client, host.clock.monotonic, wanted=config.streaming)
        self.sender = Sender(
            self.client,
            timing,
            self.watch.suspect,
            self.account.user_id,
            streams,
            marks.answered if marks is not None else lambda _delivery: None,
            previews=config.link_previews,
            now=host.clock.monotonic,
        )


class Workspaces:
    """All of them; the first is the one of `bot_token`. It takes what Slack sends in the place of one's `Receiver`."""

    def __init__(self, host: AdapterHost, workspaces: Sequence[Workspace], cursors: Iterable[str]) -> None:
        """`cursors` are the names of all positions, those of workspaces without a good token too."""
        self._host = host
        self._all = list(workspaces)
        self._made = tuple(workspaces)
        known = {f"{CHANNEL}{each.prefix}" for each in workspaces}
        places = (name.rpartition(SEPARATOR) for name in cursors if SEPARATOR in name)
        self._elsewhere = {channel for team, _, channel in places if f"{team}{SEPARATOR}" not in known}
        """Conversations of workspaces without a good token."""
        self._last: Memory[str, Workspace] = Memory()
        """In which one something came from a conversation last."""

    @property
    def first(self) -> Workspace:
        """The one of `bot_token`."""
        return self._all[0]

    @property
    def further(self) -> Sequence[Workspace]:
        """The others that can be used."""
        return self._all[1:]

    def connect(self, intake: Intake) -> None:
        """Tell all of them who takes back what had to wait."""
        for each in self._all:
            each.backfill.intake = each.mentions.intake = each.stubs.intake = intake

    def hold_back(self) -> None:
        """There is a gap."""
        for each in self._all:
            each.backfill.hold_back()

    def missed(self) -> None:
        """There was a gap, and it is over."""
        for each in self._all:
            each.backfill.begin()

    def drop(self, workspace: Workspace) -> None:
        """Nothing comes from it any more; what is to go there waits."""
        self._all.remove(workspace)

    # --- what comes in ---------------------------------------------------------------------------------------

    def glance(self, kind: str, payload: Json) -> bool:
        """Whether something has to be stored."""
        workspace = self._of(kind, payload)
        if workspace is None:
            log.debug("an event for another installation of the app is left alone")
            return False
        return workspace.receiver.glance(kind, payload)

    async def process(self, update: RawUpdate) -> None:
        """Hand on what was stored. Raises `NotStoredError`."""
        workspace = self._of_update(update)
        if workspace is None:
            await self._host.settle(update.id, "it came from a workspace that is not set up any more")
        else:
            await workspace.receiver.process(update)

    def _of_update(self, update: RawUpdate) -> Workspace | None:
        try:
            kept = json.loads(update.payload)
            kind, payload = str(kept["kind"]), kept["payload"]
            workspace, channel = self._of(kind, payload), _channel_of(kind, payload)
        except (ValueError, LookupError, TypeError, AttributeError):
            return self.first  # which sets aside what cannot be read
        if workspace is not None and channel:
            self._last[channel] = workspace
        return workspace

    def _of(self, kind: str, payload: Json) -> Workspace | None:
        """Whose it is. An event names a bot that may see it; a command or a press, the workspace."""
        if kind == EVENT:
            allowed = next((each for each in self._all if each.receiver.is_ours(payload)), None)
            event = payload.get("event") or {}
            if allowed is None or len(self._all) == 1 or event.get("type") not in MESSAGES:
                return allowed
            # Of what is written where several of them are, Slack tells once, in the name of any.
            return next((each for each in self._all if each.receiver.is_meant(event)), allowed)
        # What is pressed stands in a message of one of our bots. Who presses it in a shared channel may be of another
        # workspace, one without a bot of ours among them.
        author = (payload.get("message") or {}).get("user")
        team = payload.get("team_id") or (payload.get("team") or {}).get("id")
        named = [each for each in self._all if each.account.user_id == author]
        named += [each for each in self._all if each.account.team_id == team]
        named += [each for each in self._all if each is self._through(_channel_of(kind, payload))]
        return named[0] if named else self.first

    # --- what goes out ---------------------------------------------------------------------------------------

    def of_chat(self, chat_id: str) -> Workspace:
        """Through whose bot a conversation is written to: the one that heard of it last; the first for the unknown.

        Raises `NotConnectedError` where the token of its workspace was refused.
        """
        found = self._through(chat_id)
        if chat_id in self._elsewhere and not found.positions.knows(chat_id) and chat_id not in self._last:
            raise NotConnectedError("there is no good token for the workspace of the conversation")
        return found

    def _through(self, chat_id: str) -> Workspace:
        """The one that heard of a conversation last; the first for the unknown."""
        if (last := self._last.get(chat_id)) is not None:
            return last
        return max(self._made, key=lambda each: (each.positions.knows(chat_id), micros(each.positions.newest(chat_id))))

    def of_file(self, file_id: str) -> tuple[Workspace, str] | None:
        """Which one has a file, and the file's own id there; None if it is not set up any more."""
        prefix, separator, own = file_id.rpartition(SEPARATOR)
        for each in self._all:
            if each.prefix == f"{prefix}{separator}":
                return each, own
        return None


def _channel_of(kind: str, payload: Json) -> str:
    if kind == EVENT:
        return str(payload["event"].get("channel") or "")
    return str(payload.get("channel_id") or (payload.get("channel") or {}).get("id") or "")


def refused(number: int, error: AccountError) -> str:
    """What its operator has to mend about a further workspace; the others go on."""
    said = str(error).replace("platforms.slack.bot_token", f"token {number} of platforms.slack.workspaces")
    return f"a further workspace is left out until platforms.slack.workspaces changes: {said}"
