"""OpenImages V6's CSV files, with sizes from a list or from the images themselves."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regionspot_core.datasets.reading import read_annotations, read_vocabulary
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import open_images

HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
    "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)
FIRST, HIGH, LAST = "000026e7ee790996", "fffffffffffffffe", "000062a39995e348"
TORTOISE, HAT = "/m/011k07", "/m/02dl1y"


def row(image: str, label: str, *shares: float | str, group: int = 0) -> str:
    return f"{image},xclick,{label},1,{','.join(map(str, shares))},0,1,{group},0,-1"


ROWS = [
    row(FIRST, HAT, 0.25, 0.5, 0.125, 1),
    row(HIGH, TORTOISE, 0, 1, 0, 0.5, group=1),
    row(LAST, TORTOISE, 0, 0.5, 0.25, 0.75, group=-1),
    row(FIRST, TORTOISE, -0.5, 0.5, 0, 7),
    row(FIRST, HAT, 0.5, 0.5, 0, 1),
]


class Release:
    """A folder as OpenImages is downloaded to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.boxes = folder / "validation-annotations-bbox.csv"
        self.classes = folder / "class-descriptions-boxable.csv"
        self.sizes = folder / "image-sizes.csv"
        self.images.mkdir()
        self.write(self.boxes, HEADER, *ROWS)
        self.write(self.classes, f"{TORTOISE},Tortoise", f'{HAT},"Hat, 帽子"')
        self.write(self.sizes, "ImageID,Width,Height", *self.size_rows())

    @staticmethod
    def write(path: Path, *lines: str) -> None:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @staticmethod
    def size_rows() -> list[str]:
        return [f"{LAST},10,20", f"{HIGH},7,9", f"{FIRST},80,40"]

    def save_images(self, *names: str) -> None:
        for name, (width, height) in {FIRST: (80, 40), HIGH: (7, 9), LAST: (10, 20)}.items():
            if name in names:
                Image.new("RGB", (width, height)).save(self.images / f"{name}.jpg")


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def from_list(release: Release) -> None:
    pass


def from_headers(release: Release) -> None:
    release.sizes.unlink()
    release.save_images(FIRST, HIGH, LAST)


@pytest.mark.parametrize("sizes", [from_list, from_headers])
def test_boxes_become_pixels(sizes: Callable[[Release], None], release: Release) -> None:
    sizes(release)
    data = read_annotations(release.boxes, images=open_images(release.images))
    assert data.image_file == (f"{FIRST}.jpg", f"{HIGH}.jpg", f"{LAST}.jpg")
    assert data.image_id.tolist() == [0x000026E7EE790996, -2, 0x000062A39995E348]
    assert [data.size(i) for i in range(3)] == [(40, 80), (9, 7), (20, 10)]
    assert data.vocabulary.names == ("Tortoise", "Hat, 帽子")
    assert data.vocabulary.ids == (1, 2)
    assert data.region_start.tolist() == [0, 2, 2, 3]
    assert data.annotation_id.tolist() == [1, 4, 3]  # rows from 1
    assert data.class_index.tolist() == [1, 0, 0]
    assert data.box.tolist() == [[20, 5, 40, 40], [0, 0, 40, 40], [0, 5, 5, 15]]
    assert data.box.dtype == np.float32
    assert {"images not readable": 0, **data.dropped} == {
        "group of": 1,
        "empty box": 1,
        "images not readable": 0,
    }
    assert data.masks is None
    assert data.negative is None


def test_a_folder_with_one_file_of_boxes_will_do(release: Release) -> None:
    release.write(release.folder / "train-images-boxable.csv", "ImageID,Rotation", f"{FIRST},0.0")
    (release.folder / "bbox_labels_600_hierarchy.json").write_text("{}")
    assert len(read_annotations(release.folder)) == 3
    assert read_vocabulary(release.folder).names == ("Tortoise", "Hat, 帽子")
    release.write(release.folder / "train-annotations-bbox.csv", HEADER)
    with pytest.raises(AnnotationError, match="holds 2 CSV files of boxes; give one of them"):
        read_annotations(release.folder)


def test_class_descriptions_with_a_header_and_columns_in_another_order(release: Release) -> None:
    release.write(release.classes, "LabelName,DisplayName", f"{TORTOISE},Tortoise", f"{HAT},Hat")
    release.write(
        release.folder / "oidv6-class-descriptions.csv", "LabelName,DisplayName", "/m/0,a"
    )
    release.write(
        release.boxes,
        "\ufeffIsGroupOf,LabelName,YMax,YMin,XMax,XMin,ImageID,XClick1X",
        f"0,{HAT},0.5,0,0.25,0,{LAST},0.1",
    )
    data = read_annotations(release.boxes)
    assert data.box.tolist() == [[0, 0, 2.5, 10]]
    assert data.vocabulary.names == ("Tortoise", "Hat")


def test_images_that_cannot_be_read_are_left_out_and_counted(release: Release) -> None:
    release.sizes.unlink()
    release.save_images(HIGH, LAST)
    (release.images / f"{LAST}.jpg").write_bytes(b"<html>")
    data = read_annotations(release.boxes, images=open_images(release.images))
    assert data.image_file == (f"{HIGH}.jpg",)
    assert len(data.box) == 0
    assert data.dropped == {"group of": 1, "empty box": 0, "images not readable": 2}


def test_the_fingerprint_covers_every_file(release: Release) -> None:
    def fingerprint() -> str:
        return read_annotations(release.boxes, images=open_images(release.images)).sha256

    first = fingerprint()
    files = release.boxes.read_bytes(), release.classes.read_bytes(), release.sizes.read_bytes()
    assert first == hashlib.sha256(b"".join([files[1], files[0], files[2]])).hexdigest()
    release.write(release.sizes, "ImageID,Width,Height", f"{FIRST},81,40", *release.size_rows()[:2])
    assert fingerprint() != first
    from_headers(release)
    from_images = fingerprint()
    Image.new("RGB", (81, 40)).save(release.images / f"{FIRST}.jpg")
    assert fingerprint() != from_images


def unlist_sizes(release: Release) -> None:
    release.sizes.unlink()


def other_images(release: Release) -> None:
    release.sizes.unlink()
    Image.new("RGB", (8, 4)).save(release.images / "another.jpg")


def no_classes(release: Release) -> None:
    release.classes.unlink()


def boxes(*rows: str, header: str = HEADER) -> Callable[[Release], None]:
    return lambda release: release.write(release.boxes, header, *rows)


def classes(*rows: str) -> Callable[[Release], None]:
    return lambda release: release.write(release.classes, *rows)


def sizes(*rows: str, header: str = "ImageID,Width,Height") -> Callable[[Release], None]:
    return lambda release: release.write(release.sizes, header, *rows)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_classes, "expected one class-descriptions CSV file beside it .*, got none"),
        (classes(), "line 1: expected a label and its name"),
        (classes("LabelName,DisplayName"), "at least one class"),
        (classes("/m/1,a", "/m/2,b", "/m/1,c"), "labels must differ; '/m/1' occurs more than once"),
        (classes("/m/1,a,b"), "line 1: expected a label and its name, got"),
        (classes("/m/1,a\0"), "line 1: expected a label and its name, got"),
        (classes("/m/1,Hat"), "line 2: label '/m/02dl1y' is not in the class descriptions"),
        (
            boxes(header="ImageID,LabelName,XMin"),
            "expected a header .*; XMax, YMin, YMax, IsGroupOf",
        ),
        (boxes(header=""), "expected a header"),
        (boxes(), "expected at least one image"),
        (boxes(row(FIRST, HAT, 0, 1, 0)), "line 2: expected 13 values, got 12"),
        (boxes(row(FIRST, HAT, 0, 1, 0, "")), "line 2: expected numbers as XMin"),
        (boxes(ROWS[0], row(FIRST, HAT, 0, 1, 0, "nan")), "annotation 2 has a box .* not finite"),
        (boxes(row("26e7ee790996", HAT, 0, 1, 0, 1)), "line 2: expected 16 hexadecimal digits"),
        (boxes(row("../26e7ee790996", HAT, 0, 1, 0, 1)), "line 2: expected 16 hexadecimal digits"),
        (boxes(row("000026E7EE790996", HAT, 0, 1, 0, 1)), "line 2: expected 16 hexadecimal digits"),
        (boxes('"' + ROWS[0]), "expected a CSV file in UTF-8"),
        (lambda release: release.boxes.write_bytes(b"ImageID\xff"), "expected a CSV file in UTF-8"),
        (sizes(f"{FIRST},80,40"), f"expected every annotated image, found no row for {HIGH}"),
        (sizes(f"{FIRST},80,0"), r"line 2: expected whole pixels .*, got \['80', '0'\]"),
        (sizes(f"{FIRST},80,4.5"), "line 2: expected whole pixels"),
        (sizes(f"{FIRST},80,{10**12}"), "line 2: expected whole pixels"),
        (sizes(f"{FIRST},80,{'9' * 5000}"), "line 2: expected whole pixels"),
        (boxes(row(FIRST, HAT, 0, 1, 0, "9" * 5000)), "annotation 1 has a box .* not finite"),
        (sizes(header="ImageID,Width"), "expected a header .*; Height missing"),
        (unlist_sizes, "none of the 3 images that .* can be read there"),
        (other_images, "none of the 3 images"),
    ],
)
def test_a_malformed_release_is_refused_in_one_sentence(
    spoil: Callable[[Release], None], message: str, release: Release
) -> None:
    spoil(release)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_annotations(release.boxes, images=open_images(release.images))
    assert "\n" not in str(caught.value)


def test_sizes_must_come_from_somewhere(release: Release) -> None:
    release.sizes.unlink()
    with pytest.raises(AnnotationError, match=r"give the folder of images, or image-sizes\.csv"):
        read_annotations(release.boxes)


def test_a_missing_file(release: Release) -> None:
    with pytest.raises(AnnotationError, match="no such annotation file"):
        read_annotations(release.folder / "absent.csv")
