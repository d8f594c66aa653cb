"""Data sets of which a part is missing are used, and those of which nothing is left are not."""

import json
from pathlib import Path
from typing import Any

import pytest
from png_headers import save_png_header

from regionspot_core.datasets.reading import read_annotations
from regionspot_core.datasets.usable import require_usable
from regionspot_core.errors import AnnotationError, InputError
from regionspot_core.imaging.sources import open_images


def write(folder: Path, images: int, **annotation: Any) -> Path:
    """A COCO file of images with one box each."""
    numbers = range(1, images + 1)
    content = {
        "images": [
            {"id": i, "file_name": f"{i:03}.png", "width": 40, "height": 30} for i in numbers
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9], **annotation}
            for i in numbers
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    return path


def test_the_images_that_are_there_are_used_however_many_are_missing_before_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = read_annotations(write(tmp_path, 130))
    save_png_header(tmp_path / "129.png", 30, 40)
    save_png_header(tmp_path / "130.png", 30, 40)
    images = open_images(tmp_path)
    require_usable(annotations, images, strict=False)
    said = capsys.readouterr().err.replace("\n", " ")
    assert "128 of 130 images are missing (001.png, 002.png, 003.png, …); going on with" in said
    with pytest.raises(InputError, match=r"128 of 130 images are missing .*; leave out --strict"):
        require_usable(annotations, images, strict=True)
    (tmp_path / "129.png").unlink()
    (tmp_path / "130.png").unlink()
    with pytest.raises(InputError, match=r"none of the 130 annotated images is there"):
        require_usable(annotations, images, strict=False)


def test_images_that_their_format_needs_are_counted_too(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("file,x1,y1,x2,y2,name\na.png,0,0,1,1,x\nb.png,0,0,1,1,x\n")
    save_png_header(tmp_path / "b.png", 30, 40)
    images = open_images(tmp_path)
    annotations = read_annotations(tmp_path / "boxes.csv", images=images)
    require_usable(annotations, images, strict=False)
    with pytest.raises(InputError, match=r"1 of 2 images is missing; leave"):
        require_usable(annotations, images, strict=True)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"iscrowd": 1}, r"all annotations are left out \(2 crowd\); set iscrowd to 0 where"),
        ({"bbox": [1, 1, 0, 9]}, r"all annotations are left out \(2 empty box\)$"),
    ],
)
def test_annotations_of_which_none_is_left_are_refused(
    annotation: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_png_header(tmp_path / "001.png", 30, 40)
    annotations = read_annotations(write(tmp_path, 2, **annotation))
    with pytest.raises(AnnotationError, match=message):
        require_usable(annotations, open_images(tmp_path), strict=False)


def test_other_images_with_the_same_names_are_told_by_their_sizes(tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path, 4))
    images = open_images(tmp_path)
    for number in (1, 2, 3):
        save_png_header(tmp_path / f"00{number}.png", 31, 40)
    message = r"other images .* 001\.png is 40 × 31 .* says 40 × 30, and none of 3 looked at"
    with pytest.raises(InputError, match=message):
        require_usable(annotations, images, strict=False)
    save_png_header(tmp_path / "003.png", 40, 30)  # may be turned
    require_usable(annotations, images, strict=False)
