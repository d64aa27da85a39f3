"""Keys: shown once, kept as hashes, gone when revoked; and who may talk to the agent by one."""

from datetime import UTC, datetime, timedelta

import pytest

from config import GatewayConfig, Home, LiveConfig
from gateway.access import Member, People, Role
from gateway.api.keys import CONFIGURED, SCOPES, TOKEN, USE_NOTED_AFTER, KeyRefusedError, Keys
from gateway.logs import Redactor
from gateway.source import SessionSource
from gateway.storage.database import Database


class SteppedClock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


class Case:
    """Keys in a database of their own."""

    def __init__(self, database: Database, config: LiveConfig) -> None:
        self.clock, self.people, self.changes = SteppedClock(), People(), 0
        self.keys = Keys(database, config, self.clock, self.people, on_change=self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def role(self, name: str) -> Role | None:
        return self.people.role(SessionSource("api_server", "x", user_id=name))  # type: ignore[arg-type]


def configured(key: str | None = None) -> LiveConfig:
    return LiveConfig(GatewayConfig.model_validate({"http": {"api_key": key}}))


async def test_a_key_is_shown_once_and_kept_as_a_hash(home: Home) -> None:
    async with Database.open(home.database) as database:
        case = Case(database, configured())
        before = case.keys.any
        assert before is False
        key, token = await case.keys.create("laptop", ["chat", "read"])
        found = TOKEN.fullmatch(token)
        assert found is not None
        assert case.keys.any
        holder = case.keys.verify(token)
        assert holder is not None
        assert (holder.name, holder.scopes) == ("laptop", frozenset({"chat", "read"}))
        assert holder.may("read")
        assert not holder.may("send")
        rows = await database.read("SELECT * FROM api_keys")
        assert found[2] not in repr([tuple(row) for row in rows])
        assert token not in repr(key.to_dict())
        assert "***" in Redactor()(f"they sent {token}")


async def test_another_process_knows_it_and_a_wrong_one_is_nobodys(home: Home) -> None:
    async with Database.open(home.database) as database:
        _, token = await Case(database, configured()).keys.create("laptop", [])
        later = Case(database, configured())
        assert later.keys.verify(token) is None, "it has not looked yet"
        await later.keys.load()
        assert later.keys.verify(token) is not None
        other = token[:-1] + ("A" if token[-1] != "A" else "B")
        for wrong in (other, token[:-1], token + "x", "", "sk-hermes-", token.upper(), "é", "\udcff"):
            assert later.keys.verify(wrong) is None


async def test_a_revoked_key_opens_nothing_and_its_name_is_free(home: Home) -> None:
    async with Database.open(home.database) as database:
        case = Case(database, configured())
        _, token = await case.keys.create("laptop", [])
        assert case.role("laptop") is Role.USER
        with pytest.raises(KeyRefusedError, match="already"):
            await case.keys.create("laptop", [])
        await case.keys.revoke("laptop")
        assert case.keys.verify(token) is None
        assert case.role("laptop") is None
        assert not case.keys.any
        assert case.changes == 2
        with pytest.raises(KeyRefusedError, match="no key laptop"):
            await case.keys.revoke("laptop")
        case.clock.at += timedelta(seconds=1)
        _, second = await case.keys.create("laptop", [])
        assert case.keys.verify(second) is not None
        assert case.keys.verify(token) is None
        assert [key.revoked_at is None for key in await case.keys.listing()] == [False, True]


@pytest.mark.parametrize(("scopes", "role"), [(["chat"], Role.USER), (["admin"], Role.ADMIN), (["read", "send"], None)])
async def test_only_who_may_chat_is_let_in(home: Home, scopes: list[str], role: Role | None) -> None:
    async with Database.open(home.database) as database:
        case = Case(database, configured())
        await case.keys.create("one", scopes)
        assert case.role("one") is role
        case.people.drop(Member("api_server", "one"))
        case.keys.let_in()
        assert case.role("one") is role, "who else is let in was read anew"


async def test_the_key_of_the_configuration_is_good_for_everything_while_it_stands_there(home: Home) -> None:
    async with Database.open(home.database) as database:
        config = configured("of-the-configuration")
        case = Case(database, config)
        await case.keys.load()
        holder = case.keys.verify("of-the-configuration")
        assert holder is not None
        assert all(map(holder.may, SCOPES))
        assert case.role(CONFIGURED) is Role.ADMIN
        config.replace(GatewayConfig())
        case.keys.let_in()
        assert case.keys.verify("of-the-configuration") is None
        assert case.role(CONFIGURED) is None


@pytest.mark.parametrize("name", ["", "Big", "a b", "-x", "x" * 65, "é", "http.api_key", "a/b"])
async def test_a_name_that_is_none_is_refused(home: Home, name: str) -> None:
    async with Database.open(home.database) as database:
        with pytest.raises(KeyRefusedError, match="no name"):
            await Case(database, configured()).keys.create(name, [])


async def test_an_unknown_scope_is_refused(home: Home) -> None:
    async with Database.open(home.database) as database:
        with pytest.raises(KeyRefusedError, match="'all' is no scope; there are chat, read, send, admin"):
            await Case(database, configured()).keys.create("x", ["all"])


async def test_the_last_use_is_noted_now_and_then(home: Home) -> None:
    async with Database.open(home.database) as database:
        case = Case(database, configured())
        _, token = await case.keys.create("one", [])

        async def used() -> datetime | None:
            await database.write(lambda _connection: None)
            return (await case.keys.listing())[0].last_used_at

        assert await used() is None
        first = case.clock.at = case.clock.at + timedelta(hours=1)
        case.keys.verify(token)
        assert await used() == first
        case.clock.at += USE_NOTED_AFTER / 2
        case.keys.verify(token)
        assert await used() == first
        case.clock.at += USE_NOTED_AFTER
        case.keys.verify(token)
        assert await used() == case.clock.at


async def test_on_the_socket(home: Home) -> None:
    async with Database.open(home.database) as database:
        keys = Case(database, configured()).keys
        made = await keys.serve({"op": "keys.create", "name": "one", "scopes": ["read"]})
        assert keys.verify(made["key"]["token"]) is not None
        listed = await keys.serve({"op": "keys.list"})
        assert [key["name"] for key in listed["keys"]] == ["one"]
        assert "token" not in listed["keys"][0]
        assert (await keys.serve({"op": "keys.revoke", "name": "one"}))["key"]["revoked_at"]
        for wrong in ({"op": "keys.revoke", "name": "one"}, {"op": "keys.create"}, {"op": "keys.x"}):
            assert not (await keys.serve(wrong))["ok"]
