"""Vocabularies as users give them."""

import json
from pathlib import Path

import pytest

from regionspot_core.datasets.vocabulary_files import load_vocabulary
from regionspot_core.errors import AnnotationError, InputError


def test_names_with_commas_between() -> None:
    vocabulary = load_vocabulary(names="dog, traffic light ,人,")
    assert vocabulary.names == ("dog", "traffic light", "人")
    assert vocabulary.ids == (1, 2, 3)


def test_a_text_file_has_one_name_a_line(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("dog\r\n\n  salt, pepper \n#1\n", encoding="utf-8-sig")
    assert load_vocabulary(file=tmp_path / "names").names == ("dog", "salt, pepper", "#1")


def test_an_annotation_file_gives_its_categories(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "height": 4, "width": 4, "file_name": "a.jpg"}],
        "annotations": [],
        "categories": [
            {"id": 9, "name": "bat_(animal)", "frequency": "r", "synonyms": ["bat_(animal)"]},
            {"id": 2, "name": "dog", "frequency": "f"},
        ],
    }
    (tmp_path / "LVIS.JSON").write_text(json.dumps(content))
    vocabulary = load_vocabulary(file=tmp_path / "LVIS.JSON")
    assert vocabulary.names == ("bat_(animal)", "dog")
    assert vocabulary.ids == (9, 2)
    assert vocabulary.frequencies == ("r", "f")


@pytest.mark.parametrize("names", ["", ",", " , ,"])
def test_no_name_is_refused(names: str) -> None:
    with pytest.raises(InputError, match="--names: expected at least one class name, got none"):
        load_vocabulary(names=names)


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--names: expected different class names, got 'dog' twi"):
        load_vocabulary(names="dog,cat, dog")
    (tmp_path / "n.txt").write_text("dog\ndog\n")
    with pytest.raises(InputError, match=r"n\.txt: expected different class names"):
        load_vocabulary(file=tmp_path / "n.txt")


def test_exactly_one_source_is_asked_for(tmp_path: Path) -> None:
    for given in ({}, {"names": "a", "file": tmp_path}):
        with pytest.raises(InputError, match="either --names A,B,C or --vocabulary FILE"):
            load_vocabulary(**given)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="got an empty file"):
        load_vocabulary(file=tmp_path / "empty.txt")
    with pytest.raises(InputError, match="got no such file"):
        load_vocabulary(file=tmp_path / "absent.txt")
    with pytest.raises(AnnotationError, match="expected JSON"):
        load_vocabulary(file=tmp_path / "bad.json")
    with pytest.raises(AnnotationError):
        load_vocabulary(file=tmp_path)
