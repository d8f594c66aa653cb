"""What a data set holds and what a run would do with it, found out without any model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from regionspot_core.datasets.image_headers import read_headers
from regionspot_core.datasets.reading import format_name, read_table
from regionspot_core.datasets.record import NOT_READABLE, AnnotationSet
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.usable import require_usable
from regionspot_core.errors import ImageError, InputError
from regionspot_core.imaging.images import ImageHeader
from regionspot_core.imaging.sources import ImageSource, open_images
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.tables import counted
from regionspot_extract.config import CheckConfig

LARGEST_SHOWN = 3


@dataclass(frozen=True)
class LargeImage:
    """One of the largest images."""

    file: str
    height: int
    width: int


@dataclass(frozen=True)
class ImageFindings:
    """Files of a data set, by what is the matter with them."""

    missing: list[str]
    not_readable: list[str]
    """Files whose header cannot be read."""
    other_size: list[str]
    """Files of another size than annotated."""
    too_large: list[str]
    """Files of more than ``max_pixels``."""
    turned: list[str]
    """Files that are turned by their orientation, as only so the annotated size fits."""
    not_turned: list[str]
    """Files with an orientation that the annotated size does not tell of: taken as stored."""
    largest: list[LargeImage]

    def left_out(self) -> dict[str, list[str]]:
        """Return the files that a run leaves out, by the reason."""
        return {
            "missing": self.missing,
            "not readable": self.not_readable,
            "of another size than annotated": self.other_size,
            "larger than --max-pixels": self.too_large,
        }


@dataclass(frozen=True)
class DatasetReport:
    """Contents of a data set, and what a run would leave out of it."""

    format: str
    images_listed: int
    """Images of the annotations."""
    images: int
    """Images of these that a run takes."""
    images_without_regions: int
    regions: int
    """Regions that a run takes."""
    masks: int
    """Regions with a mask."""
    classes: int
    classes_without_regions: int
    left_out: dict[str, int]
    """Annotations that a run leaves out, by reason; those of missing images apart."""
    clipped: int
    """Boxes that reach beyond their image."""
    not_listed: int
    """Image files that are there and have no annotation."""
    files: ImageFindings
    pictures: list[str]
    """Files of the drawn samples, from left to right."""


def check_dataset(config: CheckConfig) -> DatasetReport:
    """Read the annotations and the images' headers, and draw samples if ``config`` asks for them.

    Raises:
        InputError: If an extraction would refuse the data set, or could read none of its images.
    """
    images = open_images(config.images)
    images.kept_headers = {}
    table = read_table(config.annotations, images=images, masks=True)
    annotations = table.regions()
    require_usable(annotations, images, strict=config.strict)
    files = _inspect_files(table, annotations, images, config.max_pixels)
    listed = {*annotations.image_file, *(table.unreadable_images or ())}
    left_out = files.left_out()
    _require_one(left_out, listed, images)
    pictures: list[str] = []
    if config.pictures is not None:
        from regionspot_extract.check_pictures import draw_samples

        pictures = draw_samples(config.pictures, annotations, images, config.max_pixels)
    lost = set().union(*left_out.values())
    taken = np.array([name not in lost for name in annotations.image_file])
    counts = np.diff(annotations.region_start)
    rows = np.repeat(taken, counts)
    classes = np.bincount(annotations.class_index[rows], minlength=len(annotations.vocabulary))
    return DatasetReport(
        format=_format(config, table),
        images_listed=len(listed),
        images=int(taken.sum()),
        images_without_regions=int((counts[taken] == 0).sum()),
        regions=int(rows.sum()),
        masks=int(annotations.masks.present[rows].sum()) if annotations.masks is not None else 0,
        classes=len(annotations.vocabulary),
        classes_without_regions=int((classes == 0).sum()),
        left_out={why: n for why, n in annotations.dropped.items() if why != NOT_READABLE},
        clipped=table.boxes_beyond_images(),
        not_listed=sum(name not in listed for name in images.names()),
        files=files,
        pictures=pictures,
    )


def _require_one(faults: dict[str, list[str]], listed: set[str], images: ImageSource) -> None:
    """Refuse a data set of which a run could read no image."""
    if listed <= set().union(*faults.values()):
        counts = ", ".join(f"{len(names):,} {fault}" for fault, names in faults.items() if names)
        raise InputError(
            f"--images {images.location}: a run could read none of {counted(len(listed), 'image')} "
            f"({counts}); give the annotations' own images"
        )


def _format(config: CheckConfig, table: AnnotationTable) -> str:
    """Return the format's name: LVIS is COCO's layout with all that its protocols need."""
    name = format_name(config.annotations)
    return "LVIS" if name == "COCO" and table.obstacles.federated is None else name


def _inspect_files(
    table: AnnotationTable, annotations: AnnotationSet, images: ImageSource, max_pixels: int
) -> ImageFindings:
    lost = table.unreadable_images or ()
    names = [*annotations.image_file, *lost]
    sizes: list[Size | None] = [annotations.size(i) for i in range(len(annotations))]
    if table.unreadable_images is not None:  # sizes were taken from the images, and tell nothing
        sizes = [None] * len(sizes)
    findings = ImageFindings([], [], [], [], [], [], [])
    headers = read_headers(images, names)
    for name, header, size in zip(names, headers, [*sizes, *[None] * len(lost)], strict=True):
        if isinstance(header, ImageError):
            (findings.not_readable if images.contains(name) else findings.missing).append(name)
            continue
        height, width = header.size
        if height * width > max_pixels:
            findings.too_large.append(name)
        _inspect_size(findings, name, header, size)
    findings.largest.extend(_largest(zip(names, headers, strict=True)))
    return findings


def _inspect_size(
    findings: ImageFindings, name: str, header: ImageHeader, annotated: Size | None
) -> None:
    """Add a file to what its size and orientation tell.

    Args:
        findings: Added to.
        name: The file.
        header: Its header.
        annotated: Height, width; None where the annotations do not say.
    """
    if annotated not in (None, header.size):
        is_turned = annotated == header.turned()
        (findings.turned if is_turned else findings.other_size).append(name)
    elif header.is_ambiguous(annotated):
        findings.not_turned.append(name)


def _largest(files: Iterable[tuple[str, ImageHeader | ImageError]]) -> list[LargeImage]:
    sizes = [(name, *each.size) for name, each in files if isinstance(each, ImageHeader)]
    sizes.sort(key=lambda file: (-file[1] * file[2], file[0]))
    return [LargeImage(*file) for file in sizes[:LARGEST_SHOWN]]
