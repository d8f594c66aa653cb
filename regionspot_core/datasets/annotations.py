"""Reading COCO and LVIS annotation files into compact arrays."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import numpy as np
from numpy.typing import NDArray

from regionspot_core.boxes import box_area, xywh_to_xyxy
from regionspot_core.errors import AnnotationError
from regionspot_core.transforms import Size
from regionspot_core.vocabulary import Vocabulary

LONGEST_SIDE = 2**24
"""Up to here every whole pixel is a float32, as boxes are kept."""


@dataclass(frozen=True)
class AnnotationSet:
    """A data set's images and boxes, in the file's image order. I images, R regions in all."""

    path: Path
    sha256: str
    vocabulary: Vocabulary
    image_id: NDArray[np.int64]
    """(I,)"""
    image_size: NDArray[np.int32]
    """(I, 2): height, width in pixels."""
    image_file: tuple[str, ...]
    """I paths relative to the image folder."""
    region_start: NDArray[np.int64]
    """(I + 1,): image ``i`` owns regions ``region_start[i] : region_start[i + 1]``."""
    box: NDArray[np.float32]
    """(R, 4): xyxy, original pixels, clipped to the image."""
    class_index: NDArray[np.int32]
    """(R,): position in the vocabulary."""
    annotation_id: NDArray[np.int64]
    """(R,)"""
    dropped: dict[str, int]
    """How many annotations were left out, by reason: ``crowd`` and ``empty box``."""

    def __len__(self) -> int:
        return len(self.image_id)

    def regions(self, image: int) -> slice:
        """The regions of the image at position ``image``."""
        return slice(int(self.region_start[image]), int(self.region_start[image + 1]))

    def size(self, image: int) -> Size:
        """(height, width) of the image at position ``image``."""
        return int(self.image_size[image, 0]), int(self.image_size[image, 1])

    def fingerprint(self) -> dict[str, Any]:
        """What tells this annotation file from another, as plain values."""
        return {
            "annotations_sha256": self.sha256,
            "images": len(self),
            "regions": len(self.box),
        }


def read_annotations(path: Path) -> AnnotationSet:
    """Read a COCO or LVIS JSON file.

    Crowd annotations and boxes with no area inside the image are left out and counted; LVIS v1's
    ``coco_url`` gives the file name where ``file_name`` is missing, its split folder kept.

    Raises:
        AnnotationError: The file is missing, not JSON, not of this layout, has duplicate ids,
            refers to unknown images or categories, or names an image outside the image folder.
    """
    raw = read_annotation_bytes(path)
    content = parse_annotation_json(path, raw)
    try:
        return _build(path, hashlib.sha256(raw).hexdigest(), content)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, AnnotationError):
            raise
        what = f"missing key {error}" if isinstance(error, KeyError) else str(error)
        raise AnnotationError(f"{path}: not a COCO or LVIS annotation file ({what})") from None


def read_vocabulary(path: Path) -> Vocabulary:
    """The categories of an annotation file."""
    return read_annotations(path).vocabulary


def read_annotation_bytes(path: Path) -> bytes:
    """The bytes of an annotation file.

    Raises:
        AnnotationError: The file is missing, a folder, or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise AnnotationError(f"{path}: no such annotation file") from None
    except IsADirectoryError:
        raise AnnotationError(f"{path}: expected an annotation file (JSON), got a folder") from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from None


def parse_annotation_json(path: Path, raw: bytes) -> dict[str, Any]:
    """The file's JSON, lists of objects under ``images``, ``annotations`` and ``categories``.

    Raises:
        AnnotationError: It is not JSON (truncated, say) or not of this layout.
    """
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: expected JSON ({error})") from None
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in keys):
        raise AnnotationError(
            f"{path}: expected an object with lists {', '.join(keys)} (COCO or LVIS layout)"
        )
    for key in keys:
        for number, entry in enumerate(content[key]):
            if not isinstance(entry, dict):
                raise AnnotationError(
                    f"{path}: expected objects in {key}, got {_short(entry)} as entry {number}"
                )
    return content


def _build(path: Path, sha256: str, content: dict[str, Any]) -> AnnotationSet:
    images, annotations = content["images"], content["annotations"]
    if not images:
        raise AnnotationError(f"{path}: expected at least one image, got none")
    vocabulary = _vocabulary(path, content["categories"])
    image_id = _whole_numbers(path, "an image's id", [image["id"] for image in images])
    _require_unique(path, "image", image_id)
    position = {int(value): index for index, value in enumerate(image_id)}
    sides = [
        _whole_numbers(path, f"an image's {side}", [image[side] for image in images])
        for side in ("height", "width")
    ]
    size = np.stack(sides, axis=1)
    if size.min() < 1 or size.max() > LONGEST_SIDE:
        raise AnnotationError(
            f"{path}: an image has a height or width that is not 1 to {LONGEST_SIDE:,} pixels"
        )

    annotation_id = _whole_numbers(path, "an annotation's id", [a["id"] for a in annotations])
    _require_unique(path, "annotation", annotation_id)
    owner = _look_up(path, "image_id", [a["image_id"] for a in annotations], position)
    class_index = _look_up(
        path, "category_id", [a["category_id"] for a in annotations], vocabulary.index_of_id
    )
    xywh = _boxes(path, annotations)
    limits = np.concatenate([size[owner][:, ::-1]] * 2, axis=1).astype(np.float64)
    box = np.clip(xywh_to_xyxy(xywh), 0.0, limits).astype(np.float32)
    crowd = np.array([bool(a.get("iscrowd", 0)) for a in annotations], dtype=bool)
    empty = ~crowd & (box_area(box) <= 0)

    kept = np.flatnonzero(~crowd & ~empty)
    kept = kept[np.argsort(owner[kept], kind="stable")]
    counts = np.bincount(owner[kept], minlength=len(images))
    return AnnotationSet(
        path=path,
        sha256=sha256,
        vocabulary=vocabulary,
        image_id=image_id,
        image_size=size.astype(np.int32),
        image_file=tuple(_file_name(path, image) for image in images),
        region_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        box=box[kept],
        class_index=class_index[kept].astype(np.int32),
        annotation_id=annotation_id[kept],
        dropped={"crowd": int(crowd.sum()), "empty box": int(empty.sum())},
    )


def _vocabulary(path: Path, categories: list[dict[str, Any]]) -> Vocabulary:
    if not categories:
        raise AnnotationError(f"{path}: expected at least one category, got none")
    ids = _whole_numbers(path, "a category's id", [category["id"] for category in categories])
    _require_unique(path, "category", ids)
    return Vocabulary(
        names=tuple(str(category["name"]) for category in categories),
        ids=tuple(int(value) for value in ids),
        frequencies=tuple(str(category.get("frequency", "")) for category in categories),
        kinds=tuple(str(category.get("kind", "")) for category in categories),
    )


def _whole_numbers(path: Path, what: str, values: list[Any]) -> NDArray[np.int64]:
    for value in values:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if not whole or abs(value) >= 2**63:
            raise AnnotationError(f"{path}: expected a whole number as {what}, got {_short(value)}")
    return np.array(values, dtype=np.int64)


def _boxes(path: Path, annotations: list[dict[str, Any]]) -> NDArray[np.float64]:
    """COCO's boxes as the file has them: (N, 4), x, y, width, height."""
    for annotation in annotations:
        box = annotation["bbox"]
        if not isinstance(box, list) or len(box) != 4:
            raise AnnotationError(
                f"{path}: annotation {annotation['id']}: expected x, y, width, height as bbox, "
                f"got {_short(box)}"
            )
    xywh = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    finite = np.isfinite(xywh).all(axis=1)
    if not finite.all():
        bad = annotations[int(np.argmin(finite))]["id"]
        raise AnnotationError(f"{path}: annotation {bad} has a box that is not finite")
    return xywh


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _require_unique(path: Path, what: str, ids: NDArray[np.int64]) -> None:
    if len(np.unique(ids)) < len(ids):
        first = Counter(ids.tolist()).most_common(1)[0][0]
        raise AnnotationError(f"{path}: {what} ids must differ; {first} occurs more than once")


def _look_up(
    path: Path, key: str, values: list[Any], positions: dict[int, int]
) -> NDArray[np.int64]:
    wanted = _whole_numbers(path, f"an annotation's {key}", values)
    try:
        return np.array([positions[value] for value in wanted.tolist()], dtype=np.int64)
    except KeyError as error:
        raise AnnotationError(f"{path}: an annotation's {key} {error} is not in the file") from None


def _file_name(path: Path, image: dict[str, Any]) -> str:
    name = image.get("file_name")
    if name is None and isinstance(image.get("coco_url"), str):
        # LVIS v1 gives only a URL: .../train2017/000000391895.jpg
        name = "/".join(urlparse(image["coco_url"]).path.split("/")[-2:]).lstrip("/")
    if not isinstance(name, str):
        raise AnnotationError(
            f"{path}: image {image['id']}: expected a file name as file_name or coco_url, got "
            f"{_short(name)}"
        )
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\\" in name:
        raise AnnotationError(
            f"{path}: image {image['id']}: file name {name!r} must be relative and stay inside "
            f"the image folder"
        )
    return str(parts)
