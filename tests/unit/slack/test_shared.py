"""An app in several workspaces, and a conversation that is shared between workspaces."""

from typing import Any

import pytest

from adapters.base import Button
from adapters.testing.slack import Bot, EnvelopeKind, Message, Person, SlackServer, Workspace
from tests.support.platform_host import FakeHost
from tests.unit.slack.support import built, delivery, running


class Away:
    """A second workspace, with the app's bot."""

    def __init__(self, server: SlackServer) -> None:
        self.workspace: Workspace = server.add_workspace("Away")
        self.bot: Bot = self.workspace.install(server.app)


@pytest.fixture
async def away(server: SlackServer) -> Away:
    return Away(server)


def press(shown: Message, team: str) -> dict[str, Any]:
    """A press of a button by somebody of another workspace."""
    return {
        "type": "block_actions",
        "trigger_id": "1.2.3",
        "team": {"id": team},
        "user": {"id": "U0PARTNER", "team_id": team},
        "channel": {"id": shown.channel.id},
        "container": {"message_ts": shown.ts, "channel_id": shown.channel.id},
        "message": {"ts": shown.ts, "user": shown.sender.id},
        "actions": [{"type": "button", "value": "/new", "action_ts": "1.1"}],
    }


@pytest.mark.parametrize("stranger", [True, False])
async def test_what_is_pressed_from_elsewhere_is_answered_by_the_bot_whose_button_it_is(
    server: SlackServer, host: FakeHost, away: Away, stranger: bool
) -> None:
    team = "T0PARTNER" if stranger else server.home.team.id
    general = away.workspace.channel("general", away.bot)
    host.positions[f"channel:{away.workspace.team.id}/{general.id}"] = "{}"
    adapter = built(server, host, workspaces=[away.bot.token])
    async with running(adapter, host):
        await adapter.send(delivery(general, "which?", adapter, buttons=((Button("New", "/new"),),)))
        (shown,) = server.shown(general, by=away.bot)
        server.events.push(EnvelopeKind.INTERACTIVE, press(shown, team), away.bot)
        await host.until(lambda: host.texts == ["/new"])
        await adapter.send(delivery(general, "begun anew", adapter))
    assert [each.text for each in server.shown(general, by=away.bot)][1:] == ["begun anew"]


def heard(bot: Bot, event: dict[str, Any]) -> dict[str, Any]:
    """An event as Slack tells of it, for one of the app's bots that may see it: which one, it chooses."""
    authorization = {"user_id": bot.profile.id, "team_id": bot.team.id, "is_bot": True}
    return {"event_id": f"Ev{event['ts']}", "team_id": bot.team.id, "authorizations": [authorization], "event": event}


async def test_a_mention_in_a_channel_that_two_workspaces_share_is_for_the_bot_that_is_mentioned(
    server: SlackServer, ann: Person, host: FakeHost, away: Away
) -> None:
    """Slack tells the app once, and as of the workspace that has joined last, say."""
    general = server.channel("general", ann)
    asked = ann.writes(general, "to be answered below")
    base = {"type": "message", "channel": general.id, "channel_type": "channel", "user": ann.id}
    mention = base | {"ts": "1700000000.000100", "text": f"<@{server.bot.id}> hello"}
    further = base | {"ts": "1700000001.000100", "text": "and more", "thread_ts": "1700000000.000100"}
    adapter = built(server, host, workspaces=[away.bot.token])
    async with running(adapter, host):
        for each in (mention, further):
            server.events.push(EnvelopeKind.EVENT, heard(away.bot, each), away.bot)
        await host.until(lambda: [each.text for each in host.accepted if each.addressed] == ["hello", "and more"])
        assert {each.team for each in host.accepted if each.addressed} == {server.home.team.id}
        await adapter.send(delivery(general, "hello", adapter, thread=asked))
    assert [each.text for each in server.shown(general, by=server.bot)] == ["hello"]
