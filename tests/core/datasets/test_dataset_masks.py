"""Masks: as pycocotools makes them from the file, for the regions that are kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as rle_codec

from regionspot_core.datasets.masks import Masks, decode_runs, encode_runs
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import AnnotationError

HEIGHT, WIDTH = 6, 8
SQUARE = [1, 1, 4, 1, 4, 4, 1, 4]
CORNER = [5, 0, 8, 0, 8, 2, 5, 2]


def read(tmp_path: Path, *segmentations: object, **changes: object) -> AnnotationSet:
    """An annotation for each segmentation, alternately of image 2 and image 1."""
    content = {
        "images": [
            {"id": n, "height": HEIGHT, "width": WIDTH, "file_name": f"{n}.png"} for n in (1, 2)
        ],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {
                "id": n,
                "image_id": 2 - n % 2,
                "category_id": 1,
                "bbox": [0, 0, 8, 6],
                "segmentation": segmentation,
            }
            | changes
            for n, segmentation in enumerate(segmentations)
        ],
    }
    path = tmp_path / "masks.json"
    path.write_text(json.dumps(content))
    return read_annotations(path, masks=True)


def pixels(masks: Masks | None, region: int) -> np.ndarray:
    assert masks is not None
    rle = masks.rle(region)
    assert rle is not None
    assert rle["size"] == [HEIGHT, WIDTH]
    return np.asarray(rle_codec.decode(rle))


def filled(rows: slice, columns: slice) -> np.ndarray:
    covered = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    covered[rows, columns] = 1
    return covered


def uncompressed(covered: np.ndarray) -> dict[str, Any]:
    """Column by column, zeros first."""
    flat = covered.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return {"size": list(covered.shape), "counts": ([0] if flat[0] else []) + runs}


def compressed(covered: np.ndarray) -> dict[str, Any]:
    rle = rle_codec.encode(np.asfortranarray(covered))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def test_polygons_and_run_lengths_of_regions_sorted_by_image(tmp_path: Path) -> None:
    spot = filled(slice(2, 5), slice(0, 3))
    data = read(tmp_path, [SQUARE], [CORNER, SQUARE], uncompressed(spot), compressed(1 - spot))
    assert data.annotation_id.tolist() == [1, 3, 0, 2]
    square, corner = filled(slice(1, 4), slice(1, 4)), filled(slice(0, 2), slice(5, 8))
    expected = [square | corner, 1 - spot, square, spot]
    for region, mask in enumerate(expected):
        assert np.array_equal(pixels(data.masks, region), mask), region


def test_annotations_left_out_take_their_masks_with_them(tmp_path: Path) -> None:
    path = tmp_path / "masks.json"
    read(tmp_path, [CORNER], [CORNER], [SQUARE])
    content = json.loads(path.read_text())
    content["annotations"][0] |= {"iscrowd": 1}
    content["annotations"][1] |= {"bbox": [9, 9, 1, 1]}
    path.write_text(json.dumps(content))
    data = read_annotations(path, masks=True)
    assert data.annotation_id.tolist() == [2]
    assert np.array_equal(pixels(data.masks, 0), filled(slice(1, 4), slice(1, 4)))
    content["annotations"][0]["segmentation"] = {"a crowd's": "is scored"}
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match="annotation 0: expected as segmentation polygons"):
        read_annotations(path, masks=True)


def test_a_polygon_beyond_the_image_ends_at_its_edge(tmp_path: Path) -> None:
    data = read(tmp_path, [[-5, -5, 50, -5, 50, 50, -5, 50]])
    assert pixels(data.masks, 0).all()


@pytest.mark.parametrize("nothing", [None, []])
def test_a_region_may_have_no_mask(nothing: object, tmp_path: Path) -> None:
    masks = read(tmp_path, nothing, [SQUARE]).masks
    assert masks is not None
    assert masks.rle(1) is None  # annotation 0: it is of the second image
    assert pixels(masks, 0).sum() == 9


def test_masks_are_kept_only_where_asked_for(tmp_path: Path) -> None:
    read(tmp_path, [SQUARE])
    assert read_annotations(tmp_path / "masks.json").masks is None


def test_a_file_without_annotations_has_no_masks(tmp_path: Path) -> None:
    masks = read(tmp_path).masks
    assert masks is not None
    assert len(masks.entry) == 0


FULL = {"size": [HEIGHT, WIDTH], "counts": [0, 48]}


@pytest.mark.parametrize(
    "segmentation",
    [
        5,
        "polygon",
        SQUARE,
        [SQUARE, 5],
        [[1, 1, 2, 2]],
        [SQUARE[:-1]],
        [[*SQUARE[:-1], None]],
        [[*SQUARE[:-1], "4"]],
        [[*SQUARE[:-1], 10**400]],
        [[*SQUARE[:-1], float("nan")]],
        [[*SQUARE[:-1], float("inf")]],
        [[*SQUARE[:-1], -1e30]],
        {},
        {"size": [6, 8]},
        {"counts": [0, 48]},
        {"size": 48, "counts": [0, 48]},
        {"size": [8, 6], "counts": [0, 48]},
        {"size": [6.5, 8], "counts": [0, 52]},
        {"size": [2**40, 8], "counts": [0, 48]},
        FULL | {"counts": []},
        FULL | {"counts": ""},
        FULL | {"counts": [0, 47]},
        FULL | {"counts": [0, 50, -2]},
        FULL | {"counts": [0, 48.0]},
        FULL | {"counts": ["0", "48"]},
        FULL | {"counts": [0, 2**70]},
        FULL | {"counts": "0"},
        FULL | {"counts": "ooooooooooooooooo"},
        FULL | {"counts": "0`"},
        FULL | {"counts": "é"},
        FULL | {"counts": " "},
        FULL | {"counts": None},
    ],
)
def test_a_malformed_mask_is_refused(segmentation: object, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"annotation 1[: ].*(segmentation|polygon)"):
        read(tmp_path, [SQUARE], segmentation)


@given(st.lists(st.integers(0, 5000), min_size=2, max_size=40).filter(sum))
def test_run_lengths_are_read_as_pycocotools_writes_them(runs: list[int]) -> None:
    rle = rle_codec.frPyObjects({"size": [1, sum(runs)], "counts": runs}, 1, sum(runs))
    decoded = decode_runs(rle["counts"].decode("ascii"))
    assert decoded.tolist() == runs
    assert encode_runs(1, sum(runs), decoded) == rle["counts"]
