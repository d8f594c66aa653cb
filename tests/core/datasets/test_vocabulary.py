"""A vocabulary: order, ids and what it refuses."""

import json
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError

T = TypeVar("T")
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@st.composite
def vocabularies(draw: st.DrawFn) -> Vocabulary:
    ids = draw(st.lists(st.integers(), min_size=1, max_size=8, unique=True))

    def one_each(values: st.SearchStrategy[T]) -> tuple[T, ...]:
        return tuple(draw(values) for _ in ids)

    return Vocabulary(
        names=one_each(texts),
        ids=tuple(ids),
        frequencies=one_each(st.sampled_from(["r", "c", "f", ""])),
        kinds=one_each(texts),
        synonyms=one_each(st.lists(texts, max_size=3).map(tuple)),
    )


@given(vocabularies())
def test_round_trip_through_json_text(vocabulary: Vocabulary) -> None:
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


@given(vocabularies())
def test_every_id_leads_to_its_class(vocabulary: Vocabulary) -> None:
    index_of_id = vocabulary.index_of_id
    assert len(index_of_id) == len(vocabulary)
    assert all(vocabulary.ids[index] == class_id for class_id, index in index_of_id.items())


def test_names_alone_are_numbered_from_one() -> None:
    vocabulary = Vocabulary.from_names(["cat", "dog", "cat"])
    assert vocabulary == Vocabulary(
        names=("cat", "dog", "cat"),
        ids=(1, 2, 3),
        frequencies=("", "", ""),
        kinds=("", "", ""),
    )
    assert len(vocabulary) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": (), "ids": ()}, "at least one class"),
        ({"names": ("a",), "ids": ()}, "1 names and 0 ids"),
        ({"names": ("a", "b"), "ids": (1, 2, 3)}, "2 names and 3 ids"),
        ({"names": ("a", "b"), "ids": (1, 2), "frequencies": ("r",)}, "1 frequencies"),
        ({"names": ("a", "b"), "ids": (1, 2), "kinds": ("x",) * 3}, "3 kinds"),
        ({"names": ("a", "b"), "ids": (4, 4)}, "ids must differ"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    fields: dict[str, tuple[str, ...]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Vocabulary(**fields)


@pytest.mark.parametrize("odd", ["\ud800", "caf\udce9", "a\0b"])
@pytest.mark.parametrize("field", ["names", "frequencies", "kinds", "synonyms"])
def test_what_no_file_can_spell_is_refused(field: str, odd: str) -> None:
    """An argument that is not UTF-8, as the system hands it over, and half of a JSON escape."""
    values: dict[str, Any] = {"names": ("a",), "ids": (1,)}
    with pytest.raises(InputError, match="must be text that UTF-8 can spell, without NUL; got"):
        Vocabulary(**values | {field: ((odd,),) if field == "synonyms" else (odd,)})
