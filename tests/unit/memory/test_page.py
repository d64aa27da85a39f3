"""A page of notes: what people write in it stays, and what the gateway wrote can be told apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.remembering.page import NOTES, TALKS, Origin, Page

ONE = Origin("20260301_120000_aaaaaaaaaaaaaaaa", 1, 2)
LATER = Origin("20260301_120000_aaaaaaaaaaaaaaaa", 3, 5)
OTHER = Origin("20260302_120000_bbbbbbbbbbbbbbbb", 1, 1)
BLANK = Page.blank("Ann")


def test_notes_and_conversations_stand_below_their_headings_and_are_recalled_without_marks() -> None:
    page = BLANK.with_notes(["Lives in Berlin.", "Likes tea."], ONE).with_talk("2026-03-01", ["hello", "tea?"], ONE)
    assert page.noted() == ["Lives in Berlin.", "Likes tea."]
    assert page.recall(4000).splitlines() == [
        NOTES, "- Lives in Berlin.", "- Likes tea.", TALKS, "- 2026-03-01: the user wrote “hello”, “tea?”",
    ]  # fmt: skip
    assert "Ann" not in page.recall(4000), "a name from outside is for people"
    assert Page.parse(page.text) == page


def test_an_empty_page_recalls_nothing() -> None:
    assert BLANK.recall(4000) == "" == Page(()).recall(4000)


def test_a_conversation_is_one_line_whatever_the_number_of_its_parts() -> None:
    page = BLANK.with_talk("2026-03-01", ["one"], ONE).with_talk("2026-03-02", ["two"], LATER)
    (line,) = [line for line in page.lines if line.startswith("- ")]
    assert line == '- 2026-03-01: the user wrote “one”, “two” <!-- from "20260301_120000_aaaaaaaaaaaaaaaa" 1-5 -->'


def test_the_same_part_again_changes_nothing_but_itself() -> None:
    page = BLANK.with_notes(["A."], ONE).with_talk("2026-03-01", ["one"], ONE).with_notes(["B."], OTHER)
    again = page.without(ONE.session_id, ONE.first).with_notes(["A."], ONE).with_talk("2026-03-01", ["one"], ONE)
    assert sorted(again.lines) == sorted(page.lines)


def test_what_stands_there_already_is_not_added_and_what_is_dropped_goes() -> None:
    page = Page.parse(f"{NOTES}\n\n- likes TEA.\n").with_notes(["Likes tea.", "Likes rain.", "likes rain."], ONE)
    assert page.noted() == ["Likes rain."]
    dropped = page.without_notes(["likes RAIN.", "Likes tea."])
    assert dropped.noted() == []
    assert "- likes TEA." in dropped.lines, "what a person wrote stays"


def test_a_session_is_taken_out_and_nothing_else() -> None:
    page = BLANK.with_notes(["A."], ONE).with_notes(["B."], OTHER).with_talk("2026-03-01", ["x"], LATER)
    assert page.without(ONE.session_id).noted() == ["B."]
    assert ONE.session_id not in page.without(ONE.session_id).text


def test_the_oldest_that_the_gateway_wrote_makes_room_conversations_first() -> None:
    page = Page.parse(f"mine\n{NOTES}\n- mine too\n")
    page = page.with_notes(["first"], ONE).with_notes(["second"], OTHER)
    for number in range(50):
        page = page.with_talk("2026-03-01", [f"talk {number}"], Origin(f"s{number}", 1, 1))
    fitted = page.fitted(1000)
    assert fitted.size <= 1000
    assert fitted.noted() == ["first", "second"]
    assert "talk 49" in fitted.text
    assert "talk 0" not in fitted.text
    assert {"mine", "- mine too"} <= set(page.fitted(1).lines)
    assert page.fitted(1).noted() == []


def test_recall_is_capped_and_gives_people_s_own_lines_first_then_the_newest() -> None:
    page = Page.parse(f"{NOTES}\n- mine\n")
    for number in range(100):
        page = page.with_notes([f"note {number}"], Origin("s", number, number))
    recalled = page.recall(60)
    assert len(recalled) <= 60
    assert "- mine" in recalled
    assert "note 99" in recalled
    assert "note 0" not in recalled.split("\n")


@pytest.mark.parametrize("bad", ["<!-- x", "a --> b", "## Notes", "line\nbreak", "\x00nul", "# # -", "\u202eturned"])
def test_words_from_outside_end_no_line_and_begin_no_comment(bad: str) -> None:
    page = BLANK.with_notes([bad, "fine"], ONE).with_talk("2026-03-01", [bad], ONE)
    assert page.noted()[-1] == "fine"
    left = Page.parse(page.text).without(ONE.session_id)
    assert [line for line in left.lines if line] == [line for line in BLANK.lines if line]


def test_a_comment_that_people_write_is_not_recalled() -> None:
    assert Page.parse("<!-- a\nb -->\nseen\n<!-- never ended\nhidden").recall(100) == "seen"


@given(st.text(max_size=300), st.lists(st.text(max_size=40), max_size=4))
def test_no_text_of_a_file_breaks_it_and_people_s_lines_stay(text: str, notes: list[str]) -> None:
    page = Page.parse(text)
    changed = page.with_notes(notes, ONE).with_talk("2026-03-01", notes or ["x"], ONE).fitted(200)
    own = [line for line in page.lines if line.strip() and line not in (NOTES, TALKS)]
    assert [line for line in changed.lines if line in own] == own
    assert len(changed.recall(50)) <= 50
    assert Page.parse(changed.text).text == changed.text
