"""YOLO: a `data.yaml` with the classes, and a text file of labels for every image.

supervision's reader is not used: it keeps every mask as pixels, and knows no splits.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from regionspot_core.datasets.builder import AnnotationBuilder
from regionspot_core.datasets.checks import image_name, number_in, open_annotations
from regionspot_core.datasets.dataset_format import DatasetFormat
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.vocabulary import Vocabulary, is_text
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import ImageSource, open_images
from regionspot_core.imaging.sources.source import is_image_name
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.input_files import read_lines
from regionspot_core.support.records import shown

YAML = (".yaml", ".yml")
SPLITS = ("train", "val", "test")
IMAGES, LABELS = "images", "labels"
LEVELS_ABOVE = 4
"""Folders above a split's in which ``data.yaml`` is looked for."""
NO_LABELS = ("classes.txt", "labels.txt")
"""Lists of names that tools leave among the labels."""
MOST_YAML_BYTES = 2**20
FARTHEST = 2.0
"""Largest value that is taken for a share of a side: pixels are far larger."""


def find_yolo(path: Path) -> Path | None:
    """Return ``path`` itself if it is a ``data.yaml`` or belongs to a split of one, else None.

    A folder that holds a ``data.yaml`` stands for it. A split is its folder of labels or of images,
    the folder above both, or its list of images.
    """
    may_be = path.is_dir() or path.suffix.lower() in (*YAML, ".txt")
    return path if may_be and _yaml_near(path) else None


def read_yolo(
    path: Path, *, images: ImageSource | None = None, masks: bool = False
) -> AnnotationTable:
    """Read the labels of one split.

    A line is a class's number with a box (centre, width, height) or a polygon, in shares of the
    image. An image without a file of labels has no regions. Images are named from the data set's
    folder, and numbered from 1 in the order of their names; classes keep their numbers.

    Args:
        path: As :func:`find_yolo` returns it.
        images: The data set's folder, or an archive of it; None where the images lie in it.
        masks: Whether to keep polygons as masks. Boxes have none.

    Raises:
        AnnotationError: If a file is missing or malformed, a class's number has no name, or the
            file names several splits of which none is given.
    """
    data = _DataFile.read(path)
    source = images or open_images(data.folder)
    builder, digest = AnnotationBuilder(path, masks=masks), hashlib.sha256()
    builder.note_no_federation("YOLO's format")
    digest.update("\n".join(data.names.values()).encode())
    names = _image_names(path, data, source)
    for number, name in enumerate(names, 1):
        builder.add_image(number, file=name)
    digest.update(builder.read_sizes(source))
    lines = labelled = 0
    for number, name in enumerate(names, 1):
        file = data.folder / _label_name(name)
        content = _read_labels(file)
        labelled += content is not None
        digest.update(f"{name}\n".encode() + (content or b""))
        size = builder.size(number - 1)
        for label in _labels(file, content or b"", data):
            lines += 1
            builder.add_region(
                lines,
                image=number,
                class_id=label.class_id,
                crowd=False,
                box=label.box(size),
                segmentation=label.polygons(size) if masks else None,
            )
    if not labelled:
        raise AnnotationError(
            f"{path}: none of the {len(names):,} images has a file of labels "
            f"({data.folder / _label_name(names[0])}, …)"
        )
    return builder.build(data.vocabulary(), digest.hexdigest())


def read_yolo_vocabulary(path: Path) -> Vocabulary:
    """Return the classes of the ``data.yaml`` that ``path`` is or belongs to."""
    return _DataFile.read(path).vocabulary()


class _DataFile(NamedTuple):
    """A ``data.yaml``."""

    path: Path
    folder: Path
    """The data set's folder, that images are named from."""
    names: dict[int, str]
    splits: dict[str, list[str]]
    """Folders and lists of images of each split, relative to the folder."""
    has_key_points: bool
    """Whether labels go on with key points behind the box."""

    @classmethod
    def read(cls, path: Path) -> _DataFile:
        file = _yaml_near(path)
        assert file is not None
        values = _read_yaml(file)
        if not isinstance(values, dict) or "names" not in values:
            raise AnnotationError(f"{file}: expected YOLO's data.yaml, got YAML without names")
        folder = _data_folder(file, values.get("path"))
        splits = {split: _entries(file, folder, split, values.get(split)) for split in SPLITS}
        return cls(
            file,
            folder,
            _class_names(file, values["names"]),
            {split: entries for split, entries in splits.items() if entries},
            "kpt_shape" in values,
        )

    def vocabulary(self) -> Vocabulary:
        """Return the classes by rising number."""
        return Vocabulary(names=tuple(self.names.values()), ids=tuple(self.names))


def _yaml_near(path: Path) -> Path | None:
    """Return the ``data.yaml`` that ``path`` is, or that lies in its folder or one above."""
    if path.suffix.lower() in YAML:
        return path
    folder = path if path.is_dir() else path.parent
    places = (above / "data.yaml" for above in (folder, *folder.resolve().parents[:LEVELS_ABOVE]))
    return next((place for place in places if place.is_file()), None)


def _read_yaml(file: Path) -> Any:  # noqa: ANN401 - whatever YAML holds
    with open_annotations(file) as opened:
        content = opened.read(MOST_YAML_BYTES)
    try:
        # A few aliases of aliases would make a value that fills the memory when it is shown.
        has_alias = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content))
        values = None if has_alias else yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise AnnotationError(f"{file}: expected YAML; it cannot be read as such") from None
    if has_alias:
        raise AnnotationError(f"{file}: expected YAML without aliases (`*name`)")
    return values


def _data_folder(file: Path, given: object) -> Path:
    """Return the folder below the file's own that its ``path`` names, or else its own.

    Any other ``path`` is of the machine that wrote the file.
    """
    if isinstance(given, str) and not Path(given).is_absolute() and ".." not in Path(given).parts:
        return file.parent / given if _is_folder(file.parent / given) else file.parent
    return file.parent


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where a name is too long


def _entries(file: Path, folder: Path, split: str, value: object) -> list[str]:
    """Return the folders and lists of images of a split, relative to the data set's folder."""
    entries = []
    for entry in value if isinstance(value, list) else [value] if value else []:
        if not isinstance(entry, str):
            raise AnnotationError(
                f"{file}: expected a folder or a list of images as {split}, got {shown(entry)}"
            )
        if Path(entry).is_relative_to(folder.resolve()):
            entry = str(Path(entry).relative_to(folder.resolve()))
        # Roboflow writes ../train/images for what lies beside the file.
        entry = entry.removeprefix("../")
        is_all = PurePosixPath(entry) == PurePosixPath(".")
        entries.append("." if is_all else image_name(f"{file}: {split}", entry))
    return entries


def _class_names(file: Path, value: object) -> dict[int, str]:
    given = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(given, dict) or not given:
        raise AnnotationError(f"{file}: expected the classes as names, got {shown(value)}")
    names = {}
    for key, name in given.items():
        number = number_in(key) if isinstance(key, str) else key
        if (
            not isinstance(number, int)
            or abs(number) >= 2**63
            or isinstance(name, dict | list)
            or not is_text(str(name))
        ):
            raise AnnotationError(
                f"{file}: expected a number and a text for each of names, got {shown({key: name})}"
            )
        names[number] = str(name)
    return dict(sorted(names.items()))


def _split(path: Path, data: _DataFile) -> list[str]:
    """Return the folders and lists of images that ``path`` stands for."""
    if path.suffix.lower() in YAML or (path / data.path.name).is_file():
        if len(data.splits) == 1:
            return next(iter(data.splits.values()))
        found = [data.folder / _label_name(entries[0]) for entries in data.splits.values()]
        raise AnnotationError(
            f"{data.path}: expected one split, got {len(data.splits)}; give its folder of labels "
            f"or its list of images ({', '.join(map(str, found)) or 'labels/val'})"
        )
    try:
        entry = path.resolve().relative_to(data.folder.resolve())
    except ValueError:
        raise AnnotationError(f"{path}: lies outside {data.folder}, of {data.path.name}") from None
    if path.is_dir() and not {IMAGES, LABELS} & set(entry.parts):
        # Roboflow's valid/, with both folders in it; or images and labels in one folder.
        inner = any((path / name).is_dir() for name in (IMAGES, LABELS))
        return [(entry / IMAGES if inner else entry).as_posix()]
    return [_swapped(entry.as_posix(), LABELS, IMAGES)]


def _swapped(name: str, old: str, new: str) -> str:
    """Return a path whose last folder called ``old`` is called ``new``."""
    parts = name.split("/")
    if old in parts:
        parts[len(parts) - 1 - parts[::-1].index(old)] = new
    return "/".join(parts)


def _label_name(name: str) -> str:
    """Return the file of labels of an image, or the folder of labels of a folder of images."""
    swapped = PurePosixPath(_swapped(name, IMAGES, LABELS))
    is_image = is_image_name(name)
    return str(swapped.with_suffix(".txt") if is_image else swapped)


def _image_names(path: Path, data: _DataFile, source: ImageSource) -> list[str]:
    """Return the images of a split, and those that have labels and are not there, sorted."""
    names: set[str] = set()
    listed: Sequence[str] | None = None
    for entry in _split(path, data):
        if entry.endswith(".txt"):
            file = data.folder / entry
            for line, name in read_lines(file, what="one image a line"):
                names.add(image_name(f"{file}: line {line}", name))
            continue
        listed = source.names() if listed is None else listed
        names.update(name for name in listed if PurePosixPath(name).is_relative_to(entry))
        known = {_label_name(name) for name in names}
        folder = data.folder / _label_name(entry)
        for file in folder.rglob("*.txt") if _is_folder(folder) else ():
            label = file.relative_to(data.folder).as_posix()
            if label not in known and file.name not in NO_LABELS:
                names.add(_swapped(label.removesuffix(".txt"), LABELS, IMAGES) + ".jpg")
    if not names:
        raise AnnotationError(
            f"{path}: expected images in {source.location}, the folder of {data.path}, found none"
        )
    return sorted(names)


def _read_labels(file: Path) -> bytes | None:
    """Return a file's content; None where there is none."""
    if not os.path.exists(file):  # noqa: PTH110 - Path.exists raises where a name is too long
        return None
    with open_annotations(file) as opened:
        return opened.read()


class _Label(NamedTuple):
    class_id: int
    points: NDArray[np.float64]
    """(P, 2) x, y in shares: the polygon's corners, or the box's two."""
    is_polygon: bool

    def box(self, size: Size) -> list[float]:
        """Return x, y, width, height in pixels of an image of height, width ``size``."""
        low, high = self.points, self.points
        if self.is_polygon:
            low, high = (
                self.points.min(axis=0, keepdims=True),
                self.points.max(axis=0, keepdims=True),
            )
        return [*(low[0] * size[::-1]).tolist(), *((high[-1] - low[0]) * size[::-1]).tolist()]

    def polygons(self, size: Size) -> list[list[float]] | None:
        """Return the mask as COCO's polygons in pixels; None for a box."""
        return [(self.points * size[::-1]).ravel().tolist()] if self.is_polygon else None


def _labels(file: Path, content: bytes, data: _DataFile) -> Iterator[_Label]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AnnotationError(f"{file}: expected lines of numbers, got other bytes") from None
    for line, words in enumerate(map(str.split, text.splitlines()), 1):
        if words:
            yield _label(f"{file}: line {line}", words, data)


def _label(where: str, words: list[str], data: _DataFile) -> _Label:
    try:
        number, *values = map(float, words)
    except ValueError:
        raise AnnotationError(f"{where}: expected numbers alone, got {shown(words)}") from None
    if number not in data.names:
        raise AnnotationError(
            f"{where}: class {shown(words[0])} is not among the {len(data.names):,} names of "
            f"{data.path}"
        )
    # Five values are a box and its confidence.
    is_box = len(values) in (4, 5) or (data.has_key_points and len(values) > 4)
    if not is_box and (len(values) < 6 or len(values) % 2):
        raise AnnotationError(
            f"{where}: expected a class and x, y, width, height, or three or more points, got "
            f"{len(words)} values"
        )
    values = values[:4] if is_box else values
    if not all(abs(value) <= FARTHEST for value in values):  # NaN too
        raise AnnotationError(
            f"{where}: expected shares of the image's sides, from 0 to 1, got {shown(values)}"
        )
    if is_box:
        x, y, width, height = values
        values = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return _Label(int(number), np.array(values).reshape(-1, 2), not is_box)


YOLO = DatasetFormat("YOLO", YAML, find_yolo, read_yolo, read_yolo_vocabulary)
