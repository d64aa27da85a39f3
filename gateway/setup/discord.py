"""Owns the questions about a Discord bot, and what Discord answers to its token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.setup.ask import Dialogue
from gateway.setup.draft import Draft
from gateway.setup.people import Known, let_in
from gateway.setup.tokens import RefusedError, tested
from gateway.setup.web import Answer, UnreachableError, Web

PERMISSIONS: Final[Mapping[str, int]] = {
    "Add Reactions": 1 << 6,
    "View Channel": 1 << 10,
    "Send Messages": 1 << 11,
    "Attach Files": 1 << 15,
    "Read Message History": 1 << 16,
    "Create Public Threads": 1 << 35,
    "Send Messages in Threads": 1 << 38,
}
"""What the bot is invited with (https://docs.discord.com/developers/topics/permissions)."""

_OPTIONAL: Final = frozenset({"Add Reactions", "Create Public Threads"})
_ADMINISTRATOR: Final = 1 << 3
_MESSAGE_CONTENT: Final = 1 << 18 | 1 << 19
"""Flags of an application that may read messages, as one of many or of few servers."""

_FIND_OUT: Final = (
    "Your id: in Discord, Settings, Advanced, Developer Mode; then right-click on your name, Copy User ID. It is a"
    " number."
)


def set_up(draft: Draft, talk: Dialogue, web: Web) -> bool:
    """Ask about a Discord bot; whether there is one now."""
    talk.title("Discord")
    talk.tell("1. Open this, make a New Application, and choose a name:")
    talk.tell("     https://discord.com/developers/applications")
    talk.tell("2. Under Bot, switch on Message Content Intent, and save.")
    talk.tell("3. There too, Reset Token shows the token. Paste it here.")
    calls = _Calls(web, draft.address("discord"))
    token, me = tested(draft, talk, ("platforms", "discord", "token"), "Token", calls.me)
    if not token:
        return False
    owner: Sequence[Known] = ()
    if me is not None:
        talk.good(f"This is {me.get('global_name') or me.get('username')}.")
        try:
            owner = _look_over(talk, calls, token)
        except UnreachableError as error:
            talk.bad(f"{error}.")
    let_in(draft, talk, "discord", owner, _FIND_OUT)
    return True


class _Calls:
    """Discord's REST API, as far as the set-up needs it."""

    def __init__(self, web: Web, address: str) -> None:
        self._web = web
        self._address = address

    def me(self, token: str) -> Mapping[str, Any]:
        """The bot itself. Raises `RefusedError` and `UnreachableError`."""
        answer = self._call(token, "/users/@me")
        if answer.status in (401, 403):
            raise RefusedError(
                "Discord refuses this token. It is on the page Bot, not the public key or the client secret; Reset"
                " Token makes a new one."
            )
        return _object(answer)

    def application(self, token: str) -> Mapping[str, Any]:
        """What the bot belongs to. Raises `UnreachableError`."""
        return _object(self._call(token, "/applications/@me"))

    def servers(self, token: str) -> list[Any]:
        """The servers that it is on. Raises `UnreachableError`."""
        answer = self._call(token, "/users/@me/guilds")
        return answer.data if isinstance(answer.data, list) else []

    def _call(self, token: str, path: str) -> Answer:
        return self._web.call("GET", f"{self._address}{path}", headers={"Authorization": f"Bot {token}"})


def _object(answer: Answer) -> Mapping[str, Any]:
    if answer.status == 200 and isinstance(answer.data, Mapping):
        return answer.data
    raise UnreachableError(f"Discord answers {answer.status} ({answer.get('message')})")


def _look_over(talk: Dialogue, calls: _Calls, token: str) -> Sequence[Known]:
    """Tell what is missing; who the application belongs to."""
    application = calls.application(token)
    if not int(application.get("flags") or 0) & _MESSAGE_CONTENT:
        talk.bad("Message Content Intent is off, and Discord will not connect it: switch it on under Bot, and save.")
    servers = [one for one in calls.servers(token) if isinstance(one, Mapping)]
    for server in servers:
        missing = _missing(int(server.get("permissions") or 0))
        if missing:
            talk.hint(f"On {server.get('name')} it lacks: {', '.join(missing)}.")
        else:
            talk.good(f"It is on the server {server.get('name')}.")
    if not servers:
        talk.hint("It is on no server yet; without one in common nobody can write to it. This invites it:")
        number = sum(PERMISSIONS.values())
        talk.tell(
            f"     https://discord.com/oauth2/authorize?client_id={application.get('id')}"
            f"&scope=bot+applications.commands&permissions={number}"
        )
    return _owner(application)


def _missing(held: int) -> list[str]:
    if held & _ADMINISTRATOR:
        return []
    return [name for name, bit in PERMISSIONS.items() if name not in _OPTIONAL and not held & bit]


def _owner(application: Mapping[str, Any]) -> Sequence[Known]:
    """Who made the application; of a team, its members."""
    team = application.get("team")
    members = team.get("members", []) if isinstance(team, Mapping) else []
    users = [member.get("user") for member in members] if members else [application.get("owner")]
    return tuple(
        Known(str(user["id"]), str(user.get("global_name") or user.get("username")), "owns the application")
        for user in users
        if isinstance(user, Mapping) and "id" in user
    )
