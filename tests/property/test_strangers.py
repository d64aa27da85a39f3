"""No path leads from somebody who is not let in to an agent, a tool, a session or a file, whatever they send."""

import asyncio
import hashlib
import hmac
import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import LiveConfig, Platform, PlatformConfig
from gateway.access import Gate, Member, People, Role
from gateway.access.door import Door
from gateway.api.calls import Calls
from gateway.api.errors import ApiError
from gateway.api.signatures import FORMS
from gateway.api.webhooks import Webhooks
from gateway.commands.table import Arguments, Command, CommandTable, Effect, say
from gateway.importing.home import HermesHome, HermesReader
from gateway.importing.importer import Importer
from gateway.importing.intake import Intake
from gateway.inbound import InboundRecord
from gateway.inbox import Inbox
from gateway.pairing import STRANGER, Pairing, buttons_for
from gateway.ports import Accepted, AdapterHost, Attachment, InboundMessage, InboundState, MediaKind, Quote
from gateway.source import SessionSource
from gateway.storage.words import define_words
from tests.support import hermes_home
from tests.support.fakes import ALICE, Core, FakeAdapter, FakeAgent, ManualClock, configure, core

MARK: Final = "zanzibarianquagga"
IMPORTED: Final = "20260301_080000_aaaaaaaa"
IMPORTED_WORD: Final = "xylophonewombat"
FRIEND: Final = ALICE
GROUP: Final = "-100"

CONFIG: Final = configure(allowed_users=["alice"], access={"group": "pair"}, owners=["telegram:olga"])

TEXTS: Final = (
    MARK,
    f"/new {MARK}",
    "/status",
    "/stop",
    "/secret",
    "/pairing",
    "/pairing approve telegram:mallory",
    "/pairing role telegram:mallory admin",
    "/ѕecret",
    "／secret",
    "//secret",
    f"MEDIA:/etc/{MARK}",
    f"[click](/secret) @everyone {MARK}",
    *(button.command for button in buttons_for(Member("telegram", "mallory"))),
    f"/resume {IMPORTED}",
    f"/sessions {IMPORTED_WORD}",
    f"/search {IMPORTED_WORD}",
    "/export",
    "/retry",
    "",
)
"""What is written, and what pressing a button comes to."""


class Watched(FakeAdapter):
    """Counts what is fetched."""

    fetched = 0

    async def fetch(self, attachment: Attachment, write: Callable[[bytes], Awaitable[None]]) -> None:
        self.fetched += 1
        await write(b"data")


def stranger(chat: str, chat_type: str, alt: str | None) -> SessionSource:
    return SessionSource(
        Platform.TELEGRAM,
        chat_id=chat,
        chat_type=chat_type,
        user_id="mallory",
        user_name=f"alice {MARK[:4]}",
        chat_name="owners",
        user_id_alt=alt,
        thread_id=None,
    )


_sources = st.one_of(
    st.builds(stranger, st.sampled_from(["666", "1"]), st.just("dm"), st.sampled_from([None, "mallory2", "*"])),
    st.builds(stranger, st.just(GROUP), st.sampled_from(["group", "channel", "thread"]), st.none()),
)
_messages = st.builds(
    InboundMessage,
    source=_sources,
    message_id=st.sampled_from(["a", "b", "c", "friend 0", "friend 1"]),
    text=st.sampled_from(TEXTS),
    addressed=st.booleans(),
    group_id=st.sampled_from([None, "album"]),
    attachments=st.sampled_from([(), (Attachment(MediaKind.DOCUMENT, "f", f"../{MARK}.txt", "text/plain", 4),)]),
    quote=st.sampled_from([None, Quote(MARK, "olga", ours=True)]),
    roles=st.sampled_from([(), ("admin", "*")]),
    team=st.sampled_from([None, "*"]),
    from_bot=st.booleans(),
)
_acts = st.lists(st.tuples(st.sampled_from(["says", "edits", "friend"]), _messages), min_size=1, max_size=12)


def table(ran: list[str]) -> CommandTable:
    """Commands that tell who got through to them."""

    def run(record: InboundRecord, _given: Arguments) -> Effect:
        ran.append(str(record.source.user_id))
        return say("done")

    return CommandTable(
        [
            Command(name, name, run, immediate=immediate, role=role)
            for name, immediate, role in (
                ("status", True, Role.GUEST),
                ("new", False, Role.GUEST),
                ("secret", False, Role.OWNER),
                ("pairing", True, Role.ADMIN),
                ("resume", False, Role.GUEST),
                ("sessions", True, Role.GUEST),
                ("search", True, Role.GUEST),
                ("export", False, Role.GUEST),
                ("retry", False, Role.GUEST),
            )
        ]
    )


async def carry_out(gateway: Core, inbox: Inbox, acts: list[tuple[str, InboundMessage]]) -> None:
    for number, (act, message) in enumerate(acts):
        if act == "says":
            assert not inbox.admits(message, operator=False)
            receipt = await inbox.accept(message, operator=False)
            assert receipt.state is InboundState.IGNORED or receipt.duplicate
        elif act == "edits":
            await gateway.corrections.amend(message, operator=False)
        else:
            await inbox.accept(
                InboundMessage(FRIEND, f"friend {number}", "/secret" if number % 2 else "hi"), operator=False
            )
    await gateway.settled()


async def bring(gateway: Core, folder: Path) -> None:
    """Import a conversation that somebody had in the very places where the stranger writes."""
    home = hermes_home.Writer(folder / "hermes")
    for number, (chat, chat_type) in enumerate((("666", "dm"), ("1", "dm"), (GROUP, "group"))):
        session = f"{IMPORTED[:-1]}{number}"
        home.row(session, hermes_home.talk(IMPORTED_WORD), source="telegram", user_id="mallory")
        origin = hermes_home.source("telegram", chat, chat_type=chat_type, user_id="mallory", user_name="Mallory")
        home.entry(session, f"agent:main:telegram:{chat_type}:{chat}", origin)
    with HermesReader.open(HermesHome.at(home.path), UTC) as reader:
        report = await Importer(reader, Intake(gateway.database, CONFIG, gateway.clock)).run()
    assert report.new == 3


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(acts=_acts, imported=st.booleans())
def test_who_is_not_let_in_reaches_nothing(acts: list[tuple[str, InboundMessage]], imported: bool) -> None:
    ran: list[str] = []
    agent, adapter = FakeAgent(), Watched()

    async def run(folder: Path) -> None:
        async with core(folder, agent, adapter, config=CONFIG, commands=table(ran)) as gateway:
            inbox = _inbox_with_pairing(gateway)
            if imported:
                await bring(gateway, folder)
            await carry_out(gateway, inbox, acts)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
        with closing(sqlite3.connect(Path(folder) / "gateway.db")) as connection:
            define_words(connection)
            dumped = "\n".join(connection.iterdump())
    assert {turn.source.user_id for turn in agent.turns} <= {"alice"}
    assert set(ran) <= {"alice"}
    assert adapter.fetched == 0
    assert MARK not in dumped
    assert (IMPORTED_WORD in dumped) is imported
    _only_codes_went_out(adapter)


def _inbox_with_pairing(gateway: Core) -> Inbox:
    """The core's inbox with a door that gives codes."""
    gate = Gate(CONFIG)
    door = Door(CONFIG, gateway.clock, gate=gate, pairing=Pairing(CONFIG, b"secret"), counters=Counter())
    gateway.inbox._door = door
    return gateway.inbox


def _only_codes_went_out(adapter: FakeAdapter) -> None:
    """What a stranger can read anywhere that is theirs: that they are not known."""
    theirs = [delivery for delivery in adapter.of("send") if delivery.target.chat_id in ("666", GROUP)]
    assert all(delivery.text.startswith(STRANGER) for delivery in theirs)
    assert not [delivery for delivery in adapter.of("send") if IMPORTED_WORD in delivery.text]


def test_the_friend_gets_through() -> None:
    """The same walk lets those through who are let in: so the property can fail."""
    ran: list[str] = []
    agent = FakeAgent()

    async def run(folder: Path) -> Any:
        async with core(folder, agent, config=CONFIG, commands=table(ran)) as gateway:
            friend = InboundMessage(FRIEND, "1", "hi")
            await gateway.inbox.accept(friend, operator=False)
            await gateway.inbox.accept(InboundMessage(FRIEND, "2", "/status"), operator=False)
            await gateway.inbox.accept(InboundMessage(FRIEND, "3", "/secret"), operator=False)
            await gateway.settled()
            return await gateway.ends()

    with tempfile.TemporaryDirectory() as folder:
        ends = asyncio.run(run(Path(folder)))
    assert ran == ["alice"]
    assert len(agent.turns) == 1
    assert ends == {"1": "answered", "2": "answered", "3": "refused"}


# --- webhooks: who knows no secret -----------------------------------------------------------------------------

SECRET: Final = "a secret that nobody guesses"
HOOKS: Final = {
    form: {"signature": form, "secret": SECRET, "prompt": "{text} {a.b}", "target": "telegram:1"} for form in FORMS
}
HOOKED: Final = configure(
    allowed_users=["alice"], webhooks=HOOKS, owners=["telegram:olga"], platforms={"telegram": {"token": "1:a"}}
)

_guesses = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["", "sha256=", "v0=", "v1,", f"sha256={'0' * 64}", f"v0={'f' * 64}", SECRET]),
    st.binary(min_size=32, max_size=32).map(lambda digest: f"sha256={digest.hex()}"),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
)
_headers = st.fixed_dictionaries(
    {
        **{form.signature: _guesses for form in FORMS.values()},
        **{form.time: st.sampled_from(["0", "1772366400", "", "x"]) for form in FORMS.values() if form.time},
        "webhook-id": st.text(max_size=10),
        "idempotency-key": st.sampled_from(["", "a"]),
    }
)
_bodies = st.one_of(
    st.binary(max_size=50),
    st.sampled_from(TEXTS).map(lambda text: json.dumps({"text": text, "type": "url_verification"}).encode()),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(posts=st.lists(st.tuples(st.sampled_from(list(HOOKS)), _headers, _bodies), min_size=1, max_size=8))
def test_who_knows_no_secret_of_a_webhook_reaches_nothing(posts: list[tuple[str, dict[str, str], bytes]]) -> None:
    ran: list[str] = []
    agent, adapter = FakeAgent(), Watched()

    async def run(folder: Path) -> None:
        async with core(folder, agent, adapter, config=HOOKED, commands=table(ran)) as gateway:
            webhooks = _webhooks(gateway)
            for name, headers, body in posts:
                hook = webhooks.find(name)
                assert hook is not None
                with pytest.raises(ApiError) as refused:
                    await webhooks.take(name, hook, headers, body)
                assert refused.value.status == 401
            await gateway.settled()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
        with closing(sqlite3.connect(Path(folder) / "gateway.db")) as connection:
            define_words(connection)
            dumped = "\n".join(connection.iterdump())
    assert not agent.turns
    assert not ran
    assert adapter.fetched == 0
    assert not adapter.of("send")
    assert MARK not in dumped
    assert 'INSERT INTO "webhook_calls"' not in dumped


def test_who_knows_the_secret_reaches_the_agent_and_no_command() -> None:
    """The same walk lets those through who have signed: so the property can fail."""
    ran: list[str] = []
    agent, adapter, clock = FakeAgent(), Watched(), ManualClock()

    async def run(folder: Path) -> None:
        async with core(folder, agent, adapter, config=HOOKED, clock=clock, commands=table(ran)) as gateway:
            webhooks = _webhooks(gateway)
            hook = webhooks.find("github")
            assert hook is not None
            for text in TEXTS:
                body = json.dumps({"text": text}).encode()
                digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
                clock.advance(60)
                await webhooks.take("github", hook, {"x-hub-signature-256": f"sha256={digest}"}, body)
            await gateway.settled()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
    assert len(agent.turns) == len(set(TEXTS))
    assert {turn.source.user_id for turn in agent.turns} == {"webhook:github"}
    assert not ran
    assert {delivery.target.chat_id for delivery in adapter.of("send")} == {"1"}


class _Taker:
    """As much of an adapter's host as webhooks need."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def accept(self, message: InboundMessage) -> Accepted:
        return await self._inbox.accept(message, operator=False)


def _webhooks(gateway: Core) -> Webhooks:
    """Webhooks before the core's inbox, at whose door they are let in."""
    config, people = LiveConfig(HOOKED), People()
    gate = Gate(config, people)
    gateway.inbox._door = Door(HOOKED, gateway.clock, gate=gate, counters=Counter())
    gateway.lanes._desk.gate = gate
    webhooks = Webhooks(Calls(gateway.database, gateway.clock), config, gateway.clock, people, gate)
    webhooks.platform(cast("PlatformConfig", None), cast("AdapterHost", _Taker(gateway.inbox)))
    return webhooks
