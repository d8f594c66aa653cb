"""What `evaluate predict` prints: one picture's regions, or the classes of several pictures'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from regionspot_core.heads.unknown_classes import NONE_OF_THESE
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.tables import counted, plain_table, show, show_written
from regionspot_evaluate.config import AUTOMATIC
from regionspot_evaluate.predicting.coco_file import Annotation, Predictions
from regionspot_evaluate.predicting.named_regions import NamedRegion
from regionspot_evaluate.scoring.report import percent

CLASSES_SHOWN = 20
TRY = "try a lower --iou-threshold or more --points-per-side"
FAILED_SHOWN = 5


@dataclass(frozen=True)
class PredictReport:
    """Classified regions of one picture, and the files they were written to."""

    name: str
    size: Size
    regions: tuple[NamedRegion, ...]
    left_out: int
    """Regions whose best name was not probable enough."""
    overlapping: int
    """Regions that SAM found by itself and that overlapped a surer one."""
    json_file: Path
    picture_file: Path


@dataclass(frozen=True)
class PicturesReport:
    """Classified regions of several pictures, and the files they were written to."""

    predictions: Predictions
    root: Path
    json_file: Path
    drawn: Path | None
    """Folder of the drawn pictures; None where none were asked for."""

    @property
    def failed(self) -> bool:
        """Return whether a picture could not be read."""
        return bool(self.predictions.not_read)


def print_prediction(report: PredictReport) -> None:
    """Print one picture's regions, and the files they were written to."""
    height, width = report.size
    table = plain_table(f"{report.name}, {width} × {height}")
    for column in ("", "name", "%", "others, %", "box (x1 y1 x2 y2)", "SAM's IoU"):
        right = column in ("", "%", "SAM's IoU")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for number, region in enumerate(report.regions, 1):
        (name, probability), *next_best = region.names
        others = region.names if region.none_of_these else next_best
        table.add_row(
            str(number),
            NONE_OF_THESE if region.none_of_these else name,
            "" if region.none_of_these else percent(probability),
            ", ".join(f"{other} {percent(share)}" for other, share in others),
            " ".join(f"{value:.0f}" for value in region.box),
            f"{region.predicted_iou:.2f}",
        )
    if report.regions:
        show(table)
    elif not report.left_out:
        show(f"{report.name}: no region found; {TRY}")
    if report.left_out:
        show(f"{counted(report.left_out, 'region')} left out: no name so probable")
    if report.overlapping:
        show(f"{counted(report.overlapping, 'region')} left out: a surer one overlaps (--overlap)")
    show_written(*(file for file in (report.json_file, report.picture_file) if file.exists()))


def print_predictions(report: PicturesReport) -> None:
    """Print how often each class was named, what could not be read, and the files."""
    found = report.predictions
    pictures, regions = len(found.images), len(found.annotations)
    title = f"{counted(pictures, 'picture')}, {counted(regions, 'region')}"
    show(_classes_table(found, title) if regions else title)
    info = found.info
    empty = pictures - len({each.image_id for each in found.annotations})
    if empty and info["proposals"] == AUTOMATIC and not info["left_out"]:
        show(f"no region found in {empty:,} of them; {TRY}")
    if info["left_out"]:
        show(f"{counted(info['left_out'], 'region')} left out: no name so probable")
    if info["overlapping"]:
        show(f"{counted(info['overlapping'], 'region')} left out: a surer one overlaps (--overlap)")
    if found.not_read:
        show(f"{counted(len(found.not_read), 'picture')} could not be read:")
        show(*(f"  {each.reason}" for each in found.not_read[:FAILED_SHOWN]))
        if len(found.not_read) > FAILED_SHOWN:
            show(f"  and {len(found.not_read) - FAILED_SHOWN:,} more, all in {report.json_file}")
    show_written(report.json_file, *([f"{report.drawn}/"] if report.drawn else []))


def _classes_table(found: Predictions, title: str) -> Table:
    """Return a table of the classes that were named most often."""
    named = [(_category(each), each.image_id) for each in found.annotations]
    regions = Counter(category for category, _ in named)
    pictures = Counter(category for category, _ in set(named))
    names: dict[int | None, str] = {each.id: each.name for each in found.categories}
    names[None] = NONE_OF_THESE
    table = plain_table(title)
    table.add_column("name", overflow="fold")
    for column in ("regions", "pictures"):
        table.add_column(column, justify="right")
    for number, count in regions.most_common(CLASSES_SHOWN):
        table.add_row(names[number], f"{count:,}", f"{pictures[number]:,}")
    rest = regions.most_common()[CLASSES_SHOWN:]
    if rest:
        table.add_row(f"{counted(len(rest), 'other name')}", f"{_total(rest):,}", "")
    return table


def _category(annotation: Annotation) -> int | None:
    """Return the class of a region; None where none fits."""
    return None if annotation.none_of_these else annotation.category_id


def _total(counts: Iterable[tuple[int | None, int]]) -> int:
    return sum(count for _, count in counts)
