"""Pictures that the page offers: those of a folder or an archive, or drawn scenes."""

from __future__ import annotations

import hashlib
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Protocol

from PIL import Image

from regionspot_core.errors import InputError
from regionspot_core.imaging.sources.opening import open_images
from regionspot_core.imaging.sources.source import ImageSource
from regionspot_core.tiny.scenes import make_scene, scene_generator

SCENES = 24
SHOWN_BY_BROWSERS = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jfif": "image/jpeg",
    ".webp": "image/webp", ".gif": "image/gif", ".bmp": "image/bmp", ".avif": "image/avif",
}  # fmt: skip

ID_LENGTH = 32
"""Hexadecimal digits of a picture's id."""


def image_id_of(content: bytes) -> str:
    """Return the id of a picture: a checksum of its file."""
    return hashlib.sha256(content).hexdigest()[:ID_LENGTH]


class Pictures(Protocol):
    """Pictures by their names."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the pictures' names, in their order."""
        ...

    def read(self, name: str) -> bytes:
        """Return the content of a picture's file.

        Raises:
            InputError: If no such picture is offered.
            ImageError: If it cannot be read any more.
        """
        ...


class StoredPictures:
    """Pictures of a folder or an archive, as it was when the app began. Nothing else can be named.

    Args:
        source: The folder or archive.
        max_bytes: Largest file that is read.
    """

    def __init__(self, source: ImageSource, *, max_bytes: int) -> None:
        self.names = tuple(source.names())
        self._known = frozenset(self.names)
        self._source = source
        self._max_bytes = max_bytes

    @classmethod
    def open(cls, location: Path, *, max_bytes: int) -> StoredPictures:
        """List the pictures of a folder or an archive.

        Raises:
            InputError: If it cannot be opened, or there are none.
        """
        pictures = cls(open_images(location), max_bytes=max_bytes)
        if not pictures.names:
            raise InputError(f"--images {location}: no picture is in it; give another folder")
        return pictures

    def read(self, name: str) -> bytes:
        """Return the content of a picture's file.

        Raises:
            InputError: If no such picture is offered, or it is too large.
            ImageError: If it cannot be read any more.
        """
        if name not in self._known:
            raise InputError(f"picture {name!r}: not one of the {len(self.names):,} offered")
        size = self._source.file_bytes(name)
        if size is not None and size > self._max_bytes:
            raise InputError(
                f"picture {name!r}: {size:,} bytes are more than --upload-mib allows; give a "
                f"larger one, or make the picture smaller"
            )
        return self._source.content(name, most_bytes=self._max_bytes)


class DrawnPictures:
    """Scenes of the demo's world, which no head of the package has learnt from."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the names of the scenes."""
        return tuple(f"scene-{number:02d}.png" for number in range(1, SCENES + 1))

    def read(self, name: str) -> bytes:
        """Return a scene as a PNG file.

        Raises:
            InputError: If there is no such scene.
        """
        if name not in self.names:
            raise InputError(f"picture {name!r}: not one of the {SCENES} drawn scenes")
        scene = make_scene(scene_generator(0, "val", self.names.index(name)))
        file = BytesIO()
        Image.fromarray(scene.image).save(file, format="PNG")
        return file.getvalue()
