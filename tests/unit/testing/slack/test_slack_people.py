"""What people, other bots and Slack itself do, and which events come of it."""

from typing import Any

import aiohttp
import pytest
from slack_sdk.web.async_client import AsyncWebClient

from adapters.testing.slack import SlackServer
from tests.unit.testing.slack.support import Listener, client_of, refused


def told(server: SlackServer) -> list[dict[str, Any]]:
    return [envelope.event for envelope in server.events.all]


async def test_a_mention_comes_as_two_events(server: SlackServer) -> None:
    ann = server.person("Ann")
    general = server.channel("general", ann)
    asked = ann.writes(general, "@hermes: do it, @channel")
    assert asked.content.text == f"<@{server.bot.id}>: do it, <!channel>"
    assert asked.text == "@hermes: do it, @channel"
    assert asked.notified == (server.bot.id, "channel")
    message, mention = told(server)
    assert [message["type"], mention["type"]] == ["message", "app_mention"]
    assert message["ts"] == mention["ts"] == asked.ts
    assert message["client_msg_id"] == mention["client_msg_id"]
    assert server.events.all[0].payload["event_id"] != server.events.all[1].payload["event_id"]
    elements = message["blocks"][0]["elements"][0]["elements"]
    assert [each["type"] for each in elements] == ["user", "text", "broadcast"]
    ann.writes(server.direct(ann), "@hermes")
    assert [each["type"] for each in told(server)[2:]] == ["message"]


async def test_threads(server: SlackServer) -> None:
    ann = server.person("Ann")
    general = server.channel("general", ann, private=True)
    root = ann.writes(general, "root")
    reply = ann.writes(general, "reply", thread=root)
    again = ann.writes(general, "to all", thread=reply, broadcast=True)
    first, second, third = told(server)
    assert "thread_ts" not in first
    assert (second["thread_ts"], second["parent_user_id"], second["channel_type"]) == (root.ts, ann.id, "group")
    assert (third["subtype"], third["root"]["ts"], third["thread_ts"]) == ("thread_broadcast", root.ts, root.ts)
    assert server.shown(general, thread=root) == (reply, again)


async def test_edits_deletions_and_previews(server: SlackServer) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    asked = ann.writes(chat, "https://example.org")
    server.home.unfurl(asked, "Example")
    ann.edits(asked, "better")
    ann.deletes(asked)
    _, preview, edit, deletion = told(server)
    assert preview["subtype"] == edit["subtype"] == "message_changed"
    assert "edited" not in preview["message"]
    assert preview["message"]["text"] == preview["previous_message"]["text"]
    assert (edit["message"]["edited"]["user"], edit["previous_message"]["text"]) == (ann.id, "<https://example.org>")
    assert (deletion["subtype"], deletion["deleted_ts"], deletion["hidden"]) == ("message_deleted", asked.ts, True)
    assert asked.texts == ("https://example.org", "https://example.org", "better")
    assert asked.deleted_at is not None
    with pytest.raises(ValueError, match="their own"):
        server.person("Bob").edits(asked, "x")


async def test_a_root_with_replies_leaves_a_placeholder(server: SlackServer, web: AsyncWebClient) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    root = ann.writes(chat, "root")
    ann.writes(chat, "reply", thread=root)
    ann.deletes(root)
    assert told(server)[-1]["subtype"] == "message_changed"
    assert told(server)[-1]["message"]["subtype"] == "tombstone"
    (shown,) = (await web.conversations_history(channel=chat.id))["messages"]
    assert (shown["subtype"], shown["user"], shown["reply_count"]) == ("tombstone", "USLACKBOT", 1)
    await web.chat_postMessage(channel=chat.id, text="still", thread_ts=root.ts)


async def test_reactions_both_ways(server: SlackServer, web: AsyncWebClient) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    asked = ann.writes(chat, "?")
    await web.reactions_add(channel=chat.id, timestamp=asked.ts, name="eyes")
    assert (await refused(web.reactions_add(channel=chat.id, timestamp=asked.ts, name="eyes")))["error"] == (
        "already_reacted"
    )
    assert asked.reactions == {"eyes": [server.bot.id]}
    ann.reacts(asked, "tada", "eyes")
    ann.reacts(asked, "eyes")
    await web.reactions_remove(channel=chat.id, timestamp=asked.ts, name="eyes")
    assert asked.reactions == {"eyes": [ann.id]}
    events = [(each["type"], each["reaction"], each["user"]) for each in told(server)[1:]]
    assert events == [
        ("reaction_added", "eyes", server.bot.id),
        ("reaction_added", "tada", ann.id),
        ("reaction_added", "eyes", ann.id),
        ("reaction_removed", "tada", ann.id),
        ("reaction_removed", "eyes", server.bot.id),
    ]
    answer = await refused(web.reactions_add(channel=chat.id, timestamp="1.000001", name="eyes"))
    assert answer["error"] == "message_not_found"


async def test_other_bots_write_too(server: SlackServer) -> None:
    ann, robot = server.person("Ann"), server.home.robot("Deploys")
    general = server.home.channel("general", ann, robot, server.bot)
    robot.writes(general, "@hermes done")
    robot.writes(general, "as of old", legacy=True)
    message, mention, old = told(server)
    assert (message["bot_id"], message["user"]) == (robot.profile.bot_id, robot.id)
    assert message["bot_profile"]["name"] == "Deploys"
    assert (mention["type"], mention["bot_id"]) == ("app_mention", robot.profile.bot_id)
    assert (old["subtype"], old["username"], "user" in old) == ("bot_message", "Deploys", False)


async def test_the_pane_of_an_assistant(server: SlackServer, web: AsyncWebClient) -> None:
    ann = server.person("Ann")
    general, random = server.channel("general", ann), server.channel("random", ann)
    pane = ann.opens_assistant(server.bot, viewing=general)
    started = told(server)[-1]
    assert (started["type"], started["assistant_thread"]["context"]["channel_id"]) == (
        "assistant_thread_started",
        general.id,
    )
    where = {"channel_id": pane.root.channel.id, "thread_ts": pane.root.ts}
    prompts = [{"title": "Sum up", "message": "Sum up #general"}]
    await web.assistant_threads_setSuggestedPrompts(**where, prompts=prompts, title="Try")
    await web.assistant_threads_setTitle(**where, title="A chat")
    await web.assistant_threads_setStatus(**where, status="is thinking", loading_messages=["a", "b"])
    assert (pane.prompts, pane.prompts_title, pane.title) == (prompts, "Try", "A chat")
    asked = ann.writes(pane.root.channel, "hello", thread=pane.root)
    assert (told(server)[-1]["thread_ts"], told(server)[-1]["channel_type"]) == (pane.root.ts, "im")
    chat, clock = pane.root.channel, server.world.clock
    status = chat.status(pane.root.ts, clock(), 120.0)
    assert status is not None
    assert (status.text, status.loading) == ("is thinking", ("a", "b"))
    await web.chat_postMessage(channel=chat.id, text="hi", thread_ts=asked.ts)
    assert chat.status(pane.root.ts, clock(), 120.0) is None
    assert status.cleared_at is not None
    ann.views(pane, random)
    assert told(server)[-1]["type"] == "assistant_thread_context_changed"
    wrong = await refused(web.assistant_threads_setStatus(channel_id=chat.id, thread_ts="1.1", status="x"))
    assert wrong["error"] == "invalid_thread_ts"


async def test_members_come_and_go(server: SlackServer, web: AsyncWebClient) -> None:
    ann, bob = server.person("Ann"), server.person("Bob")
    general = server.home.channel("general", ann)
    ann.writes(general, "@hermes is not here")
    assert told(server) == []
    ann.invites(general, server.bot, bob)
    ann.removes(general, server.bot)
    ann.writes(general, "gone")
    assert [(each["type"], each["user"]) for each in told(server)] == [
        ("member_joined_channel", server.bot.id),
        ("member_joined_channel", bob.id),
        ("member_left_channel", server.bot.id),
    ]
    with pytest.raises(ValueError, match="not in the conversation"):
        server.person("Cid").writes(general, "x")


async def test_several_workspaces(server: SlackServer, session: aiohttp.ClientSession, listener: Listener) -> None:
    away = server.add_workspace("Away")
    other = away.install(server.app)
    cid = away.person("Cid")
    cid.writes(away.direct(cid, other), "from away")
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "from home")
    await server.until(lambda: listener.texts == ["from away", "from home"])
    assert [request.payload["team_id"] for request in listener.requests] == [away.team.id, server.home.team.id]
    web = client_of(server, session, other)
    assert (await web.auth_test())["team_id"] == away.team.id
    assert (await refused(web.users_info(user=ann.id)))["error"] == "user_not_found"
    server.revoke(other)
    cid.writes(away.direct(cid, other), "nobody is told")
    assert [each["type"] for each in told(server)] == ["message", "message", "tokens_revoked"]


async def test_events_that_an_app_did_not_subscribe_to(server: SlackServer) -> None:
    server.app.events -= {"message.im"}
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "x")
    ann.opens_home(server.bot)
    assert [each["type"] for each in told(server)] == ["app_home_opened"]


async def test_ephemeral_messages_and_windows(server: SlackServer, web: AsyncWebClient, listener: Listener) -> None:
    server.app.commands.add("/hermes")
    ann, bob = server.person("Ann"), server.person("Bob")
    general = server.channel("general", ann)
    await web.chat_postEphemeral(channel=general.id, user=ann.id, text="psst")
    assert [(each.user, each.content.text) for each in general.ephemerals] == [(ann.id, "psst")]
    assert server.shown(general) == ()
    answer = await refused(web.chat_postEphemeral(channel=general.id, user=bob.id, text="psst"))
    assert answer["error"] == "user_not_in_channel"
    listener.reply = {"text": "at once", "response_type": "in_channel"}
    used = ann.commands(general, "/hermes", "go")
    await server.until(lambda: used.responses)
    assert [each.text for each in server.shown(general)] == ["at once"]
    trigger = listener.requests[-1].payload["trigger_id"]
    view = {"type": "modal", "title": {"type": "plain_text", "text": "T"}, "blocks": [{"type": "divider"}]}
    opened = await web.views_open(trigger_id=trigger, view=view)
    assert (await refused(web.views_open(trigger_id=trigger, view=view)))["error"] == "invalid_trigger_id"
    listener.reply = None
    sent = server.interactions.submission(
        ann.profile, opened["view"], {"b": {"a": {"type": "plain_text_input", "value": "v"}}}
    )
    await server.until(lambda: sent.envelope and sent.envelope.acknowledged)
    assert listener.requests[-1].payload["view"]["state"]["values"]["b"]["a"]["value"] == "v"
    await web.views_publish(user_id=ann.id, view={"type": "home", "blocks": []})
    assert [each["type"] for each in server.world.views.values()] == ["modal", "home"]
