"""Times and limits of the Slack adapter: each with its unit and where it comes from."""

from dataclasses import dataclass
from typing import Final

MAX_SECTION: Final = 3_000
"""Characters of a section's text (https://docs.slack.dev/reference/block-kit/blocks/section-block)."""

MAX_BUTTON_LABEL: Final = 75
MAX_BUTTON_VALUE: Final = 2_000
"""Characters on a button, and of what it carries
(https://docs.slack.dev/reference/block-kit/block-elements/button-element)."""

MAX_OPTION_VALUE: Final = 150
MAX_OPTIONS: Final = 100
"""Characters that an option of a menu carries, and options of one menu
(https://docs.slack.dev/reference/block-kit/composition-objects/option-object)."""

BUTTONS_IN_ROW: Final = 5
"""Buttons that stand in one row; a longer row is a menu."""

MAX_ROWS: Final = 40
"""Rows below a message; a message holds 50 blocks (https://docs.slack.dev/reference/block-kit/blocks)."""

MAX_CAPTION: Final = 3_000
"""Characters of what is said with a file."""

MAX_UPLOAD_BYTES: Final = 1_000_000_000
"""The largest file that Slack takes (https://slack.com/help/articles/201330736-Add-files-to-Slack)."""

MAX_REQUEST_BYTES: Final = 2 * 1024 * 1024
"""The largest request that is read from Slack; an event is a few kilobytes."""

SIGNATURE_SECONDS: Final = 300
"""How old a signed request may be (https://docs.slack.dev/authentication/verifying-requests-from-slack)."""

PIECE_BYTES: Final = 64 * 1024
"""Size of the pieces in which files are read and written."""

QUEUE_LIMIT: Final = 5_000
"""Events that are stored and wait to be looked into; beyond it Slack keeps them and sends them again."""

PAGE: Final = 200
"""Messages that are asked for at once; Slack recommends no more
(https://docs.slack.dev/reference/methods/conversations.history)."""

BACKFILL_LIMIT: Final = 2_000
"""Messages of one channel or thread that are fetched after a gap; older ones are left out, and that is logged."""

BACKFILL_THREADS: Final = 20
"""Threads of a channel that are looked into after a gap: those written in last."""

BACKFILL_DAYS: Final = 7
"""Age of the last message in a thread from which on it is not looked into any more."""

OVERLAP_SECONDS: Final = 600.0
"""How far before the position a backfill begins: Slack sends an event again for up to six minutes, so an older one may
still have been on its way (https://docs.slack.dev/apis/events-api#retries)."""

KNOWN_THREADS: Final = 100
"""Threads of one channel that are remembered as ours."""

FIND_PAGES: Final = 5
"""Pages of messages that are looked through for one whose send had no answer."""

MAX_STREAM: Final = 3_000
"""Characters of an answer up to which it is streamed; a longer one may need a second message, and is edited."""

STREAMS_A_MINUTE: Final = 10
"""Streams that are begun; Slack takes twenty such calls, and as many that end one
(https://docs.slack.dev/reference/methods/chat.stopStream)."""

NO_STREAMS_SECONDS: Final = 600.0
"""For how long nothing is streamed after Slack has refused a stream: not every workspace has them."""

NO_STATUS_SECONDS: Final = 60.0
"""For how long nobody is shown that an answer is being written after Slack has had too much of that, if it does not say
for how long."""

CONNECTIONS: Final = 100
"""HTTP connections at once."""

EVENT_TYPE: Final = "hermes_delivery"
"""What our messages' metadata is called, by which a send without an answer is found again."""


EVENT: Final = "events_api"
COMMAND: Final = "slash_commands"
PRESS: Final = "interactive"
"""Kinds of what Slack sends, as Socket Mode calls them (https://docs.slack.dev/apis/events-api/using-socket-mode)."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that things may take.

    `answer` is for one call, `upload` for one read or write of a file, `connect` for a connection, `hello` for Socket
    Mode to say hello on one. A connection of Socket Mode is asked for a sign of life every `ping`, and is gone after
    half as long again without one; whether it has ended is looked at every `look`. One that lasted for less than
    `steady` was lost soon. An old one may stay for `retire` beside the new one, and gets `close` for its end. `check`
    is how often Slack is asked whether our token is good, `lookup` how long a name may take, or word of what a file
    is, `settle` how long a message may take to be in a channel's history, and `share` how long a file until it is known
    as which message it is shown. Messages that came live wait for those that were missed before them for `hold` at
    most, and the event of a mention waits for that of its message for `mention`. Waits between tries grow from
    `first_wait` to `longest_wait`.
    """

    answer: float = 20.0
    upload: float = 60.0
    connect: float = 10.0
    hello: float = 10.0
    ping: float = 5.0
    look: float = 0.2
    steady: float = 5.0
    retire: float = 15.0
    close: float = 1.0
    check: float = 120.0
    lookup: float = 3.0
    settle: float = 1.0
    share: float = 5.0
    hold: float = 15.0
    mention: float = 1.0
    first_wait: float = 1.0
    longest_wait: float = 60.0


TIMING: Final = Timing()
