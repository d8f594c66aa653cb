"""LVIS's figures of images drawn with replacement, from what was matched once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regionspot_core.lvis_scoring import FREQUENCIES
from regionspot_evaluate.comparison.match_records import AREAS, THRESHOLDS, MatchRecords

RECALLS = np.linspace(0, 1, 101)
CONFIDENCE = 0.95
POINTS = {0: "AP50", 5: "AP75"}
"""Figures of one IoU threshold, by its place."""


def draw_images(images: int, *, times: int, seed: int) -> NDArray[np.int32]:
    """(N, I) how often each image is in each of N draws of as many images, with replacement."""
    random = np.random.default_rng(seed)
    drawn = [random.multinomial(images, np.full(images, 1 / images)) for _ in range(times)]
    return np.array(drawn, dtype=np.int32).reshape(times, images)


def interval(values_N: NDArray[np.float64]) -> tuple[float, float] | None:
    """The middle 95 % (the percentile interval of Efron 1981); None if nothing was measured.

    Draws without any region to measure on are NaN, and left out.
    """
    values = values_N[~np.isnan(values_N)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def drawn_figures(
    records: MatchRecords, times_NI: NDArray[np.int32]
) -> dict[str, NDArray[np.float64]]:
    """Every figure of LVIS, (N,) each, NaN where a draw has nothing to measure on.

    They are those of a set in which image i stands ``times_NI[n, i]`` times: nothing is estimated.
    Detections were matched, and the protocol's limit applied, before the draw. The copies of one
    detection are counted after each other, which matters only where an image has two detections of
    one class and one score.
    """
    draws, classes = len(times_NI), len(records.frequency)
    figures: dict[str, NDArray[np.float64]] = {}
    for area, name in enumerate(AREAS):
        regions_NK = np.array([_regions(records, area, times_I) for times_I in times_NI])
        measured = regions_NK > 0
        precision, recall = np.zeros((2, draws, classes))
        for threshold in range(THRESHOLDS):
            curve = _Curve.of(records, area, threshold)
            pairs = zip(times_NI, regions_NK, strict=True)
            here, found = np.array([curve.measure(*pair) for pair in pairs]).swapaxes(0, 1)
            precision += here / THRESHOLDS
            recall += found / THRESHOLDS
            if area == 0 and threshold in POINTS:
                figures[POINTS[threshold]] = _mean(here, measured)
        letter = "" if name == "all" else name[0]
        figures[f"AP{letter}"] = _mean(precision, measured)
        figures[f"AR{letter}"] = _mean(recall, measured)
        if area == 0:
            for mark in FREQUENCIES:
                figures[f"AP{mark}"] = _mean(precision, measured & (records.frequency == mark))
    return figures


def _regions(records: MatchRecords, area: int, times_I: NDArray[np.int32]) -> NDArray[np.float64]:
    """(K,) regions of each class in a draw."""
    weights = times_I[records.region_image] * records.regions[area]
    summed = np.bincount(records.region_class, weights, minlength=len(records.frequency))
    return summed.astype(np.float64)


def _mean(values_NK: NDArray[np.float64], members_NK: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) over the classes that are members; NaN for none."""
    count = members_NK.sum(axis=1)
    total = np.where(members_NK, values_NK, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True)
class _Curve:
    """Precision over recall by one IoU threshold and area: C detections count, P are right."""

    classes: int
    image: NDArray[np.int32]
    """(C,) by class, from the highest score down."""
    right: NDArray[np.int64]
    """(P,) positions among the C."""
    right_class: NDArray[np.int32]
    """(P,)"""
    class_begin: NDArray[np.int64]
    """(P,) where the class of each begins among the C."""
    right_begin: NDArray[np.int64]
    """(P,) and among the P."""

    @classmethod
    def of(cls, records: MatchRecords, area: int, threshold: int) -> _Curve:
        bit = np.uint16(1 << threshold)
        rows = np.flatnonzero(records.counts[area] & bit)
        row_class = records.class_index[rows]
        right = np.flatnonzero(records.right[area][rows] & bit)
        right_class = row_class[right]
        return cls(
            classes=len(records.frequency),
            image=records.image[rows],
            right=right,
            right_class=right_class,
            class_begin=np.searchsorted(row_class, right_class),
            right_begin=np.searchsorted(right_class, right_class),
        )

    def measure(
        self, times_I: NDArray[np.int32], regions_K: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(K,) average precision at 101 recalls, and recall, in one draw.

        Precision falls between two right detections, so its highest values from there on, and all
        steps of recall, are at right ones: only there it is worked out.
        """
        times = times_I[self.image]
        seen = np.concatenate([[0], np.cumsum(times)])
        seen = seen[self.right + 1] - seen[self.class_begin]
        before = np.concatenate([[0], np.cumsum(times[self.right])])
        hits = before[1:] - before[self.right_begin]
        precision = hits / (seen + np.spacing(1))
        best = self._best_from_here(precision)
        passed = np.searchsorted(
            RECALLS, hits / np.maximum(regions_K, 1)[self.right_class], "right"
        )
        new = np.diff(passed, prepend=0)
        first = self.right_begin == np.arange(len(self.right))
        new[first] = passed[first]
        average = np.bincount(self.right_class, best * new, minlength=self.classes) / len(RECALLS)
        found = np.bincount(self.right_class, times[self.right], minlength=self.classes)
        return average, found / np.maximum(regions_K, 1)

    def _best_from_here(self, precision: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P,) the highest precision of the class at this or a later detection."""
        # Earlier classes are lifted above all later ones, so that one pass does for all.
        lift = 2.0 * (self.classes - self.right_class)
        best: NDArray[np.float64] = np.maximum.accumulate((precision + lift)[::-1])[::-1] - lift
        return best
