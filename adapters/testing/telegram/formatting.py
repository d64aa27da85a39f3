"""Parse modes: HTML and MarkdownV2 to a text with entities (https://core.telegram.org/bots/api#formatting-options)."""

import re
from html.parser import HTMLParser
from typing import Final

from adapters.testing.telegram.accounts import Json
from adapters.testing.telegram.errors import ApiError, bad_request
from adapters.testing.telegram.text import utf16_length

TAGS: Final = {
    "b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline", "ins": "underline",
    "s": "strikethrough", "strike": "strikethrough", "del": "strikethrough", "tg-spoiler": "spoiler", "span": "spoiler",
    "a": "text_link", "code": "code", "pre": "pre", "blockquote": "blockquote", "tg-emoji": "custom_emoji",
}  # fmt: skip
MARKS: Final = {"*": "bold", "_": "italic", "__": "underline", "~": "strikethrough", "||": "spoiler"}
TOKEN: Final = re.compile(r"\\(?P<escaped>[\x01-\x7e])|(?P<mark>```|\|\||__|[*_~`\[])|(?P<other>.)", re.DOTALL)
LINK: Final = re.compile(r"\]\((?P<url>(?:\\.|[^)\\])*)\)")
RESERVED: Final = frozenset("_*[]()~`>#+-=|{}.!")


def parsed(text: str, mode: str) -> tuple[str, list[Json]]:
    """Text and entities of a marked-up text. Raises `ApiError` for markup that is wrong, or another mode.

    The legacy mode `Markdown` is refused, where the real server still takes it.
    """
    match mode.lower():
        case "html":
            return _html(text)
        case "markdownv2":
            return _Markdown(text).parse()
        case _:
            raise bad_request("unsupported parse_mode")


def _wrong(reason: str) -> ApiError:
    return bad_request(f"can't parse entities: {reason}")


def _html(text: str) -> tuple[str, list[Json]]:
    parser = _Html()
    parser.feed(text)
    parser.close()
    if parser.opened:
        raise _wrong(f'Can\'t find end tag corresponding to start tag "{parser.opened[-1][0]}"')
    return parser.text, sorted(parser.entities, key=lambda entity: (entity["offset"], -entity["length"]))


class _Html(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.entities: list[Json] = []
        self.opened: list[tuple[str, Json]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            raise _wrong(f'Unsupported start tag "{tag}" at byte offset {self.getpos()[1]}')
        given = dict(attrs)
        if tag == "span" and given.get("class") != "tg-spoiler":
            raise _wrong('Tag "span" must have class "tg-spoiler"')
        entity: Json = {"type": TAGS[tag], "offset": utf16_length(self.text)}
        if tag == "a":
            entity["url"] = given.get("href")
        elif tag == "tg-emoji":
            entity["custom_emoji_id"] = given.get("emoji-id")
        elif tag == "blockquote" and "expandable" in given:
            entity["type"] = "expandable_blockquote"
        elif tag == "code" and self.opened and self.opened[-1][0] == "pre":
            self.opened[-1][1]["language"] = (given.get("class") or "").removeprefix("language-") or None
            entity = {}
        self.opened.append((tag, entity))

    def handle_endtag(self, tag: str) -> None:
        if not self.opened or self.opened[-1][0] != tag:
            raise _wrong(f"Unexpected end tag at byte offset {self.getpos()[1]}")
        entity = self.opened.pop()[1]
        if entity:
            entity["length"] = utf16_length(self.text) - entity["offset"]
            if entity["type"] != "text_link" or entity["url"]:
                self.entities.append({name: value for name, value in entity.items() if value is not None})

    def handle_data(self, data: str) -> None:
        self.text += data


class _Markdown:
    """One pass over a MarkdownV2 text; marks nest, and the innermost ends first."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._text = ""
        self._entities: list[Json] = []
        self._opened: list[tuple[str, Json]] = []

    def parse(self) -> tuple[str, list[Json]]:
        """Text and entities. Raises `ApiError` as the server would."""
        while token := TOKEN.match(self._source, self._at):
            self._at = token.end()
            if token["escaped"]:
                self._text += token["escaped"]
            elif token["mark"] in {"`", "```"}:
                self._code(token["mark"])
            elif token["mark"]:
                self._mark(token["mark"])
            else:
                self._character(token["other"])
        if self._opened:
            mark, entity = self._opened[-1]
            raise _wrong(f"Can't find end of the entity {mark} starting at UTF-16 offset {entity['offset']}")
        return self._text, sorted(self._entities, key=lambda entity: (entity["offset"], -entity["length"]))

    def _mark(self, mark: str) -> None:
        if self._opened and self._opened[-1][0] == mark:
            self._close()
        else:
            kind = "text_link" if mark == "[" else MARKS[mark]
            self._opened.append((mark, {"type": kind, "offset": utf16_length(self._text)}))

    def _close(self) -> None:
        entity = self._opened.pop()[1]
        length = utf16_length(self._text) - entity["offset"]
        if length:
            self._entities.append(entity | {"length": length})

    def _code(self, mark: str) -> None:
        end = self._source.find(mark, self._at)
        if end < 0:
            raise _wrong(f"Can't find end of the entity starting with {mark}")
        body = self._source[self._at : end]
        self._at = end + len(mark)
        entity: Json = {"type": "code" if mark == "`" else "pre", "offset": utf16_length(self._text)}
        if mark == "```":
            language, newline, rest = body.partition("\n")
            if newline:
                body = rest.removesuffix("\n")
                entity |= {"language": language} if language else {}
        body = re.sub(r"\\(.)", r"\1", body)
        self._text += body
        self._entities.append(entity | {"length": utf16_length(body)})

    def _character(self, character: str) -> None:
        if character == "]" and self._opened and self._opened[-1][0] == "[":
            link = LINK.match(self._source, self._at - 1)
            if link is None:
                raise _wrong("Can't find the address of a link")
            self._at = link.end()
            self._opened[-1][1]["url"] = re.sub(r"\\(.)", r"\1", link["url"])
            self._close()
        elif character in RESERVED:
            raise _wrong(f"Character '{character}' is reserved and must be escaped with the preceding '\\'")
        else:
            self._text += character
