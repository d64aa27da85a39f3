"""Sessions: which conversation a message belongs to, when it ends, and what the model is told about it."""

from gateway.session.context import SessionContext, build_session_context
from gateway.session.entry import SessionEntry
from gateway.session.errors import (
    AmbiguousSession,
    AmbiguousSessionKey,
    InvalidMessage,
    NothingToRedo,
    NothingToRetry,
    NothingToUndo,
    SessionBusy,
    SessionError,
    SessionInUse,
    UnaddressedSource,
    UnknownSession,
)
from gateway.session.key import SlotIdentity, build_session_key, slot_identity
from gateway.session.operations import SessionOperations, retry_last, undo_last
from gateway.session.prompt import build_session_context_prompt
from gateway.session.reset import ResetReason, daily_boundary, next_reset_at, reset_reason
from gateway.session.scope import Scope, SessionView
from gateway.session.store import SessionStore
from gateway.session.text import title_from
from gateway.session.traits import PlatformTraits
from gateway.source import SessionSource

__all__ = [
    "AmbiguousSession",
    "AmbiguousSessionKey",
    "InvalidMessage",
    "NothingToRedo",
    "NothingToRetry",
    "NothingToUndo",
    "PlatformTraits",
    "ResetReason",
    "Scope",
    "SessionBusy",
    "SessionContext",
    "SessionEntry",
    "SessionError",
    "SessionInUse",
    "SessionOperations",
    "SessionSource",
    "SessionStore",
    "SessionView",
    "SlotIdentity",
    "UnaddressedSource",
    "UnknownSession",
    "build_session_context",
    "build_session_context_prompt",
    "build_session_key",
    "daily_boundary",
    "next_reset_at",
    "reset_reason",
    "retry_last",
    "slot_identity",
    "title_from",
    "undo_last",
]
