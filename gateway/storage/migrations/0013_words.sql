-- Texts in scripts without spaces are indexed character by character, so that a search finds any part of them. The index
-- is made anew in the background, from the first message on: until then `search_cursor` says how far it is.

-- What the index has of each message. `apart` is the program's (`gateway/storage/words.py`). Only texts that may need it
-- are handed to it, as SQLite waits for the program's other threads each time: those with characters of these ranges, in
-- which all such scripts lie.
CREATE VIEW messages_words (id, session_id, content) AS
SELECT id, session_id, CASE
    WHEN length(content) = length(CAST(content AS BLOB)) THEN content
    WHEN content GLOB '*[' || char(0x0e00) || '-' || char(0x17ff) || char(0x3005) || '-' || char(0x3ffff) || ']*'
    THEN apart(CAST(content AS BLOB))
    ELSE content END
FROM messages WHERE content IS NOT NULL;

DROP TABLE messages_search;
CREATE VIRTUAL TABLE messages_search USING fts5 (
    content, content = 'messages_words', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
DELETE FROM meta WHERE name = 'search_cursor';
