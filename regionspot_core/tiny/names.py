"""The 252 classes of the tiny world and the fixed split that decides which are ever labelled.

A class is a texture, a colour and a shape: "striped red star". Category ids run from 1 to 252,
texture slowest, shape fastest. The name is plain text, so a name used raw is also the caption that
the tiny CLIP learned.

The split:

- **unseen colours**: every class of `UNSEEN_COLOURS` (36 classes). No label ever shows these
  colours; only CLIP knows the words.
- **unseen compositions**: for the i-th remaining colour and the t-th texture, the shape number (i +
  2 t) mod 6 (36 classes). This Latin-square pattern takes 3 of the 18 classes of each colour, 6 of
  each shape and 12 of each texture, and leaves every pair (texture, colour), (texture, shape) and
  (colour, shape) labelled in other classes.
- **seen**: the other 180.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["seen", "unseen_composition", "unseen_colour"]
RGB = tuple[int, int, int]

TEXTURES: tuple[str, ...] = ("solid", "striped", "dotted")
COLOURS: dict[str, RGB] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (240, 225, 60),
    "lime": (150, 230, 50),
    "green": (30, 140, 60),
    "teal": (20, 140, 140),
    "cyan": (60, 220, 230),
    "blue": (50, 90, 225),
    "purple": (125, 50, 175),
    "magenta": (225, 50, 190),
    "pink": (250, 170, 190),
    "brown": (130, 80, 40),
    "white": (240, 240, 240),
    "gray": (130, 130, 130),
}
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "cross", "ring")
UNSEEN_COLOURS: frozenset[str] = frozenset({"orange", "purple"})


@dataclass(frozen=True, kw_only=True)
class TinyClass:
    """A class of the 252; `category_id` is its LVIS category id, 1 to 252."""

    category_id: int
    texture: str
    colour: str
    shape: str
    kind: Kind

    @property
    def name(self) -> str:
        """The class name and CLIP caption, such as "striped red star"."""
        return f"{self.texture} {self.colour} {self.shape}"


def _all_classes() -> tuple[TinyClass, ...]:
    labelled_colours = [colour for colour in COLOURS if colour not in UNSEEN_COLOURS]

    def kind_of(texture: int, colour: str, shape: int) -> Kind:
        if colour in UNSEEN_COLOURS:
            return "unseen_colour"
        if shape == (labelled_colours.index(colour) + 2 * texture) % len(SHAPES):
            return "unseen_composition"
        return "seen"

    combinations = [
        (t, texture, colour, s, shape)
        for t, texture in enumerate(TEXTURES)
        for colour in COLOURS
        for s, shape in enumerate(SHAPES)
    ]
    return tuple(
        TinyClass(
            category_id=index + 1,
            texture=texture,
            colour=colour,
            shape=shape,
            kind=kind_of(t, colour, s),
        )
        for index, (t, texture, colour, s, shape) in enumerate(combinations)
    )


CLASSES: tuple[TinyClass, ...] = _all_classes()
"""All classes; `CLASSES[i]` has category id i + 1."""


def class_of(category_id: int) -> TinyClass:
    """Return the class with this category id (1 to 252). Raises IndexError for any other id."""
    if category_id < 1:
        raise IndexError(f"category ids run from 1 to {len(CLASSES)}, got {category_id}")
    return CLASSES[category_id - 1]


def category_ids(kinds: Sequence[Kind]) -> list[int]:
    """Return category ids of the classes of these kinds, ascending."""
    return [tiny_class.category_id for tiny_class in CLASSES if tiny_class.kind in kinds]
