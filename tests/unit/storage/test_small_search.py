"""A search in a few texts finds what the index of all finds."""

import sqlite3
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from gateway.search import match_expression
from gateway.storage.small_search import CHUNK, search_few
from gateway.storage.words import apart

WORDS = st.sampled_from(
    ["harbour", "Harbor", "café", "CAFE", "e-mail", "e mail", "a_b", "x1", "日本", "本", "在日本e", "har", "b", "…"]
)
TEXTS = st.lists(st.lists(WORDS, max_size=5).map(" ".join), max_size=12)


def indexed(texts: list[tuple[int, str]], expression: str) -> list[int]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5 (content, tokenize = 'unicode61 remove_diacritics 2')")
        apart_texts = [(number, apart(text)) for number, text in texts]
        connection.executemany("INSERT INTO t (rowid, content) VALUES (?, ?)", apart_texts)
        return [
            row[0] for row in connection.execute("SELECT rowid FROM t WHERE t MATCH ? ORDER BY 1 DESC", (expression,))
        ]


@given(TEXTS, st.lists(WORDS, min_size=1, max_size=3).map(" ".join))
def test_it_finds_what_an_index_finds(texts: list[str], query: str) -> None:
    expression = match_expression(query)
    if expression is not None:
        numbered = list(enumerate(texts))
        found = search_few(numbered, expression, 100, 0)
        assert [number for number, _snippet in found] == indexed(numbered, expression)


def test_pages_follow_one_another_the_newest_first() -> None:
    texts = [(number, f"harbour {number}") for number in range(2 * CHUNK + 5)]
    pages = [number for page in range(50) for number, _text in search_few(texts, '"harbour" *', 9, 9 * page)]
    assert pages == list(range(2 * CHUNK + 4, -1, -1))
    assert search_few(texts, '"harbour" *', 1, 0) == [(2 * CHUNK + 4, f"harbour {2 * CHUNK + 4}")]
