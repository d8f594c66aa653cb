"""Pictures that were looked at, and what their regions are called, as COCO JSON in a folder.

``labels.json`` holds the annotations, ``pictures`` the files that they are of: each picture is
copied when it is first saved, so that the folder is a data set of its own, which `extract run
--images DIR/pictures --annotations DIR/labels.json` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pycocotools import mask as rle_codec
from pydantic import Field

from regionspot_app.workbench.prompts import Prompt, RunLengths
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.files import write_json, written_aside
from regionspot_core.support.records import Record, read_json_object

LABELS, PICTURES = "labels.json", "pictures"
DONE = "regionspot_done"
"""Key of an image whose regions somebody called done."""
Name = Annotated[str, Field(min_length=1, max_length=200)]


class SavedRegion(Record):
    """One region of a picture, as somebody left it."""

    prompt: Prompt
    name: Name
    mask: RunLengths
    box: tuple[float, float, float, float]
    """xyxy, original pixels"""


class _Image(Record, extra="allow"):
    id: int
    file_name: str
    width: int
    height: int
    regionspot_done: bool = False


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


class Corrections:
    """The saved regions of pictures, in memory and in a folder that is written at every change.

    Args:
        folder: Folder of them; it is made at the first change.

    Raises:
        AnnotationError: If the folder's labels were not written by the app.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pictures: dict[str, tuple[Size, bool]] = {}
        self._regions: dict[str, tuple[SavedRegion, ...]] = {}
        self._ids: dict[str, int] = {}
        if self.labels.exists():
            self._read()

    @property
    def labels(self) -> Path:
        """Return the file of annotations."""
        return self.folder / LABELS

    @property
    def pictures(self) -> Path:
        """Return the folder of the pictures that have some."""
        return self.folder / PICTURES

    @property
    def names(self) -> list[str]:
        """Return the names of regions, sorted."""
        return sorted({region.name for regions in self._regions.values() for region in regions})

    def regions(self, picture: str) -> tuple[SavedRegion, ...]:
        """Return the saved regions of a picture; none where it was never saved."""
        return self._regions.get(picture, ())

    def is_done(self, picture: str) -> bool:
        """Return whether a picture was called done."""
        return self._pictures.get(picture, ((0, 0), False))[1]

    def count(self) -> tuple[int, int]:
        """Return the number of saved pictures and of their regions."""
        return len(self._pictures), sum(map(len, self._regions.values()))

    def save(
        self,
        picture: str,
        content: bytes,
        size: Size,
        regions: Sequence[SavedRegion],
        *,
        done: bool,
    ) -> None:
        """Keep the regions of a picture in place of those that were kept before.

        Args:
            picture: Its name: a path below the folder of pictures, with ``/``.
            content: The picture's file.
            size: (height, width).
            regions: Its regions.
            done: Whether it is done.

        Raises:
            InputError: If a mask is none of the picture's.
            OSError: If it cannot be written; what was kept before stays.
        """
        for region in regions:
            region.mask.decoded(size)
        file = self.pictures / picture
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(file) as partial:
                partial.write_bytes(content)
        self._ids.setdefault(picture, max(self._ids.values(), default=0) + 1)
        pictures = self._pictures | {picture: (size, done)}
        kept = self._regions | {picture: tuple(regions)}
        write_json(self.labels, _coco(self._ids, pictures, kept))
        self._pictures, self._regions = pictures, kept

    def _read(self) -> None:
        values = read_json_object(self.labels, error=AnnotationError)
        labels = _Labels.parse(values, source=str(self.labels), error=AnnotationError)
        names = {category.id: category.name for category in labels.categories}
        files = {image.id: image.file_name for image in labels.images}
        for image in labels.images:
            self._pictures[image.file_name] = (image.height, image.width), image.regionspot_done
            self._ids[image.file_name] = image.id
        for each in labels.annotations:
            if each.image_id not in files or each.category_id not in names:
                raise AnnotationError(
                    f"{self.labels}: annotation {each.id}: its image or its category is not listed"
                )
            x, y, width, height = each.bbox
            region = SavedRegion(
                prompt=each.regionspot_prompt,
                name=names[each.category_id],
                mask=each.segmentation,
                box=(x, y, x + width, y + height),
            )
            picture = files[each.image_id]
            self._regions[picture] = (*self.regions(picture), region)


def _coco(
    ids: dict[str, int],
    pictures: dict[str, tuple[Size, bool]],
    regions: dict[str, tuple[SavedRegion, ...]],
) -> dict[str, Any]:
    names = sorted({region.name for each in regions.values() for region in each})
    categories = {name: number for number, name in enumerate(names, 1)}
    annotations: list[dict[str, Any]] = []
    for picture in sorted(regions, key=ids.__getitem__):
        for region in regions[picture]:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": ids[picture],
                    "category_id": categories[region.name],
                    **coco_region(region.box, region.mask),
                    "regionspot_prompt": region.prompt.model_dump(mode="json", exclude_none=True),
                }
            )
    return {
        "info": {"description": "Regions saved in regionspot app"},
        "images": [
            {"id": ids[name], "file_name": name, "height": size[0], "width": size[1], DONE: done}
            for name, (size, done) in sorted(pictures.items(), key=lambda each: ids[each[0]])
        ],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": annotations,
    }


def coco_region(box: Sequence[float], mask: RunLengths) -> dict[str, Any]:
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
