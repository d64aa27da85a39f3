"""Markdown for the terminal: which blocks of a growing text are complete, and how they look on the screen.

Nothing of a text is lost on the way: what Markdown hides (raw HTML, addresses of links and images, definitions
of references) stays visible, and a line break stays one, as chats have it. Control characters are
shown as symbols, so that no text can steer the terminal.
"""

import io
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from rich.console import Console
    from rich.markdown import Markdown

TAB_SIZE: Final = 4

_TURNING: Final = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\N{REPLACEMENT CHARACTER}")
_CONTROLS: Final = {
    **{code: chr(0x2400 + code) for code in range(0x20) if code not in (0x09, 0x0A, 0x0D)},
    0x0D: None,
    0x7F: "\N{SYMBOL FOR DELETE}",
    **dict.fromkeys(range(0x80, 0xA0), "\N{REPLACEMENT CHARACTER}"),
    **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"),
    **_TURNING,
}
"""Control characters of C0 and C1, lone surrogates, and the bidirectional overrides, which can make a text
read other than it is."""

_LINE_END: Final = re.compile(r"(?:\x1b\[[0-9;]*m| )+$")
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str) -> str:
    """The text without anything that a terminal would act upon, except for line ends and tabs."""
    return text.translate(_CONTROLS)


class MarkdownBlocks:
    """Finds where the complete blocks of a text that is still growing end."""

    @cached_property
    def _parser(self) -> "MarkdownIt":
        return _parser().disable("inline")

    def complete_length(self, text: str) -> int:
        """How many characters from the start are blocks that no further text can change.

        The last block may always go on, and a line that has no end yet may turn out to be anything.
        """
        lines = text[: text.rfind("\n") + 1]
        starts = [
            token.map[0]
            for token in self._parser.parse(lines)
            if token.level == 0 and token.map is not None and token.nesting >= 0
        ]
        if len(starts) < 2:
            return 0
        return _offset_of_line(lines, starts[-1])


class MarkdownRenderer:
    """Turns Markdown into lines for a terminal, coloured as the environment permits.

    `environ` is asked for TERM, COLORTERM and NO_COLOR.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def render(self, text: str, width: int) -> str:
        """The text as lines of at most `width` cells, each ended by a line feed; empty for blank text.

        The text must be `plain`. A text that the libraries cannot render comes back as it is.
        """
        width = max(width, 8)
        try:
            rendered = self._capture(_markdown(text), width)
        except Exception:  # noqa: BLE001 - a fault in a library must not hide an answer
            rendered = text
        # An entity of Markdown stands for such a character only now.
        return _trimmed(rendered.translate(_TURNING))

    def styled(self, text: str, style: str, width: int) -> str:
        """Text as it is, wrapped, in a rich style; ended by a line feed."""
        from rich.text import Text

        return _trimmed(self._capture(Text(text, style=style, tab_size=TAB_SIZE, overflow="fold"), max(width, 8)))

    def quoted(self, text: str, mark: str, style: str, width: int) -> str:
        """Text as it is behind a mark, wrapped under its own beginning, in a rich style; ended by a line feed."""
        from rich.text import Text

        width = max(width, 8)
        whole = Text(text, tab_size=TAB_SIZE)
        lines = whole.wrap(self._console(width), width - len(mark), overflow="fold", tab_size=TAB_SIZE)
        leads = (mark if not number else " " * len(mark) for number in range(len(lines)))
        marked = Text("\n").join(Text(lead).append_text(line) for lead, line in zip(leads, lines, strict=True))
        marked.stylize(style)
        return _trimmed(self._capture(marked, width))

    def _capture(self, renderable: "Markdown | object", width: int) -> str:
        console = self._console(width)
        console.print(renderable)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    def _console(self, width: int) -> "Console":
        from rich.console import Console

        return Console(
            file=io.StringIO(),
            width=width,
            height=10_000,
            force_terminal=True,
            legacy_windows=False,
            highlight=False,
            emoji=False,
            markup=False,
            tab_size=TAB_SIZE,
            _environ=self._environ,
        )


def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    hidden = ["reference", "html_block", "html_inline"]
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable(hidden)


def _offset_of_line(text: str, line: int) -> int:
    offset = 0
    for _ in range(line):
        offset = text.index("\n", offset) + 1
    return offset


def _trimmed(rendered: str) -> str:
    """Without blank lines around and without spaces at line ends, which would wrap in a narrower window."""
    lines = [_LINE_END.sub(lambda found: found.group().replace(" ", ""), line) for line in rendered.split("\n")]
    while lines and not _ESCAPES.sub("", lines[-1]).strip():
        lines.pop()
    while lines and not _ESCAPES.sub("", lines[0]).strip():
        lines.pop(0)
    return "".join(f"{line}\n" for line in lines)


# --- rich's Markdown, with the differences that a chat needs ---------------------------------------------


def _markdown(text: str) -> "Markdown":
    from rich import box
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import CodeBlock, Heading, Markdown, TableElement
    from rich.padding import Padding
    from rich.syntax import Syntax
    from rich.table import Table
    from rich.text import Text

    class PlainHeading(Heading):
        """A heading at the left, where the eye looks for it."""

        LEVEL_ALIGN = dict.fromkeys(Heading.LEVEL_ALIGN, "left")

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            marks = Text("#" * int(self.tag[1:]) + " ", style="dim")
            yield marks.append_text(self.text)

    class PlainCode(CodeBlock):
        """Code in the terminal's own colours, indented and without a box, so that it can be copied."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            code = str(self.text).rstrip("\n")
            syntax = Syntax(
                code,
                self.lexer_name,
                theme="ansi_dark",
                background_color="default",
                word_wrap=True,
                tab_size=TAB_SIZE,
            )
            yield Padding(syntax, (0, 0, 0, 2))

    class WholeTable(TableElement):
        """A table whose cells wrap; nothing in them is cut off."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, style="dim", collapse_padding=True)
            if self.header is not None and self.header.row is not None:
                for cell in self.header.row.cells:
                    heading = cell.content.copy()
                    heading.stylize("bold")
                    table.add_column(heading, overflow="fold", justify=cell.justify)
            for row in self.body.rows if self.body is not None else ():
                table.add_row(*(cell.content for cell in row.cells), style="none")
            yield table

    class ChatMarkdown(Markdown):
        elements = {  # noqa: RUF012 - rich declares it so
            **Markdown.elements,
            "heading_open": PlainHeading,
            "fence": PlainCode,
            "code_block": PlainCode,
            "table_open": WholeTable,
        }

    markdown = ChatMarkdown("", hyperlinks=False)
    markdown.parsed = _adapted(_parser().parse(text))
    return markdown


def _adapted(tokens: "list[Token]") -> "list[Token]":
    for token in tokens:
        if token.children:
            token.children = list(_adapted_inline(token.children))
    return tokens


def _adapted_inline(children: "list[Token]") -> "Iterator[Token]":
    """Line breaks kept, images as their text and address, no address twice."""
    in_autolink = False
    for child in children:
        if child.type == "softbreak":
            child.type = "hardbreak"
        elif child.type == "image":
            child = _image_as_text(child)
        elif child.type == "link_open":
            in_autolink = child.markup == "autolink"
            if in_autolink:
                continue
        elif child.type == "link_close" and in_autolink:
            in_autolink = False
            continue
        yield child


def _image_as_text(image: "Token") -> "Token":
    from markdown_it.token import Token

    source = str(image.attrs.get("src", ""))
    label = image.content or "image"
    return Token("text", "", 0, content=f"{label} ({source})" if source else label)
