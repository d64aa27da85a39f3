"""What our Markdown has beyond CommonMark: emphasis beside Chinese, arithmetic left alone, spoilers, formulas.

Every rule here decides by what stands in its own block, so that a block which is complete stays as it is while
the text goes on.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token
from markdown_it.utils import EnvType

MAX_NESTING: Final = 60
"""Levels of lists and quotes that are told apart, two a list; what lies deeper is shown as it was written."""

_ROOM: Final = 4
"""Levels below `MAX_NESTING` at which the rest is taken as text; markdown-it drops what lies at its limit."""

MAX_FORMULA: Final = 2_000
"""Characters of the longest formula within a line; bounds the search for its end."""

MAX_INLINE: Final = 20_000
"""Characters of the longest paragraph whose marks are read."""

MAX_BRACKETS: Final = 300
"""Brackets and addresses of a paragraph whose marks are read. The parser looks from each to the end, so that time
grows with their square; a paragraph with more of them is data, not prose."""

_PAIRS: Final = {"~": "s", "|": "spoiler"}
_FORMULAS: Final = {"$$": "$$", "\\(": "\\)", "\\[": "\\]"}
_DUNDER: Final = re.compile(r"__[a-z][a-z0-9_]{0,60}__(?![A-Za-z0-9_])")
"""A name of Python's like `__init__`, which models write outside of code too; they do not emphasise so."""

_SURELY_FORMULA: Final = re.compile(r"[\\^_={}]")


def add_rules(md: MarkdownIt) -> None:
    """Put the rules of this module into a parser."""
    md.options["maxNesting"] = MAX_NESTING
    md.inline.add_terminator_char("|")
    md.inline.ruler.at("emphasis", _emphasis)
    md.inline.ruler.before("emphasis", "dunder", _dunder)
    md.inline.ruler.at("strikethrough", _pair)
    md.inline.ruler2.at("strikethrough", _close_pairs)
    md.inline.ruler2.after("balance_pairs", "unclosed", _note_unclosed)
    md.inline.ruler.before("escape", "formula", _formula)
    md.core.ruler.at("inline", _inline)
    md.block.ruler.before("table", "deep", _too_deep)
    md.block.ruler.before("fence", "formula", _formula_block, {"alt": ["paragraph"]})


# --- what is worth reading -----------------------------------------------------------------------------


def parse_inline(md: MarkdownIt, content: str, env: EnvType) -> list[Token]:
    """The tokens of a paragraph's content; of one too long or too odd to be prose, only its lines."""
    brackets = content.count("[") + content.count("<") + content.count("://")
    if len(content) <= MAX_INLINE and brackets <= MAX_BRACKETS:
        return md.inline.parse(content, md, env, [])
    tokens = []
    for line in content.split("\n"):
        tokens += [Token("softbreak", "br", 0), Token("text", "", 0, content=line)]
    return tokens[1:]


def _inline(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline":
            token.children = parse_inline(state.md, token.content, state.env)


# --- emphasis ------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    """What a character is to its neighbouring marker: space, punctuation, wide (CJK, which takes no spaces), word."""
    if char.isspace():
        return "space"
    category = unicodedata.category(char)
    if unicodedata.east_asian_width(char) in "WFH" and category != "So":
        return "wide"
    return "punctuation" if category[0] in "PS" else "word"


def _flanks(before: str, after: str) -> tuple[bool, bool]:
    """Whether a run of markers is left-flanking and right-flanking.

    CommonMark 0.31, section 6.2, with one difference: beside punctuation, a wide character counts like a space,
    since Chinese and Japanese put none there.
    """
    previous, following = _kind(before), _kind(after)
    left = following != "space" and (following != "punctuation" or previous != "word")
    right = previous != "space" and (previous != "punctuation" or following != "word")
    return left, right


def _around(state: StateInline, start: int, end: int) -> tuple[str, str]:
    before = state.src[start - 1] if start > 0 else " "
    after = state.src[end] if end < state.posMax else " "
    return before, after


def _run(state: StateInline) -> tuple[str, int]:
    marker, end = state.src[state.pos], state.pos
    while end < state.posMax and state.src[end] == marker:
        end += 1
    return marker, end - state.pos


def _is_operator(length: int, before: str, after: str) -> bool:
    """Whether asterisks multiply or raise to a power: `5*3`, `a*b`, `x**2`."""
    if not (before.isascii() and before.isalnum() and after.isascii() and after.isalnum()):
        return False
    return length == 1 or (length == 2 and after.isdigit())


def _emphasis_flanks(marker: str, length: int, before: str, after: str) -> tuple[bool, bool]:
    """Whether a run may open, and whether it may close.

    Two asterisks are also taken where only a space keeps CommonMark from it: `**Note:**text`.
    """
    left, right = _flanks(before, after)
    if marker == "_":
        punctuation_before = _kind(before) in ("punctuation", "wide") and not before.isalnum()
        punctuation_after = _kind(after) in ("punctuation", "wide") and not after.isalnum()
        return left and (not right or punctuation_before), right and (not left or punctuation_after)
    if _is_operator(length, before, after):
        return False, False
    if length >= 2:
        return not after.isspace(), not before.isspace()
    return left, right


def _emphasis(state: StateInline, silent: bool) -> bool:
    if silent or state.src[state.pos] not in "*_":
        return False
    marker, length = _run(state)
    opens, closes = _emphasis_flanks(marker, length, *_around(state, state.pos, state.pos + length))
    for _ in range(length):
        _push_marker(state, marker, marker, length, opens, closes)
    state.pos += length
    return True


def _dunder(state: StateInline, silent: bool) -> bool:
    name = _DUNDER.match(state.src, state.pos, state.posMax) if state.src[state.pos] == "_" else None
    if name is None or _kind(_around(state, state.pos, state.pos)[0]) == "word":
        return False
    if not silent:
        state.push("text", "", 0).content = name.group()
    state.pos = name.end()
    return True


def _push_marker(state: StateInline, marker: str, text: str, length: int, opens: bool, closes: bool) -> None:
    state.push("text", "", 0).content = text
    token = len(state.tokens) - 1
    state.delimiters.append(Delimiter(ord(marker), length, token, -1, opens, closes))


# --- ~~struck~~ and ||spoiler|| ------------------------------------------------------------------------


def _pair(state: StateInline, silent: bool) -> bool:
    if silent or state.src[state.pos] not in _PAIRS:
        return False
    marker, length = _run(state)
    if length < 2:
        return False
    opens, closes = _flanks(*_around(state, state.pos, state.pos + length))
    if length % 2:
        state.push("text", "", 0).content = marker
    for _ in range(length // 2):
        _push_marker(state, marker, marker * 2, 0, opens, closes)
    state.pos += length
    return True


def _close_pairs(state: StateInline) -> None:
    """Turn the markers that found their partners into tags."""
    for delimiters in _all_delimiters(state):
        for opener in delimiters:
            name = _PAIRS.get(chr(opener.marker))
            if name is None or opener.end == -1:
                continue
            for index, suffix, nesting in ((opener.token, "open", 1), (delimiters[opener.end].token, "close", -1)):
                token = state.tokens[index]
                token.type, token.tag, token.content = f"{name}_{suffix}", name, ""
                token.nesting = 1 if nesting == 1 else -1


def _all_delimiters(state: StateInline) -> list[list[Delimiter]]:
    inner = [meta["delimiters"] for meta in state.tokens_meta if meta and "delimiters" in meta]
    return [state.delimiters, *inner]


def _note_unclosed(state: StateInline) -> None:
    """Tell whoever asks by `env["unclosed"]` which markers opened and found no partner, outermost first."""
    if "unclosed" in state.env:
        waiting = (each for each in state.delimiters if each.open and each.end < 0)
        state.env["unclosed"] = [state.tokens[each.token].content for each in waiting]


# --- formulas ------------------------------------------------------------------------------------------


def _formula(state: StateInline, silent: bool) -> bool:
    """LaTeX stays as it was written: no platform can set it, and emphasis would eat its signs."""
    source, start = state.src, state.pos
    if source[start] not in "$\\":
        return False
    limit = min(state.posMax, start + MAX_FORMULA)
    opener = source[start : start + 2]
    end = _bracketed_end(source, start, limit) if opener in _FORMULAS else _dollar_end(source, start, limit)
    if end < 0:
        return False
    if not silent:
        token = state.push("text_special", "", 0)
        token.content = token.markup = source[start:end]
        token.info = "formula"
    state.pos = end
    return True


def _bracketed_end(source: str, start: int, limit: int) -> int:
    """Where `$$…$$`, `\\(…\\)` or `\\[…\\]` ends; -1 if it is none. `\\[1\\]` is an escaped bracket."""
    opener = source[start : start + 2]
    closer = _FORMULAS[opener]
    found = source.find(closer, start + 2, limit)
    body = source[start + 2 : found] if found > 0 else ""
    if not body or (opener == "\\[" and not (body[0].isspace() or _SURELY_FORMULA.search(body))):
        return -1
    return found + len(closer)


def _dollar_end(source: str, start: int, limit: int) -> int:
    """Where `$…$` ends, by pandoc's rule that tells it from amounts of money; -1 if it is none."""
    if source[start] != "$":
        return -1
    end = source.find("$", start + 1, limit)
    body = source[start + 1 : end] if end > 0 else ""
    if not body or body[0].isspace() or body[-1].isspace() or source[end + 1 : end + 2].isdigit():
        return -1
    if any(mark in body for mark in ("`", "\n", "](", "://")):
        return -1
    if body[0].isdigit() and not _SURELY_FORMULA.search(body):
        return -1
    return end + 1


def _formula_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Lines between `$$` and `$$`, or between `\\[` and `\\]`, each alone on its line, up to a blank line."""
    opener = _line(state, start)
    closer = _FORMULAS.get(opener)
    if closer is None or opener == "\\(" or state.is_code_block(start):
        return False
    if silent:
        return True
    line = start + 1
    while line < end and not state.isEmpty(line) and state.sCount[line] >= state.blkIndent:
        line += 1
        if _line(state, line - 1).endswith(closer):
            break
    return _take_verbatim(state, start, line)


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()


def _take_verbatim(state: StateBlock, start: int, end: int) -> bool:
    token = state.push("verbatim", "", 0)
    token.content = state.getLines(start, end, state.blkIndent, False)
    token.map = [start, end]
    state.line = end
    return True


def _too_deep(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.level < MAX_NESTING - _ROOM or silent:
        return False
    return _take_verbatim(state, start, end)
