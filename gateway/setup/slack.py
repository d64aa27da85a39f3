"""Owns the questions about a Slack app, and what Slack answers to its tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_plus

from gateway.setup.ask import Dialogue
from gateway.setup.draft import Draft
from gateway.setup.people import Known, let_in
from gateway.setup.tokens import RefusedError, tested
from gateway.setup.web import Answer, UnreachableError, Web

SCOPES: Final = (
    "app_mentions:read",
    "assistant:write",
    "channels:history",
    "channels:read",
    "chat:write",
    "commands",
    "files:read",
    "files:write",
    "groups:history",
    "groups:read",
    "im:history",
    "im:write",
    "mpim:history",
    "mpim:read",
    "users:read",
)
"""What the bot is allowed (https://docs.slack.dev/reference/scopes)."""

MANIFEST: Final[Mapping[str, Any]] = {
    "display_information": {
        "name": "Hermes",
        "description": "An agent that answers in direct messages, channels and threads",
    },
    "features": {
        "app_home": {
            "home_tab_enabled": False,
            "messages_tab_enabled": True,
            "messages_tab_read_only_enabled": False,
        },
        "assistant_view": {"assistant_description": "Ask me anything"},
        "bot_user": {"display_name": "hermes", "always_online": True},
        "slash_commands": [
            {
                "command": "/hermes",
                "description": "Talk to Hermes, or give it a command",
                "usage_hint": "help",
                "should_escape": True,
            }
        ],
    },
    "oauth_config": {"scopes": {"bot": list(SCOPES)}},
    "settings": {
        "event_subscriptions": {
            "bot_events": [
                "app_mention",
                "app_uninstalled",
                "assistant_thread_started",
                "message.channels",
                "message.groups",
                "message.im",
                "message.mpim",
                "tokens_revoked",
            ]
        },
        "interactivity": {"is_enabled": True},
        "socket_mode_enabled": True,
        "token_rotation_enabled": False,
    },
}
"""The app, as Slack makes it from a description (https://docs.slack.dev/reference/app-manifest)."""

_PAGES: Final = 5
"""Pages of people that are looked through, of up to a thousand each."""

_SHOWN: Final = 9
_NOBODY: Final = "USLACKBOT"
_TROUBLE: Final = frozenset({"fatal_error", "internal_error", "ratelimited", "service_unavailable", "request_timeout"})
_FIND_OUT: Final = "Your id: in Slack, click on your picture, Profile, ⋮, Copy member ID. It begins with U."


def set_up(draft: Draft, talk: Dialogue, web: Web) -> bool:
    """Ask about a Slack app; whether there is one now."""
    talk.title("Slack")
    talk.tell("1. Open this; it makes an app with all that it needs. Choose your workspace, and create it:")
    talk.tell(f"     https://api.slack.com/apps?new_app=1&manifest_json={quote_plus(_compact(MANIFEST), safe=':,/')}")
    talk.tell("2. Under Install App, install it. The page then shows the Bot User OAuth Token, xoxb-…")
    calls = _Calls(web, draft.address("slack"))
    token, found = tested(draft, talk, ("platforms", "slack", "bot_token"), "Bot token", calls.bot)
    if not token:
        return False
    if found is not None:
        talk.good(f"This is {found.get('user')} in the workspace {found.get('team')}.")
        scopes = str(found.headers.get("X-OAuth-Scopes", "")).replace(" ", "").split(",")
        missing = [scope for scope in SCOPES if scope not in scopes]
        if missing and scopes != [""]:
            talk.hint(f"It lacks scopes: {', '.join(missing)}. Add them under OAuth & Permissions, and install again.")
    talk.tell("3. Under Basic Information, App-Level Tokens, generate one with the scope connections:write, xapp-…")
    app, opened = tested(draft, talk, ("platforms", "slack", "app_token"), "App-level token", calls.connection)
    if not app:
        talk.hint("Without that token there is no connection: Slack is left out.")
        _forget(draft)
        return False
    if opened is not None:
        talk.good("Slack gives it a connection.")
        metadata = opened.get("response_metadata")
        if isinstance(metadata, Mapping) and "not turned on" in str(metadata.get("messages")):
            talk.bad("Socket Mode is off: switch it on under Socket Mode.")
    people = _people(talk, calls, token, str(found.get("user_id"))) if found is not None else ()
    let_in(draft, talk, "slack", people, _FIND_OUT)
    return True


class _Calls:
    """Slack's Web API, as far as the set-up needs it."""

    def __init__(self, web: Web, address: str) -> None:
        self._web = web
        self._address = address

    def bot(self, token: str) -> Answer:
        """Who the bot is. Raises `RefusedError` and `UnreachableError`."""
        return self._good(self._call(token, "auth.test"), "It begins with xoxb- and is on the page Install App.")

    def connection(self, token: str) -> Answer:
        """An address to connect to, which nothing connects to. Raises `RefusedError` and `UnreachableError`."""
        advice = "It begins with xapp- and needs the scope connections:write."
        return self._good(self._call(token, "apps.connections.open"), advice)

    def people(self, token: str) -> Iterator[Mapping[str, Any]]:
        """Everybody in the workspace, as far as the bot may see them. Raises `UnreachableError`."""
        cursor = ""
        for _ in range(_PAGES):
            answer = self._call(token, "users.list", {"limit": "1000", "cursor": cursor})
            members = answer.get("members")
            yield from (one for one in members or () if isinstance(one, Mapping))
            metadata = answer.get("response_metadata")
            cursor = str(metadata.get("next_cursor") or "") if isinstance(metadata, Mapping) else ""
            if not cursor:
                return

    @staticmethod
    def _good(answer: Answer, advice: str) -> Answer:
        if answer.get("ok"):
            return answer
        error = str(answer.get("error") or answer.status)
        if error in _TROUBLE or answer.status >= 500:
            raise UnreachableError(f"Slack answers {error}")
        raise RefusedError(f"Slack refuses this token ({error}). {advice}")

    def _call(self, token: str, method: str, form: Mapping[str, str] | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {token}"}
        return self._web.call("POST", f"{self._address}/{method}", headers=headers, form=form or {})


def _people(talk: Dialogue, calls: _Calls, token: str, bot: str) -> Sequence[Known]:
    """Who the person may be; in a large workspace those of the name that they give."""
    try:
        people = [_known(one) for one in calls.people(token) if _is_person(one, bot)]
    except UnreachableError as error:
        talk.bad(f"{error}.")
        return ()
    if len(people) <= _SHOWN:
        return people
    name = talk.ask("Your name in this workspace, or a part of it; Enter leaves it out").casefold()
    fitting = [one for one in people if name in str(one).casefold()] if name else []
    if len(fitting) > _SHOWN:
        talk.hint(f"{len(fitting)} people have that in their names.")
    return fitting if len(fitting) <= _SHOWN else ()


def _is_person(member: Mapping[str, Any], bot: str) -> bool:
    return not member.get("is_bot") and not member.get("deleted") and member.get("id") not in (bot, _NOBODY, None)


def _known(member: Mapping[str, Any]) -> Known:
    real, name = str(member.get("real_name") or ""), str(member.get("name") or "")
    return Known(str(member["id"]), real or name, f"@{name}" if real and name else "")


def _forget(draft: Draft) -> None:
    for key in [key for key in draft.changes if key[:2] == ("platforms", "slack")]:
        del draft.changes[key]


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
