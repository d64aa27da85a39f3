"""What Slack sends is acknowledged once it is stored, and told to the core once and in order."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from adapters.base import AccountError, AdapterState, MediaKind, RawUpdate
from adapters.slack import SlackAdapter, receive
from adapters.slack.normalise import Written, read_message
from adapters.slack.wording import Account
from adapters.testing.slack import EnvelopeKind, Fault, Person, SlackServer, Upload
from config.platforms import SlackConfig
from tests.support.platform_host import FakeHost
from tests.support.slack import TIMING
from tests.unit.slack.support import built, delivery, running


async def test_messages_come_in_order_with_their_position(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter
) -> None:
    chat = server.direct(ann)
    for number in range(20):
        ann.writes(chat, str(number))
    await host.until(lambda: len(host.accepted) == 20)
    assert host.texts == [str(number) for number in range(20)]
    cursors = [each.cursor for each in host.accepted if each.cursor is not None]
    assert [json.loads(cursor.value)["top"] for cursor in cursors] == [each.message_id for each in host.accepted]
    assert {cursor.name for cursor in cursors} == {f"channel:{chat.id}"}
    assert host.updates == {}
    assert (host.accepted[0].source.user_name, host.accepted[0].team) == ("Ann", server.home.team.id)


@pytest.mark.parametrize("told", [True, False])
async def test_what_a_file_is_that_came_from_elsewhere_is_asked_for_first(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter, told: bool
) -> None:
    """Only its conversation waits for that, in its order, and not for ever."""
    bo = server.person("Bo")
    chat, elsewhere = server.direct(ann), server.direct(bo)
    gate = server.gate("files.info") if told else None
    if not told:
        server.inject(Fault.silence(accepted=True), "files.info")
    sent = ann.uploads(chat, Upload("photo.png", b"\x89PNG", foreign=True), text="look")
    gone = ann.writes(chat, "never mind")
    ann.writes(chat, "well?")
    ann.deletes(gone)
    bo.writes(elsewhere, "hello")
    await host.until(lambda: host.texts == ["hello"])
    if gate is not None:
        gate.open()
    await host.until(lambda: len(host.accepted) == 4 and host.withdrawn)
    assert host.texts == ["hello", "look", "never mind", "well?"]
    (file,) = host.accepted[1].attachments
    assert file.id == sent.content.files[0].id
    assert (file.kind, file.name) == ((MediaKind.IMAGE, "photo.png") if told else (MediaKind.DOCUMENT, None))
    assert len(server.requests.of("files.info")) == 1
    await host.until(lambda: not host.updates)


async def test_the_files_of_others_are_not_asked_for(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter
) -> None:
    general = server.channel("general", ann)
    ann.uploads(general, Upload("photo.png", foreign=True), text="look at this, all of you")
    await host.until(lambda: host.accepted)
    assert not host.accepted[0].addressed
    assert server.requests.of("files.info") == ()


async def test_what_is_not_stored_is_not_acknowledged(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter
) -> None:
    chat = server.direct(ann)
    server.events.rules = type(server.events.rules)(deadline=0.2, retry_delays=(0.0, 0.05, 0.1))
    host.broken["keep"] = 2
    ann.writes(chat, "hello")
    await host.until(lambda: host.texts == ["hello"])
    (envelope,) = server.events.all
    await server.until(lambda: envelope.acknowledged)
    assert [attempt.acknowledged_at is not None for attempt in envelope.attempts] == [False, False, True]


async def test_an_acknowledgement_waits_for_the_store(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, stored, keep = server.direct(ann), asyncio.Event(), host.keep

    async def slow(*given: Any) -> None:
        await stored.wait()
        await keep(*given)

    monkeypatch.setattr(host, "keep", slow)
    ann.writes(chat, "hello")
    await asyncio.sleep(0.1)
    (envelope,) = server.events.all
    assert not envelope.acknowledged
    stored.set()
    await server.until(lambda: envelope.acknowledged)


async def test_a_store_that_refuses_is_asked_again(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter
) -> None:
    host.broken["accept"] = 3
    ann.writes(server.direct(ann), "hello")
    await host.until(lambda: host.texts == ["hello"])
    await host.until(lambda: host.state is AdapterState.CONNECTED)
    assert any(each.state is AdapterState.DEGRADED for each in host.states)


async def test_what_an_earlier_process_left_comes_first(server: SlackServer, ann: Person, host: FakeHost) -> None:
    chat = server.direct(ann)
    event = {"type": "message", "channel": chat.id, "channel_type": "im", "user": ann.id, "ts": "5.000001", "text": "x"}
    for name, payload in (("Ev1", {"event": event}), ("Ev2", {"event": 5}), ("Ev3", {})):
        text = json.dumps({"kind": "events_api", "payload": payload})
        host.updates[name] = RawUpdate(name, text)
    host.updates["Ev4"] = RawUpdate("Ev4", "{")
    async with running(built(server, host), host):
        assert host.texts == ["x"]
        assert [(name, problem is None) for name, problem in host.settled] == [
            ("Ev2", False),
            ("Ev3", False),
            ("Ev4", False),
        ]


async def test_our_own_edits_and_others_bots_cost_nothing(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter
) -> None:
    robot = server.home.robot("Robot")
    general = server.channel("general", ann, robot)
    robot.writes(general, "beep")
    robot.writes(general, "beep", legacy=True)
    root = ann.writes(general, "@hermes hello")
    ann.reacts(root, "eyes")
    await host.until(lambda: host.texts == ["hello"])
    await server.until(lambda: not server.events.pending)
    assert host.settled == []


async def test_events_of_another_workspace_are_left_alone(
    server: SlackServer, host: FakeHost, adapter: SlackAdapter
) -> None:
    away = server.add_workspace("Away")
    bot = away.install(server.app)
    zoe = away.person("Zoe")
    chat = away.direct(bot, zoe)
    zoe.writes(chat, "hello?")
    await server.until(lambda: server.events.all and not server.events.pending)
    assert (host.accepted, host.updates) == ([], {})


async def test_an_edit_amends(server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter) -> None:
    chat = server.direct(ann)
    message = ann.writes(chat, "noon")
    ann.edits(message, "dusk")
    await host.until(lambda: host.amended)
    (amended,) = host.amended
    assert (amended.message_id, amended.text) == (message.ts, "dusk")


async def test_a_deletion_is_told_after_its_message(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter
) -> None:
    chat, general = server.direct(ann), server.channel("general", ann)
    gone = ann.writes(chat, "noon")
    ann.deletes(gone)
    # One with replies leaves a placeholder, and is a change to Slack.
    root = ann.writes(general, f"{server.bot.profile.mention} begin")
    ann.writes(general, "and go on", thread=root)
    ann.deletes(root)
    await host.until(lambda: len(host.withdrawn) == 2)
    assert host.withdrawn == [(chat.id, gone.ts), (general.id, root.ts)]
    assert host.texts == ["noon", "begin", "and go on"]
    assert (host.amended, host.updates) == ([], {})


async def test_the_deletion_of_an_answer_is_nothing(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter
) -> None:
    chat = server.direct(ann)
    message_id = await adapter.send(delivery(chat, "an answer", adapter))
    await adapter.delete(delivery(chat, "an answer", adapter, message_id=message_id))
    ann.writes(chat, "hello")
    await host.until(lambda: host.texts == ["hello"])
    assert (host.withdrawn, host.settled, host.updates) == ([], [], {})


@pytest.mark.parametrize("heard", [True, False])
async def test_a_mention_waits_a_moment_for_the_files_of_its_message(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter, heard: bool
) -> None:
    """The event of the mention, without them, can come first; without `message.channels` it is the only one."""
    general = server.channel("general", ann)
    event: dict[str, Any] = {"channel": general.id, "user": ann.id, "ts": "1700000000.000100"}
    event["text"] = f"<@{server.bot.id}> read this"
    file = {"id": "F1", "name": "plan.txt", "mimetype": "text/plain"}
    events = [event | {"type": "app_mention"}]
    if heard:
        events.append(event | {"type": "message", "channel_type": "channel", "subtype": "file_share", "files": [file]})
    for number, each in enumerate(events):
        payload = {"event_id": f"Ev{number}", "team_id": server.home.team.id, "event": each}
        server.events.push(EnvelopeKind.EVENT, payload, server.bot)
    await host.until(lambda: host.accepted and not host.updates)
    (taken,) = host.accepted
    assert taken.text == "read this"
    assert [each.id for each in taken.attachments] == (["F1"] if heard else [])


async def test_a_stranger_calls_us_into_no_thread(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter
) -> None:
    bo = server.person("Bo")
    general = server.channel("general", ann, bo)
    host.allowed = lambda message: message.source.user_id == ann.id
    asked = bo.writes(general, "@hermes, answer me")
    ann.writes(general, "it does not know you, Bo", thread=asked)
    ann.writes(general, "@hermes, do answer", thread=asked)
    bo.writes(general, "thank you", thread=asked)
    ann.writes(general, "and now?", thread=asked)
    await host.until(lambda: len(host.accepted) == 5)
    assert [each.addressed for each in host.accepted] == [True, False, True, True, True]


async def test_of_a_long_thread_of_others_its_end_is_told(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter
) -> None:
    general = server.channel("general", ann)
    server.events.lose(230)
    root = ann.writes(general, "how it began")
    for number in range(229):
        ann.writes(general, f"line {number}", thread=root)
    ann.writes(general, f"@{server.bot.profile.name} sum it up", thread=root)
    await host.until(lambda: any(each.addressed for each in host.accepted))
    quote = next(each.quote for each in host.accepted if each.addressed)
    assert quote is not None
    assert quote.text.endswith("@Ann: line 227\n@Ann: line 228")


async def test_names_that_cannot_be_had_hold_nobody_up(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter
) -> None:
    server.inject(Fault.error(200, "missing_scope"), "users.info", times=None)
    chat = server.direct(ann)
    for text in ("one", "two"):
        ann.writes(chat, text)
    await host.until(lambda: host.texts == ["one", "two"])
    assert host.accepted[0].source.user_name is None
    assert len(server.requests.of("users.info")) == 1


# --- the account ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["bot_token", "app_token"])
async def test_what_is_missing_is_named(server: SlackServer, host: FakeHost, key: str) -> None:
    settings: dict[str, Any] = {key: None}
    with pytest.raises(AccountError, match=f"platforms.slack.{key}"):
        await built(server, host, **settings).run()


async def test_a_plain_section_will_do(server: SlackServer, host: FakeHost) -> None:
    section = {"bot_token": "xoxb-1", "app_token": "xapp-1", "api_base_url": server.api_url}
    adapter = SlackAdapter(SlackConfig.model_validate(section), host)
    with pytest.raises(AccountError, match="bot_token"):
        await adapter.run()


async def test_an_app_token_without_its_scope(server: SlackServer, host: FakeHost) -> None:
    server.inject(Fault.error(200, "missing_scope"), "apps.connections.open")
    with pytest.raises(AccountError, match="connections:write"):
        await built(server, host).run()


async def test_a_bot_token_that_is_revoked(server: SlackServer, host: FakeHost) -> None:
    adapter = built(server, host)
    task = asyncio.create_task(adapter.run())
    await host.until(lambda: host.state is AdapterState.CONNECTED)
    server.revoke(server.bot, "account_inactive")
    with pytest.raises(AccountError, match=r"platforms.slack.bot_token \(account_inactive\)"):
        async with asyncio.timeout(5):
            await task


async def test_a_server_that_comes_later(server: SlackServer, ann: Person, host: FakeHost) -> None:
    errors = (Fault.error(200, name) for name in ("internal_error", "org_login_required", "team_added_to_org"))
    for fault in (Fault.reset(), Fault.error(503), *errors, Fault.flood(0)):
        server.inject(fault, "auth.test")
        server.inject(fault, "apps.connections.open")
    async with running(built(server, host), host):
        ann.writes(server.direct(ann), "hello")
        await host.until(lambda: host.texts == ["hello"])
    assert all(each.next_try is not None for each in host.states if each.reason and "cannot" in each.reason)


async def test_connections_that_break_one_after_the_other_are_not_opened_as_fast_as_that_goes(
    server: SlackServer, host: FakeHost
) -> None:
    """Slack lets an app ask for few connections a minute."""

    async def break_each() -> None:
        while True:
            server.events.sockets.abort()
            await asyncio.sleep(0.005)

    timing = replace(TIMING, first_wait=0.2, longest_wait=0.4)
    async with running(built(server, host, timing=timing), host):
        breaking = asyncio.create_task(break_each())
        await asyncio.sleep(1.5)
        breaking.cancel()
        assert 3 <= len(server.requests.of("apps.connections.open")) <= 8
        await host.until(lambda: host.state is AdapterState.CONNECTED)


async def test_what_would_let_others_speak_for_us_is_not_kept(
    server: SlackServer, ann: Person, host: FakeHost, adapter: SlackAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads: list[str] = []
    keep = host.keep

    async def seen(updates: Any, cursor: Any = None) -> None:
        payloads.extend(update.payload for update in updates)
        await keep(updates, cursor)

    monkeypatch.setattr(host, "keep", seen)
    server.app.commands.add("/hermes")
    ann.writes(server.direct(ann), "hello")
    command = ann.commands(server.direct(ann), "/hermes", "help")
    await host.until(lambda: len(host.accepted) == 2)
    assert len(payloads) == 2
    assert not any(server.app.verification in payload or command.url in payload for payload in payloads)
    assert host.identified == f"{server.home.team.id}:{server.bot.id}"


async def test_an_event_that_cannot_be_read_at_first_sight_is_set_aside(
    server: SlackServer, ann: Person, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, known = server.direct(ann), read_message

    def choosy(event: Mapping[str, Any], account: Account) -> Written | str:
        if event["text"] == "odd":
            raise KeyError("nobody has thought of this")
        return known(event, account)

    monkeypatch.setattr(receive, "read_message", choosy)
    async with running(built(server, host), host):
        ann.writes(chat, "odd")
        ann.writes(chat, "hello")
        await host.until(lambda: host.texts == ["hello"])
    assert [problem for _id, problem in host.settled] == ["it cannot be read: KeyError: 'nobody has thought of this'"]
