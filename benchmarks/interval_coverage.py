"""How often 95 % intervals of average precision hold what they should, where that is known.

    OMP_NUM_THREADS=1 python benchmarks/interval_coverage.py [--images 100] [--classes 60]
        [--negatives 5] [--sets 400] [--draws 200] [--seed 0]

Image sets are drawn from a process: long-tailed classes, images of several difficulties, regions
that are found or missed, false alarms where a class is annotated or known to be absent. Two
detectors see the same images. Every set gets an interval by each method, for the first detector's
figures and for the second's difference from it. It should hold the mean over all sets of that
size: "covers" is how often it does; "many" is how often it holds the figure of a very large set,
and "own" the set's own figure. "width" is its mean width over 3.92 standard deviations of the
figure over sets, which is right for a figure with a normal distribution.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_core.scoring.figures import METRICS
from regionspot_evaluate.reports.compare.match_records import AREAS, EVERY_THRESHOLD, MatchRecords
from regionspot_evaluate.reports.compare.precision_curves import drawn_figures
from regionspot_evaluate.reports.compare.resampling import draw_halves, interval

FIGURES = ("AP", "APr", "APf")
GROUPS = 20
"""Number of groups of the jackknife."""
MANY = 20_000
"""Images of the set whose figures stand for those of any number of images."""
Z = NormalDist().inv_cdf(0.975)
Floats = NDArray[np.float64]
Ends = tuple[float, float]


class Source:
    """Source of image sets, with two detectors of them.

    Args:
        classes: K; the class at place k is in an image with odds proportional to 1 / (k + 1).
        negatives: How many classes of an image are looked at and known to be absent, or fewer
            where some of these are there.
        seed: Of how hard each class is.
    """

    def __init__(self, *, classes: int, negatives: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.classes, self.negatives = classes, negatives
        odds = 1 / (np.arange(classes) + 1.0)
        odds *= 4 / odds.sum()
        self.present = odds / (1 + odds)
        self.frequency = np.array(["f", "c", "r"])[3 * np.arange(classes) // classes]
        self.found = random.normal(0.5, 1.2, classes)
        self.score = random.normal(1.2, 0.8, classes)
        self.better = random.normal(0.15, 0.4, classes)

    def draw(self, images: int, random: np.random.Generator) -> tuple[MatchRecords, MatchRecords]:
        """Return what two detectors' detections match in a new set of images."""
        present = random.random((images, self.classes)) < self.present
        pair_image, pair_class = np.nonzero(present)
        count = 1 + random.poisson(0.6, len(pair_image))
        image, classes = np.repeat(pair_image, count), np.repeat(pair_class, count)
        ease = random.normal(0, 0.7, images)  # of an image
        own_ease, fit = random.normal(0, 1, (2, len(image)))  # of a region
        looked_at = present.copy()
        absent = random.integers(0, self.classes, (images, self.negatives))
        if self.negatives >= self.classes:
            looked_at[:] = True
        else:
            np.put_along_axis(looked_at, absent, values=True, axis=1)
        seen_image, seen_class = np.nonzero(looked_at)

        def detector(better: Floats) -> MatchRecords:
            chance = self.found[classes] + better[classes] + ease[image] + 0.8 * own_ease
            hit = np.flatnonzero(1 / (1 + np.exp(-chance)) > random.random(len(image)))
            score = self.score[classes[hit]] + 0.5 * ease[image[hit]] + 0.6 * own_ease[hit]
            score += random.normal(0, 0.7, len(hit)) + better.mean()
            reached = 6 + 2 * fit[hit] + random.normal(0, 1.5, len(hit))
            right = (1 << np.clip(np.floor(reached), 0, 10).astype(np.int64)) - 1
            alarms = random.poisson(0.25 * np.exp(0.5 * ease[seen_image]))
            wrong = np.zeros(alarms.sum(), dtype=np.int64)
            return self._records(
                images,
                np.concatenate([image[hit], np.repeat(seen_image, alarms)]),
                np.concatenate([classes[hit], np.repeat(seen_class, alarms)]),
                np.concatenate([score, random.normal(0, 1, len(wrong))]),
                np.concatenate([right, wrong]),
                (pair_image, pair_class, count),
            )

        return detector(np.zeros(self.classes)), detector(self.better)

    def _records(
        self,
        images: int,
        image: NDArray[np.int64],
        classes: NDArray[np.int64],
        score: Floats,
        right: NDArray[np.int64],
        regions: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    ) -> MatchRecords:
        order = np.lexsort((image, -score, classes))
        by_area = np.zeros((2, len(AREAS), len(order)), dtype=np.uint16)
        by_area[:, 0] = right[order], np.full(len(order), EVERY_THRESHOLD)
        counts = np.zeros((len(AREAS), len(regions[2])), dtype=np.int32)
        counts[0] = regions[2]
        return MatchRecords(
            images=images,
            metrics=METRICS,
            frequency=self.frequency,
            image=image[order].astype(np.int32),
            class_index=classes[order].astype(np.int32),
            rank=np.zeros(len(order), dtype=np.int32),  # LVIS's figures ask for none
            right=by_area[0],
            counts=by_area[1],
            region_image=regions[0].astype(np.int32),
            region_class=regions[1].astype(np.int32),
            regions=counts,
        )


def whole_figures(records: MatchRecords) -> dict[str, float]:
    """Return the figures of a set as it is."""
    once = np.ones((1, records.images), dtype=np.uint8)
    return {name: float(values[0]) for name, values in drawn_figures(records, once).items()}


def with_replacement(images: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Draw the images as the usual bootstrap does."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), draws)


def with_weights(images: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Give every image a random weight, as the Bayesian bootstrap does; whole numbers are exact."""
    weights = np.random.default_rng(seed).exponential(1_000_000, (draws, images))
    return np.maximum(np.rint(weights), 1).astype(np.int64)


def without_a_group(images: int, draws: int, seed: int) -> NDArray[np.uint8]:
    """Leave out each of some groups of images, as a jackknife does."""
    group = np.random.default_rng(seed).permutation(images) % GROUPS
    return (group != np.arange(GROUPS)[:, None]).astype(np.uint8)


def percentiles(figure: float, drawn: Floats, images: int) -> Ends:
    """Return the middle 95 % of the draws."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def reversed_percentiles(figure: float, drawn: Floats, images: int) -> Ends:
    """Return the "basic" bootstrap interval."""
    low, high = percentiles(figure, drawn, images)
    return 2 * figure - high, 2 * figure - low


def bias_corrected(figure: float, drawn: Floats, images: int) -> Ends:
    """Return Efron's BC interval."""
    normal, least = NormalDist(), 0.5 / len(drawn)
    below = np.mean(drawn < figure) + np.mean(drawn == figure) / 2
    bias = normal.inv_cdf(float(np.clip(below, least, 1 - least)))
    low, high = np.quantile(drawn, [normal.cdf(2 * bias - Z), normal.cdf(2 * bias + Z)])
    return float(low), float(high)


def deviations(figure: float, drawn: Floats, images: int) -> Ends:
    """Return the figure and 1.96 standard deviations of the draws on each side."""
    reach = Z * float(drawn.std(ddof=1))
    return figure - reach, figure + reach


def jackknife(figure: float, drawn: Floats, images: int) -> Ends:
    """Return the figure and 2.09 of the jackknife's errors on each side, of 20 groups."""
    reach = 2.093 * float(drawn.std(ddof=0)) * (len(drawn) - 1) ** 0.5
    return figure - reach, figure + reach


def halves(figure: float, drawn: Floats, images: int) -> Ends:
    """Return the interval of `evaluate compare`."""
    return interval(figure, drawn, images=images) or (np.nan, np.nan)


Method = Callable[[float, Floats, int], Ends]
DRAWS: dict[str, Callable[[int, int, int], NDArray[np.integer]]] = {
    "replacement": with_replacement,
    "weights": with_weights,
    "groups": without_a_group,
    "halves": lambda images, draws, seed: draw_halves(images, times=draws, seed=seed),
}
METHODS: dict[str, tuple[str, Method]] = {
    "with replacement, percentiles": ("replacement", percentiles),
    "with replacement, reversed": ("replacement", reversed_percentiles),
    "with replacement, bias-corrected": ("replacement", bias_corrected),
    "with replacement, ± 1.96 deviations": ("replacement", deviations),
    "random weights, ± 1.96 deviations": ("weights", deviations),
    "jackknife of 20 groups": ("groups", jackknife),
    "random halves (what compare does)": ("halves", halves),
}


@dataclass(frozen=True)
class Coverage:
    """Shares of sets, and a mean width, of one method and figure."""

    covers: float
    covers_many: float
    """The figure of a very large set."""
    own: float
    width: float


@dataclass(frozen=True)
class Study:
    """Measurements of a number of image sets of one size."""

    mean: dict[str, float]
    """Mean over the sets of each figure, and of each ``difference in`` a figure."""
    many: dict[str, float]
    """And in a very large set."""
    coverage: dict[str, dict[str, Coverage]]
    """Figures by method, and then as ``mean``."""


def study(
    source: Source,
    *,
    images: int,
    sets: int,
    draws: int,
    means: int,
    seed: int = 0,
    many: int = MANY,
    methods: tuple[str, ...] = tuple(METHODS),
) -> Study:
    """Measure the methods on ``sets`` image sets; means over sets are those of ``means`` sets."""
    random = np.random.default_rng(seed)
    drawn_sets = [source.draw(images, random) for _ in range(sets)]
    own = [_both(*map(whole_figures, pair)) for pair in drawn_sets]
    more = (source.draw(images, random) for _ in range(max(0, means - sets)))
    everywhere = own + [_both(*map(whole_figures, pair)) for pair in more]
    keys = list(own[0])
    columns = {key: np.array([each[key] for each in everywhere]) for key in keys}
    mean = {key: float(np.nanmean(values)) for key, values in columns.items()}
    right = {key: 2 * Z * float(np.nanstd(values)) for key, values in columns.items()}
    ends: dict[str, dict[str, list[tuple[float, float, float]]]] = {
        method: {key: [] for key in keys} for method in methods
    }
    kinds = {METHODS[method][0] for method in methods}
    for number, (pair, figures) in enumerate(zip(drawn_sets, own, strict=True)):
        by_kind = {
            kind: _both(*(drawn_figures(each, DRAWS[kind](images, draws, number)) for each in pair))
            for kind in kinds
        }
        for method in methods:
            kind, make = METHODS[method]
            for key in keys:
                drawn = by_kind[kind][key]
                measured = drawn if make is halves else drawn[~np.isnan(drawn)]
                limits = make(figures[key], measured, images)
                ends[method][key].append((*limits, figures[key]))
    large = _both(*map(whole_figures, source.draw(many, random)))
    coverage = {
        method: {
            key: _coverage(np.array(found), mean[key], large[key], right[key])
            for key, found in of.items()
        }
        for method, of in ends.items()
    }
    return Study(mean, large, coverage)


def _both(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the first detector's figures, and the second's differences from them."""
    return {name: first[name] for name in FIGURES} | {
        f"difference in {name}": second[name] - first[name] for name in FIGURES
    }


def _coverage(ends: Floats, mean: float, large: float, right: float) -> Coverage:
    low, high, own = ends[~np.isnan(ends).any(axis=1)].T
    rounding = 1e-12
    return Coverage(
        covers=float(np.mean((low <= mean) & (mean <= high))),
        covers_many=float(np.mean((low <= large) & (large <= high))),
        own=float(np.mean((low - rounding <= own) & (own <= high + rounding))),
        width=float(np.mean(high - low)) / right,
    )


def main() -> None:
    """Print the means of the figures, and a line a method and figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    for name, default in (
        ("images", 100), ("classes", 60), ("negatives", 5), ("sets", 400), ("draws", 200),
        ("means", 1500), ("seed", 0),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    source = Source(classes=given.classes, negatives=given.negatives)
    found = study(
        source,
        images=given.images,
        sets=given.sets,
        draws=given.draws,
        means=given.means,
        seed=given.seed,
    )
    print(f"{given.sets} sets of {given.images} images, {given.classes} classes")
    for key, mean in found.mean.items():
        print(f"{key:18} mean over sets {mean:.4f}, of {MANY:,} images {found.many[key]:.4f}")
    for method, of in found.coverage.items():
        for key, each in of.items():
            print(
                f"{method:36} {key:18} covers {each.covers:.3f} "
                f"many {each.covers_many:.3f} own {each.own:.3f} width {each.width:.2f}"
            )


if __name__ == "__main__":
    main()
