"""The story of a report: runs read, measured, pictures chosen, page and tables written."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from regionspot_core.datasets.detections.detections_file import DetectionsFile
from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.errors import AnnotationError, InputError
from regionspot_core.imaging.sources import ImageSource, holds_images, open_images
from regionspot_core.support.files import file_sha256, require_place_for_file, write_json
from regionspot_evaluate.reports.html.config import ReportConfig
from regionspot_evaluate.reports.html.figures import Analysis, analyse, collect
from regionspot_evaluate.reports.html.gallery import (
    RunToShow,
    choose_examples,
    choose_images,
    make_pictures,
)
from regionspot_evaluate.reports.html.naming import MISSED
from regionspot_evaluate.reports.html.page import write_report_page
from regionspot_evaluate.reports.html.read_run import Run, open_run
from regionspot_evaluate.reports.html.tables import table_files, write_tables
from regionspot_evaluate.scoring.scored_images import evaluated_images

EXAMPLES = 3
"""Pictures for what a reader clicks on, over those of one part of the gallery."""


def write_html_report(config: ReportConfig) -> list[Path]:
    """Write the page, its figures as JSON and its tables as CSV; the files, the page first.

    Raises:
        InputError: If a run, the annotations or the images are missing, or do not belong together.
    """
    runs = [open_run(path) for path in config.runs]
    out = _place(config, runs[0])
    _require_nothing_lost(out, config, runs)
    images = _images(config, runs[0])
    with ExitStack() as stack:
        files = [stack.enter_context(DetectionsFile(run.results)) for run in runs]
        masks = images is not None or any(file.has_masks() for file in files)
        table = _table(config, runs[0], images, masks=masks)
        table = evaluated_images([run.results for run in runs], table)
        federated = table.obstacles.federated is None
        truth, annotations = table.truth(federated=federated), table.regions()
        if not len(annotations.box):
            raise AnnotationError(f"{table.path}: expected annotated boxes to measure on, got none")
        if images is not None:
            images.require(annotations.image_file)
        analyses = [
            analyse(run, file, annotations, truth) for run, file in zip(runs, files, strict=True)
        ]
        figures = collect(analyses, annotations)
        gallery = _gallery(config, analyses, annotations, images, figures)
    write_report_page(out, figures, gallery)
    write_json(out.with_suffix(".json"), figures)
    return [out, out.with_suffix(".json"), *write_tables(out, figures)]


def _place(config: ReportConfig, run: Run) -> Path:
    folder = run.path if run.path.is_dir() else run.path.parent
    out = config.out or folder / "report.html"
    require_place_for_file(out, option="--out")
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out}: expected a name that ends in .html")
    return out


def _require_nothing_lost(out: Path, config: ReportConfig, runs: list[Run]) -> None:
    """Refuse to write over the report's sources, or over files that are no report's."""
    read = {path.resolve() for run in runs for path in run.files()}
    if config.annotations is not None:
        read.add(config.annotations.resolve())
    for path in (out.with_suffix(".json"), *table_files(out)):
        if path.resolve() in read:
            raise InputError(
                f"--out {out}: {path.name} would be written beside it, over a file that the report "
                f"is made from; choose another name"
            )
        if path.exists() and not out.exists():  # the page is written first
            raise InputError(
                f"--out {out}: {path.name} would be written beside it, and is there already "
                f"without a report; move it, or choose another name"
            )


def _images(config: ReportConfig, run: Run) -> ImageSource | None:
    if not config.gallery:
        return None
    if config.images is not None:
        return open_images(config.images)
    places = run.recorded_places("images")
    return next((open_images(place) for place in places if holds_images(place)), None)


def _table(
    config: ReportConfig, run: Run, images: ImageSource | None, *, masks: bool
) -> AnnotationTable:
    """Read the annotations that are given, or the file that the run was scored on.

    A file that has their name and another SHA-256 is refused.
    """
    if config.annotations is not None:
        return read_table(config.annotations, images=images, masks=masks)
    places = run.recorded_places("annotations")
    if not places:
        raise InputError(
            f"{run.path}: it does not say which annotations it was scored on; give --annotations"
        )
    files = [path for path in places if path.exists()]
    expected = run.record.annotations
    if len(files) > 1 and expected is not None:
        same = (path for path in files if path.is_file() and file_sha256(path) == expected)
        files = [*same, *files][:1]
    table = read_table(files[0], images=images, masks=masks) if files else None
    if table is not None and expected in (None, table.sha256):
        return table
    problem = (
        f"{files[0]} is another file than the one it was scored on (its SHA-256 differs)"
        if files
        else f"the annotations it was scored on are not at {' or '.join(map(str, places))}"
    )
    raise InputError(f"{run.path}: {problem}; give --annotations")


def _gallery(
    config: ReportConfig,
    analyses: list[Analysis],
    annotations: AnnotationSet,
    images: ImageSource | None,
    figures: dict[str, Any],
) -> dict[str, Any]:
    if images is None:
        note = _no_pictures(config, analyses[0].run)
        return {"parts": [], "pictures": {}, "note": f"No pictures: {note}."}
    namings = [each.naming for each in analyses]
    choices = choose_images(annotations, namings, count=config.gallery)
    chosen = {image for choice in choices for image in choice.images}
    chosen |= set(
        choose_examples(
            annotations,
            namings,
            _clickable(figures),
            shown=sorted(chosen),
            most=EXAMPLES * config.gallery,
        )
    )
    pictures, failed = make_pictures(
        annotations,
        images,
        [RunToShow(each.file, each.detections, each.naming) for each in analyses],
        sorted(chosen),
        max_pixels=config.max_pixels,
    )
    return {
        "parts": [
            {
                "name": choice.name,
                "note": choice.note,
                "images": [image for image in choice.images if image in pictures],
            }
            for choice in choices
        ],
        "pictures": pictures,
        "masks": any(
            region["mask"]
            for picture in pictures.values()
            for regions in (picture["true"], *picture["said"])
            for region in regions
        ),
        "note": f"{len(failed)} could not be read, first: {failed[0]}" if failed else "",
    }


def _clickable(figures: dict[str, Any]) -> list[tuple[int, int, int]]:
    """Return what opens pictures, as :func:`choose_examples` takes it: cells, lists, classes."""
    wanted = list[tuple[int, int, int]]()
    for number, run in enumerate(figures["runs"]):
        classes, counts = run["matrix"]["classes"], run["matrix"]["counts"]
        cells = [
            (count, true, said)
            for true, row in zip(classes, counts, strict=True)
            for said, count in zip([*classes, None, MISSED], row, strict=True)
            if count and said is not None
        ]
        wanted += [(number, true, said) for _, true, said in sorted(cells, reverse=True)]
        wanted += [(number, each["true"], each["said"]) for each in run["confusions"]]
    measured = [each for each in figures["classes"] if each["runs"]]
    weakest = sorted(measured, key=lambda each: each["runs"][0]["ap"] or 0)
    return wanted + [(len(figures["runs"]), each["index"], 0) for each in weakest]


def _no_pictures(config: ReportConfig, run: Run) -> str:
    if not config.gallery:
        return "left out (--gallery 0)"
    places = run.recorded_places("images")
    if not places:
        return "give --images to have pictures"
    return f"no images at {' or '.join(map(str, places))}; give --images to have pictures"
