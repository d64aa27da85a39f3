"""Limits and times that are not settings: each with its unit and its reason."""

from typing import Final

MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
"""The longest frame on the gateway's socket: a message of the largest permitted size, JSON-escaped."""

WRITER_QUEUE_LIMIT: Final = 10_000
"""Jobs waiting for the database writer; beyond it new ones are refused, so that memory is bounded."""

WRITER_BATCH_LIMIT: Final = 512
"""Jobs that share one commit: enough to spread the cost of a sync, small enough to keep a commit short."""

SQLITE_BUSY_SECONDS: Final = 2.0
"""How long SQLite waits for another process's lock before a statement fails; then the spool takes what is to be stored,
within the three seconds in which Slack wants to hear that we have an event
(https://docs.slack.dev/apis/events-api#responding)."""

AGENT_START_SECONDS: Final = 90.0
"""How long an agent may take until it is ready; the process of the local model has a minute of it."""

AGENT_CLOSE_SECONDS: Final = 10.0
"""How long an agent may take to close before the gateway goes on without that; the process of the local model is killed
within it."""

AGENT_CANCEL_GRACE_SECONDS: Final = 5.0
"""How long a cancelled agent may take to end before its lane goes on without it."""

ABANDONED_LIMIT: Final = 64
"""Cancelled runs of one agent that have not ended; beyond it the agent is asked no more, so that memory is bounded."""

MAX_ANSWER_CHARS: Final = 1_000_000
"""The longest text of one model step: no person reads more, and an agent that never stops talking is a fault."""

WAITING_LIMIT: Final = 100_000
"""Messages that wait in all lanes together, in memory; beyond it new ones are not taken, so that memory is bounded."""

FRAME_CLOSE_SECONDS: Final = 1.0
"""How long a client of the socket may take to read what is left when its connection is closed."""

HELLO_TIMEOUT_SECONDS: Final = 10.0
"""How long a client of the socket may take to say what it wants."""

OUTBOX_ERROR_PAUSE_SECONDS: Final = 5.0
"""How long a chat's deliveries rest after a fault of the gateway itself, the database's included."""

DELIVERY_CALL_SECONDS: Final = 300.0
"""How long one call of an adapter may take before its outcome counts as unknown; an upload takes its time."""

HOLD_CHECK_SECONDS: Final = 5.0
"""How often those who wait for a platform's leave look again at least."""

MAX_HOLD_SECONDS: Final = 86_400.0
"""How long a wait that a platform asked for counts after a restart: the machine's clock may have been put back."""

MAX_BUDGET_CHATS: Final = 10_000
"""Chats of one account whose latest messages are remembered; one that is forgotten was quiet for longer than others."""

MAX_SHOWN: Final = 2_000
"""Deliveries of which it is remembered what people see of them; of others an edit shows everything again."""

COMPOSE_INLINE_CHARS: Final = 4_000
"""The longest text that is made into messages on the loop: about two milliseconds of work. Longer ones go to a
thread."""

TYPING_DELAY_SECONDS: Final = 0.3
"""How long a turn may take before people are shown that an answer is being written."""

TYPING_STOP_SECONDS: Final = 1.0
"""How long the last word of that may take to end before its turn goes on."""

CALL_OVER_SECONDS: Final = 30.0
"""How long after a call that ended without an answer a platform may still carry it out, as far as we count on it."""

PARK_CHECK_SECONDS: Final = 60.0
"""How often what waits for an instant looks at the clock again: it may have been set meanwhile."""

PREVIEW_CLOSE_SECONDS: Final = 5.0
"""How long the last edit of a growing reply may take before its final content goes out regardless."""

FRESH_SECONDS: Final = 10.0
"""How far back the time of a session may lie for a turn to begin without moving it: the turn's end does. Lists and
searches by time go wrong by no more than that while the turn is open."""

FIRST_TEXT_SECONDS: Final = 0.005
"""How long the first text of a reply waits for its end: a reply that is complete by then is one message, sent once.
No person notices it, and it is longer than an agent takes that has its whole answer at once."""

AWAY_SECONDS: Final = 1.0
"""How long a growing reply waits for a platform that cannot be reached, or has no edits now, before it looks again; a
chat's deliveries wait no less."""

CHECKPOINT_SECONDS: Final = 1.0
"""How often what people see of a growing reply is noted, so that a crash leaves at most this much unknown."""

LOCAL_MODEL_START_SECONDS: Final = 60.0
"""How long the local model's process may take until it serves; it takes about two on an idle machine."""

LOCAL_MODEL_STOP_SECONDS: Final = 5.0
"""How long the local model's process may take to end when asked, before it is killed."""

LOCAL_MODEL_EXIT_SECONDS: Final = 1.0
"""How long a broken connection to the local model waits for news that its process has ended."""

LOCAL_MODEL_RESTARTS: Final = 5
"""How often the local model's process is started again within `LOCAL_MODEL_RESTART_WINDOW_SECONDS`."""

LOCAL_MODEL_RESTART_WINDOW_SECONDS: Final = 600.0
"""The time in which restarts of the local model's process are counted."""

LANE_ERROR_PAUSE_SECONDS: Final = 5.0
"""How long a session's lane rests after a fault of the gateway itself, the database's included."""

LANE_FAILURES: Final = 5
"""How often a lane may fail at one message, by a fault that is not the database's, before it gives that up."""

MAX_RETRY_AFTER_SECONDS: Final = 3600.0
"""How long a turn waits at most because its model's server asks for it. Its session waits with it, and nobody is told:
a server that asks for more, as for a quota of the day, has refused."""

COALESCE_LIMIT: Final = 20
"""Messages that may be joined to one; no platform splits one message into more."""

MAX_CLIENTS: Final = 64
"""Clients of the socket at once; each holds a file and buffers."""

ADAPTER_RESTART_SECONDS: Final = 1.0
"""The wait before an adapter that ended with an error is started again; it doubles with each further time."""

ADAPTER_RESTART_MAX_SECONDS: Final = 60.0
"""The longest wait before an adapter is started again."""

ADAPTER_HANDOVER_SECONDS: Final = 15.0
"""How long deliveries that are on their way may take before an adapter is replaced by one of other settings."""

ADAPTER_STOP_SECONDS: Final = 10.0
"""How long an adapter that is replaced may take to end before its successor starts."""

CONFIG_WATCH_SECONDS: Final = 1.0
"""How often the files of the configuration are looked at; a change counts once two looks in a row agree."""

RELAY_POLL_SECONDS: Final = 0.1
"""How often an agent that waits for another session looks whether it has answered."""

CONFIG_RETRY_SECONDS: Final = 1.0
"""How long a file that cannot be read as configuration is left alone before it is read again and reported."""

ADAPTER_STEADY_SECONDS: Final = 60.0
"""An adapter that ran this long had recovered: its next restart waits as little as the first."""

MIRROR_SECONDS: Final = 2.0
"""How often the JSONL mirror catches up with what was said."""

TAKE_UP_AGAIN_SECONDS: Final = 5.0
"""The wait before what an outage had hidden is tried to be taken up again."""

SEARCH_INDEX_SECONDS: Final = 2.0
"""How often the search index catches up with what was said."""

MEDIA_FETCH_SECONDS: Final = 120.0
"""How long one file may take to come in; what is larger than usual still takes less on a slow line."""

MEDIA_FETCH_TRIES: Final = 3
"""How often a file is asked for while its platform fails in a way that may pass."""

MEDIA_FETCH_PAUSE_SECONDS: Final = 1.0
"""The wait before a file is asked for again; it doubles."""

MEDIA_SIGN_SECONDS: Final = 1.0
"""How often a turn whose files come in shows a sign of life: less than any agent may be silent."""

MEDIA_RESTORE_SECONDS: Final = 20.0
"""How long a file of an earlier message, which has been removed here, may take to come in again: people wait for their
answer, and it is not what they ask about."""

MEDIA_RESTORE_REST_SECONDS: Final = 600.0
"""How long files of earlier messages are not asked for once that has failed."""

MEDIA_FETCHES: Final = 4
"""Files of one account that come in at once: an album comes quickly, and messages are not crowded out."""

MEDIA_CHUNK_BYTES: Final = 256 * 1024
"""How much of a file is held in memory before it is written: each write is a hop to a thread."""

MEDIA_KEEP_FREE_BYTES: Final = 64 * 1024 * 1024
"""Room on the disk that files from outside leave to the database."""

MEDIA_OUT_KEPT_DAYS: Final = 30
"""How long the copy of a file that went out is kept: as long as a delivery that could not be made stays in sight."""

MEDIA_PARTIAL_KEPT_SECONDS: Final = 86_400.0
"""How long a file that came in only in part is left alone: nothing takes that long to come in."""

OUTGOING_PARTIAL_KEPT_SECONDS: Final = 3600.0
"""The same of a copy that is made to go out, an export for instance: that is written from what is here already."""

MAX_IMAGE_BYTES: Final = 5 * 1000 * 1000
"""The largest image that an agent is shown: what Anthropic takes, the least of the large providers
(https://docs.anthropic.com/en/docs/build-with-claude/vision)."""

MAX_PROMPT_IMAGES: Final = 20
"""Images of one conversation that an agent is shown at once, the newest; beyond that number Anthropic takes smaller
ones only."""

MAX_PROMPT_IMAGE_BYTES: Final = 20 * 1000 * 1000
"""What the images of one conversation may have together; a request has at most 32 MB there, and base64 takes a third
more."""

MAX_FILES_PER_REPLY: Final = 10
"""Files that one reply may bring along; more lines that name one stay as text."""

MAX_FILE_NAME: Final = 80
"""Characters of a file's name that are shown."""

MEMORY_CHECK_SECONDS: Final = 2.0
"""How often is looked for conversations that have come to a rest and wait to be remembered."""

MEMORY_COMMITS_AT_ONCE: Final = 4
"""Conversations that are handed to what remembers at once: models that it asks are the people's too."""

MEMORY_CANCEL_GRACE_SECONDS: Final = 1.0
"""How long a call of what remembers may take to end once it is cancelled; then it is let go of."""

MEMORY_ABANDONED_LIMIT: Final = 16
"""Calls of what remembers that were let go of and run all the same; beyond that it is called no more."""

MEMORY_FAILURES_IN_A_ROW: Final = 3
MEMORY_REST_SECONDS: Final = 60.0
"""After so many failures in a row nothing is recalled for so long, so that not every turn waits for them."""

MEMORY_SYNC_QUEUE: Final = 1_000
"""Turns that wait to be told to what remembers; beyond that they are left out and counted: an extraction has them."""

LOCK_OUT_SECONDS: Final = 3600
"""How long no pairing code counts of somebody who gave too many wrong ones, and how long a wrong one is remembered."""
