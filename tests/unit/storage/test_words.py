"""Words of scripts without spaces: what is put apart, by the program and in the database; any part is found."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.search import MAX_WORDS, match_expression
from gateway.storage.migrate import migrations
from gateway.storage.small_search import search_few
from gateway.storage.words import SEPARATOR, apart, apart_stored, define_words, ends_whole

SCRIPTS = "東京都に住む々〆カタカナーｶﾀｶﾅ한국어를ㅋ我喜欢北京𠮷𰻝"
"""Letters alone: each is one to Python and to the index's tokenizer."""

THAI = "ภาษาไทยที่นี่ສະບາຍດີភាសាខ្មែរမြန်မာစာ"
LATIN = "abc XYZ é ß я 123 _-'’“”—… \n"


def shown(text: str) -> str:
    return apart(text).replace(SEPARATOR, "|")


def test_views_may_call_it_where_sqlite_trusts_none() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        define_words(connection)
        connection.execute("CREATE VIEW words (content) AS SELECT apart(CAST('京都' AS BLOB))")
        ((content,),) = connection.execute("SELECT content FROM words")
    assert content == apart("京都")


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    """A database in memory, with an index that is brought up to date by `index`."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        define_words(opened)
        for _number, sql in migrations():
            opened.executescript(sql)
        opened.execute("CREATE VIRTUAL TABLE plain USING fts5 (content, tokenize = 'unicode61 remove_diacritics 2')")
        yield opened


ADD = "INSERT INTO messages (session_id, role, content, created_at) VALUES ('s', 'user', ?, 0)"


def index(connection: sqlite3.Connection, text: str) -> None:
    """Have this text be the only message."""
    connection.execute("INSERT INTO messages_search (messages_search) VALUES ('delete-all')")
    connection.execute("DELETE FROM messages")
    connection.execute(
        "INSERT INTO messages (id, session_id, role, content, created_at) VALUES (1, 's', 'u', ?, 0)", (text,)
    )
    connection.execute("INSERT INTO messages_search (rowid, content) SELECT id, content FROM messages_words")


def finds(connection: sqlite3.Connection, query: str) -> bool:
    expression = match_expression(query)
    sql = "SELECT 1 FROM messages_search WHERE messages_search MATCH ?"
    return expression is not None and connection.execute(sql, (expression,)).fetchone() is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain text", "plain text"),
        ("Grüße, “café” — я", "Grüße, “café” — я"),
        ("東京都", "|東|京|都|"),
        ("iPhone使用者 ok", "iPhone|使|用|者| ok"),
        ("한국어 학교에서", "|한|국|어| |학|교|에|서|"),
        ("𠮷野家", "|𠮷|野|家|"),
        ("ＡＢＣ社", "ＡＢＣ|社|"),
        ("京\u200b都", "|京|\u200b|都|"),
    ],
)
def test_characters_are_put_apart(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(SCRIPTS + THAI)))
def test_nothing_but_separators_is_added(text: str) -> None:
    text = text.replace(SEPARATOR, "")
    assert apart(text).replace(SEPARATOR, "") == text
    assert apart_stored(text.encode()) == apart(text)


def test_the_database_asks_about_every_character_that_is_put_apart(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM messages")
    for code in range(1, sys.maxunicode + 1):
        character = chr(code)
        if apart(character) != character:
            connection.execute(ADD, (f"a{character}",))
    rows = connection.execute(
        "SELECT messages.content, messages_words.content FROM messages JOIN messages_words USING (id)"
    )
    assert [text for text, words in rows if words != apart(text)] == []


@pytest.mark.parametrize("content", ["plain", "Grüße “you”…", "й", "😀", "東京"])
def test_the_database_hands_on_what_the_program_makes_of_a_text(connection: sqlite3.Connection, content: str) -> None:
    index(connection, content)
    assert connection.execute("SELECT content FROM messages_words").fetchall() == [(apart(content),)]


def test_a_text_that_damage_has_changed_is_indexed(connection: sqlite3.Connection) -> None:
    index(connection, "x")
    connection.execute("UPDATE messages SET content = CAST(x'e4baace983bdff61' AS TEXT)")
    connection.execute("INSERT INTO messages_search (messages_search) VALUES ('rebuild')")
    assert finds(connection, "京都")


@given(data=st.data(), text=st.text(SCRIPTS, min_size=1, max_size=60), before=st.text(LATIN), after=st.text(LATIN))
def test_any_part_of_a_run_is_found(
    connection: sqlite3.Connection, data: st.DataObject, text: str, before: str, after: str
) -> None:
    begin = data.draw(st.integers(0, len(text) - 1))
    part = text[begin : data.draw(st.integers(begin + 1, len(text)))]
    whole = before + text + after
    index(connection, whole)
    assert finds(connection, part)
    expression = match_expression(part)
    assert expression is not None
    assert [number for number, _snippet in search_few([(7, whole)], expression, 9, 0)] == [7]


@given(data=st.data())
def test_any_part_with_a_letter_is_found_where_marks_stand_around_letters(
    connection: sqlite3.Connection, data: st.DataObject
) -> None:
    begin = data.draw(st.integers(0, len(THAI) - 1))
    part = THAI[begin : data.draw(st.integers(begin + 1, len(THAI)))]
    index(connection, f"x {THAI} y")
    assert finds(connection, part) is any(map(str.isalnum, part))


@given(text=st.text(LATIN), query=st.text(LATIN))
@example(text="abc e-mail", query="mail")
def test_other_words_are_found_as_ever(connection: sqlite3.Connection, text: str, query: str) -> None:
    index(connection, text)
    words = ['"' + word + '"' for word in query.split() if any(map(str.isalnum, word))]
    expression = match_expression(query)
    assert expression == (" ".join(words) + " *" if words else None)
    connection.execute("DELETE FROM plain")
    connection.execute("INSERT INTO plain (content) VALUES (?)", (text,))
    sql = "SELECT 1 FROM plain WHERE plain MATCH ?"
    assert finds(connection, query) is (bool(words) and connection.execute(sql, (expression,)).fetchone() is not None)


@pytest.mark.parametrize(
    ("query", "expression"),
    [
        ("京都", '"京|都"'),
        ("京都 abc", '"京|都" "abc" *'),
        ("abc 京都。", '"abc" "京|都|。"'),
        ("京都abc", '"京|都|abc" *'),
        ("abc「", '"abc|「" *'),
        ("ที่", '"ท|ี|่"'),
    ],
)
def test_a_character_is_no_beginning_of_a_word(query: str, expression: str) -> None:
    assert match_expression(query) == expression.replace("|", SEPARATOR)


def test_as_many_characters_count_as_words(connection: sqlite3.Connection) -> None:
    long = match_expression("京" * 100_000)
    assert long == '"' + SEPARATOR.join("京" * MAX_WORDS) + '"'
    assert (match_expression(f"{'京' * (MAX_WORDS - 1)} a b") or "").endswith(' "a" *')
    index(connection, "京" * MAX_WORDS)
    assert finds(connection, "京" * 100_000)


@pytest.mark.parametrize(
    ("text", "whole"), [("", False), ("京a", False), ("a京", True), ("a京。_", True), ("京 ", True)]
)
def test_what_ends_whole(text: str, whole: bool) -> None:
    assert ends_whole(text) is whole
