"""The official LVIS scorer, and the one place where its age is worked round.

lvis 0.5.3, the newest release, writes ``np.float``, which NumPy removed in 1.24, and
``Logger.warn``, which Python warns of. While it runs, its module (and nothing else) sees a ``np``
that still has the name, and what it would say of a list in memory is not shown.
"""

from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import lvis.eval
import numpy as np
from lvis import LVIS, LVISEval, LVISResults

from regionspot_core.datasets.truth import Truth
from regionspot_core.scoring.figures import METRICS
from regionspot_core.scoring.lvis import Measured
from regionspot_evaluate.scoring.figures import FIXED_DETECTIONS, Protocol
from regionspot_evaluate.scoring.package_data import package_annotations

NO_LIMIT = -1
"""Value of ``max_dets`` for no limit, in the package."""


class _NumpyWithFloat(ModuleType):
    """NumPy and the alias ``float``."""

    float = float

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any name of NumPy
        return getattr(np, name)


@contextmanager
def _old_names() -> Iterator[None]:
    original, logger = lvis.eval.np, logging.getLogger("lvis.results")
    level = logger.level
    lvis.eval.np = _NumpyWithFloat("numpy")
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        lvis.eval.np = original
        logger.setLevel(level)


class _Annotations(LVIS):  # type: ignore[misc] # the package is untyped
    """The package's index of annotations in memory; its own constructor takes a file alone."""

    def __init__(self, dataset: dict[str, Any]) -> None:
        self.logger = logging.getLogger("lvis.lvis")
        self.dataset = dataset
        self._create_index()


class _Evaluation(LVISEval):  # type: ignore[misc] # the package is untyped
    """The package's evaluation, which fails where a class has no frequency."""

    def _prepare_freq_group(self) -> list[list[int]]:
        classes = self.lvis_gt.load_cats(self.params.cat_ids)
        return [
            [place for place, each in enumerate(classes) if each["frequency"] == letter]
            for letter in self.params.img_count_lbl
        ]


class ReferenceScorer:
    """The LVIS API over one data set's annotations, indexed once."""

    def __init__(self, truth: Truth) -> None:
        self._truth = _Annotations(package_annotations(truth))

    def score(
        self, detections: list[dict[str, Any]], *, iou: str, protocol: Protocol = "lvis"
    ) -> Measured:
        """Return the LVIS API's figures, and each class's average precision.

        Args:
            detections: Entries of LVIS results JSON, one or more; the package adds to them.
            iou: ``bbox`` or ``segm``.
            protocol: Detections that count: LVIS's own limit of 300 an image, or the best 10 000
                of a class.
        """
        with _old_names():
            if protocol == "lvis":
                results = LVISResults(self._truth, detections)
            else:
                entries = best_of_each_class(detections)
                results = LVISResults(self._truth, entries, max_dets=NO_LIMIT)
            evaluation = _Evaluation(self._truth, results, iou)
            evaluation.run()
        found = {
            name.replace(f"@{NO_LIMIT}", "@300"): float(value)
            for name, value in evaluation.get_results().items()
        }
        return Measured.of(found, evaluation.eval["precision"], METRICS)


def best_of_each_class(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the detections that fixed AP counts, in the file's order."""
    of_class = defaultdict[object, list[int]](list)
    for number, entry in enumerate(entries):
        of_class[entry["category_id"]].append(number)
    kept = set[int]()
    for numbers in of_class.values():
        best = sorted(numbers, key=lambda number: entries[number]["score"], reverse=True)
        kept.update(best[:FIXED_DETECTIONS])
    return [entry for number, entry in enumerate(entries) if number in kept]
