"""Reading what an evaluation left: its detections, its figures and its records.

The only place that knows the run folder's files.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from regionspot_core.datasets import AnnotationSet
from regionspot_core.datasets.checks import open_annotations, short, view
from regionspot_core.datasets.json_stream import JsonStream
from regionspot_core.errors import AnnotationError, InputError
from regionspot_core.imaging.boxes import xywh_to_xyxy
from regionspot_core.scoring.lvis import DETECTIONS as LIMIT
from regionspot_core.support.records import Record
from regionspot_evaluate.config import GROUND_TRUTH
from regionspot_evaluate.folder.detections import DETECTIONS
from regionspot_evaluate.folder.folder import CACHED_RECORD, METRICS, RUN_RECORD
from regionspot_evaluate.folder.json_records import read_json_record
from regionspot_evaluate.scoring.figures import Iou

RECORDS = (RUN_RECORD, CACHED_RECORD)
"""How the run was made; not every folder has one."""


class _Told(Record, extra="ignore", strict=True):
    """What is read of a record. More may be in it."""


class _Scores(_Told):
    metrics: dict[str, float | None] = Field(default_factory=dict)


class _Naming(_Told):
    top1: dict[str, float] = Field(default_factory=dict)


class Measured(_Told):
    """A head's figures, or a baseline's."""

    scores: dict[str, dict[str, _Scores]] = Field(default_factory=dict)
    """By protocol, and then for boxes and masks."""
    naming: _Naming = _Naming()

    def of(self, iou: Iou) -> dict[str, float | None] | None:
        """The figures by LVIS's standard protocol; None where there are none."""
        found = self.scores.get("standard", {}).get(iou)
        return found.metrics if found and found.metrics else None


class Metrics(Measured):
    """The content of ``metrics.json``."""

    proposals: str | None = None
    baselines: dict[str, Measured] = Field(default_factory=dict)


class _Configuration(_Told):
    annotations: str | None = None
    images: str | None = None


class RunRecord(_Told):
    """The content of ``run.json``."""

    annotations: str | None = None
    """The SHA-256 of the file that the run was scored on."""
    configuration: _Configuration = _Configuration()


Kind = TypeVar("Kind", bound=_Told)


@dataclass(frozen=True)
class Detections:
    """N detections, by image in the annotations' order and from the highest score down.

    Among equal scores the one that comes first in the file stays first. Of an image's those after
    LVIS's 300 are left out.
    """

    start: NDArray[np.int64]
    """(I + 1,): image ``i`` owns detections ``start[i] : start[i + 1]``."""
    box: NDArray[np.float64]
    """(N, 4) xyxy, original pixels"""
    class_index: NDArray[np.int64]
    """(N,) positions in the vocabulary."""
    score: NDArray[np.float64]
    """(N,)"""
    entry: NDArray[np.int64]
    """(N,) their places in the file."""
    beyond: int
    """How many were left out."""

    def of_image(self, image: int) -> slice:
        """The detections of the image at position ``image``."""
        return slice(int(self.start[image]), int(self.start[image + 1]))


@dataclass(frozen=True)
class Run:
    """What an evaluation, or any detector, left."""

    path: Path
    name: str
    results: Path
    metrics: Metrics
    """The content of ``metrics.json``; empty for a results file alone, as ``record``."""
    record: RunRecord
    """The content of ``run.json``, or of ``cached.json``."""
    told: dict[str, Any]
    """Both as they are in the files, without figures."""

    @property
    def names_annotated_boxes(self) -> bool:
        """Whether the run was given the annotated boxes, and so had nothing to find."""
        return self.metrics.proposals == GROUND_TRUTH

    def files(self) -> list[Path]:
        """What of it is read."""
        if self.results == self.path:
            return [self.path]
        own = [self.results, *(self.path / name for name in (METRICS, *RECORDS))]
        return [*own, *self.recorded_places("annotations")]

    def figures(self, iou: Iou) -> dict[str, float | None] | None:
        """What ``metrics.json`` says by the page's protocol, the standard one; None if nothing."""
        return self.metrics.of(iou)

    def recorded_places(self, key: Literal["annotations", "images"]) -> list[Path]:
        """Where a path that the run's configuration names may be; none where it names none.

        Earlier versions recorded what was typed, from the folder that the run was started in.
        """
        recorded = getattr(self.record.configuration, key)
        if recorded is None:
            return []
        return list(dict.fromkeys([Path(recorded).absolute(), (self.path / recorded).absolute()]))

    def provenance(self) -> dict[str, str]:
        """How the run was made, as lines of a table."""
        return {"detections": str(self.results), **dict(_lines(self.told))}


def open_run(path: Path) -> Run:
    """Find a run's files; nothing large is read yet.

    Raises:
        InputError: There is neither a folder with detections nor a results file, or its records
            are damaged.
    """
    if path.is_file():
        return Run(path, path.stem, path, Metrics(), RunRecord(), {})
    if not path.exists():
        raise InputError(f"{path}: no such run; expected a folder that `evaluate run` wrote")
    if not (path / DETECTIONS).is_file():
        heads = sorted(each.parent.name for each in path.glob(f"*/{DETECTIONS}"))
        if heads:
            raise InputError(f"{path}: it holds several runs; name one: {', '.join(heads)}")
        raise InputError(
            f"{path}: expected a folder that `evaluate run` wrote, with {DETECTIONS} in it; "
            f"or name a results file itself"
        )
    metrics, measured = _parsed(path / METRICS, Metrics)
    record_file = next((path / name for name in RECORDS if (path / name).exists()), None)
    record, asked = _parsed(record_file, RunRecord) if record_file else (RunRecord(), {})
    figures = {key for key, value in measured.items() if isinstance(value, dict)}
    told = {key: value for key, value in measured.items() if key not in figures}
    left_out = {"left out": measured["left_out"]} if "left_out" in figures else {}
    name = path.resolve().name
    return Run(path, name, path / DETECTIONS, metrics, record, told | left_out | asked)


def _parsed(path: Path, kind: type[Kind]) -> tuple[Kind, dict[str, Any]]:
    """A record's file as what is read of it, and as it is; both empty where there is none."""
    if not path.exists():
        return kind(), {}
    values = read_json_record(path)
    return kind.parse(values, source=str(path)), values


def read_detections(path: Path, annotations: AnnotationSet) -> Detections:
    """Read a COCO-results file in bounded memory: 56 bytes a detection, masks passed over.

    Raises:
        AnnotationError: The file is missing or malformed, has no detection, or one of an image or
            class that the annotations lack.
    """
    image_of = {int(name): place for place, name in enumerate(annotations.image_id)}
    class_of = annotations.vocabulary.index_of_id
    image, class_index, numbers = array("q"), array("q"), array("d")
    for place, entry in enumerate(_entries(path)):
        try:
            image.append(image_of[entry["image_id"]])
            class_index.append(class_of[entry["category_id"]])
            x, y, width, height = entry["bbox"]
            row = (float(x), float(y), float(width), float(height), float(entry["score"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise _refused(path, place, entry, image_of, class_of) from None
        if not all(map(isfinite, row)):
            raise AnnotationError(f"{path}: entry {place}: a figure in it is not finite")
        numbers.extend(row)
    if not len(image):
        raise AnnotationError(f"{path}: expected detections, got an empty list")
    rows = view(numbers, np.float64).reshape(-1, 5)
    images = view(image, np.int64)
    order = np.lexsort([-rows[:, 4], images])
    counts = np.bincount(images, minlength=len(annotations))
    place_in_image = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    order = order[place_in_image < LIMIT]
    kept = np.minimum(counts, LIMIT)
    return Detections(
        start=np.concatenate([[0], np.cumsum(kept)]).astype(np.int64),
        box=np.asarray(xywh_to_xyxy(rows[order, :4]), dtype=np.float64),
        class_index=view(class_index, np.int64)[order],
        score=rows[order, 4],
        entry=order.astype(np.int64),
        beyond=len(rows) - len(order),
    )


def has_masks(path: Path) -> bool:
    """Whether the first detection of a results file has one."""
    first = next(_entries(path), {})
    return bool(first.get("segmentation"))


def read_masks(path: Path, entries: Collection[int]) -> dict[int, Any]:
    """The ``segmentation`` of some entries of a results file, by their places; {} if none has."""
    wanted, found = set(entries), dict[int, Any]()
    for place, entry in enumerate(_entries(path)):
        if place in wanted:
            wanted.remove(place)
            if entry.get("segmentation"):
                found[place] = entry["segmentation"]
            elif not found:
                break  # boxes only
        if not wanted:
            break
    return found


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    with open_annotations(path) as file:
        stream = JsonStream(file, path, expected="LVIS results JSON")
        if stream.opening() != "[":
            stream.value()  # says so where it is no JSON at all
            raise AnnotationError(f"{path}: expected a list of detections (COCO results)")
        for place, entry in enumerate(stream.elements()):
            if not isinstance(entry, dict):
                raise AnnotationError(
                    f"{path}: entry {place}: expected an object, got {short(entry)}"
                )
            yield entry


def _refused(
    path: Path, place: int, entry: dict[str, Any], images: dict[int, int], classes: dict[int, int]
) -> AnnotationError:
    missing = [k for k in ("image_id", "category_id", "bbox", "score") if k not in entry]
    if missing:
        problem = f"missing {' and '.join(missing)}"
    elif not _known(entry["image_id"], images):
        problem = f"image {short(entry['image_id'])} is not in the annotations"
    elif not _known(entry["category_id"], classes):
        problem = f"class {short(entry['category_id'])} is not in the annotations"
    else:
        problem = "expected four numbers as bbox and a number as score"
    return AnnotationError(f"{path}: entry {place}: {problem}")


def _known(name: object, places: dict[int, int]) -> bool:
    return isinstance(name, int) and name in places


def _lines(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(item, dict):
            yield from _lines(item, f"{name} · ")
        elif isinstance(item, list):
            yield name, ", ".join(map(str, item[:5])) + (" …" if len(item) > 5 else "") or "none"
        else:
            yield name, "–" if item is None else f"{item:,}" if isinstance(item, int) else str(item)
