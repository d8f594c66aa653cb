"""Text in pictures: names are drawn as they are written, in fonts that have their letters."""

from __future__ import annotations

import logging
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from regionspot_core.support.terminal import printable

BASE_FONT = "DejaVu Sans"
"""Font that comes with matplotlib; it has most alphabets, but no Chinese, Japanese or Thai."""
LETTERS_NAMED = 8
_COLOUR = 1 << 14
"""FreeType's mark of a font whose letters are coloured pictures, which cannot be drawn here."""
_CJK = frozenset(
    {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH"}
)


_LOG = logging.getLogger("matplotlib.font_manager")


@dataclass(frozen=True)
class Lettering:
    """Fonts that together have the letters of some texts."""

    files: tuple[Path, ...]
    """Font files, in the order in which a letter is looked for."""
    missing: str
    """Letters that no installed font has."""

    @classmethod
    def of(cls, texts: Iterable[str], *, installed: Sequence[Path] | None = None) -> Lettering:
        """Return the fonts for texts: matplotlib's own, then as few others as they need.

        Args:
            texts: Texts that are to be drawn.
            installed: Font files to choose from; None: those of this machine.
        """
        files = [Path(font_manager.findfont(BASE_FONT))]
        missing = _visible("".join(texts)) - _letters(files[0])
        if missing:
            for file in _installed_fonts() if installed is None else installed:
                if missing & _letters(file):
                    files.append(file)
                    missing -= _letters(file)
                if not missing:
                    break
        return cls(tuple(files), "".join(sorted(missing)))

    @property
    def advice(self) -> str | None:
        """Return one line that says which font to install; None where no letter is missing."""
        if not self.missing:
            return None
        shown = self.missing[:LETTERS_NAMED]
        rest = " …" if len(self.missing) > LETTERS_NAMED else ""
        fonts = " and ".join(dict.fromkeys(map(_font_for, self.missing)))
        return (
            f"pictures: no installed font has {shown}{rest}, which shows as empty boxes; install "
            f"{fonts} and draw again"
        )

    def by_file(self, texts: Sequence[str]) -> dict[Path, list[int]]:
        """Return which texts each font file is to draw, where a text has one font.

        One font draws all of them if it can, for their look; else each text is drawn by the one
        that has the most of its letters.
        """
        alone = next((f for f in self.files if _visible("".join(texts)) <= _letters(f)), None)
        chosen: dict[Path, list[int]] = {}
        for number, text in enumerate(texts):
            file = alone or max(self.files, key=lambda each: len(_visible(text) & _letters(each)))
            chosen.setdefault(file, []).append(number)
        return chosen

    @contextmanager
    def in_matplotlib(self) -> Iterator[None]:
        """Have matplotlib draw text as it is written, not as formulas, and in these fonts."""
        families = [BASE_FONT]
        for file in self.files[1:]:
            if not any(entry.fname == str(file) for entry in font_manager.fontManager.ttflist):
                font_manager.fontManager.addfont(file)
            families.append(FT2Font(str(file)).family_name)
        with (
            mpl.rc_context(
                {"font.family": families, "text.parse_math": False, "text.usetex": False}
            ),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            level = _LOG.level
            _LOG.setLevel("ERROR")  # it would tell of every font that has no bold letters
            try:
                yield
            finally:
                _LOG.setLevel(level)


def as_one_line(text: str) -> str:
    """Return a text as it is drawn: without line breaks, control characters escaped."""
    return printable(" ".join(text.split()))


@cache
def _letters(file: Path) -> frozenset[str]:
    """Return the letters that a font file can draw; none for a file that is no such font."""
    try:
        font = FT2Font(str(file))
        if not font.scalable or _flags(font) & _COLOUR:
            return frozenset()
        return frozenset(map(chr, font.get_charmap()))
    except (RuntimeError, OSError, ValueError):  # FreeType's words for a file that it cannot use
        return frozenset()


def _flags(font: FT2Font) -> int:
    flags: Any = font.face_flags  # a number before matplotlib 3.10
    return int(getattr(flags, "value", flags))


@lru_cache(maxsize=1)
def _installed_fonts() -> tuple[Path, ...]:
    """Return this machine's font files, upright and regular ones without serifs first.

    matplotlib's own list is not asked: it is made once, and a font installed later is not in it.
    """

    def order(file: Path) -> tuple[bool, bool, str]:
        name = file.name.lower()
        return (
            bool(re.search("bold|black|light|thin|italic|oblique", name)),
            "sans" not in name,
            name,
        )

    return tuple(sorted(map(Path, font_manager.findSystemFonts()), key=order))


def _visible(text: str) -> frozenset[str]:
    """Return the letters of a text that a font must have."""
    return frozenset(
        letter
        for letter in text
        if not letter.isspace()
        and unicodedata.category(letter)[0] != "C"
        and not "\ufe00" <= letter <= "\ufe0f"  # they choose among the forms of a letter
    )


def _font_for(letter: str) -> str:
    """Return a font that has a letter, with the name of its Debian package."""
    script = re.split(r"[ -]", unicodedata.name(letter, "SYMBOL"))[0]
    if script in _CJK:
        return "Noto Sans CJK (package fonts-noto-cjk)"
    if unicodedata.category(letter)[0] in "SP":
        return "Symbola (package fonts-symbola)"
    return f"Noto Sans {script.title()} (package fonts-noto-core)"
