"""Texts of classes: templates, raw and cleaned names, synonyms."""

from pathlib import Path

import pytest

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import ConfigError, InputError
from regionspot_core.text.class_text import (
    ClassText,
    TextConfig,
    clean_name,
    fill_templates,
    read_templates,
)

LVIS = Vocabulary(
    names=("aerosol_can", "bat_(animal)", "人"),
    ids=(1, 2, 3),
    synonyms=(("aerosol_can", "spray_can"), (), ("person",)),
)


@pytest.mark.parametrize(
    ("names", "templates", "prompts"),
    [
        ([], ["{}."], []),
        (["cat"], [], []),
        (["cat", "dog"], ["a {}.", "{}"], ["a cat.", "cat", "a dog.", "dog"]),
        (["bat_(animal)"], ["the {} {}"], ["the bat_(animal) bat_(animal)"]),
        (["{0}", "{x}"], ["a {}."], ["a {0}.", "a {x}."]),
    ],
)
def test_prompts_go_class_by_class_with_names_raw(
    names: list[str], templates: list[str], prompts: list[str]
) -> None:
    assert fill_templates(names, templates) == prompts


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("dining_table", "dining table"),
        ("bat_(animal)", "bat (animal)"),
        ("dog", "dog"),
        ("_a__b_", "a b"),
        ("Wild  Bird", "Wild Bird"),
        ("T-shirt/top", "T-shirt/top"),
        ("naïve_人", "naïve 人"),
    ],
)
def test_cleaned_names(raw: str, cleaned: str) -> None:
    assert clean_name(raw) == cleaned
    assert clean_name(cleaned) == cleaned


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, (("aerosol_can",), ("bat_(animal)",), ("人",))),
        ({"wording": "cleaned"}, (("aerosol can",), ("bat (animal)",), ("人",))),
        # LVIS lists the name among its synonyms: it counts once
        (
            {"synonyms": True},
            (("aerosol_can", "spray_can"), ("bat_(animal)",), ("人", "person")),
        ),
        (
            {"synonyms": True, "wording": "cleaned"},
            (("aerosol can", "spray can"), ("bat (animal)",), ("人", "person")),
        ),
    ],
)
def test_words_of_a_class(options: dict[str, object], words: tuple[tuple[str, ...], ...]) -> None:
    config = TextConfig.parse(options, source="test")
    text = ClassText.create(LVIS, ("a {}.", "{}"), config)
    assert text.words == words
    assert text.texts(0) == [t.replace("{}", w) for w in words[0] for t in ("a {}.", "{}")]


def test_two_words_that_clean_to_one_count_once() -> None:
    vocabulary = Vocabulary(names=("hot_dog",), ids=(1,), synonyms=(("hot dog", "hot__dog"),))
    config = TextConfig(wording="cleaned", synonyms=True)
    assert ClassText.create(vocabulary, ("{}",), config).words == (("hot dog",),)


def test_the_recipe_tells_ways_apart() -> None:
    def recipe(*templates: str, **options: object) -> dict[str, object]:
        config = TextConfig.parse(options, source="test")
        return ClassText.create(LVIS, templates or ("{}.",), config).recipe()

    others = [recipe("{}"), recipe("{}.", "a {}"), recipe(wording="cleaned"), recipe(synonyms=True)]
    assert recipe() == recipe()
    assert all(other != recipe() for other in others)


def test_an_unknown_wording_is_refused() -> None:
    with pytest.raises(ConfigError, match="wording: input should be 'raw' or 'cleaned'"):
        TextConfig.parse({"wording": "clean"}, source="test")


def test_templates_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "templates.txt"
    path.write_text("a photo of a {}.\n\n  un {} là  \r\n{}", encoding="utf-8-sig")
    assert read_templates(path) == ("a photo of a {}.", "un {} là", "{}")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "got an empty file"),
        (b" \n\n", "got an empty file"),
        (b"a {}.\na photo\n", "line 2: expected a template with {} for the name, got 'a photo'"),
        (b"\xff\xfe{}", "in UTF-8, got other bytes"),
    ],
)
def test_a_file_that_holds_no_templates(raw: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(raw)
    with pytest.raises(InputError) as caught:
        read_templates(tmp_path / "t.txt")
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "t.txt"))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got no such file"):
        read_templates(tmp_path / "absent")
    with pytest.raises(InputError, match="cannot be read"):
        read_templates(tmp_path)
