"""What a refused or broken call means, in the words of the core and of people."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from adapters.base import (
    AccountError,
    DeliveryError,
    NotConnectedError,
    OutcomeUnknownError,
    RetryLaterError,
    Target,
    UndeliverableError,
)
from adapters.slack.client import CallError, NotSentError, SlackError

APPS: Final = "https://api.slack.com/apps"

REFUSED_TOKEN: Final = frozenset(
    {
        "account_inactive",
        "app_uninstalled",
        "invalid_auth",
        "not_allowed_token_type",
        "not_authed",
        "token_expired",
        "token_revoked",
    }
)
"""Errors of any method about who calls it (https://docs.slack.dev/reference/methods/auth.test#errors): not those with
which Slack refuses one place to an account that it knows."""

_MOVING: Final = "the workspace is being moved to an enterprise organization, and is there again once that is over"
_AWAY: Final[Mapping[str, str]] = {
    "ekm_access_denied": "the organization's administrators have suspended what is written there",
    "external_channel_migrating": "the channel is being moved to an enterprise organization",
    "org_login_required": _MOVING,
    "team_added_to_org": _MOVING,
}
"""Errors of any method while a workspace, or a channel that it shares, is not to be had
(https://docs.slack.dev/reference/methods/chat.postMessage#errors, and of chat.update)."""

_LATER: Final = frozenset(_AWAY) | {
    "accesslimited",
    "message_limit_exceeded",
    "rate_limited",
    "ratelimited",
    "request_timeout",
    "service_unavailable",
}
_NO_REPLIES: Final = frozenset({"cannot_reply_to_message", "restricted_action_non_threadable_channel"})
"""Errors about the message that a thread should begin with, or the channel: there are no threads below it
(https://docs.slack.dev/reference/methods/chat.postMessage#errors). It is so of what Slack itself says in a channel
(https://github.com/NousResearch/hermes-agent/issues/98285)."""

_UNCLEAR: Final = frozenset({"fatal_error", "internal_error"})
"""After these, some of what was asked for may have been done
(https://docs.slack.dev/reference/methods/chat.postMessage#errors)."""

_WORDS: Final = {
    "channel_not_found": "there is no such channel for the bot; a private one it has to be invited to",
    "not_in_channel": "the bot is not in the channel: invite it there, or give it the scope chat:write.public",
    "is_archived": "the channel is archived",
    "restricted_action": "the workspace lets the bot not write there",
    "restricted_action_read_only_channel": "the channel can only be read",
    "restricted_action_thread_only_channel": "the channel takes only replies in threads",
    "restricted_action_non_threadable_channel": "the channel has no threads",
    "cannot_reply_to_message": "the message takes no replies",
    "message_not_found": "the message is gone",
    "thread_not_found": "the thread is gone",
    "edit_window_closed": "the workspace does not let messages be edited so late",
    "cant_update_message": "the message is not the bot's own",
    "team_access_not_granted": "the app was not granted the workspace of the channel: an administrator has to add it",
    "user_not_found": "there is no such person",
    "user_disabled": "the person's account is deactivated",
    "messages_tab_disabled": (
        "the app takes no direct messages: switch on App Home, Messages Tab, and allow messages there"
    ),
    "cannot_dm_bot": "the bot cannot write to a bot",
    "msg_too_long": "the message is longer than Slack takes",
    "file_upload_size_restricted": "the file is larger than the workspace takes",
    "storage_limit_reached": "the workspace has no room for files any more",
}


class NoRepliesError(UndeliverableError):
    """The message takes no replies; nothing was shown."""


def refuses_token(error: Exception) -> bool:
    """Whether Slack does not know the account: a wrong token, one that was revoked, an app that was removed."""
    return isinstance(error, CallError) and error.error in REFUSED_TOKEN


def bot_refused(error: CallError) -> AccountError:
    """What its operator has to mend about the bot's token."""
    kind = ""
    if error.error == "not_allowed_token_type":
        kind = "; it has to be the bot's own, which begins with xoxb-"
    return AccountError(
        f"Slack refuses platforms.slack.bot_token ({error.error}){kind}: install the app to the workspace again at"
        f" {APPS}, and put in the Bot User OAuth Token that OAuth & Permissions shows"
    )


def app_refused(error: CallError) -> AccountError:
    """What its operator has to mend about the app-level token."""
    if error.error == "missing_scope":
        return AccountError(
            f"platforms.slack.app_token lacks the scope {error.needed or 'connections:write'}: make a new one with it"
            f" at {APPS}, Basic Information, App-Level Tokens"
        )
    return AccountError(
        f"Slack refuses platforms.slack.app_token ({error.error}): put in the one that begins with xapp- from {APPS},"
        " Basic Information, App-Level Tokens"
    )


def delivery_error(error: SlackError, target: Target | None = None) -> DeliveryError:
    """The error in the words of the core."""
    if isinstance(error, NotSentError):
        return NotConnectedError(f"Slack cannot be reached: {error}")
    if not isinstance(error, CallError):
        return OutcomeUnknownError(f"no answer from Slack: {error}")
    if error.status == HTTPStatus.TOO_MANY_REQUESTS or error.error in _LATER:
        why = _AWAY.get(error.error, "Slack's rate limit")
        return RetryLaterError(f"{why}: {error}", error.retry_after)
    if refuses_token(error):
        return NotConnectedError("Slack does not know the token any more")
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.error in _UNCLEAR:
        return OutcomeUnknownError(f"Slack's server failed: {error}")
    refused = NoRepliesError if error.error in _NO_REPLIES else UndeliverableError
    return refused(in_words(error, target))


def in_words(error: CallError, target: Target | None = None) -> str:
    """A refusal, and what to do about it."""
    said = f"Slack says: {error}"
    if error.error == "missing_scope":
        return (
            f"the bot lacks the scope {error.needed}: add it at {APPS}, OAuth & Permissions, and install the app again"
            f" ({said})"
        )
    words = _WORDS.get(error.error)
    if words is None:
        return said
    where = f" in {target.chat_id}" if target is not None else ""
    return f"{words}{where} ({said})"
