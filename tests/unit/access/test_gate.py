"""Strangers stay out: who reaches the agent, by the configuration and by who was paired."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import GatewayConfig, Platform
from gateway.access import Gate, Member, Membership, People, Role, Sender, Verdict
from gateway.access.gate import facts_of
from gateway.source import SessionSource
from gateway.storage.database import Database


def sender(user_id: str | None = "7", **more: Any) -> Sender:
    names = ("chat_id", "chat_type", "user_id_alt")
    source = {name: more.pop(name) for name in names if name in more}
    return Sender(SessionSource(Platform.TELEGRAM, **{"chat_id": "1", "user_id": user_id, **source}), **more)


def configured(telegram: dict[str, Any] | None = None, **keys: Any) -> GatewayConfig:
    return GatewayConfig.model_validate({"platforms": {"telegram": {"token": "t", **(telegram or {})}}, **keys})


def listed(*people: str, platform: tuple[str, ...] = ()) -> GatewayConfig:
    return configured({"allowed_users": platform}, allowed_users=people)


@pytest.mark.parametrize(
    ("config", "asked", "membership"),
    [
        (listed(), sender(), Membership.UNKNOWN),
        (listed(), sender(operator=True), Membership.OPERATOR),
        (listed("7"), sender(), Membership.LISTED),
        (listed("7"), sender("77"), Membership.UNKNOWN),
        (listed("telegram:7"), sender(), Membership.LISTED),
        (listed("slack:7"), sender(), Membership.UNKNOWN),
        (listed("lasting"), sender(user_id_alt="lasting"), Membership.LISTED),
        (listed("*"), sender("anyone"), Membership.ANYONE),
        (listed("*"), sender(None), Membership.ANYONE),
        (listed("*"), sender("*"), Membership.ANYONE),
        (listed("*", "7"), sender(), Membership.LISTED),
        (listed("7"), sender(None), Membership.UNKNOWN),
        (listed(platform=("7",)), sender(), Membership.LISTED),
        (listed(platform=("8",)), sender(), Membership.UNKNOWN),
        (listed(platform=("*",)), sender(), Membership.ANYONE),
        (listed("*"), sender(bot=True), Membership.UNKNOWN),
        (listed("7"), sender(bot=True), Membership.UNKNOWN),
        (configured({"allowed_bots": ["7"]}), sender(bot=True), Membership.BOT),
        (configured({"allowed_bots": ["7"]}), sender(), Membership.UNKNOWN),
        (configured(owners=["telegram:7"]), sender(), Membership.OWNER),
        (configured(owners=["slack:7"]), sender(), Membership.UNKNOWN),
        (configured(owners=["telegram:7"]), sender(bot=True), Membership.UNKNOWN),
        (configured(access={"admins": ["telegram:7"]}), sender(), Membership.ADMIN),
        (configured({"allowed_roles": ["staff"]}), sender(roles=("x", "staff")), Membership.ROLE),
        (configured({"allowed_roles": ["staff"]}), sender(roles=("x",)), Membership.UNKNOWN),
        (configured({"allowed_chats": ["1"]}), sender(), Membership.CHAT),
        (configured({"allowed_chats": ["2"]}), sender(), Membership.UNKNOWN),
        (configured({"allowed_chats": ["1"]}), sender(None), Membership.CHAT),
        (configured({"allowed_teams": ["T"]}), sender(team="T"), Membership.TEAM),
        (configured({"allowed_teams": ["T"]}), sender(), Membership.UNKNOWN),
        (configured({"allowed_teams": ["T"], "allowed_users": ["7"]}), sender(team="T"), Membership.LISTED),
    ],
)
def test_by_what_a_sender_is_let_in(config: GatewayConfig, asked: Sender, membership: Membership) -> None:
    assert facts_of(asked, config, None).membership is membership


@pytest.mark.parametrize(
    ("role", "membership"),
    [
        (Role.USER, Membership.PAIRED),
        (Role.ADMIN, Membership.PAIRED_ADMIN),
        (Role.GUEST, Membership.PAIRED_GUEST),
        (Role.OWNER, Membership.PAIRED_ADMIN),
    ],
)
def test_pairing_makes_no_owner(role: Role, membership: Membership) -> None:
    assert facts_of(sender(), configured(), role).membership is membership


def test_who_was_paired_is_known_by_the_lasting_id() -> None:
    gate = Gate(configured(), People({Member("telegram", "lasting"): Role.USER}))
    assert gate.decide(sender("changes", user_id_alt="lasting")).role is Role.USER
    assert gate.decide(sender("other")).verdict is Verdict.PAIR
    slack = Sender(SessionSource(Platform.SLACK, "1", user_id="lasting"))
    assert gate.decide(slack).verdict is Verdict.PAIR


@pytest.mark.parametrize(
    ("config", "chat_type", "verdict"),
    [
        (configured(), "dm", Verdict.PAIR),
        (configured(), "group", Verdict.IGNORE),
        (configured(), "channel", Verdict.IGNORE),
        (configured(), "thread", Verdict.IGNORE),
        (configured(access={"dm": "allowlist"}), "dm", Verdict.IGNORE),
        (configured({"dm_policy": "open"}, access={"dm": "closed"}), "dm", Verdict.ALLOW),
        (configured({"dm_policy": "open"}), "group", Verdict.IGNORE),
        (configured({"group_policy": "pair"}), "thread", Verdict.REFUSE),
        (configured({"group_policy": "open"}), "channel", Verdict.ALLOW),
        (configured(access={"group": "open"}), "group", Verdict.ALLOW),
    ],
)
def test_what_a_stranger_meets(config: GatewayConfig, chat_type: str, verdict: Verdict) -> None:
    assert Gate(config).decide(sender(chat_type=chat_type)).verdict is verdict


def test_a_platform_without_a_section_is_closed_too() -> None:
    assert Gate(GatewayConfig()).decide(sender()).verdict is Verdict.PAIR
    assert Gate(GatewayConfig()).decide(sender(chat_type="group")).verdict is Verdict.IGNORE


_ids = st.text(st.sampled_from("*:0123456789abtelegram"), min_size=1, max_size=14)


@given(
    person=_ids,
    alt=st.none() | _ids,
    chat=_ids,
    chat_type=st.sampled_from(["dm", "group", "channel", "thread"]),
    roles=st.lists(_ids, max_size=2),
    team=st.none() | _ids,
    known=st.lists(_ids, max_size=4),
)
def test_nobody_is_let_in_whose_ids_stand_nowhere(
    person: str, alt: str | None, chat: str, chat_type: str, roles: list[str], team: str | None, known: list[str]
) -> None:
    mine = {person, alt, chat, team, *roles, f"telegram:{person}", f"telegram:{alt}"}
    others = [one for one in known if one not in mine and one != "*"]
    config = configured(
        dict.fromkeys(("allowed_users", "allowed_roles", "allowed_chats", "allowed_teams", "allowed_bots"), others),
        allowed_users=others,
        owners=[f"telegram:{one}" for one in others],
        access={"admins": [f"telegram:{one}" for one in others], "group": "pair"},
    )
    people = People({Member("telegram", one): Role.ADMIN for one in others})
    asked = sender(person, user_id_alt=alt, chat_id=chat, chat_type=chat_type, roles=tuple(roles), team=team)
    decision = Gate(config, people).decide(asked)
    assert decision.verdict in (Verdict.PAIR, Verdict.REFUSE)
    assert decision.role is None


async def test_who_is_let_in_by_a_key_stays_so_when_the_list_of_people_is_read_again(tmp_path: Path) -> None:
    source = SessionSource(Platform.API_SERVER, chat_id="laptop", user_id="laptop")
    async with Database.open(tmp_path / "gateway.db", synchronous="normal", reserve_bytes=0) as database:
        people = await People.loaded(database)
        people.lend({Member("api_server", "laptop"): Role.USER})
        await people.load(database)
        assert people.role(source) is Role.USER
        people.lend({})
        assert people.role(source) is None
