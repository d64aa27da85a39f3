"""The errors of sessions: each says what is wrong and what to do about it."""

from collections.abc import Sequence


class SessionError(Exception):
    """Something was asked of a session that cannot be done."""


class UnknownSession(SessionError, KeyError):  # noqa: N818 - a public name
    """No session has this id, or none that the caller may see; which of the two is not told.

    `args[0]` is the id, as for any KeyError; `str()` is a sentence.
    """

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.session_id = session_id

    def __str__(self) -> str:
        return f"There is no session {self.session_id!r}. List the sessions to see their ids."


class AmbiguousSessionKey(SessionError):  # noqa: N818 - a public name
    """A readable session key stands for several slots (thread 7 of a chat, and person 7 in it)."""

    def __init__(self, key: str, session_ids: Sequence[str] = ()) -> None:
        super().__init__(key, tuple(session_ids))
        self.key = key
        self.session_ids = tuple(session_ids)

    def __str__(self) -> str:
        choices = f" ({', '.join(self.session_ids)})" if self.session_ids else ""
        return f"The session key {self.key!r} stands for more than one conversation. Use a session id{choices}."


class UnknownProject(SessionError, KeyError):  # noqa: N818 - a public name
    """Whoever asks has no project of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"You have no project “{self.name}”. /projects lists them."


class AmbiguousSession(SessionError):  # noqa: N818 - a public name
    """What was typed stands for several sessions; `choices` are their ids and names."""

    def __init__(self, wanted: str, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__(wanted, tuple(choices))
        self.wanted = wanted
        self.choices = tuple(choices)

    def __str__(self) -> str:
        listed = ", ".join(f"{title} ({session_id})" for session_id, title in self.choices)
        return f"{self.wanted!r} can be more than one session: {listed}. Give its id."


class SessionInUse(SessionError):  # noqa: N818 - a public name
    """The session is live in another slot, and two slots cannot share one."""

    def __init__(self, session_id: str, holder: str) -> None:
        super().__init__(session_id, holder)
        self.session_id = session_id
        self.holder = holder
        """The readable key of the slot that the session is live in."""

    def __str__(self) -> str:
        return (
            f"The session {self.session_id!r} is in use by {self.holder}. "
            "Reset or switch that conversation first, or fork the session."
        )


class SessionBusy(SessionError):  # noqa: N818 - a public name
    """A turn of the session is open, so that its transcript cannot be changed, nor it be ended."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.session_id = session_id

    def __str__(self) -> str:
        return f"An answer is being written in session {self.session_id!r}. Wait for it, or stop it there with /stop."


class UnaddressedSource(SessionError, ValueError):  # noqa: N818 - a public name
    """A source names neither a chat nor a person: everybody without a name would share its session."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key
        """The readable key that all such sources have."""

    def __str__(self) -> str:
        return (
            f"The source {self.key!r} has neither a chat_id nor a user_id, so its conversation cannot be told from "
            "another's. Give it the id of its chat, or in a DM the id of the person."
        )


class InvalidMessage(SessionError, ValueError):  # noqa: N818 - a public name
    """A message cannot be kept in a transcript. Nothing of the call was stored."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"A message of a transcript must be a mapping of plain JSON values, with role and content: {self.problem}."
        )


class NothingToRetry(SessionError, ValueError):  # noqa: N818 - a public name
    """The transcript has no message of a user to send again."""

    def __init__(self) -> None:
        super().__init__("No previous message to retry.")


class NothingToUndo(SessionError, ValueError):  # noqa: N818 - a public name
    """The transcript has no message of a user to take back."""

    def __init__(self) -> None:
        super().__init__("Nothing to undo.")


class NothingToRedo(SessionError, ValueError):  # noqa: N818 - a public name
    """Nothing was taken off the transcript that could be put back."""

    def __init__(self) -> None:
        super().__init__("There is nothing to bring back: nothing was taken back, or something was said since.")


class RetriedAlready(SessionError):  # noqa: N818 - a public name
    """The turn was repeated, and answered, after this was asked for."""

    def __init__(self) -> None:
        super().__init__("That was tried again already; the answer is above. Send /retry once more for another one.")


class NotSummarised(SessionError, ValueError):  # noqa: N818 - a public name
    """No summary stands in the transcript, or what it stands for cannot be had at present."""

    def __init__(self) -> None:
        super().__init__("There is no summary in this conversation that could be taken apart.")


class TranscriptChanged(SessionError):  # noqa: N818 - a public name
    """The beginning of a transcript is another one than what was looked at. Nothing was changed."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"The conversation {session_id!r} has changed meanwhile, or cannot be changed at present.")
        self.session_id = session_id
