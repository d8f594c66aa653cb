"""Names in pictures: drawn as they are written, in an installed font that has their letters."""

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import ImageFont

from regionspot_core.support.lettering import BASE_FONT, Lettering, as_one_line


def make_font(path: Path, letters: str) -> Path:
    """A font whose letters are all one full square."""
    names = [".notdef", *(f"u{ord(letter):X}" for letter in letters)]
    pen = TTGlyphPen(None)
    for at, point in enumerate([(0, 0), (0, 900), (900, 900), (900, 0)]):
        (pen.lineTo if at else pen.moveTo)(point)
    pen.closePath()
    glyph = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): f"u{ord(letter):X}" for letter in letters})
    builder.setupGlyf(dict.fromkeys(names, glyph))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": f"Squares of {letters}", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def drawn(text: str, lettering: Lettering | None = None) -> np.ndarray:
    """(H, W) darkness of a text that matplotlib draws, 36 pixels high."""
    canvas = FigureCanvasAgg(Figure(figsize=(4, 1), dpi=72))
    with (lettering or Lettering.of([text])).in_matplotlib():
        canvas.figure.text(0.02, 0.4, text, size=36)
        canvas.draw()
    darkness: np.ndarray = 255 - np.asarray(canvas.buffer_rgba())[..., :3].mean(axis=2)
    return darkness


@pytest.mark.parametrize("name", ["price $$", "$x_1$ co $", r"\frac{a", "$", "a_b^c", "5 % & #1"])
def test_a_name_is_no_formula(name: str) -> None:
    """It is as wide as Pillow, which knows no formulas, draws it."""
    left, _, right, _ = ImageFont.truetype(findfont(BASE_FONT), 36).getmask(name).getbbox()
    inked = np.flatnonzero(drawn(name).max(axis=0) > 50)
    assert inked[-1] + 1 - inked[0] == pytest.approx(right - left, abs=3)


def test_letters_come_from_the_first_installed_font_that_has_them(tmp_path: Path) -> None:
    no_font = tmp_path / "torn.ttf"
    no_font.write_bytes(b"\0\1\0\0torn")
    cat, dog = (make_font(tmp_path / f"{n}.ttf", n) for n in "猫犬")
    both = make_font(tmp_path / "both.ttf", "猫犬 0123456789%")
    found = Lettering.of(["cat 猫", "犬 9%"], installed=[no_font, cat, dog, both])
    assert found.files[1:] == (cat, dog)
    assert (found.missing, found.advice) == ("", None)
    files = found.by_file(["cat", "猫猫", "犬犬", ""])
    assert files == {found.files[0]: [0, 3], cat: [1], dog: [2]}
    one = Lettering.of(["猫 9%", "犬"], installed=[both, cat])
    assert one.by_file(["猫 9%", "犬"]) == {both: [0, 1]}  # a picture has one look if it can
    ink = drawn("猫", found)
    inside = ink[np.ix_(ink.max(axis=1) > 200, ink.max(axis=0) > 200)]
    assert inside.size > 20
    assert inside.min() > 200  # the square, not the empty box of a letter that is missing


@pytest.mark.parametrize(
    ("names", "missing", "font"),
    [
        (["猫", "狗 cat"], "狗猫", "Noto Sans CJK (package fonts-noto-cjk)"),
        (["ネコ、한"], "、コネ한", "Noto Sans CJK (package fonts-noto-cjk)"),
        (["แมว"], "มวแ", "Noto Sans Thai (package fonts-noto-core)"),
        (["🦊"], "🦊", "Symbola (package fonts-symbola)"),
        (["ἀλώπηξ лиса naïve ★ \t\x1b\u200d\ufe0f"], "", None),
    ],
)
def test_a_missing_letter_names_the_font_to_install(
    names: list[str], missing: str, font: str | None
) -> None:
    found = Lettering.of(names, installed=[])
    assert found.missing == missing
    if font is None:
        assert found.advice is None
    else:
        assert found.advice is not None
        assert font in found.advice
        assert "\n" not in found.advice
    drawn(names[0], found)  # says nothing more of it


def test_a_name_is_one_line_without_commands() -> None:
    assert as_one_line("two\n lines\tof \x1b[31mred") == "two lines of \\x1b[31mred"
