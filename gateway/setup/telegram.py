"""Owns the questions about a Telegram bot, and what Telegram answers to its token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

from gateway.setup.ask import Dialogue
from gateway.setup.draft import Draft
from gateway.setup.people import Known, let_in
from gateway.setup.tokens import RefusedError, tested
from gateway.setup.web import Answer, UnreachableError, Web

WAIT_SECONDS: Final = 300.0
"""How long the set-up waits for somebody to write to the bot; the Enter key ends it sooner."""

LOOK_SECONDS: Final = 1.0
"""How often it looks meanwhile."""

_UNAUTHORIZED: Final = (401, 403, 404)
_CONFLICT: Final = 409

_FIND_OUT: Final = "Telegram's @userinfobot tells everybody their own id, a number."


def set_up(
    draft: Draft, talk: Dialogue, web: Web, *, running: bool, clock: Callable[[], float] = time.monotonic
) -> bool:
    """Ask about a Telegram bot; whether there is one now.

    `running`: a gateway runs here, which may be asking Telegram for this bot's messages.
    """
    talk.title("Telegram")
    talk.tell("1. Open this, write /newbot, and choose a name and a username for your bot:")
    talk.tell("     https://t.me/BotFather")
    talk.tell("2. It answers with a token such as 123456789:AAH… Paste that here.")
    before = draft.current("platforms", "telegram", "token")
    calls = _Calls(web, draft.address("telegram"))
    token, me = tested(draft, talk, ("platforms", "telegram", "token"), "Token", calls.me)
    if not token:
        return False
    if me is None:
        let_in(draft, talk, "telegram", (), _FIND_OUT)
        return True
    username = str(me.get("username", ""))
    talk.good(f"This is {me.get('first_name', '')} (@{username}).")
    if not me.get("can_read_all_group_messages"):
        talk.hint(
            "In groups Telegram shows it only mentions, answers to it, and commands (privacy mode). That is enough"
            " for most; /setprivacy at @BotFather changes it."
        )
    if me.get("can_join_groups") is False:
        talk.hint("It cannot be added to groups; /setjoingroups at @BotFather changes that.")
    found: Sequence[Known] = ()
    groups: Sequence[Known] = ()
    if not (running and token == before):
        found, groups = _who_wrote(talk, calls, token, username, clock)
    let_in(draft, talk, "telegram", found, _FIND_OUT)
    for group in groups:
        if talk.yes(f"May everybody in the group {group} talk to the agent?", default=False):
            draft.add(("platforms", "telegram", "allowed_chats"), group.id)
    return True


class _Calls:
    """The Bot API, as far as the set-up needs it (https://core.telegram.org/bots/api)."""

    def __init__(self, web: Web, address: str) -> None:
        self._web = web
        self._address = address

    def me(self, token: str) -> Mapping[str, Any]:
        """The bot itself. Raises `RefusedError` and `UnreachableError`."""
        answer = self._call(token, "getMe")
        result = answer.get("result")
        if answer.get("ok") and isinstance(result, Mapping):
            return result
        if answer.status in _UNAUTHORIZED:
            raise RefusedError(
                f"Telegram refuses this token ({answer.get('description')}). Is it whole? At @BotFather, /mybots and"
                " API Token show it."
            )
        raise UnreachableError(f"Telegram answers {answer.status} ({answer.get('description')})")

    def webhook(self, token: str) -> str:
        """The address that messages are posted to; empty if they are waiting to be fetched."""
        result = self._call(token, "getWebhookInfo").get("result")
        return str(result.get("url") or "") if isinstance(result, Mapping) else ""

    def waiting(self, token: str) -> list[Any] | None:
        """What has not been fetched yet, and stays; None if another program is fetching it."""
        answer = self._call(token, "getUpdates")
        if answer.status == _CONFLICT:
            return None
        result = answer.get("result")
        return result if isinstance(result, list) else []

    def _call(self, token: str, method: str) -> Answer:
        return self._web.call("GET", f"{self._address}/bot{quote(token, safe=':')}/{method}")


def _who_wrote(
    talk: Dialogue, calls: _Calls, token: str, username: str, clock: Callable[[], float]
) -> tuple[Sequence[Known], Sequence[Known]]:
    """The people who wrote to the bot, and its groups; nothing of what they wrote is taken from the gateway."""
    try:
        webhook = calls.webhook(token)
        if webhook:
            where = urlsplit(webhook).hostname
            talk.hint(f"Its messages are posted to {where} now. The gateway ends that when it connects.")
            return (), ()
        updates = calls.waiting(token)
        if updates == []:
            talk.tell("Now write something to your bot, so that it knows you (the gateway answers it later):")
            talk.tell(f"     https://t.me/{username}")
            talk.tell("Waiting for it. Enter goes on without.")
            updates = _wait(talk, calls, token, clock() + WAIT_SECONDS, clock)
    except UnreachableError as error:
        talk.bad(f"{error}.")
        return (), ()
    if updates is None:
        talk.hint("Another program is asking Telegram for this bot's messages. Stop it, or make a bot of its own.")
        return (), ()
    people = {one.id: one for update in updates for one in _person(update)}
    groups = {one.id: one for update in updates for one in _group(update)}
    for one in people.values():
        talk.good(f"{one} wrote.")
    return tuple(people.values()), tuple(groups.values())


def _wait(talk: Dialogue, calls: _Calls, token: str, until: float, clock: Callable[[], float]) -> list[Any] | None:
    updates: list[Any] | None = []
    while updates == [] and clock() < until and not talk.enter_pressed(LOOK_SECONDS):
        updates = calls.waiting(token)
    return updates


def _messages(update: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 - JSON of a server
    if isinstance(update, Mapping):
        yield from (update[kind] for kind in ("message", "my_chat_member") if isinstance(update.get(kind), Mapping))


def _person(update: Any) -> Iterator[Known]:  # noqa: ANN401
    for message in _messages(update):
        sender = message.get("from")
        if isinstance(sender, Mapping) and not sender.get("is_bot") and "id" in sender:
            name = " ".join(str(sender[key]) for key in ("first_name", "last_name") if sender.get(key))
            yield Known(str(sender["id"]), name, f"@{sender['username']}" if sender.get("username") else "")


def _group(update: Any) -> Iterator[Known]:  # noqa: ANN401
    for message in _messages(update):
        chat = message.get("chat")
        if isinstance(chat, Mapping) and chat.get("type") in ("group", "supergroup"):
            yield Known(str(chat.get("id")), str(chat.get("title", "")))
