"""The official LVIS scorer, and the one place where its age is worked round.

lvis 0.5.3, the newest release, writes ``np.float``, which NumPy removed in 1.24. While it runs,
its module (and nothing else) sees a ``np`` that still has the name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import lvis.eval
import numpy as np
from lvis import LVIS, LVISEval, LVISResults


class _NumpyWithFloat(ModuleType):
    """NumPy and the alias ``float``."""

    float = float

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any name of NumPy
        return getattr(np, name)


@contextmanager
def _old_numpy_names() -> Iterator[None]:
    original = lvis.eval.np
    lvis.eval.np = _NumpyWithFloat("numpy")
    try:
        yield
    finally:
        lvis.eval.np = original


class ReferenceScorer:
    """The LVIS API over one annotation file, read once."""

    def __init__(self, annotations: Path) -> None:
        self._truth = LVIS(str(annotations))

    def score(self, detections: Path, *, iou: str) -> dict[str, float]:
        """All of the LVIS API's figures by its own names; -1 where there is no ground truth.

        Args:
            detections: LVIS results JSON, not empty.
            iou: ``bbox`` or ``segm``.
        """
        results = LVISResults(self._truth, str(detections))
        with _old_numpy_names():
            evaluation = LVISEval(self._truth, results, iou)
            evaluation.run()
        return {name: float(value) for name, value in evaluation.get_results().items()}
