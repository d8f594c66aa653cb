"""The split of the tiny world's classes keeps its promises."""

from collections import Counter
from itertools import product

import pytest

from regionspot_core.tiny.names import (
    CLASSES,
    COLOURS,
    SHAPES,
    TEXTURES,
    UNSEEN_COLOURS,
    category_ids,
    class_of,
)

SEEN = [c for c in CLASSES if c.kind == "seen"]


def test_there_are_252_classes_with_unique_names_and_ids() -> None:
    assert [c.category_id for c in CLASSES] == list(range(1, 253))
    assert len({c.name for c in CLASSES}) == 252


def test_kinds_have_their_documented_sizes() -> None:
    assert Counter(c.kind for c in CLASSES) == {
        "seen": 180,
        "unseen_composition": 36,
        "unseen_colour": 36,
    }


def test_unseen_colours_are_never_seen() -> None:
    assert {c.colour for c in CLASSES if c.kind == "unseen_colour"} == UNSEEN_COLOURS
    assert not {c.colour for c in CLASSES if c.kind != "unseen_colour"} & UNSEEN_COLOURS


def test_every_pair_of_an_unseen_composition_is_seen_in_other_classes() -> None:
    seen_colours = set(COLOURS) - UNSEEN_COLOURS
    assert {(c.texture, c.colour) for c in SEEN} == set(product(TEXTURES, seen_colours))
    assert {(c.texture, c.shape) for c in SEEN} == set(product(TEXTURES, SHAPES))
    assert {(c.colour, c.shape) for c in SEEN} == set(product(seen_colours, SHAPES))


def test_unseen_compositions_are_spread_evenly() -> None:
    unseen = [c for c in CLASSES if c.kind == "unseen_composition"]
    assert set(Counter(c.colour for c in unseen).values()) == {3}
    assert set(Counter(c.shape for c in unseen).values()) == {6}
    assert set(Counter(c.texture for c in unseen).values()) == {12}


def test_category_ids_selects_kinds() -> None:
    rare = category_ids(["unseen_composition", "unseen_colour"])
    assert rare == sorted(rare)
    assert sorted(rare + category_ids(["seen"])) == list(range(1, 253))
    assert category_ids([]) == []


@pytest.mark.parametrize("category_id", [0, -1, 253])
def test_class_of_rejects_other_ids(category_id: int) -> None:
    with pytest.raises(IndexError):
        class_of(category_id)
