"""The scopes that the bot has use for, and what does not work without each."""

import logging
from typing import Final

from adapters.base import AccountError
from adapters.slack.failures import APPS

log = logging.getLogger(__name__)

NEEDED: Final = "chat:write"

WANTED: Final = {
    "app_mentions:read": "mentions in channels are not heard",
    "assistant:write": "the pane suggests nothing",
    "channels:history": "in public channels only mentions are heard, and nothing that was missed is fetched",
    "channels:read": "public channels have no names",
    "commands": "there is no slash command",
    "files:read": "files that people send cannot be read",
    "files:write": "no files can be sent",
    "groups:history": "the same as channels:history, in private channels",
    "groups:read": "private channels have no names",
    "im:history": "direct messages are not heard",
    "im:write": "nobody can be written to first",
    "mpim:history": "group messages are not heard",
    "mpim:read": "group messages have no names",
    "users:read": "people have no names",
}
"""https://docs.slack.dev/reference/scopes; that an answer is being written is shown by `chat:write` too
(https://docs.slack.dev/changelog/2026/03/05/set-status-scope-update)."""


def missing_scopes(granted: frozenset[str], team: str) -> None:
    """Tell the operator what is missing in a workspace. Raises `AccountError` where nothing can be said without it."""
    if NEEDED not in granted:
        raise AccountError(
            f"the bot lacks the scope {NEEDED}, without which it cannot say anything: add it at {APPS}, OAuth &"
            " Permissions, install the app again, and put the new token in platforms.slack.bot_token"
        )
    missing = [scope for scope in WANTED if scope not in granted]
    if missing:
        words = "; ".join(f"{scope} ({WANTED[scope]})" for scope in missing)
        log.warning("the Slack bot lacks scopes in %s, to be added at %s, OAuth & Permissions: %s", team, APPS, words)
