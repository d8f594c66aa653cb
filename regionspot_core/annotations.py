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
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, AnnotationError):
            raise
        what = f"missing key {error}" if isinstance(error, KeyError) else str(error)
        raise AnnotationError(f"{path}: not a COCO or LVIS annotation file ({what})") from None


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
    """The file's JSON object, with lists under ``images``, ``annotations`` and ``categories``.

    Raises:
        AnnotationError: It is not JSON (truncated, say) or not of this layout.
    """
    try:
        content = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: expected JSON ({error})") from None
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in keys):
        raise AnnotationError(
            f"{path}: expected an object with lists {', '.join(keys)} (COCO or LVIS layout)"
        )
    return content


def _build(path: Path, sha256: str, content: dict[str, Any]) -> AnnotationSet:
    images, annotations = content["images"], content["annotations"]
    if not images:
        raise AnnotationError(f"{path}: expected at least one image, got none")
    vocabulary = _vocabulary(path, content["categories"])
    image_id = np.array([image["id"] for image in images], dtype=np.int64)
    _require_unique(path, "image", image_id)
    position = {int(value): index for index, value in enumerate(image_id)}
    size = np.array([[image["height"], image["width"]] for image in images], dtype=np.int32)
    if size.min() < 1:
        raise AnnotationError(f"{path}: an image has a height or width below 1 pixel")

    annotation_id = np.array([a["id"] for a in annotations], dtype=np.int64)
    _require_unique(path, "annotation", annotation_id)
    owner = _look_up(path, "image_id", [a["image_id"] for a in annotations], position)
    class_index = _look_up(
        path, "category_id", [a["category_id"] for a in annotations], vocabulary.index_of_id
    )
    xywh = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    if not np.isfinite(xywh).all():
        bad = int(annotation_id[~np.isfinite(xywh).all(axis=1)][0])
        raise AnnotationError(f"{path}: annotation {bad} has a box that is not finite")
    limits = np.concatenate([size[owner][:, ::-1]] * 2, axis=1).astype(np.float64)
    box = np.clip(xywh_to_xyxy(xywh), 0.0, limits)
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
        image_size=size,
        image_file=tuple(_file_name(path, image) for image in images),
        region_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        box=box[kept].astype(np.float32),
        class_index=class_index[kept].astype(np.int32),
        annotation_id=annotation_id[kept],
        dropped={"crowd": int(crowd.sum()), "empty box": int(empty.sum())},
    )


def _vocabulary(path: Path, categories: list[dict[str, Any]]) -> Vocabulary:
    if not categories:
        raise AnnotationError(f"{path}: expected at least one category, got none")
    ids = np.array([category["id"] for category in categories], dtype=np.int64)
    _require_unique(path, "category", ids)
    return Vocabulary(
        names=tuple(str(category["name"]) for category in categories),
        ids=tuple(int(value) for value in ids),
        frequencies=tuple(str(category.get("frequency", "")) for category in categories),
        kinds=tuple(str(category.get("kind", "")) for category in categories),
    )


def _require_unique(path: Path, what: str, ids: NDArray[np.int64]) -> None:
    if len(np.unique(ids)) < len(ids):
        first = Counter(ids.tolist()).most_common(1)[0][0]
        raise AnnotationError(f"{path}: {what} ids must differ; {first} occurs more than once")


def _look_up(
    path: Path, key: str, values: list[int], positions: dict[int, int]
) -> NDArray[np.int64]:
    try:
        return np.array([positions[value] for value in values], dtype=np.int64)
    except KeyError as error:
        raise AnnotationError(f"{path}: an annotation's {key} {error} is not in the file") from None


def _file_name(path: Path, image: dict[str, Any]) -> str:
    name = image.get("file_name")
    if name is None:
        # LVIS v1 gives only a URL: .../train2017/000000391895.jpg
        name = "/".join(PurePosixPath(urlparse(image["coco_url"]).path).parts[-2:])
    parts = PurePosixPath(str(name))
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\\" in str(name):
        raise AnnotationError(
            f"{path}: image {image['id']}: file name {name!r} must be relative and stay inside "
            f"the image folder"
        )
    return str(parts)
