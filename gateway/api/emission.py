"""What of an answer a stream has shown, and what is to follow: text that was sent cannot be taken back."""

from typing import Final

BEGUN_ANEW: Final = "\n\n(The answer was begun anew.)\n\n"
"""Stands between what was shown of an attempt that failed, and the whole of the answer."""


class Emission:
    """The text that one client was sent so far."""

    def __init__(self) -> None:
        self.sent = ""

    def more(self, text: str) -> str:
        """What to send of an answer that has grown; nothing while it is another one than was shown."""
        return self._rest(text) if len(text) > len(self.sent) and text.startswith(self.sent) else ""

    def last(self, text: str) -> str:
        """What to send once the answer stands, so that the client has all of it."""
        if text.startswith(self.sent):
            return self._rest(text)
        if self.sent.startswith(text):
            return ""
        piece = f"{BEGUN_ANEW}{text}"
        self.sent += piece
        return piece

    def _rest(self, text: str) -> str:
        piece = text[len(self.sent) :]
        self.sent = text
        return piece
