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

PIECE_BYTES: Final = 64 * 1024
"""Size of the pieces in which files are read and written."""

FIND_WINDOW: Final = 30
"""Message ids above the highest earlier one among which a message is looked for whose send had no answer."""

FIND_LOOKS: Final = 10
"""Ids that are looked at for it in a private chat; each look counts like a message, and takes a second there."""

FIND_LOOKS_IN_GROUPS: Final = 6
"""Ids that are looked at elsewhere, where a look has to take three seconds."""

FIND_REFUSALS: Final = 3
"""How often the server may interrupt a search; after that it stays unknown."""

FIND_SECONDS: Final = 90.0
"""The longest that a search may take; far below the time that the core gives one call."""

REFUSAL_CHECKS: Final = 4
"""How often in a row the server has to say that it does not know the account, after it has known it."""

DRAFT_REFUSALS: Final = 3
"""Drafts refused in a row after which an answer grows as a message instead."""

CONNECTIONS: Final = 100
"""HTTP connections at once."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that things may take.

    `poll` is how long the server keeps a request for updates open (50 at most), `margin` how much later its answer
    may come before the connection counts as dead. Waits between tries grow from `first_wait` to `longest_wait`.
    `answer` and `upload` are for one read or write of a call, `connect` for a connection. `webhook_check` is how often
    the server is asked how the webhook does, `refusal_check` the time between two checks whether it knows the account.
    """

    poll: int = 30
    margin: float = 15.0
    answer: float = 20.0
    upload: float = 60.0
    connect: float = 10.0
    first_wait: float = 1.0
    longest_wait: float = 60.0
    webhook_check: float = 120.0
    refusal_check: float = 15.0


TIMING: Final = Timing()
