"""The form of what is saved: a COCO annotation file with a few keys of the app's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pycocotools import mask as rle_codec
from pydantic import Field

from regionspot_app.workbench.prompts import Prompt, RunLengths
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.records import Count, Record, read_json_object

DONE = "regionspot_done"
"""Key of an image whose regions somebody called done."""
IMAGE_ID = "regionspot_image"
"""Key of the checksum of the file that a picture was opened from."""
REVISION = "regionspot_revision"
"""Key of the number of changes of a picture's regions."""
Name = Annotated[str, Field(min_length=1, max_length=200)]


class SavedRegion(Record):
    """One region of a picture, as somebody left it."""

    prompt: Prompt
    name: Name
    mask: RunLengths
    box: tuple[float, float, float, float]
    """xyxy, original pixels"""


@dataclass(frozen=True)
class SavedPicture:
    """Saved regions of one picture, and what is known of them."""

    id: int
    """Its number in the annotation file."""
    image: str
    """Id of the picture: a checksum of the file that it was opened from."""
    size: Size
    """(height, width)"""
    regions: tuple[SavedRegion, ...]
    done: bool
    """Whether it was called done."""
    revision: int
    """Number of changes of its regions, from 1."""


class _Image(Record, extra="allow"):
    id: int
    file_name: str
    width: int
    height: int
    regionspot_done: bool = False
    regionspot_image: str | None = None
    regionspot_revision: Count = 1


class _Category(Record, extra="allow"):
    id: int
    name: str


class _Annotation(Record, extra="allow"):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    segmentation: RunLengths
    regionspot_prompt: Prompt


class _Labels(Record, extra="allow"):
    images: tuple[_Image, ...] = ()
    categories: tuple[_Category, ...] = ()
    annotations: tuple[_Annotation, ...] = ()


def read_labels(file: Path, kept_id: Callable[[str], str]) -> dict[str, SavedPicture]:
    """Return what an annotation file of the app's says of each picture, by its name.

    Args:
        file: The file.
        kept_id: Returns the id of a picture by its name, for files that do not say it.

    Raises:
        AnnotationError: If it was not written by the app.
    """
    values = read_json_object(file, error=AnnotationError)
    labels = _Labels.parse(values, source=str(file), error=AnnotationError)
    names = {category.id: category.name for category in labels.categories}
    regions: dict[int, list[SavedRegion]] = {image.id: [] for image in labels.images}
    for each in labels.annotations:
        if each.image_id not in regions or each.category_id not in names:
            raise AnnotationError(
                f"{file}: annotation {each.id}: its image or its category is not listed"
            )
        x, y, width, height = each.bbox
        region = SavedRegion(
            prompt=each.regionspot_prompt,
            name=names[each.category_id],
            mask=each.segmentation,
            box=(x, y, x + width, y + height),
        )
        regions[each.image_id].append(region)
    return {
        image.file_name: SavedPicture(
            image.id,
            image.regionspot_image or kept_id(image.file_name),
            (image.height, image.width),
            tuple(regions[image.id]),
            image.regionspot_done,
            image.regionspot_revision,
        )
        for image in labels.images
    }


def coco_content(pictures: dict[str, SavedPicture]) -> dict[str, Any]:
    """Return the content of the annotation file of pictures, by their names."""
    ordered = sorted(pictures.items(), key=lambda each: each[1].id)
    names = sorted({region.name for _, saved in ordered for region in saved.regions})
    categories = {name: number for number, name in enumerate(names, 1)}
    annotations: list[dict[str, Any]] = []
    for _, saved in ordered:
        for region in saved.regions:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": saved.id,
                    "category_id": categories[region.name],
                    **_coco_region(region.box, region.mask),
                    "regionspot_prompt": region.prompt.model_dump(mode="json", exclude_none=True),
                }
            )
    return {
        "info": {"description": "Regions saved in regionspot app"},
        "images": [
            {
                "id": saved.id,
                "file_name": name,
                "height": saved.size[0],
                "width": saved.size[1],
                DONE: saved.done,
                IMAGE_ID: saved.image,
                REVISION: saved.revision,
            }
            for name, saved in ordered
        ],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": annotations,
    }


def _coco_region(box: Sequence[float], mask: RunLengths) -> dict[str, Any]:
    """Return the COCO fields of a region: bbox, area, iscrowd and segmentation.

    Args:
        box: xyxy, original pixels.
        mask: Its mask.
    """
    x1, y1, x2, y2 = box
    values = {"size": list(mask.size), "counts": mask.counts}
    return {
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(rle_codec.area(values | {"counts": mask.counts.encode("ascii")})),
        "iscrowd": 0,
        "segmentation": values,
    }
