"""What models write, and what Telegram's people see: each text of the corpus beside its messages.

After a wanted change, `HERMES_GATEWAY_WRITE_CORPUS=1` writes the expected files anew; read the difference.
"""

import os
from pathlib import Path

import pytest

from adapters.markup.telegram import TelegramMarkup, TelegramMessages
from tests.unit.markup.telegram_rules import annotated, check_message

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.md"))
WRITES = bool(os.environ.get("HERMES_GATEWAY_WRITE_CORPUS"))
BETWEEN = "\n=== next message ===\n"


@pytest.mark.parametrize("source", CORPUS, ids=lambda path: path.stem)
def test_a_text_is_shown_as_expected(source: Path) -> None:
    shown = TelegramMarkup().messages(source.read_text(encoding="utf-8"))
    assert isinstance(shown, TelegramMessages)
    for message in shown.messages:
        check_message(message)
    text = BETWEEN.join(map(annotated, shown.messages)) + "\n"
    expected = source.with_suffix(".telegram.txt")
    if WRITES:
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("source", CORPUS, ids=lambda path: path.stem)
def test_a_text_that_was_written_bit_by_bit_is_shown_the_same(source: Path) -> None:
    text = source.read_text(encoding="utf-8") * 3
    markup = TelegramMarkup(max_length=300)
    draft = markup.draft()
    settled = TelegramMessages(())
    for end in range(0, len(text), max(37, len(text) // 60)):
        now = draft.update(text[:end])
        assert isinstance(now, TelegramMessages)
        for message in now.messages:
            check_message(message, 300)
        assert now.messages[: settled.settled] == settled.messages[: settled.settled]
        settled = now
    whole, final = markup.messages(text), draft.update(text, final=True)
    assert isinstance(whole, TelegramMessages)
    assert isinstance(final, TelegramMessages)
    assert final.messages == whole.messages
    assert final.messages[: settled.settled] == settled.messages[: settled.settled]


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) >= 12
