"""Text on a terminal: names out of files reach it as characters, never as commands."""

from __future__ import annotations

import re
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

WIDTH = 80
"""Columns of output that goes to no terminal."""

_NOT_PRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and newline, marks that turn the direction of text, surrogates."""


def printable(text: str) -> str:
    r"""Return text with every character escaped that a terminal would obey instead of showing.

    Escape sequences (``\x1b``), the bell, carriage returns and marks that turn the direction of
    text become ``\x1b``, ``\x07`` and so on; a byte of a file's name that is not UTF-8 becomes
    ``\xff``.
    """
    return _NOT_PRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # an undecodable byte, as os.fsdecode keeps it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class _PlainConsole(Console):
    """A console that shows text as it is: no markup, no emoji codes, no terminal's commands."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - rich's own options
        """Return the text to draw. Every string that rich prints or puts in a table comes here."""
        return super().render_str(printable(text), **options)


def output(*, error: bool = False) -> Console:
    """Return the console of standard output, or of standard error.

    It is as wide as the terminal; standard output that goes elsewhere is 80 columns wide. What the
    output's encoding lacks is replaced, in every process that says something.
    """
    replace_what_cannot_be_shown()
    console = _PlainConsole(stderr=error, markup=False, emoji=False, highlight=False)
    if not error and not console.is_terminal:
        console.width = WIDTH
    return console


def replace_what_cannot_be_shown() -> None:
    """Have characters that the output's encoding lacks replaced, where Python would stop."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a notebook's stream has none
        if reconfigure is not None and stream.errors != "replace":
            reconfigure(errors="replace")
