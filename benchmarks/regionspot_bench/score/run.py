"""Main path of `regionspot bench score`: generate, score both ways, compare, look at memory."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from regionspot_bench.child import run_children
from regionspot_bench.measure import Times, take_turns
from regionspot_bench.score.config import ScoreBenchConfig, Sizes
from regionspot_bench.score.contents import Contents
from regionspot_bench.score.report import FAST, LVIS, MemoryFigures, ScoreBenchReport
from regionspot_core.datasets.reading import read_table
from regionspot_core.support.progress import say
from regionspot_evaluate.scoring.figures import BOTH, LVIS_PROTOCOLS, Iou, largest_difference
from regionspot_evaluate.scoring.reference import ReferenceScorer
from regionspot_evaluate.scoring.scorer import LvisScorer

BOXES: tuple[Iou, ...] = ("bbox",)


def measure(config: ScoreBenchConfig, folder: Path) -> ScoreBenchReport:
    """Measure all that the settings ask for."""
    sizes = config.sizes
    say(f"speed: {sizes.images:,} images by both scorers")
    times, box_difference = _measure_speed(folder / "speed", sizes)
    say(f"figures: {sizes.mask_images:,} images, boxes and masks, both protocols")
    mask_difference = compare(folder / "masks", sizes)
    say(f"memory: {sizes.memory_images:,} images in a process of their own")
    memory = _measure_memory(folder / "memory", sizes)
    return ScoreBenchReport(
        sizes=sizes,
        times=times,
        difference=max(box_difference, mask_difference),
        memory=memory,
        quick=config.quick,
    )


def _contents(sizes: Sizes, images: int, *, masks: bool = False) -> Contents:
    return Contents(images=images, detections=sizes.detections, classes=sizes.classes, masks=masks)


def _measure_speed(folder: Path, sizes: Sizes) -> tuple[Times, float]:
    """Time both from files to figures, and return how far the figures are apart."""
    truth, detections = _contents(sizes, sizes.images).write(folder)
    values: dict[str, dict[str, float | None]] = {}

    def fast(_: int) -> None:
        score = LvisScorer(truth, ious=BOXES).score(detections, iou="bbox")
        assert score.scorer == "fast"
        values[FAST] = score.values

    def reference(_: int) -> None:
        entries = json.loads(detections.read_bytes())
        scorer = ReferenceScorer(read_table(truth).truth(federated=True))
        values[LVIS] = scorer.score(entries, iou="bbox").values

    times = take_turns(
        {FAST: fast, LVIS: reference},
        rounds=1,
        repeats={FAST: sizes.repeats},
        # Not the fastest: the other has no choice.
        of_turn=statistics.median,
    )
    return times, largest_difference(values[FAST], values[LVIS])


def compare(folder: Path, sizes: Sizes, scorer: type[LvisScorer] = LvisScorer) -> float:
    """Return the largest difference of figures, of boxes and masks, by both protocols."""
    truth, detections = _contents(sizes, sizes.mask_images, masks=True).write(folder)
    fast, reference = scorer(truth), LvisScorer(truth, scorer="reference")
    differences = []
    protocols = tuple(LVIS_PROTOCOLS)
    ours = fast.score_all(detections, ious=BOTH, protocols=protocols)
    theirs = reference.score_all(detections, ious=BOTH, protocols=protocols)
    for protocol in protocols:
        pairs = [(ours[protocol][iou].values, theirs[protocol][iou].values) for iou in BOTH]
        differences += [largest_difference(*pair) for pair in pairs]
    return max(differences)


def _measure_memory(folder: Path, sizes: Sizes) -> MemoryFigures:
    """Measure the peak memory of a new process that does nothing else."""
    truth, detections = _contents(sizes, sizes.memory_images).write(folder)
    (figures,) = run_children("regionspot_bench.score.memory_child", [(truth, detections)])
    return MemoryFigures(
        images=sizes.memory_images,
        detections=figures["detections"],
        file_bytes=detections.stat().st_size,
        imported_bytes=figures["imported_bytes"],
        peak_bytes=figures["peak_bytes"],
        seconds=figures["seconds"],
    )
