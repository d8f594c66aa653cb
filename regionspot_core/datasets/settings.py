"""Settings of data sets and classes, shared by the configurations of several stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from regionspot_core.support.arguments import existing_images, existing_path
from regionspot_core.support.options import Flag

_FORMATS = (
    "COCO, LVIS, Objects365 or V3Det (JSON), CSV of boxes, Pascal VOC, YOLO, OpenImages or ODinW."
)
Names = Annotated[
    str | None,
    Flag(metavar="A,B,C"),
    Field(description="Class names, with commas between."),
]
VocabularyFile = Annotated[
    Path | None,
    Flag(metavar="FILE", check=existing_path),
    Field(description="Class names: a text file, one a line, or an annotation file."),
]
Annotations = Annotated[
    Path,
    Flag(metavar="FILE|DIR", check=existing_path),
    Field(description=_FORMATS),
]
OptionalAnnotations = Annotated[
    Path | None,
    Flag(metavar="FILE|DIR", check=existing_path),
    Field(description=_FORMATS),
]
Images = Annotated[
    Path,
    Flag(metavar="DIR|ZIP|TAR", check=existing_images),
    Field(
        description="Folder that the annotations' file names start from, or a zip or tar of it; "
        "several as `'{000..331}.tar'` or `'*.zip'`. Archives are read where they are."
    ),
]
Strict = Annotated[
    bool,
    Flag(),
    Field(description="Refuse a data set of which an image is missing; else the others are done."),
]
