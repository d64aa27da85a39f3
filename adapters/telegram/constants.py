"""Times and limits of the Telegram adapter: each with its unit and where it comes from."""

from dataclasses import dataclass
from typing import Final

MAX_CALLBACK_BYTES: Final = 64
"""Bytes of a button's data (https://core.telegram.org/bots/api#inlinekeyboardbutton)."""

MAX_CAPTION: Final = 1_024
"""UTF-16 code units of a caption (https://core.telegram.org/bots/api#sendphoto)."""

MAX_COMMANDS: Final = 100
"""Commands of a menu (https://core.telegram.org/bots/api#setmycommands)."""

MAX_DESCRIPTION: Final = 256
"""Characters of a command's description (https://core.telegram.org/bots/api#botcommand)."""

MAX_DOWNLOAD_BYTES: Final = 20 * 1024 * 1024
"""The largest file that a bot can fetch (https://core.telegram.org/bots/api#getfile)."""

MAX_UPLOAD_BYTES: Final = 50 * 1024 * 1024
"""The largest file that a bot can send (https://core.telegram.org/bots/api#sending-files)."""

MAX_PHOTO_BYTES: Final = 10 * 1024 * 1024
"""The largest file that is sent as a photo (https://core.telegram.org/bots/api#sending-files)."""

MAX_UPDATE_BYTES: Final = 1024 * 1024
"""The largest body that a webhook takes; an update is a few kilobytes."""

WEBHOOK_QUEUE_LIMIT: Final = 1_000
"""Updates from the webhook that are stored and wait to be looked into; beyond it Telegram keeps them."""

BACKGROUND_LIMIT: Final = 100
"""Calls that nobody waits for, such as answers to pressed buttons; beyond it the oldest wait is not begun."""

PIECE_BYTES: Final = 64 * 1024
"""Size of the pieces in which files are read and written."""

FIND_WINDOW: Final = 30
"""Message ids that are looked at for a message whose send had no answer."""

FIND_BEYOND: Final = 3
"""Ids in a row with nothing under them, above the highest known one, that end a search where ids follow one another;
one or two may be those of messages that were deleted."""

REMEMBERED: Final = 1_000
"""Albums, topics and chats that are remembered, of each kind."""

CONNECTIONS: Final = 100
"""HTTP connections at once."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that things may take.

    `poll` is how long the server keeps a request for updates open (50 at most), `margin` how much later its answer
    may come before the connection counts as dead. Waits between tries grow from `first_wait` to `longest_wait`.
    `answer` and `upload` are for one read or write of a call, `connect` for a connection. `webhook_check` is how often
    the server is asked how the webhook does.
    """

    poll: int = 30
    margin: float = 15.0
    answer: float = 20.0
    upload: float = 60.0
    connect: float = 10.0
    first_wait: float = 1.0
    longest_wait: float = 60.0
    webhook_check: float = 120.0


TIMING: Final = Timing()
