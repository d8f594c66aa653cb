"""Sentences about classes: the file, their place in an embedding, and in a bank's provenance."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError
from regionspot_core.testing import make_bank
from regionspot_core.text.class_bank import ClassBank
from regionspot_core.text.class_text import ClassText, TextConfig
from regionspot_core.text.descriptions import read_descriptions
from regionspot_core.text.embed import class_batches, embed_classes, load_class_text
from regionspot_core.text.match_names import match_names

VOCABULARY = Vocabulary.from_names(["dining_table", "ring", "Ring"])


class TextTower:
    """Embeds each text as one of a few vectors."""

    VECTORS = (
        ("a dining_table", [3.0, 0.0, 0.0]),
        ("the dining_table", [0.0, 1.0, 0.0]),
        ("four legs", [0.0, 0.0, 5.0]),
        ("wood", [0.0, 2.0, 0.0]),
    )

    def text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
        vectors = dict(self.VECTORS)
        return torch.tensor([vectors.get(text, [1.0, 1.0, 1.0]) for text in texts])


def described(share: float = 0.5, **sentences: Sequence[str]) -> ClassText:
    listed = [tuple(sentences.get(name, ())) for name in VOCABULARY.names]
    config = TextConfig(description_share=share)
    return ClassText.create(VOCABULARY, ("a {}", "the {}"), config, listed)


def unit(*values: float) -> list[float]:
    return list(np.array(values) / np.linalg.norm(values))


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        # templates: (3, 1, 0) / √10; sentences, each of length 1: (0, 1, 1) / √2
        (1.0, unit(0, 1, 1)),
        (0.5, unit(*(np.array(unit(3, 1, 0)) + unit(0, 1, 1)))),
        (0.25, unit(*(0.75 * np.array(unit(3, 1, 0)) + 0.25 * np.array(unit(0, 1, 1))))),
    ],
)
def test_sentences_are_averaged_and_mixed_with_the_templates(
    share: float, expected: list[float]
) -> None:
    text = described(share, dining_table=["four legs", "wood"])
    (row, other, _) = embed_classes(TextTower(), text, range(3))  # type: ignore[arg-type] # texts alone
    np.testing.assert_allclose(row, expected, atol=1e-6)
    np.testing.assert_allclose(other, unit(1, 1, 1), atol=1e-6)  # a class without any


def test_without_sentences_the_embedding_is_the_templates_to_the_bit() -> None:
    plain = ClassText.create(VOCABULARY, ("a {}", "the {}"), TextConfig())
    rows = [
        embed_classes(TextTower(), text, range(3)).tobytes()  # type: ignore[arg-type] # as above
        for text in (plain, replace(plain, descriptions=((), (), ())))
    ]
    assert rows[0] == rows[1]


def test_sentences_may_have_the_name_and_take_the_place_of_templates() -> None:
    text = described(1.0, ring=["{} is round", "round", "round"])
    assert text.sentences(1) == ["ring is round", "round"]
    assert (text.texts(1), text.texts(0)) == ([], ["a dining_table", "the dining_table"])


def test_batches_count_the_sentences() -> None:
    many = ["{}" + " x" * n for n in range(2000)]
    text = described(0.5, dining_table=many, ring=many)
    assert list(class_batches(text)) == [range(1), range(1, 3)]


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_names_fit_as_they_are_spelled_or_as_clip_reads_them(tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", {"Dining table": [" four legs ", "wood"], "Ring": ["round"]})
    # "ring" is spelled otherwise and read the same; "Ring" is the file's own word
    assert read_descriptions(path, VOCABULARY) == (("four legs", "wood"), ("round",), ("round",))
    both = write(tmp_path / "both.json", {"ring": ["small"], "Ring": ["large"]})
    assert read_descriptions(both, VOCABULARY) == ((), ("small",), ("large",))


def test_matching_against_naive_code() -> None:
    names = ["b", "a_b", "C"]
    vocabulary = Vocabulary.from_names(["c", "A b", "b", "d"])
    assert match_names(vocabulary, names, source="file") == (2, 1, 0, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"expected sentences by class name, .*; got no name"),
        ([], "expected"),
        ("{", "cannot be read as JSON"),
        ({"ring": "round"}, "'ring': expected a list of sentences, got 'round'"),
        ({"ring": []}, "'ring': expected a list of sentences, got "),
        ({"ring": ["round", 3]}, "'ring': expected a list of sentences"),
        ({"ring": ["round", "  "]}, "'ring': expected a list of sentences"),
        ({"ring": ["a\0b"]}, "'ring': expected a list of sentences"),
        (
            {"ring": ["x"], "rnig": ["x"], "b": ["x"], "c": ["x"], "d": ["x"]},
            r"expected names of the vocabulary alone, got 4 others \('rnig', 'b', 'c', …\); add",
        ),
    ],
)
def test_a_file_of_something_else_is_refused(content: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", content)
    with pytest.raises(InputError, match=message) as caught:
        read_descriptions(path, VOCABULARY)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got no such file"):
        read_descriptions(tmp_path / "absent.json", VOCABULARY)


def test_a_bank_keeps_the_sentences_and_the_recipe_tells_them_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", {"ring": ["round", "{} of gold"]})
    text = load_class_text(VOCABULARY, TextConfig(templates="simple", descriptions=path))
    saved = replace(make_bank(VOCABULARY), text=text)
    saved.save(tmp_path / "bank.h5")
    assert ClassBank.load(tmp_path / "bank.h5").text == text
    recipes = [
        each.recipe()
        for each in (
            text,
            replace(text, descriptions=()),
            replace(text, descriptions=((), ("round",), ())),
            replace(text, description_share=0.4),
        )
    ]
    assert all(one != other for one in recipes for other in recipes if one is not other)
    assert "descriptions" not in recipes[1]
