"""LVIS's or COCO's figures of an image set in which images count several times or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.vocabulary import FREQUENCIES
from regionspot_evaluate.reports.compare.match_records import (
    AREAS,
    BITS,
    EVERY_THRESHOLD,
    THRESHOLDS,
    MatchRecords,
)

RECALLS = np.linspace(0, 1, 101)
POINTS = {0: "AP50", 5: "AP75"}
"""Figures of one IoU threshold, by its place."""
RECALL_LIMITS = {"AR1": 1, "AR10": 10}
"""COCO's recalls of fewer detections of a class in an image than its hundred."""
CELLS = 4_000_000
"""Detections × draws that are worked on at a time: 32 MB of float64."""
_TINY = np.spacing(1)


def drawn_figures(
    records: MatchRecords, times_NI: NDArray[np.integer]
) -> dict[str, NDArray[np.float64]]:
    """Return the rules' every figure, (N,) each, NaN where a draw has nothing to measure on.

    They are those of a set in which image i stands ``times_NI[n, i]`` times: nothing is estimated.
    Detections were matched, and the protocol's limit applied, before the draw. The copies of one
    detection are counted after each other, which matters only where an image has two detections of
    one class and one score.
    """
    curves = {name: _Curves.of(records, area) for area, name in enumerate(AREAS)}
    size = max(1, CELLS // max(1, len(records.image)))
    blocks = [
        _figures(curves, records, times_NI[begin : begin + size].T.astype(np.float64))
        for begin in range(0, len(times_NI), size)
    ]
    return {
        name: np.concatenate([block[name] for block in blocks])
        for name in (blocks[0] if blocks else ())
    }


def _figures(
    curves: dict[str, _Curves], records: MatchRecords, times_IN: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    figures: dict[str, NDArray[np.float64]] = {}
    for area, of_area in curves.items():
        regions_KN = of_area.regions(times_IN)
        measured = regions_KN > 0
        precision = np.zeros(regions_KN.shape)
        for threshold, average in enumerate(of_area.precision(times_IN, regions_KN)):
            precision += average / THRESHOLDS
            if area == "all" and threshold in POINTS:
                figures[POINTS[threshold]] = _mean(average, measured)
        letter = "" if area == "all" else area[0]
        recall = _mean(of_area.recall(times_IN, regions_KN), measured)
        figures |= {f"AP{letter}": _mean(precision, measured), f"AR{letter}": recall}
        if area == "all":
            figures["AR100"] = recall  # as COCO, whose limit every detection is within, calls it
            for mark in FREQUENCIES:
                members = measured & (records.frequency == mark)[:, None]
                figures[f"AP{mark}"] = _mean(precision, members)
            for name, limit in RECALL_LIMITS.items():
                if name in records.metrics:
                    recall = of_area.recall(times_IN, regions_KN, limit=limit)
                    figures[name] = _mean(recall, measured)
    return {name: figures[name] for name in records.metrics}


def _mean(values_KN: NDArray[np.float64], members_KN: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean over the classes that are members, (N,); NaN for none."""
    count = members_KN.sum(axis=0)
    total = np.where(members_KN, values_KN, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True)
class _Curves:
    """Precision over recall of every class, for one range of areas.

    Most detections match nothing at any IoU threshold and so count alike at all of them: these W
    "wrong" ones are summed once. Only the S others, those of which a threshold decides something,
    are looked at threshold by threshold. All are sorted by class and then by falling score.
    """

    classes: int
    image: NDArray[np.int32]
    """(S,)"""
    class_index: NDArray[np.int32]
    """(S,)"""
    rank: NDArray[np.int32]
    """(S,) numbers of detections of the same class and image that stand before them."""
    right: NDArray[np.uint16]
    """(S,) a bit for each threshold, as in the records."""
    counts: NDArray[np.uint16]
    """(S,)"""
    wrong_image: NDArray[np.int32]
    """(W,)"""
    wrong_begin: NDArray[np.int64]
    """(S,) where the wrong ones of its class begin."""
    wrong_end: NDArray[np.int64]
    """(S,) where those of its class and with a higher score end."""
    region_image: NDArray[np.int32]
    """(G,) images with regions of a class, by class."""
    region_class: NDArray[np.int32]
    """(G,)"""
    region_count: NDArray[np.int32]
    """(G,)"""

    @classmethod
    def of(cls, records: MatchRecords, area: int) -> _Curves:
        right, counts = records.right[area], records.counts[area]
        decided = (right == 0) & ((counts == 0) | (counts == EVERY_THRESHOLD))
        rows = np.flatnonzero(~decided)
        wrong = np.flatnonzero(decided & (counts > 0))
        classes = records.class_index
        regions = np.flatnonzero(records.regions[area])
        regions = regions[np.argsort(records.region_class[regions], kind="stable")]
        return cls(
            classes=len(records.frequency),
            image=records.image[rows],
            class_index=classes[rows],
            rank=records.rank[rows],
            right=right[rows],
            counts=counts[rows],
            wrong_image=records.image[wrong],
            wrong_begin=np.searchsorted(classes[wrong], classes[rows]),
            wrong_end=np.searchsorted(wrong, rows),
            region_image=records.region_image[regions],
            region_class=records.region_class[regions],
            region_count=records.regions[area][regions],
        )

    def regions(self, times_IN: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the number of regions of each class, (K, N)."""
        return self._class_sums(self.region_class, times_IN[self.region_image], self.region_count)

    def recall(
        self,
        times_IN: NDArray[np.float64],
        regions_KN: NDArray[np.float64],
        *,
        limit: int | None = None,
    ) -> NDArray[np.float64]:
        """Return the mean recall over the IoU thresholds, (K, N).

        Args:
            times_IN: Draws of the images.
            regions_KN: Regions of each class in these.
            limit: Number of detections of a class in an image that count; None for all.
        """
        rows = np.flatnonzero(self.right if limit is None else self.right * (self.rank < limit))
        share = (self.right[rows, None] & BITS > 0).mean(axis=1)
        found = self._class_sums(self.class_index[rows], times_IN[self.image[rows]], share)
        return found / np.maximum(regions_KN, 1)

    def precision(
        self, times_IN: NDArray[np.float64], regions_KN: NDArray[np.float64]
    ) -> Iterator[NDArray[np.float64]]:
        """Yield average precision at 101 recalls, (K, N), by IoU threshold."""
        wrong = _sums(times_IN[self.wrong_image])
        wrong_before = wrong[self.wrong_end] - wrong[self.wrong_begin]
        times = times_IN[self.image]
        for bit in BITS:
            counted = np.flatnonzero(self.counts & bit)
            right = np.flatnonzero(self.right[counted] & bit)
            yield self._average(times[counted], counted, right, wrong_before, regions_KN)

    def _average(
        self,
        times: NDArray[np.float64],
        counted: NDArray[np.int64],
        right: NDArray[np.int64],
        wrong_before: NDArray[np.float64],
        regions_KN: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return one threshold's average precision: of those ``counted`` the ones ``right`` match.

        Precision falls between two right detections, so its highest values from there on, and all
        steps of recall, are at right ones: only there it is worked out.
        """
        average = np.zeros(regions_KN.shape)
        if not len(right):
            return average
        class_index = self.class_index[counted]
        right_class = class_index[right]
        seen = _sums(times)
        seen = seen[right + 1] - seen[np.searchsorted(class_index, right_class)]
        seen += wrong_before[counted[right]]
        hits = _sums(times[right])
        hits = hits[1:] - hits[np.searchsorted(right_class, right_class)]
        regions = np.maximum(regions_KN[right_class], 1)
        first = _begins(right_class)
        steps = _recalls_reached(hits / regions)
        steps[1:] -= steps[:-1].copy()
        steps[first] = _recalls_reached(hits[first] / regions[first])
        best = self._best_from_here(hits / (seen + _TINY), right_class)
        average[right_class[first]] = np.add.reduceat(best * steps, first, axis=0) / len(RECALLS)
        return average

    def _class_sums(
        self,
        class_index: NDArray[np.int32],
        times: NDArray[np.float64],
        weight: NDArray[np.floating | np.integer],
    ) -> NDArray[np.float64]:
        """Return the sums of rows of ``times`` by their classes, which rise, (K, N)."""
        summed = np.zeros((self.classes, times.shape[1]))
        if len(class_index):
            begin = _begins(class_index)
            rows = times * weight[:, None]
            summed[class_index[begin]] = np.add.reduceat(rows, begin, axis=0)
        return summed

    def _best_from_here(
        self, precision: NDArray[np.float64], right_class: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """Return the highest precision of the class at this or a later detection."""
        # Earlier classes are lifted above all later ones, so that one pass does for all.
        lift = 2.0 * (self.classes - right_class)[:, None]
        best: NDArray[np.float64] = np.maximum.accumulate((precision + lift)[::-1])[::-1] - lift
        return best


def _sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of the first 0, 1, 2 … rows."""
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    return sums


def _begins(class_index: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return where each class begins in a rising column."""
    return np.flatnonzero(np.diff(class_index, prepend=-1))


def _recalls_reached(recall: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many of the 101 recalls are not above ``recall``, as ``searchsorted`` would."""
    nearest = np.rint(100 * recall).astype(np.int64)
    return nearest + (RECALLS[nearest] <= recall)
