"""Times and limits of the Discord adapter: each with its unit and where it comes from."""

from dataclasses import dataclass
from typing import Final

MAX_NONCE: Final = 25
"""Characters of a nonce (https://docs.discord.com/developers/resources/message#create-message)."""

MAX_CUSTOM_ID: Final = 100
"""Characters of what a button or an option carries
(https://docs.discord.com/developers/components/reference#anatomy-of-a-component)."""

MAX_LABEL: Final = 80
"""Characters on a button (https://docs.discord.com/developers/components/reference#button-button-structure)."""

MAX_OPTION_LABEL: Final = 100
"""Characters of an option of a menu
(https://docs.discord.com/developers/components/reference#string-select-select-option-structure)."""

ROWS: Final = 5
"""Rows of components below a message, and buttons in a row."""

MENU_OPTIONS: Final = 25
"""Options of one menu (https://docs.discord.com/developers/components/reference#string-select)."""

MAX_COMMANDS: Final = 100
"""Commands of an application
(https://docs.discord.com/developers/interactions/application-commands#registering-a-command)."""

MAX_DESCRIPTION: Final = 100
"""Characters of a command's description
(https://docs.discord.com/developers/interactions/application-commands#application-command-object)."""

MAX_ARGUMENTS: Final = 6_000
"""Characters of an option of a command
(https://docs.discord.com/developers/interactions/application-commands#application-command-object)."""

MAX_THREAD_NAME: Final = 100
"""Characters of a thread's name (https://docs.discord.com/developers/resources/channel#start-thread-from-message)."""

THREAD_MINUTES: Final = 1_440
"""Minutes without a message after which a thread that we open is archived."""

PIECE_BYTES: Final = 64 * 1024
"""Size of the pieces in which files are read."""

QUEUE_LIMIT: Final = 2_000
"""Events that wait to be stored; those beyond it are fetched from their channels later."""

BACKFILL_LIMIT: Final = 10_000
"""Messages of one channel that are fetched after a gap; older ones are left out, and that is logged."""

BACKFILL_PARALLEL: Final = 4
"""Channels that are looked into at once."""

BACKFILL_UNLISTED: Final = 200
"""Places that Discord did not name on connecting (archived threads, mostly), in which is looked all the same: those
written in last."""

FIND_LIMIT: Final = 300
"""Messages that are looked through for one whose send had no answer."""

NONCE_SECONDS: Final = 120.0
"""How long after a send a nonce surely keeps Discord from showing it twice; it speaks of "the past few minutes"
(https://docs.discord.com/developers/resources/message#create-message)."""

STALE_EDIT_SECONDS: Final = 60.0
"""How long to wait where Discord counts the edits of messages older than an hour, and does not say how long."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that things may take.

    `answer` and `upload` are for one call with all its repetitions, `handshake` for a connection to the gateway until
    it has said hello; one that lasted for less than `steady` was lost soon. `guilds` is how long after the last guild
    was told all are taken to be known. `identify` has to lie between two new sessions. Waits between tries grow from
    `first_wait` to `longest_wait`. `acknowledge` is how long storing what somebody pressed may take before they are
    shown that it is on its way (`thread`: opening one; people's messages wait for it); Discord waits three seconds
    (https://docs.discord.com/developers/interactions/receiving-and-responding#responding-to-an-interaction). `patience`
    is how long a message waits for what was written before it and is still being fetched, `lookup` for what it answers;
    `close` is for a goodbye.
    """

    answer: float = 40.0
    upload: float = 180.0
    handshake: float = 30.0
    steady: float = 5.0
    guilds: float = 2.0
    identify: float = 5.0
    first_wait: float = 1.0
    longest_wait: float = 60.0
    acknowledge: float = 1.5
    thread: float = 10.0
    patience: float = 10.0
    lookup: float = 2.0
    close: float = 3.0


TIMING: Final = Timing()
