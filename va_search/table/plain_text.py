"""Text as it is shown: whatever stands in names and cells, nobody's terminal or page obeys it.

Names of recordings, feature sets and studies come from files that others made. Some letters are
orders: an escape sequence moves a terminal's cursor or renames its window, a carriage return writes
over a line, a bidirectional override turns what follows around, and rich takes `[bold]` for markup.
All text for people goes through `plain_text`, and what is printed through a `PlainConsole`.

Conventions: a control sign is shown by its number, as Python writes it: \\x1b, \\u202e. Line ends
(\\n) and tabs stay."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

CONTROLS = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line end, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of what is written
    "\u2028\u2029"  # ends of lines and paragraphs
    "\ud800-\udfff"  # halves of signs, which no encoding can write
    "\ufff9-\ufffb"  # annotations between lines
    "]"
)


def plain_text(text: str) -> str:
    """`text` with every control sign shown by its number."""
    return CONTROLS.sub(_number_of, text)


def html_text(text: str, *, quote: bool = False) -> str:
    """`text` for a page: nothing in it is an element, nor a control sign."""
    return escape(plain_text(text), quote=quote)


def _number_of(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


@cache
def _console_class() -> type[Console]:
    """The class of consoles, made when one is asked for: rich takes long to import."""
    from rich.console import Console
    from rich.text import Text

    class PlainConsole(Console):
        """A console that takes every text as it is: no markup, no emoji, no control sign. Cells of
        tables and columns of progress bars are such texts too."""

        def render_str(self, text: str, **options: Any) -> Text:
            """`text` as rich draws it."""
            options |= {"markup": False, "emoji": False}
            return super().render_str(plain_text(text), **options)

    return PlainConsole


def plain_console(file: IO[str] | None = None, *, width: int | None = None) -> Console:
    """A console on `file`, or on standard error; see above. `width` in columns, None for the
    terminal's own."""
    console = _console_class()
    return console(file=file, stderr=file is None, width=width, highlight=False, emoji=False)
