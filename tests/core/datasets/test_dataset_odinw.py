"""ODinW's folders: which file is read, and what is said of folders that are something else."""

import json
from pathlib import Path

import pytest

from regionspot_core.datasets.reading import read_annotations, read_vocabulary
from regionspot_core.errors import AnnotationError

CONTENT = {
    "images": [{"id": 0, "height": 9, "width": 9, "file_name": "a_jpg.rf.1.jpg"}],
    "annotations": [{"id": 0, "image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4]}],
}


def save(path: Path, name: str) -> None:
    """An annotation file whose only class is ``name``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = CONTENT | {"categories": [{"id": 1, "name": name}]}
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    "files",
    [
        ["annotations_without_background.json", "_annotations.coco.json", "other.json"],
        ["_annotations.coco.json", "other.json"],
        ["other.json"],
    ],
)
def test_the_preferred_file_is_read(files: list[str], tmp_path: Path) -> None:
    for file in files:
        save(tmp_path / file, file)
    data = read_annotations(tmp_path)
    assert data.vocabulary.names == (files[0],)
    assert data.path == tmp_path / files[0]
    assert read_vocabulary(tmp_path) == data.vocabulary


def test_several_files_of_which_none_is_preferred(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        save(tmp_path / f"{split}_annotations_without_background.json", split)
    with pytest.raises(AnnotationError, match=r"holds 3 JSON files; give one of them \(test_ann"):
        read_annotations(tmp_path)
    path = tmp_path / "val_annotations_without_background.json"
    assert read_annotations(path).vocabulary.names == ("val",)


def test_a_folder_of_several_data_sets_names_the_first_few(tmp_path: Path) -> None:
    for name in ("Aquarium/train", "Aquarium/valid", "pothole/test"):
        save(tmp_path / name / "annotations_without_background.json", name)
    with pytest.raises(
        AnnotationError, match=r"holds several; give one of them \(Aquarium/train, Aquarium/valid,"
    ):
        read_annotations(tmp_path)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"without one \(COCO's JSON, YOLO's data"):
        read_annotations(tmp_path)
