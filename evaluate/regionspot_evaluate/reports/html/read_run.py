"""Reading what an evaluation left: its detections, its figures and its records.

The only place that knows the run folder's files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from regionspot_core.datasets.checks import locate, locate_all
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.truth import Truth
from regionspot_core.errors import InputError
from regionspot_core.heads.score_fusion import ScoreFusion
from regionspot_core.support.records import Record
from regionspot_evaluate.config import GROUND_TRUTH
from regionspot_evaluate.folder.detections import DETECTIONS, PACKED, find_results, results_names
from regionspot_evaluate.folder.folder import CACHED_RECORD, METRICS, RUN_RECORD
from regionspot_evaluate.folder.json_records import read_json_record
from regionspot_evaluate.scoring.figures import Iou, Protocol
from regionspot_evaluate.scoring.results import Results
from regionspot_evaluate.scoring.selection import kept_detections, protocol_of
from regionspot_evaluate.scoring.unknown import UnknownFigures

RECORDS = (RUN_RECORD, CACHED_RECORD)
"""Records of a run's settings; not every folder has one."""


class _Told(Record, extra="ignore", strict=True):
    """Base of the parts of a record that are read; other keys are ignored."""


class _Scores(_Told):
    metrics: dict[str, float | None] = Field(default_factory=dict)


class _Naming(_Told):
    top1: dict[str, float] = Field(default_factory=dict)


class Measured(_Told):
    """A head's figures, or a baseline's."""

    scores: dict[str, dict[str, _Scores]] = Field(default_factory=dict)
    """Scores by protocol, and then for boxes and masks."""
    naming: _Naming = _Naming()

    def of(self, iou: Iou, protocol: Protocol) -> dict[str, float | None] | None:
        """Return the figures by a protocol; None where there are none."""
        found = self.scores.get(protocol, {}).get(iou)
        return found.metrics or None if found is not None else None


class _Unknown(_Told):
    auroc: float
    known_regions: int
    unknown_regions: int


class Metrics(Measured):
    """Content of ``metrics.json``."""

    proposals: str | None = None
    baselines: dict[str, Measured] = Field(default_factory=dict)
    fusion: ScoreFusion | None = None
    """How the head's scores were joined with CLIP's; None: they were not."""
    unknown: _Unknown | None = None
    """How well learnt classes were told from others; None where that was not measured."""

    @property
    def unknown_figures(self) -> UnknownFigures | None:
        """Return ``unknown`` as it was measured."""
        return None if self.unknown is None else UnknownFigures(**self.unknown.model_dump())


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

    Among equal scores the one that comes first in the file stays first. Those beyond the protocol's
    limit are left out: of an image, or by COCO's rules of a class in an image.
    """

    start: NDArray[np.int64]
    """(I + 1,): image ``i`` owns detections ``start[i] : start[i + 1]``."""
    box: NDArray[np.float64]
    """(N, 4) xyxy, original pixels"""
    class_index: NDArray[np.int64]
    """(N,) positions in the vocabulary."""
    score: NDArray[np.float64]
    """(N,)"""
    entry: NDArray[np.int32]
    """(N,) their places in the file."""
    judged: NDArray[np.bool_]
    """(N,) whether the protocol judges them: LVIS lets those of unknown classes be."""
    beyond: int
    """Number of detections that were left out."""

    def of_image(self, image: int) -> slice:
        """Return the detections of the image at position ``image``."""
        return slice(int(self.start[image]), int(self.start[image + 1]))


@dataclass(frozen=True)
class Run:
    """Files of one evaluation, or of any detector."""

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
        """Return whether the run was given the annotated boxes, and so had nothing to find."""
        return self.metrics.proposals == GROUND_TRUTH

    def files(self) -> list[Path]:
        """Return the files of the run that are read."""
        if self.results == self.path:
            return [self.path]
        own = [self.results, *(self.path / name for name in (METRICS, *RECORDS))]
        return [*own, *self.recorded_places("annotations")]

    def figures(self, iou: Iou, protocol: Protocol) -> dict[str, float | None] | None:
        """Return the figures of ``metrics.json`` by a protocol, or None."""
        return self.metrics.of(iou, protocol)

    def recorded_places(self, key: Literal["annotations", "images"]) -> list[Path]:
        """Return places of a path that the run's configuration names; empty if it names none.

        Earlier versions recorded what was typed, from the folder that the run was started in.
        """
        recorded = getattr(self.record.configuration, key)
        if recorded is None:
            return []
        return list(dict.fromkeys([Path(recorded).absolute(), (self.path / recorded).absolute()]))

    def provenance(self) -> dict[str, str]:
        """Return the run's settings, as lines of a table."""
        return {"detections": str(self.results), **dict(_lines(self.told))}


def open_run(path: Path) -> Run:
    """Find a run's files; nothing large is read yet.

    Raises:
        InputError: If there is neither a folder with detections nor a results file, or its records
            are damaged.
    """
    if path.is_file():
        return Run(
            path, Path(path.name.removesuffix(PACKED)).stem, path, Metrics(), RunRecord(), {}
        )
    if not path.exists():
        raise InputError(f"{path}: no such run; expected a folder that `evaluate run` wrote")
    results = find_results(path)
    if results is None or not results.is_file():
        heads = heads_below(path)
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
    return Run(path, name, results, metrics, record, told | left_out | asked)


def heads_below(folder: Path) -> dict[str, Path]:
    """Return the results files of several heads' folders, by the heads' names."""
    found = (path for name in results_names()[::-1] for path in folder.glob(f"*/{name}"))
    return dict(sorted((path.parent.name, path) for path in found))


def _parsed(path: Path, kind: type[Kind]) -> tuple[Kind, dict[str, Any]]:
    """Return a record as parsed and as plain values; both empty where the file is missing."""
    if not path.exists():
        return kind(), {}
    values = read_json_record(path)
    return kind.parse(values, source=str(path)), values


def sort_detections(results: Results, truth: Truth, annotations: AnnotationSet) -> Detections:
    """Sort detections as a report shows them.

    Args:
        results: Columns of a results file, with every box.
        truth: The annotations it was read for.
        annotations: The same annotations, as the report shows them.
    """
    assert results.every_box is not None
    image = locate(annotations.image_id, truth.image_id)[results.image]
    ids = np.array(annotations.vocabulary.ids, dtype=np.int64)
    class_index = locate_all(results.path, "class", ids, truth.class_id[results.class_index])
    rows = np.flatnonzero(kept_detections(results, protocol_of(truth)))
    order = rows[np.lexsort([-results.score[rows], image[rows]])]
    judged = np.zeros(len(results.score), dtype=bool)
    judged[results.judged] = True
    box = results.every_box[order]
    box[:, 2:] += box[:, :2]  # in place: of millions of boxes another copy would be felt
    return Detections(
        start=np.searchsorted(image[order], np.arange(len(annotations) + 1)),
        box=box,
        class_index=class_index[order],
        score=results.score[order],
        entry=results.entry[order],
        judged=judged[order],
        beyond=len(results.score) - len(order),
    )


def _lines(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(item, dict):
            yield from _lines(item, f"{name} · ")
        elif isinstance(item, list):
            yield name, ", ".join(map(str, item[:5])) + (" …" if len(item) > 5 else "") or "none"
        else:
            yield name, "–" if item is None else f"{item:,}" if isinstance(item, int) else str(item)
