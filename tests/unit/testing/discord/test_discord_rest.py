"""The REST API on the wire: what is taken, what is shown, what is refused and how."""

import asyncio
from itertools import pairwise

import aiohttp
import pytest

from adapters.testing.discord import (
    PRIVILEGED,
    Channel,
    DiscordServer,
    File,
    Intents,
    MessageFlags,
    MessageType,
    Permission,
    seconds_of,
    snowflake_at,
)
from tests.unit.testing.discord.support import Rest, Ticks


@pytest.fixture
def general(server: DiscordServer) -> Channel:
    ann = server.person("ann")
    return server.channel(server.guild("Team", ann), "general")


def path(channel: Channel) -> str:
    return f"/channels/{channel.id}/messages"


async def test_answers_are_json_without_a_charset(server: DiscordServer, rest: Rest) -> None:
    assert (await rest.result("GET", "/gateway"))["url"] == server.gateway_url
    assert rest.headers["Content-Type"] == "application/json"
    bot = await rest.result("GET", "/gateway/bot")
    assert (bot["url"], bot["shards"], bot["session_start_limit"]["max_concurrency"]) == (server.gateway_url, 1, 1)
    assert await rest.refusal("GET", "/nowhere") == (404, 0)
    assert await Rest(server, rest.session, "wrong").refusal("GET", "/users/@me") == (401, 0)
    me = await rest.result("GET", "/users/@me")
    assert (me["id"], me["bot"], me["username"]) == (str(server.bot.id), True, "hermes")


async def test_the_application_tells_its_switches(server: DiscordServer, rest: Rest) -> None:
    for where in ("/applications/@me", "/oauth2/applications/@me"):
        assert (await rest.result("GET", where))["flags"] == 1 << 13 | 1 << 15 | 1 << 19
    server.bot.privileged = PRIVILEGED & ~Intents.MESSAGE_CONTENT
    assert (await rest.result("GET", "/applications/@me"))["flags"] == 1 << 13 | 1 << 15


async def test_a_nonce_that_is_enforced(rest: Rest, general: Channel) -> None:
    first = await rest.send(general, "once", nonce="abc", enforce_nonce=True)
    assert first["nonce"] == "abc"
    again = await rest.send(general, "twice", nonce="abc", enforce_nonce=True)
    assert (again["id"], again["content"]) == (first["id"], "once")
    loose = await rest.send(general, "thrice", nonce="abc")
    assert loose["id"] != first["id"]
    assert (await rest.send(general, "other", nonce=5, enforce_nonce=True))["nonce"] == 5
    assert await rest.refusal("POST", path(general), {"content": "x", "nonce": "n" * 26}) == (400, 50035)
    assert [message.text for message in general.messages] == ["once", "thrice", "other"]
    assert "nonce" not in (await rest.history(general))[0]


async def test_a_nonce_is_forgotten_after_some_minutes(session: aiohttp.ClientSession) -> None:
    ticks = Ticks(0)
    async with DiscordServer(monotonic=ticks, nonce_seconds=120) as server:
        rest, dm = Rest(server, session), server.dm(server.person("ann"))
        first = await rest.send(dm, "x", nonce="a", enforce_nonce=True)
        ticks.now += 120
        assert (await rest.send(dm, "x", nonce="a", enforce_nonce=True))["id"] == first["id"]
        ticks.now += 1
        second = await rest.send(dm, "x", nonce="a", enforce_nonce=True)
        assert second["id"] != first["id"]
        server.forget_nonces()
        assert (await rest.send(dm, "x", nonce="a", enforce_nonce=True))["id"] != second["id"]
        assert len(dm.messages) == 3


async def test_characters_are_code_points(server: DiscordServer, rest: Rest, general: Channel) -> None:
    await rest.send(general, "👋" * 2000)
    status, answer = await rest.call("POST", path(general), {"content": "👋" * 2001})
    assert (status, answer["code"]) == (400, 50035)
    assert answer["errors"]["content"]["_errors"][0]["code"] == "BASE_TYPE_MAX_LENGTH"
    assert await rest.refusal("POST", path(general), {"content": " \n"}) == (400, 50006)
    assert (await rest.send(general, "  trimmed\n"))["content"] == "trimmed"
    assert len(server.shown(general)) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"embeds": [{"title": "x" * 257}]},
        {"embeds": [{}] * 11},
        {"embeds": [{"description": "x" * 4096}, {"description": "x" * 1905}]},
        {"components": [{"type": 1, "components": [{"type": 2, "style": 1, "label": "a", "custom_id": "a"}]}] * 2},
        {"components": [{"type": 2, "style": 1, "label": "a", "custom_id": "a"}]},
        {"components": [{"type": 1, "components": []}]},
        {"components": [{"type": 1, "components": [{"type": 2, "style": 1, "custom_id": "a"}]}]},
        {"components": [{"type": 1, "components": [{"type": 2, "style": 5, "label": "a", "custom_id": "a"}]}]},
        {"components": [{"type": 1, "components": [{"type": 3, "custom_id": "a", "options": []}]}]},
        {"allowed_mentions": {"parse": ["users"], "users": ["1"]}},
        {"allowed_mentions": {"parse": ["nobody"]}},
        {"message_reference": {"message_id": "1"}},
    ],
)
async def test_forms_that_are_refused(rest: Rest, general: Channel, body: dict[str, object]) -> None:
    assert await rest.refusal("POST", path(general), {"content": "x", **body}) == (400, 50035)
    assert general.messages == []


async def test_a_body_that_is_no_json(server: DiscordServer, rest: Rest, general: Channel) -> None:
    headers = {"Authorization": f"Bot {server.bot.token}"}
    async with rest.session.post(server.api_url + path(general), data=b"{", headers=headers) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, 50109)


async def test_history(server: DiscordServer, rest: Rest, general: Channel) -> None:
    ann = server.person("bob")
    assert general.guild is not None
    ann.joins(general.guild)
    sent = [ann.writes(general, f"{number}") for number in range(10)]

    async def texts(**query: object) -> list[str]:
        return [message["content"] for message in await rest.history(general, **query)]

    assert await texts() == [f"{number}" for number in range(9, -1, -1)]
    assert await texts(limit=2) == ["9", "8"]
    assert await texts(before=sent[5].id, limit=2) == ["4", "3"]
    assert await texts(after=sent[5].id, limit=2) == ["7", "6"]
    assert await texts(around=sent[5].id, limit=3) == ["6", "5", "4"]
    assert await texts(after=snowflake_at(seconds_of(sent[0].id) - 1), limit=1) == ["0"]
    ann.deletes(sent[9])
    assert await texts(limit=1) == ["8"]
    for query in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"before": 1, "after": 1}):
        assert await rest.refusal("GET", path(general), **query) == (400, 50035)
    assert await rest.refusal("GET", f"{path(general)}/{sent[9].id}") == (404, 10008)
    assert (await rest.result("GET", f"{path(general)}/{sent[8].id}"))["content"] == "8"
    server.deny(general, Permission.READ_MESSAGE_HISTORY)
    assert await texts() == []
    assert await rest.refusal("GET", f"{path(general)}/{sent[8].id}") == (403, 50013)


async def test_history_without_content(server: DiscordServer, rest: Rest, general: Channel) -> None:
    bob = server.person("bob")
    assert general.guild is not None
    bob.joins(general.guild)
    bob.writes(general, "withheld")
    bob.sends(general, File("a.txt"), text=f"{server.bot.mention} open")
    server.bot.privileged = PRIVILEGED & ~Intents.MESSAGE_CONTENT
    await rest.send(general, "mine")
    history = await rest.history(general)
    assert [message["content"] for message in history] == ["mine", f"{server.bot.mention} open", ""]
    assert [len(message["attachments"]) for message in history] == [0, 1, 0]


async def test_mentions(server: DiscordServer, rest: Rest, general: Channel) -> None:
    bob = server.person("bob")
    assert general.guild is not None
    bob.joins(general.guild)
    text = f"@everyone {bob.mention} <@&{general.guild.id}>"
    asked = bob.writes(general, "?")
    open_ = await rest.send(general, text)
    assert ([user["username"] for user in open_["mentions"]], open_["mention_everyone"]) == (["bob"], False)
    closed = await rest.send(general, text, allowed_mentions={"parse": []})
    assert (closed["mentions"], closed["mention_roles"]) == ([], [])
    server.grant(general.guild, Permission.MENTION_EVERYONE)
    assert (await rest.send(general, text))["mention_everyone"] is True
    reference = {"message_id": str(asked.id)}
    called = {"parse": [], "replied_user": True}
    reply = await rest.send(general, "!", message_reference=reference, allowed_mentions=called)
    assert (reply["type"], [user["id"] for user in reply["mentions"]]) == (MessageType.REPLY, [str(bob.id)])
    assert reply["message_reference"]["guild_id"] == str(general.guild.id)
    bob.deletes(asked)
    gone = await rest.send(general, "!", message_reference=reference | {"fail_if_not_exists": False})
    assert gone["type"] == MessageType.DEFAULT


async def test_whose_messages_may_be_changed(server: DiscordServer, rest: Rest, general: Channel) -> None:
    bob = server.person("bob")
    assert general.guild is not None
    bob.joins(general.guild)
    theirs = bob.writes(general, "theirs")
    where = f"{path(general)}/{theirs.id}"
    assert await rest.refusal("PATCH", where, {"content": "mine"}) == (403, 50005)
    assert await rest.refusal("DELETE", where) == (403, 50013)
    server.grant(general.guild, Permission.MANAGE_MESSAGES)
    await rest.result("DELETE", where)
    assert server.shown(general) == ()
    mine = await rest.send(general, "mine", embeds=[{"title": "kept"}])
    edited = await rest.result("PATCH", f"{path(general)}/{mine['id']}", {"content": "changed"})
    assert (edited["content"], edited["embeds"][0]["title"]) == ("changed", "kept")
    empty = {"content": "", "embeds": []}
    assert await rest.refusal("PATCH", f"{path(general)}/{mine['id']}", empty) == (400, 50006)
    bob.speaks(general)
    with pytest.raises(ValueError, match="voice"):
        bob.edits(general.messages[-1], "x")


async def test_reactions(server: DiscordServer, rest: Rest, general: Channel) -> None:
    bob = server.person("bob")
    assert general.guild is not None
    bob.joins(general.guild)
    message = bob.writes(general, "x")
    assert await rest.react(message, "👍") == (204, None)
    assert await rest.react(message, "👍") == (204, None)
    assert await rest.react(message, "party:123") == (204, None)
    assert (await rest.react(message, "thumbs"))[1]["code"] == 10014
    shown = (await rest.history(general))[0]["reactions"]
    assert [(each["emoji"], each["count"], each["me"]) for each in shown] == [
        ({"id": None, "name": "👍"}, 1, True),
        ({"id": "123", "name": "party"}, 1, True),
    ]
    server.deny(general, Permission.ADD_REACTIONS)
    assert (await rest.react(message, "👎"))[1]["code"] == 50013
    bob.reacts(message, "👎")
    assert (await rest.react(message, "👎"))[0] == 204


async def test_links_to_files_expire(session: aiohttp.ClientSession) -> None:
    ticks = Ticks()
    async with DiscordServer(clock=ticks) as server:
        ann = server.person("ann")
        dm = server.dm(ann)
        ann.sends(dm, File("cat.png", b"meow"))
        rest = Rest(server, session)

        async def fetch(url: str) -> tuple[int, bytes]:
            async with session.get(url) as answer:
                return answer.status, await answer.read()

        url = (await rest.history(dm))[0]["attachments"][0]["url"]
        assert await fetch(url) == (200, b"meow")
        assert (await fetch(url.partition("?")[0]))[0] == 404
        ticks.now += 24 * 3600
        assert (await fetch(url))[0] == 404
        fresh = (await rest.history(dm))[0]["attachments"][0]["url"]
        assert await fetch(fresh) == (200, b"meow")
        assert [each.status for each in server.requests.named("download")] == [200, 404, 404, 200]


async def test_ids_grow_though_the_clock_stands_still(session: aiohttp.ClientSession) -> None:
    ticks = Ticks()
    async with DiscordServer(clock=ticks) as server:
        ann = server.person("ann")
        dm = server.dm(ann)
        ids = [ann.writes(dm, "x").id for _ in range(50)]
        ticks.now -= 60
        ids.append(ann.writes(dm, "x").id)
        assert all(first < second for first, second in pairwise(ids))
        assert seconds_of(ids[0]) == 1_700_000_000
        ticks.now += 3600
        assert seconds_of(ann.writes(dm, "x").id) == ticks.now


async def test_interactions(server: DiscordServer, rest: Rest, general: Channel) -> None:
    bob = server.person("bob")
    assert general.guild is not None
    bob.joins(general.guild)
    commands = f"/applications/{server.bot.id}/commands"
    body = {"name": "help", "description": "Helps"}
    (made,) = await rest.result("PUT", commands, [body])
    assert (await rest.result("PUT", commands, [body | {"description": "More"}]))[0]["id"] == made["id"]
    assert await rest.refusal("PUT", commands, [body, body]) == (400, 50035)
    assert await rest.refusal("POST", commands, {"name": "Help", "description": "x"}) == (400, 50035)
    assert await rest.refusal("POST", commands, {"name": "help"}) == (400, 50035)
    used = bob.uses(general, "help")
    where = f"/interactions/{used.id}/{used.token}/callback"
    late = f"/webhooks/{server.bot.id}/{used.token}"
    assert await rest.refusal("POST", late, {"content": "early"}) == (404, 10015)
    assert await rest.refusal("POST", where, {"type": 7}) == (400, 50035)
    assert await rest.call("POST", where, {"type": 5, "data": {"flags": 64}}) == (204, None)
    assert await rest.refusal("POST", where, {"type": 5}) == (400, 40060)
    assert used.response is not None
    assert MessageFlags.LOADING in used.response.flags
    done = await rest.result("PATCH", late + "/messages/@original", {"content": "@everyone done"})
    assert (done["content"], done["flags"]) == ("@everyone done", int(MessageFlags.EPHEMERAL))
    assert server.shown(general) == ()
    assert [message.text for message in server.shown(general, to=bob)] == ["@everyone done"]
    assert await rest.history(general) == []
    extra = await rest.result("POST", late, {"content": "more"}, wait="true")
    assert extra["interaction_metadata"]["id"] == str(used.id)
    await rest.result("DELETE", f"{late}/messages/{extra['id']}")
    assert await rest.refusal("GET", f"{late}/messages/{extra['id']}") == (404, 10008)


async def test_an_interaction_is_answered_in_time(session: aiohttp.ClientSession) -> None:
    ticks = Ticks(0)
    async with DiscordServer(monotonic=ticks) as server:
        rest, ann = Rest(server, session), server.person("ann")
        dm = server.dm(ann)
        await rest.result("PUT", f"/applications/{server.bot.id}/commands", [{"name": "help", "description": "x"}])
        first, second = ann.uses(dm, "help"), ann.uses(dm, "help")
        ticks.now += 2
        await rest.result("POST", f"/interactions/{first.id}/{first.token}/callback", {"type": 5})
        ticks.now += 2
        callback = f"/interactions/{second.id}/{second.token}/callback"
        assert await rest.refusal("POST", callback, {"type": 5}) == (404, 10062)
        assert second.answered is None
        ticks.now += 15 * 60
        original = f"/webhooks/{server.bot.id}/{first.token}/messages/@original"
        assert await rest.refusal("PATCH", original, {"content": "x"}) == (401, 50027)


async def test_threads(server: DiscordServer, rest: Rest, general: Channel) -> None:
    bob = server.person("bob")
    assert general.guild is not None
    bob.joins(general.guild)
    thread = bob.opens_thread(general, "Secret", private=True)
    assert await rest.refusal("GET", f"/channels/{thread.id}") == (403, 50001)
    bob.adds(thread, server.bot)
    assert (await rest.result("GET", f"/channels/{thread.id}"))["member"]["user_id"] == str(server.bot.id)
    active = await rest.result("GET", f"/guilds/{general.guild.id}/threads/active")
    assert [each["name"] for each in active["threads"]] == ["Secret"]
    server.deny(general, Permission.SEND_MESSAGES, Permission.CREATE_PUBLIC_THREADS)
    await rest.send(thread, "threads have a permission of their own")
    assert await rest.refusal("POST", path(general), {"content": "x"}) == (403, 50013)
    start = f"/channels/{general.id}/threads"
    assert await rest.refusal("POST", start, {"name": "x", "type": 11}) == (403, 50013)
    server.deny(general, Permission.SEND_MESSAGES_IN_THREADS)
    assert await rest.refusal("POST", path(thread), {"content": "x"}) == (403, 50013)
    assert await rest.refusal("PUT", f"/channels/{general.id}/thread-members/@me") == (404, 10003)


async def test_an_archived_thread(server: DiscordServer, rest: Rest, general: Channel) -> None:
    bob = server.person("bob")
    assert general.guild is not None
    bob.joins(general.guild)
    thread = bob.opens_thread(bob.writes(general, "root"), "Talk")
    mine = await rest.send(thread, "mine")
    bob.archives(thread)
    assert await rest.refusal("PATCH", f"{path(thread)}/{mine['id']}", {"content": "x"}) == (400, 50083)
    listed = await rest.result("GET", f"/channels/{general.id}/threads/archived/public")
    assert ([each["id"] for each in listed["threads"]], listed["has_more"]) == ([str(thread.id)], False)
    assert thread.thread is not None
    thread.thread.locked = True
    assert await rest.refusal("POST", path(thread), {"content": "x"}) == (400, 50083)
    thread.thread.locked = False
    await rest.send(thread, "open again")
    assert not thread.thread.archived


async def test_conversations(server: DiscordServer, rest: Rest) -> None:
    ann = server.person("ann")
    made = await rest.result("POST", "/users/@me/channels", {"recipient_id": str(ann.id)})
    assert made["id"] == str(server.dm(ann).id)
    assert [user["username"] for user in made["recipients"]] == ["ann"]
    assert await rest.refusal("POST", "/users/@me/channels", {"recipient_id": "5"}) == (400, 50033)
    other = server.add_bot("other")
    foreign = server.dm(ann, other)
    assert await rest.refusal("GET", f"/channels/{foreign.id}") == (403, 50001)
    assert await rest.refusal("GET", "/channels/5") == (404, 10003)


async def test_who_pastes_too_much_sends_a_file(server: DiscordServer) -> None:
    ann = server.person("ann")
    dm = server.dm(ann)
    assert ann.pastes(dm, "short").text == "short"
    (attachment,) = ann.pastes(dm, "x" * 2001).content.attachments
    assert (attachment.file.name, attachment.file.data) == ("message.txt", b"x" * 2001)
    with pytest.raises(ValueError, match="pastes"):
        ann.writes(dm, "x" * 2001)
    guild = server.guild("Elsewhere", server.person("eve"))
    with pytest.raises(ValueError, match="see"):
        ann.writes(server.channel(guild, "general"), "x")
    await asyncio.sleep(0)
