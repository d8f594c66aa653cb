"""YOLO's data.yaml, and the labels of its splits."""

from pathlib import Path

import numpy as np
import pytest
import supervision as sv
from PIL import Image
from png_headers import save_png_header

from regionspot_core.datasets.reading import read_annotations, read_table, read_vocabulary
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import open_images

DATA = "path: ../datasets/elsewhere\ntrain: images/train\nval: images/val\nnames: [dog, cat]\n"
LABELS = "1 0.5 0.5 0.5 0.2\n\n0 0.1 0.1 0.3 0.1 0.3 0.5\n"


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """Two splits; of ``val`` one image has a box and a triangle, one has no labels."""
    write(tmp_path / "data.yaml", DATA)
    write(tmp_path / "labels/val/a.txt", LABELS)
    write(tmp_path / "labels/train/c.txt", "0 0.5 0.5 1 1")
    save_png_header(tmp_path / "images/val/a.png", 20, 40)
    save_png_header(tmp_path / "images/val/b.png", 7, 9)
    save_png_header(tmp_path / "images/train/c.png", 8, 8)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_split(yolo: Path) -> None:
    data = read_annotations(yolo / "labels/val", masks=True)
    assert data.image_file == ("images/val/a.png", "images/val/b.png")
    assert data.image_size.tolist() == [[20, 40], [7, 9]]
    assert (data.vocabulary.names, data.vocabulary.ids) == (("dog", "cat"), (0, 1))
    np.testing.assert_allclose(data.box, [[10, 8, 30, 12], [4, 2, 12, 10]], atol=1e-5)
    assert data.class_index.tolist() == [1, 0]
    assert data.region_start.tolist() == [0, 2, 2]
    assert data.masks is not None
    assert data.masks.present.tolist() == [False, True]
    assert data.masks.rle(1)["size"] == [20, 40]  # type: ignore[index]


@pytest.mark.parametrize("path", ["images/val", "val.txt", "one.yaml", "labels/val"])
def test_a_split_is_given_by_its_folders_its_list_or_a_file_of_it_alone(
    path: str, yolo: Path
) -> None:
    write(yolo / "val.txt", "./images/val/a.png\nimages/val/b.png\n")
    write(yolo / "one.yaml", f"val: [{yolo}/images/val]\nnames: {{1: cat, '0': dog}}\n")
    data = read_annotations(yolo / path, images=open_images(yolo))
    assert data.image_file == ("images/val/a.png", "images/val/b.png")
    assert len(data.box) == 2
    assert read_vocabulary(yolo / path) == data.vocabulary


def test_roboflows_folders(tmp_path: Path) -> None:
    write(tmp_path / "data.yaml", "val: ../valid/images\nnames: [dog]\nnc: 1\n")
    write(tmp_path / "valid/labels/a.txt", "0 0.5 0.5 1 1 0.9")  # with a confidence
    save_png_header(tmp_path / "valid/images/a.png", 4, 8)
    for path in (tmp_path, tmp_path / "data.yaml", tmp_path / "valid", tmp_path / "valid/labels"):
        data = read_annotations(path)
        assert data.image_file == ("valid/images/a.png",)
        assert data.box.tolist() == [[0, 0, 8, 4]]


def test_images_and_labels_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "data.yaml", "path: .\ntrain: .\nnames: [dog]\n")
    write(tmp_path / "classes.txt", "dog\n")
    write(tmp_path / "a.txt", "0 0.5 0.5 1 1")
    save_png_header(tmp_path / "a.png", 4, 8)
    assert read_annotations(tmp_path).image_file == ("a.png",)


def test_labels_of_an_image_that_is_not_there_are_counted(yolo: Path) -> None:
    write(yolo / "labels/val/gone.txt", LABELS)
    data = read_annotations(yolo / "labels/val", masks=True)
    assert data.dropped["images not readable"] == 1
    assert len(data.box) == 2


def test_key_points_are_left_aside(yolo: Path) -> None:
    write(yolo / "data.yaml", DATA + "kpt_shape: [2, 2]\n")
    write(yolo / "labels/val/a.txt", "0 0.5 0.5 0.5 0.2 0.1 0.1 0.2 0.2")
    data = read_annotations(yolo / "labels/val")
    np.testing.assert_allclose(data.box, [[10, 8, 30, 12]], atol=1e-5)


def test_boxes_are_those_of_supervision(yolo: Path) -> None:
    Image.new("RGB", (40, 20)).save(yolo / "images/val/a.png")
    Image.new("RGB", (9, 7)).save(yolo / "images/val/b.png")
    data = read_annotations(yolo / "labels/val")
    reference = sv.DetectionDataset.from_yolo(
        str(yolo / "images/val"), str(yolo / "labels/val"), str(yolo / "data.yaml")
    )
    expected = reference.annotations[str(yolo / "images/val/a.png")]
    assert expected.class_id is not None
    np.testing.assert_allclose(data.box, expected.xyxy, atol=1e-4)
    assert data.class_index.tolist() == expected.class_id.tolist()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("data.yaml", "names: [a", "expected YAML; it cannot be read"),
        ("data.yaml", "val: images/val", "expected YOLO's data.yaml, got YAML without names"),
        ("data.yaml", "names: []", r"expected the classes as names, got \[\]"),
        ("data.yaml", "names: {a: b}", "expected a number and a text for each of names"),
        ("data.yaml", f"names: {{{10**20}: b}}", "expected a number and a text for each of names"),
        ("data.yaml", f"names: {{'{'9' * 30}': b}}", "expected a number and a text for each"),
        ("data.yaml", "names: &a [x]\nval: *a", "without aliases"),
        ("data.yaml", "names: [a]\nval: 3", "expected a folder or a list of images as val, got 3"),
        ("data.yaml", "names: [a]\nval: /etc", "val: file name '/etc' must be relative"),
        ("data.yaml", "names: [a]\nval: ../../x", "val: file name '../x' must be relative"),
        ("labels/val/a.txt", "0 0.5 0.5 0.5 x", "a.txt: line 1: expected numbers alone"),
        ("labels/val/a.txt", "\n2 0.5 0.5 0.5 1", "line 2: class '2' is not among the 2 names of"),
        ("labels/val/a.txt", "0.5 0.5 0.5 0.5 1", "class '0.5' is not among"),
        ("labels/val/a.txt", "0 0.5 0.5 0.5", "line 1: expected a class and x, y, width, height"),
        ("labels/val/a.txt", "0 .1 .1 .2 .2 .3 .3 .4", "three or more points, got 8 values"),
        ("labels/val/a.txt", "0 0.5 0.5 nan 1", "expected shares of the image's sides"),
        ("labels/val/a.txt", "0 320 240 100 50", "expected shares of the image's sides, from 0"),
        ("labels/val/a.txt", "\ud800", "expected lines of numbers"),
        ("val.txt", "../../a.png", "line 1: file name '../../a.png' must be relative"),
        ("val.txt", "/etc/passwd", "line 1: file name '/etc/passwd' must be relative"),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence(
    file: str, text: str, message: str, yolo: Path
) -> None:
    (yolo / file).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(AnnotationError, match=message) as caught:
        read_annotations(yolo / ("val.txt" if file == "val.txt" else "labels/val"))
    assert "\n" not in str(caught.value)


def test_which_split_must_be_said(yolo: Path) -> None:
    with pytest.raises(AnnotationError, match=r"expected one split, got 2; give .*labels/train, "):
        read_table(yolo / "data.yaml")
    write(yolo / "data.yaml", "names: [a]")
    with pytest.raises(AnnotationError, match=r"got 0; give .*\(labels/val\)"):
        read_table(yolo)


def test_a_folder_without_labels_or_images(yolo: Path) -> None:
    (yolo / "labels/val/a.txt").unlink()
    with pytest.raises(AnnotationError, match=r"none of the 2 images has a file of labels"):
        read_table(yolo / "images/val")
    (yolo / "images/none").mkdir()
    with pytest.raises(AnnotationError, match=r"expected images in .*, found none"):
        read_table(yolo / "images/none")
