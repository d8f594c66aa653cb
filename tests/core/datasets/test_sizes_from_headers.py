"""COCO files that say no sizes, or name images as other systems do: the images themselves tell."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regionspot_core.datasets.reading import read_annotations, read_table
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import open_images

RLE = {"size": [30, 40], "counts": [0, 1200]}


def write(folder: Path, **image: Any) -> Path:
    """Two images of one box each, with masks and LVIS's lists; ``image`` overrides both entries."""
    images = [
        {
            "id": number,
            "file_name": f"deep/{number}.png",
            "neg_category_ids": [number],
            "not_exhaustive_category_ids": [],
            **image,
        }
        for number in (1, 2)
    ]
    regions = [
        {
            "id": number,
            "image_id": number,
            "category_id": number,
            "bbox": [10, 5, 100, 10],
            "segmentation": RLE,
        }
        for number in (1, 2)
    ]
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    path = folder / "coco.json"
    path.write_text(
        json.dumps({"images": images, "annotations": regions, "categories": categories})
    )
    return path


def save_image(folder: Path, number: int, size: tuple[int, int] = (40, 30)) -> None:
    (folder / "deep").mkdir(exist_ok=True)
    Image.new("RGB", size).save(folder / f"deep/{number}.png")


@pytest.mark.parametrize("sizes", [{}, {"width": None, "height": None}, {"width": 0, "height": 30}])
def test_sizes_come_from_the_headers(sizes: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, **sizes)
    save_image(tmp_path, 1)
    save_image(tmp_path, 2)
    data = read_annotations(path, images=open_images(tmp_path), masks=True)
    assert data.image_size.tolist() == [[30, 40]] * 2
    assert data.box.tolist() == [[10, 5, 40, 15]] * 2  # clipped to 40 pixels
    assert data.dropped == {"crowd": 0, "empty box": 0, "images not readable": 0}
    save_image(tmp_path, 1, (41, 30))
    assert read_annotations(path, images=open_images(tmp_path)).sha256 != data.sha256


def test_an_image_that_is_missing_is_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path)
    save_image(tmp_path, 2)
    data = read_annotations(path, images=open_images(tmp_path), masks=True)
    assert data.image_file == ("deep/2.png",)
    assert data.annotation_id.tolist() == [2]
    assert data.dropped["images not readable"] == 1
    assert data.negative is not None
    assert data.negative[0].tolist() == [1]  # of image 2: class b
    assert data.masks is not None
    assert data.masks.rle(0)["size"] == [30, 40]  # type: ignore[index]
    truth = read_table(path, images=open_images(tmp_path)).truth(federated=False)
    assert truth.region_id.tolist() == [2]


def test_all_missing_is_the_wrong_folder(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"none of the 2 images .* \(deep/1\.png, …\); give"):
        read_annotations(write(tmp_path), images=open_images(tmp_path))


def test_boxes_are_scored_without_sizes_and_masks_are_not(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert np.array_equal(read_table(path).truth(federated=False).box, [[10, 5, 100, 10]] * 2)
    for masks in (False, True):
        with pytest.raises(AnnotationError, match=r"image 1 .* has no height and width; give the"):
            read_annotations(path, masks=masks)


def test_names_of_other_systems(tmp_path: Path) -> None:
    path = write(tmp_path, file_name="deep\\1.png", width=40, height=30)
    assert set(read_annotations(path, images=open_images(tmp_path)).image_file) == {"deep/1.png"}
