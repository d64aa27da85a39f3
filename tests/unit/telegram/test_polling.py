"""Receiving by long polling, over the wire: nothing is lost or confirmed too early, and trouble is named."""

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from adapters.base import AccountError, AdapterState, Button, RawUpdate
from adapters.connection import Connection
from adapters.telegram.client import CallError, Client
from adapters.telegram.constants import REFUSAL_CHECKS
from adapters.telegram.normalise import TOO_OLD
from adapters.telegram.receive import KEPT_OUT
from adapters.testing.telegram import Fault, Media, TelegramServer
from adapters.testing.telegram.updates import Webhook
from tests.support.platform_host import FakeHost
from tests.unit.telegram.support import QUICK, built, delivery, running


def offsets(server: TelegramServer) -> list[int | None]:
    """The offsets that were asked for."""
    return [request.integer("offset") for request in server.requests.of("getUpdates")]


async def test_message_is_stored_then_accepted_then_confirmed(server: TelegramServer, host: FakeHost) -> None:
    ann = server.person("Ann")
    async with running(built(server, host), host):
        ann.writes(server.private(ann), "hello")
        await host.until(lambda: host.texts == ["hello"])
        assert host.updates == {}
        await server.until(lambda: not server.updates.waiting)
    assert server.violations == []


async def test_nothing_is_confirmed_before_it_is_stored(server: TelegramServer, host: FakeHost) -> None:
    ann = server.person("Ann")
    host.broken = {"keep": 3}
    async with running(built(server, host), host):
        ann.writes(server.private(ann), "hello")
        await host.until(lambda: host.state is AdapterState.DEGRADED)
        assert len(server.updates.waiting) == 1
        assert "cannot be stored" in host.reasons[0]
        await host.until(lambda: host.texts == ["hello"])
        await host.until(lambda: host.state is AdapterState.CONNECTED)
        await server.until(lambda: not server.updates.waiting)


async def test_message_that_is_not_accepted_is_tried_again(server: TelegramServer, host: FakeHost) -> None:
    ann = server.person("Ann")
    host.broken = {"accept": 2, "kept": 1, "cursor": 1}
    async with running(built(server, host), host):
        ann.writes(server.private(ann), "one")
        ann.writes(server.private(ann), "two")
        await host.until(lambda: host.texts == ["one", "two"])


async def test_where_an_earlier_process_stopped(server: TelegramServer, host: FakeHost) -> None:
    """What was kept and not looked into comes first; what was not confirmed comes again, and is known."""
    ann = server.person("Ann")
    chat = server.private(ann)
    for text in ("one", "two", "three"):
        ann.writes(chat, text)
    first = server.updates.all[0]
    host.updates[str(first.id)] = RawUpdate(str(first.id), json.dumps(first.object()))
    async with running(built(server, host), host):
        await host.until(lambda: len(host.accepted) == 3)
    assert host.texts == ["one", "two", "three"]
    assert offsets(server)[0] is None


async def test_odd_update_blocks_no_other(
    server: TelegramServer, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    ann = server.person("Ann")
    async with running(built(server, host), host):
        server.updates.push("message", {"message_id": "what", "chat": 5, "date": "never"})
        ann.writes(server.private(ann), "hello")
        await host.until(lambda: host.texts == ["hello"])
        ((update_id, problem),) = host.settled
        assert update_id == str(server.updates.all[0].id)
        assert problem is not None
        assert "cannot be read" in problem
        await server.until(lambda: not server.updates.waiting)
    assert any("set aside" in record.message for record in caplog.records)


async def test_operator_is_told_once_who_is_not_let_in(
    server: TelegramServer, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ann = server.person("Ann\nINFO all is well")
    chat = server.private(ann)
    host.allowed = lambda message: False
    async with running(built(server, host), host):
        for text in ("let", "me", "in"):
            ann.writes(chat, text)
        await host.until(lambda: len(host.accepted) == 3)
    told = [record.getMessage() for record in caplog.records if "is not let in" in record.getMessage()]
    assert told == [f"'Ann\\nINFO all is well' (id {ann.id}) wrote to the bot and is not let in: not in allowed_users"]


async def test_operator_is_told_where_a_channel_is_let_in(
    server: TelegramServer, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is told who writes in one, so that `allowed_users` cannot name them."""
    caplog.set_level(logging.INFO)
    ann = server.person("Ann")
    channel = server.channel("News", ann)
    host.allowed = lambda message: False
    async with running(built(server, host), host):
        ann.writes(channel, f"@{server.bot.username} look")
        await host.until(lambda: host.accepted)
    assert host.accepted[0].source.user_id is None
    told = [record.getMessage() for record in caplog.records if "is not let in" in record.getMessage()]
    reason = "not in allowed_users; allowed_chats lets channels in"
    assert told == [f"the channel 'News' (id {channel.id}) is not let in: {reason}"]


async def test_rest_of_an_album_whose_beginning_an_earlier_process_saw(host: FakeHost) -> None:
    """Only the first picture has the caption, and so the mention."""
    async with TelegramServer(reads_all=True) as server:
        ann = server.person("Ann")
        team = server.supergroup("Team", ann)
        pictures = [Media("photo", bytes([number])) for number in range(3)]
        ann.sends_album(team, *pictures, caption="@hermes_bot look at these")
        ann.sends_album(team, *pictures, caption="not for the bot")
        first = server.updates.all[0]
        server.updates.confirm(first.id)
        host.updates[str(first.id)] = RawUpdate(str(first.id), json.dumps(first.object()))
        async with running(built(server, host), host):
            await host.until(lambda: host.accepted)
        async with running(built(server, host), host):
            await host.until(lambda: len(host.accepted) == 6)
    assert [message.addressed for message in host.accepted] == [True] * 3 + [False] * 3


async def test_repeated_and_reversed_updates(server: TelegramServer, host: FakeHost) -> None:
    ann = server.person("Ann")
    chat = server.private(ann)
    server.updates.repeat()
    server.updates.reverse()
    for text in ("one", "two", "three"):
        ann.writes(chat, text)
    async with running(built(server, host), host):
        await host.until(lambda: len(host.accepted) == 3)
        server.updates.redeliver(server.updates.all[:1])
        ann.writes(chat, "four")
        await host.until(lambda: len(host.accepted) == 4)
    assert host.texts == ["one", "two", "three", "four"]


async def test_numbers_that_begin_anew(server: TelegramServer, host: FakeHost) -> None:
    """After a week of silence the next update has any number, also a lower one: a position from before says nothing."""
    ann = server.person("Ann")
    chat = server.private(ann)
    async with running(built(server, host), host):
        ann.writes(chat, "before")
        await host.until(lambda: host.texts == ["before"])
        await server.until(lambda: not server.updates.waiting)
    server.updates._next_id -= 5_000
    ann.writes(chat, "are you there?")
    async with running(built(server, host), host):
        await host.until(lambda: host.texts == ["before", "are you there?"])
        await server.until(lambda: not server.updates.waiting)


async def test_what_comes_again_changes_nothing(server: TelegramServer, host: FakeHost) -> None:
    """A batch that was looked into, and not confirmed: a message, an edit and a pressed button."""
    ann = server.person("Ann")
    chat = server.private(ann)
    async with running(built(server, host), host) as adapter:
        await adapter.send(delivery(chat, "May I?", adapter, buttons=((Button("Yes", "/yes"),),)))
        ann.edits(ann.writes(chat, "one"), "two")
        ann.presses(chat.messages[0], "/yes")
        await host.until(lambda: len(host.accepted) == 2 and host.amended)
        seen = server.updates.all
    server.updates.redeliver(seen)
    async with running(built(server, host), host):
        await host.until(lambda: len(host.amended) == 2)
        await server.until(lambda: not server.updates.waiting)
    assert host.texts == ["one", "/yes"]
    assert {message.text for message in host.amended} == {"two"}
    assert host.updates == {}


async def test_who_presses_a_button_that_is_too_old_is_told(server: TelegramServer, host: FakeHost) -> None:
    forum = {"id": -1006, "type": "supergroup", "title": "Forum", "is_forum": True}
    press = {"id": "5", "from": server.person("Ann").profile.user(), "chat_instance": "1", "data": "/new"}
    press["message"] = {"chat": forum, "message_id": 4, "date": 0}
    host.updates["5"] = RawUpdate("5", json.dumps({"update_id": 5, "callback_query": press}))
    async with running(built(server, host), host):
        await server.until(lambda: server.requests.of("answerCallbackQuery"))
    (answer,) = server.requests.of("answerCallbackQuery")
    assert answer.text("text") == TOO_OLD.format("/new")
    assert (host.accepted, host.settled) == ([], [("5", None)])


async def test_who_is_not_let_in_is_told_so_where_they_press_a_button(server: TelegramServer, host: FakeHost) -> None:
    ann, eve = server.person("Ann"), server.person("Eve")
    group = server.group("Team", ann, eve)
    host.allowed = lambda message: message.source.user_id == str(ann.id)
    async with running(built(server, host), host) as adapter:
        await adapter.send(delivery(group, "May I?", adapter, buttons=((Button("Yes", "/yes"),),)))
        for person in (ann, eve):
            person.presses(group.messages[-1], "/yes")
        await server.until(lambda: len(server.requests.of("answerCallbackQuery")) == 2)
    said = {request.text("text") for request in server.requests.of("answerCallbackQuery")}
    assert said - {None, ""} == {KEPT_OUT}
    assert len(said) == 2


async def test_a_press_in_a_channel_waits_where_it_is_not_known_who_is_let_in(
    server: TelegramServer, host: FakeHost
) -> None:
    ann = server.person("Ann")
    channel = server.channel("News", ann)
    host.allowed, host.knows_people = lambda message: message.source.chat_id == str(channel.id), False
    async with running(built(server, host), host) as adapter:
        await adapter.send(delivery(channel, "May I?", adapter, buttons=((Button("Yes", "/yes"),),)))
        ann.presses(channel.messages[-1], "/yes")
        await asyncio.sleep(0.2)
        assert (host.texts, host.settled, len(host.updates)) == ([], [], 1)
        host.allowed = lambda _message: True
        await host.until(lambda: host.texts == ["/yes"])


async def test_account_is_named_before_anything_of_it_is_looked_at(server: TelegramServer, host: FakeHost) -> None:
    """With another bot's token what the first had left is not taken for the second's."""
    host.identified = "1"
    host.updates["5"] = RawUpdate("5", json.dumps({"update_id": 5, "message": {"of": "another bot"}}))
    host.broken = {"identify": 1}
    async with running(built(server, host), host):
        await server.until(lambda: server.requests.of("getUpdates"))
    assert host.identified == str(server.bot.id)
    assert host.settled == []


async def test_what_is_asked_for(server: TelegramServer, host: FakeHost) -> None:
    async with running(built(server, host), host):
        await server.until(lambda: server.requests.of("getUpdates"))
    request = server.requests.of("getUpdates")[0]
    assert request.object("allowed_updates") == [
        "message",
        "edited_message",
        "channel_post",
        "edited_channel_post",
        "callback_query",
        "my_chat_member",
    ]
    assert request.integer("timeout") == 2
    assert server.requests.of("deleteWebhook")[0].parameters.get("drop_pending_updates") in (None, "false")


async def test_command_menu_is_set_once(server: TelegramServer, host: FakeHost) -> None:
    async with running(built(server, host), host):
        await server.until(lambda: server.world.commands)
    async with running(built(server, host), host):
        await server.until(lambda: len(server.requests.of("getMyCommands")) == 2)
        await server.until(lambda: server.requests.of("getMyCommands")[1].answer)
        await asyncio.sleep(0.05)
    assert len(server.requests.of("setMyCommands")) == 1
    host.commands = (*host.commands, ("resume", "Take up a session"), ("no-such", "has a dash"))
    async with running(built(server, host), host):
        await server.until(lambda: len(server.requests.of("setMyCommands")) == 2)
        await server.until(lambda: len(next(iter(server.world.commands.values()))) == 3)
    (menu,) = server.world.commands.values()
    assert [each["command"] for each in menu] == ["new", "help", "resume"]


async def test_menu_that_cannot_be_set_stops_nothing(server: TelegramServer, host: FakeHost) -> None:
    server.inject(Fault.error(400, "Bad Request: BOT_COMMAND_INVALID"), "setMyCommands")
    ann = server.person("Ann")
    async with running(built(server, host), host):
        ann.writes(server.private(ann), "hello")
        await host.until(lambda: host.texts == ["hello"])


# --- what the operator has to mend ---------------------------------------------------------------------


async def test_wrong_token_names_its_setting(server: TelegramServer, host: FakeHost) -> None:
    adapter = built(server, host, token="1:AAwrong-wrong-wrong-wrong-wrong-wrong-")
    with pytest.raises(AccountError, match=r"platforms\.telegram\.token \(Unauthorized\)"):
        await adapter.run()
    assert host.states[-1].state is AdapterState.CONNECTING


async def test_address_that_is_no_bot_api(server: TelegramServer, host: FakeHost) -> None:
    """It may be a proxy in front of a server that is about to come back."""
    task = asyncio.create_task(built(server, host, api_base_url=f"{server.base_url}/elsewhere").run())
    await host.until(lambda: len(host.reasons) == 3)
    assert "at platforms.telegram.api_base_url is no Bot API server" in host.reasons[-1]
    assert host.state is AdapterState.CONNECTING
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_bot_that_was_logged_out(server: TelegramServer, host: FakeHost) -> None:
    server.world.logged_out.add(server.bot.id)
    with pytest.raises(AccountError, match=r"logged out .* platforms\.telegram\.api_base_url"):
        await built(server, host).run()


async def test_revoked_token(server: TelegramServer, host: FakeHost) -> None:
    task = asyncio.create_task(built(server, host).run())
    await server.until(lambda: server.requests.of("getUpdates"))
    server.revoke(server.bot)
    with pytest.raises(AccountError, match=r"platforms\.telegram\.token any more"):
        await task
    assert len([reason for reason in host.reasons if "it is asked again" in reason]) == REFUSAL_CHECKS


@pytest.mark.parametrize("code", [401, 404])
async def test_refusal_that_is_taken_back(server: TelegramServer, host: FakeHost, code: int) -> None:
    server.inject(Fault.error(code, "Unauthorized"), "getUpdates", skip=1)
    server.inject(Fault.error(code, "Unauthorized"), "getMe", skip=1, times=REFUSAL_CHECKS - 1)
    ann = server.person("Ann")
    chat = server.private(ann)
    async with running(built(server, host), host):
        ann.writes(chat, "one")
        await host.until(lambda: any("asked again" in reason for reason in host.reasons))
        ann.writes(chat, "two")
        await host.until(lambda: host.texts == ["one", "two"])
        await host.until(lambda: host.state is AdapterState.CONNECTED)


async def test_page_of_a_proxy_is_no_word_on_the_token(
    server: TelegramServer, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = server.person("Ann")
    chat = server.private(ann)
    pages = [404, 401]
    updates = Client.updates

    async def behind_a_proxy(*asked: Any, **waiting: Any) -> Any:
        if host.accepted and pages:
            raise CallError(pages.pop(), "the server answered 404 Not Found", is_verdict=False)
        return await updates(*asked, **waiting)

    monkeypatch.setattr(Client, "updates", behind_a_proxy)
    async with running(built(server, host), host):
        ann.writes(chat, "one")
        await host.until(lambda: not pages)
        ann.writes(chat, "two")
        await host.until(lambda: host.texts == ["one", "two"])
    assert len(server.requests.of("getMe")) == 1


# --- trouble on the way --------------------------------------------------------------------------------


async def test_second_poller_is_named(server: TelegramServer, host: FakeHost) -> None:
    fault = Fault.error(409, "Conflict: terminated by other getUpdates request; make sure that only one bot")
    rule = server.inject(fault, "getUpdates", times=None)
    ann = server.person("Ann")
    async with running(built(server, host), host):
        await host.until(lambda: host.state is AdapterState.DEGRADED)
        assert "another program polls with this token (getUpdates conflict)" in host.reasons[-1]
        assert host.states[-1].next_try is not None
        rule.cancel()
        ann.writes(server.private(ann), "hello")
        await host.until(lambda: host.texts == ["hello"])
        await host.until(lambda: host.state is AdapterState.CONNECTED)


async def test_webhook_set_by_another_program_is_named(server: TelegramServer, host: FakeHost) -> None:
    description = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook"
    server.inject(Fault.error(409, description), "getUpdates", times=2)
    async with running(built(server, host), host):
        await host.until(lambda: host.state is AdapterState.DEGRADED)
        assert "a webhook has been set for this bot by another program" in host.reasons[-1]


async def test_webhook_of_old_is_taken_away(server: TelegramServer, host: FakeHost) -> None:
    server.updates.webhook = Webhook("http://127.0.0.1:1/none")
    async with running(built(server, host), host):
        await server.until(lambda: server.requests.of("getUpdates"))
        assert server.updates.webhook is None


@pytest.mark.parametrize(
    "fault",
    [
        Fault.error(500),
        Fault.error(502, "Bad Gateway"),
        Fault.flood(1),
        Fault.drop(accepted=False),
        Fault.drop(accepted=True),
        Fault.reset(),
    ],
    ids=["500", "502", "429", "drop", "drop after accepting", "reset"],
)
async def test_failed_poll_is_made_again(server: TelegramServer, host: FakeHost, fault: Fault) -> None:
    ann = server.person("Ann")
    ann.writes(server.private(ann), "before")
    server.inject(fault, "getUpdates")
    async with running(built(server, host), host):
        await host.until(lambda: host.texts == ["before"])
        assert host.reasons
        assert all(each.next_try for each in host.states if each.reason)
        await host.until(lambda: host.state is AdapterState.CONNECTED)
    assert server.violations == []


async def test_connection_that_is_open_and_dead_is_noticed(server: TelegramServer, host: FakeHost) -> None:
    ann = server.person("Ann")
    server.inject(Fault.silence(), "getUpdates")
    async with running(built(server, host), host):
        await server.until(lambda: server.requests.of("getUpdates"))
        ann.writes(server.private(ann), "hello")
        await host.until(lambda: host.texts == ["hello"], 10)
        assert host.states[-2].state is AdapterState.DEGRADED or host.state is AdapterState.CONNECTED


async def test_outage_of_the_server(server: TelegramServer, host: FakeHost) -> None:
    ann = server.person("Ann")
    async with running(built(server, host), host):
        await server.until(lambda: server.requests.of("getUpdates"))
        await server.stop()
        await host.until(lambda: any("cannot be reached" in reason for reason in host.reasons))
        ann.writes(server.private(ann), "hello")
        await server.start()
        await host.until(lambda: host.texts == ["hello"])
        await host.until(lambda: host.state is AdapterState.CONNECTED)


async def test_server_that_is_not_there_at_the_start(host: FakeHost) -> None:
    server = TelegramServer()
    await server.start()
    await server.stop()
    ann = server.person("Ann")
    ann.writes(server.private(ann), "hello")
    task = asyncio.create_task(built(server, host).run())
    try:
        await host.until(lambda: host.reasons)
        assert host.state is AdapterState.CONNECTING
        await server.start()
        await host.until(lambda: host.texts == ["hello"])
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop()


async def test_server_that_does_not_keep_requests_open(
    server: TelegramServer, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that answers at once must not be asked in a loop without a pause."""

    async def at_once(_offset: int, _limit: int, _timeout: int) -> list[Any]:
        return []

    monkeypatch.setattr(server.updates, "get", at_once)
    adapter = built(server, host, timing=replace(QUICK, poll=1, first_wait=0.2))
    async with running(adapter, host):
        await server.until(lambda: len(server.requests.of("getUpdates")) == 3)
    first, _, third = server.requests.of("getUpdates")
    assert third.at - first.at >= 0.4


async def test_waits_grow_with_jitter(host: FakeHost) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    chances = iter([1.0, 1.0, 0.0, 1.0, 1.0])
    connection = Connection(host, first_wait=1, longest_wait=5, sleep=sleep, jitter=lambda: next(chances))
    for _ in range(3):
        await connection.rest(AdapterState.DEGRADED, "x")
    await connection.rest(AdapterState.DEGRADED, "x", at_least=30)
    connection.connected()
    await connection.rest(AdapterState.DEGRADED, "x")
    assert waits == [1, 2, 2, 30, 1]


# --- the token -----------------------------------------------------------------------------------------


async def test_token_is_in_no_record(server: TelegramServer, host: FakeHost, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ann = server.person("Ann")
    chat = server.private(ann)
    faults: list[Any] = [Fault.error(500), Fault.drop(), Fault.reset(), Fault.error(409, "Conflict: x")]
    for fault in faults:
        server.inject(fault, "getUpdates")
    async with running(built(server, host), host):
        ann.writes(chat, "hello")
        await host.until(lambda: host.texts == ["hello"])
        await server.stop()
        await host.until(lambda: any("cannot be reached" in reason for reason in host.reasons))
    secret = server.bot.token.partition(":")[2]
    assert len(host.reasons) >= len(faults)
    assert not [reason for reason in host.reasons if secret in reason]
    assert "connected to Telegram" in caplog.text
    assert secret not in caplog.text
