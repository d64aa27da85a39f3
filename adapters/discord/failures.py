"""What a refused or broken call means, in the words of the core and of people."""

from collections.abc import Iterable
from typing import Final

import aiohttp
import discord

from adapters.base import (
    AccountError,
    DeliveryError,
    NotConnectedError,
    OutcomeUnknownError,
    RetryLaterError,
    UndeliverableError,
)
from adapters.connection import pause_of
from adapters.discord.constants import STALE_EDIT_SECONDS

PORTAL: Final = "https://discord.com/developers/applications"

UNKNOWN_CHANNEL: Final = 10003
UNKNOWN_MESSAGE: Final = 10008
TOO_LARGE: Final = 40005
MISSING_ACCESS: Final = 50001
EMPTY_MESSAGE: Final = 50006
CANNOT_DM: Final = 50007
MISSING_PERMISSIONS: Final = 50013
INVALID_FORM: Final = 50035
ARCHIVED: Final = 50083
STALE_EDITS: Final = 30046
THREAD_EXISTS: Final = 160004
BANNED_WORDS: Final = 200000
"""https://docs.discord.com/developers/topics/opcodes-and-status-codes#json-json-error-codes"""

SERVER_FAULT: Final = 500
"""HTTP statuses from here on are the server's fault: it may have done what was asked."""

UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
BODY_TOO_LARGE: Final = 413
TOO_MANY: Final = 429

BLOCKED: Final = frozenset({0, 40333})
"""Codes that a 403 has which is no word of Discord's on the request, but of the network before it: of a page, none, or
"internal network error" (https://github.com/discord/discord-api-docs/issues/6473), which was seen to pass by itself
(https://github.com/germanoeich/nirn-proxy/issues/14)."""

CALL_ERRORS: Final = (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError)
"""What a call can raise."""

NOT_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.InvalidURL)
"""What happens before a request leaves."""

CLOSED: Final = {
    4004: (
        "Discord does not know platforms.discord.token: it was reset, or the bot was deleted; put in the one that"
        f" {PORTAL} shows under Bot, Reset Token"
    ),
    4010: "Discord refuses the session (invalid shard)",
    4011: "the bot is in so many guilds that Discord wants it to connect in shards, which this gateway does not do",
    4012: "Discord does not speak this version of its gateway any more: update the gateway",
    4013: "Discord does not know an intent that is asked for: update the gateway",
    4014: (
        f"an intent is not allowed: switch on Message Content Intent at {PORTAL}, the application, Bot, Privileged"
        " Gateway Intents"
    ),
}
"""Close codes after which connecting again is of no use
(https://docs.discord.com/developers/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes)."""


class MessageGoneError(UndeliverableError):
    """The message is not there any more: somebody has deleted it."""


def closed_for_good(code: int | None) -> AccountError | None:
    """What a close code tells the operator; None where connecting again may help."""
    words = CLOSED.get(code or 0)
    return None if words is None else AccountError(f"{words} (close code {code})")


def login_refused(error: Exception, api_base_url: str) -> AccountError | None:
    """Why logging in is of no use before the operator acts; None where trying again may help."""
    if isinstance(error, discord.LoginFailure):
        return AccountError(
            f"Discord refuses platforms.discord.token: check it against {PORTAL}, the application, Bot, Reset Token"
        )
    if isinstance(error, discord.HTTPException) and error.status == NOT_FOUND:
        return AccountError(f"there is no Discord API at {api_base_url}: check platforms.discord.api_base_url")
    return None


def retry_after(error: Exception) -> float | None:
    """Seconds after which Discord lets a call be made again; None if it refuses it for another reason."""
    if isinstance(error, discord.RateLimited):
        return error.retry_after
    if isinstance(error, discord.HTTPException) and error.status == TOO_MANY:
        return pause_of(error.response.headers.get("Retry-After")) or 1.0
    return None


def is_blocked(error: Exception) -> bool:
    """Whether a request was turned away before Discord had looked at it."""
    return isinstance(error, discord.HTTPException) and error.status == FORBIDDEN and error.code in BLOCKED


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, discord.HTTPException):
        return is_blocked(error) or error.status >= SERVER_FAULT or error.status in (TOO_MANY, UNAUTHORIZED)
    return isinstance(error, (discord.RateLimited, aiohttp.ClientError, OSError, TimeoutError))


def in_short(error: Exception) -> str:
    """An error in words, without the address of a proxy, which may hold a login."""
    if isinstance(error, discord.HTTPException):
        return f"{error.text or 'no reason given'} (status {error.status}, code {error.code})"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status} {error.message}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def delivery_error(error: Exception, missing: Iterable[str] = ()) -> DeliveryError:
    """The error in the words of the core; `missing` names permissions that the bot is seen to lack."""
    wait = retry_after(error)
    if wait is not None:
        return RetryLaterError(f"Discord's rate limit: {in_short(error)}", wait)
    if isinstance(error, NOT_SENT):
        return NotConnectedError(f"Discord cannot be reached: {in_short(error)}")
    if not isinstance(error, discord.HTTPException):
        return OutcomeUnknownError(f"no answer from Discord: {in_short(error)}")
    if error.status >= SERVER_FAULT:
        return OutcomeUnknownError(f"Discord's server failed: {in_short(error)}")
    if error.status == UNAUTHORIZED:
        return NotConnectedError("Discord does not know the token any more")
    if is_blocked(error):
        return RetryLaterError(f"the way to Discord is blocked: {in_short(error)}")
    if error.code == STALE_EDITS:
        return RetryLaterError("Discord takes few edits of messages older than an hour", STALE_EDIT_SECONDS)
    kind = MessageGoneError if error.code == UNKNOWN_MESSAGE else UndeliverableError
    return kind(_in_words(error, tuple(missing)))


_WORDS: Final = {
    UNKNOWN_CHANNEL: "there is no such channel, or it was deleted",
    UNKNOWN_MESSAGE: "the message is gone",
    MISSING_ACCESS: "the bot does not see the channel: give its role View Channel there",
    CANNOT_DM: (
        "the person takes no messages from the bot: they have to share a server with it, allow direct messages from its"
        " members, and not block it"
    ),
    ARCHIVED: "the thread is archived",
    TOO_LARGE: "the file is larger than Discord takes there",
    BANNED_WORDS: "the server's AutoMod does not let the message pass",
}


def _in_words(error: discord.HTTPException, missing: tuple[str, ...]) -> str:
    said = f"Discord says: {in_short(error)}"
    if error.code == MISSING_PERMISSIONS:
        wanted = " and ".join(missing) or "a permission"
        return f"the bot lacks {wanted} there: give it to its role, in the server or the channel ({said})"
    words = _WORDS.get(TOO_LARGE if error.status == BODY_TOO_LARGE else error.code)
    return said if words is None else f"{words} ({said})"
