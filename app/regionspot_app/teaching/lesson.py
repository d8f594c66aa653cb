"""The story of a lesson, in its own process: `python -m regionspot_app.teaching.lesson DIR`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from regionspot_app.teaching.job import (
    ANNOTATIONS,
    FIGURES,
    HEAD,
    HELD_OUT,
    JOB,
    PARTS,
    Job,
)
from regionspot_core.backbones.config import BackboneConfig
from regionspot_core.cache.layout.keep import Keep
from regionspot_core.datasets.split import Split
from regionspot_core.errors import InputError, RegionSpotError
from regionspot_core.heads.checkpoint import HeadRecord, read_record
from regionspot_core.support.files import write_json
from regionspot_core.support.records import read_json_object
from regionspot_evaluate.cached import run_cached_evaluation
from regionspot_evaluate.config import CachedConfig
from regionspot_evaluate.scoring.classification import RegionFigures
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_train.config import TrainConfig, settings_from
from regionspot_train.run import run_training


def run_lesson(folder: Path) -> None:
    """Extract the corrected pictures, train the head on them, and score both heads.

    A share of the pictures is held out, and both heads are scored on it.

    Args:
        folder: The lesson's, with its job and its annotations.

    Raises:
        RegionSpotError: If the head says nothing of its training, or anything that it is made of
            cannot be read.
    """
    job = Job.parse(read_json_object(folder / JOB), source=str(folder / JOB))
    record = read_record(job.start_from)
    head = folder / HEAD
    divide(folder)
    learnt, held_out = (_extracted(part, folder, job, record) for part in PARTS)
    run_training(
        settings(record, job),
        store=[learnt, *job.caches],
        out=head,
        validate_on=held_out,
        start_from=job.start_from,
        pictured=False,
    )
    report = run_cached_evaluation(CachedConfig(cache=held_out, heads=(job.start_from, head)))
    before, after = (_shares(each.region) for each in report.heads.values())
    write_json(
        folder / FIGURES,
        {"before": before, "after": after, "images": report.images, "regions": report.regions},
    )


def _shares(figures: RegionFigures) -> dict[str, float]:
    """Return the shares of the held-out regions that a head names right."""
    return {"top1": figures.top1["all"], "class_mean": figures.class_mean["all"]}


def divide(folder: Path) -> None:
    """Divide a lesson's annotations into those of pictures to learn from and those held out.

    Raises:
        InputError: If there are too few pictures.
    """
    labels = read_json_object(folder / ANNOTATIONS)
    ids = [image["id"] for image in labels["images"]]
    held_out = dict(
        zip(ids, Split.of(ids, share=HELD_OUT, seed=0).held_out(ids).tolist(), strict=True)
    )
    for part in PARTS:
        images = [each for each in labels["images"] if held_out[each["id"]] == (part == "held-out")]
        kept = {image["id"] for image in images}
        regions = [each for each in labels["annotations"] if each["image_id"] in kept]
        write_json(folder / f"{part}.json", {**labels, "images": images, "annotations": regions})


def _extracted(part: str, folder: Path, job: Job, record: HeadRecord) -> Path:
    """Return a new store of one part of the pictures, as the head needs it."""
    store = folder / f"{part}.zarr"
    run_extraction(
        ExtractConfig(
            images=job.pictures,
            annotations=folder / f"{part}.json",
            out=store,
            keep=_keep(record),
            backbones=BackboneConfig.parse(job.backbones, source=str(folder / JOB)),
        )
    )
    return store


def _keep(record: HeadRecord) -> Keep:
    """Return what a head needs of a store."""
    return Keep(
        region_masks=record.config.needs.region_masks,
        region_embedding=record.config.region_embeddings or "none",
    )


def settings(record: HeadRecord, job: Job) -> TrainConfig:
    """Return the settings of the head's own training, for few steps on few images.

    Raises:
        InputError: If the record does not hold them.
    """
    before: Any = record.training.get("config")
    if not isinstance(before, dict):
        raise InputError(
            f"{job.start_from}: the head's record does not say how it was trained, as an imported "
            f"head's; teach one that `train fit` wrote"
        )
    rate = float(before.get("optimiser", {}).get("lr", 1e-4)) / 4
    return settings_from(
        {**before, "data": {}, "validation": {}, "log": {}},
        [
            f"steps={job.steps}",
            "batch_images=8",
            f"optimiser.lr={rate}",
            f"optimiser.warmup_steps={max(1, job.steps // 10)}",
            "optimiser.schedule=cosine",
            f"validation.every={max(1, job.steps // 6)}",
            f"log_every={max(1, job.steps // 30)}",
            f"checkpoint_every={job.steps}",
            "device=auto",
        ],
        source=str(job.start_from),
    )


def main() -> None:
    """Run the lesson in the folder that is the only argument."""
    try:
        run_lesson(Path(sys.argv[1]))
    except RegionSpotError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
