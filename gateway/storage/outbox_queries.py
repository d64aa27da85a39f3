"""The SQL statements about what goes out."""

from typing import Final

ADD_DELIVERY: Final = """
INSERT INTO outbox (platform, account, chat, thread, session_id, turn_id, kind, text, answers, final, state, created_at,
                    file, buttons, key)
SELECT ?1, ?2, coalesce(moved.new, ?3), ?4, ?5, ?6, ?7, ?8, iif(moved.new IS NULL, ?9, '[]'), ?10, 'pending', ?11,
       ?12, ?13, ?14
FROM (SELECT 1) LEFT JOIN moved_chats AS moved ON moved.platform = ?1 AND moved.old = ?3
WHERE true ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING"""
"""Put a message in the outbox, for the id that its chat has now: ids of messages from before mean nothing there, so it
answers none. One whose key is there already is not put in again."""

HAS_KEY: Final = "SELECT 1 FROM outbox WHERE key = ?"
"""Whether a message was put in already that is put in once."""

GET_DELIVERY: Final = "SELECT * FROM outbox WHERE id = ?"
"""A delivery by number."""

OPEN_CHATS: Final = """
SELECT DISTINCT platform, account, chat FROM outbox WHERE state IN ('pending', 'sending')"""
"""The chats that something waits for."""

NEXT_DELIVERY: Final = """
SELECT * FROM outbox WHERE platform = ? AND account = ? AND chat = ? AND state IN ('pending', 'sending')
ORDER BY id LIMIT 1"""
"""What is to be sent next in a chat."""

OPEN_EDITS: Final = """
SELECT id FROM outbox WHERE state IN ('pending', 'sending') AND final = 1 AND message_id IS NOT NULL"""
"""Complete deliveries whose last edit has not been recorded."""

COMPLETE_ORPHANS: Final = """
UPDATE outbox SET final = 1 WHERE final = 0 AND NOT EXISTS (
    SELECT 1 FROM turns WHERE turns.id = outbox.turn_id AND turns.state IN ('running', 'waiting', 'put_back'))"""
"""No reply goes on growing once its turn has ended: what there is of it is its last content."""

STREAM_OF_TURN: Final = "SELECT * FROM outbox WHERE turn_id = ? AND final = 0 ORDER BY id DESC LIMIT 1"
"""The reply of a turn that was still growing."""

START_DELIVERY: Final = """
UPDATE outbox SET state = 'sending', attempts = attempts + 1, not_before = NULL, repeated = max(repeated, ?),
       started_at = ?
WHERE id = ?"""
"""The call to the platform is about to be made."""

SENT_DELIVERY: Final = """
UPDATE outbox SET parts = ?1, message_id = ?2, sent_at = ?3, reason = NULL,
       attempts = CASE ?5 WHEN 'pending' THEN 0 ELSE attempts END,
       state = CASE WHEN final > ?4 THEN 'pending' ELSE ?5 END
WHERE id = ?6
RETURNING state, EXISTS (
    SELECT 1 FROM outbox AS other WHERE other.platform = outbox.platform AND other.account = outbox.account
    AND other.chat = outbox.chat AND other.state IN ('pending', 'sending')) AS more"""
"""The platform has some of it, or all; if it became complete meanwhile, the last content is still to be shown. Gives
whether anything waits in the chat then."""

GROW_DELIVERY: Final = """
UPDATE outbox SET text = ?, state = 'pending' WHERE id = ? AND final = 0 AND state = 'sent'"""
"""A growing reply has become more than its messages hold."""

MARK_DELIVERY: Final = "UPDATE outbox SET repeated = 1 WHERE id = ?"
"""It may have been shown before."""

LINK_DELIVERY: Final = "UPDATE outbox SET state = 'pending', parts = ?, message_id = ? WHERE id = ?"
"""The platform has some version of a part of it, under the last of these ids: it is to be edited."""

SETTLE_DELIVERY: Final = "UPDATE outbox SET state = 'pending' WHERE id = ?"
"""What may have been sent is not wanted any more, and was not shown."""

CHECKPOINT_DELIVERY: Final = "UPDATE outbox SET text = ? WHERE id = ? AND final = 0"
"""What people see so far of a growing reply."""

COMPLETE_DELIVERY: Final = """
UPDATE outbox SET text = ?, answers = ?, final = 1, attempts = 0,
       state = CASE WHEN state = 'sending' THEN 'sending' ELSE 'pending' END
WHERE id = ?"""
"""A growing reply has its last content. While its first send is under way it stays marked so; a time that the
platform asked to be left alone for still holds."""

POSTPONE_DELIVERY: Final = """
UPDATE outbox SET state = ?, not_before = ?, reason = ?, attempts = max(attempts + ?, 0) WHERE id = ?"""
"""Put a delivery off; it stays `sending` where it may have been shown."""

RESEND_DELIVERY: Final = """
UPDATE outbox SET state = 'pending', parts = ?, message_id = ?, repeated = max(repeated, ?) WHERE id = ?"""
"""The last message that it was shown as can be edited no more: it is sent as a new one. The ids are what remains."""

SEND_ANEW: Final = """
UPDATE outbox SET state = CASE WHEN final = 1 THEN 'pending' ELSE state END, parts = '[]', message_id = NULL,
       repeated = CASE WHEN parts <> '[]' OR state = 'sending' THEN 1 ELSE repeated END
WHERE platform = ? AND account = ? AND (state IN ('pending', 'sending') OR final = 0)"""
"""What another account had begun to show can be edited by it alone."""

SENT_AROUND: Final = """
SELECT parts, coalesce(sent_at, created_at) AS sent_at FROM outbox
WHERE id BETWEEN ? - 2000 AND ? + 2000 AND platform = ? AND account = ? AND +chat = ? AND message_id IS NOT NULL"""
"""Messages that were sent in a chat, and when, by the deliveries around one. Of what was found it is not known when:
after it was put in, and before what comes behind it in the chat."""

CAME_AROUND: Final = """
SELECT message_id, received_at FROM inbound
WHERE id > (SELECT max(id) FROM inbound) - 2000 AND +platform = ? AND +account = ? AND +chat = ?"""
"""Messages that came in in a chat lately, and when."""

GET_HOLDS: Final = "SELECT platform, account, chat, until FROM holds"
"""Until when platforms want to be left alone."""

PUT_HOLD: Final = """
INSERT INTO holds (platform, account, chat, until) VALUES (?, ?, ?, ?)
ON CONFLICT (platform, account, chat) DO UPDATE SET until = max(until, excluded.until)"""
"""A platform wants to be left alone until then."""

DROP_HOLDS: Final = "DELETE FROM holds WHERE until <= ?"
"""Forget what has passed."""

KILL_DELIVERY: Final = "UPDATE outbox SET state = 'dead', reason = ?, ended_at = ? WHERE id = ?"
"""Give a delivery up, at an instant."""

COUNT_OUTBOX: Final = """
SELECT state, count(*) AS number FROM outbox WHERE state IN ('pending', 'sending') GROUP BY state
UNION ALL SELECT 'dead', count(*) FROM outbox WHERE state = 'dead'
UNION ALL SELECT 'repeated', count(*) FROM outbox WHERE repeated = 1"""
"""How many deliveries are under way, given up, or marked as repeated."""
