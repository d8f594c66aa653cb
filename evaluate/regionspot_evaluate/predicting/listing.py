"""Which pictures are meant: files, folders, archives, patterns and lists of these."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath

from regionspot_core.errors import ImageError, InputError
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.sources import ImageSource, open_images
from regionspot_core.imaging.sources.folder import FolderImages
from regionspot_core.imaging.sources.opening import ARCHIVES
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.support.input_files import read_lines
from regionspot_core.support.patterns import match_pattern

EXPECTED = "a picture, or a folder or archive of them"
REGIONS = ".regions"
"""Addition to a single picture's name in the names of its results, which may lie beside it."""


@dataclass(frozen=True)
class Picture:
    """One picture, wherever it lies."""

    name: str
    """Path from the list's root, with ``/``; a result calls the picture so."""
    source: ImageSource
    file: str
    """Name in the source."""

    def read(self, max_pixels: int) -> RGBImage:
        """Decode it, turned as viewers show it.

        Raises:
            ImageError: If it cannot be read; the message begins with its name, not its folder.
        """
        try:
            return self.source.read(self.file, max_pixels=max_pixels)
        except ImageError as error:
            reason = self.source.reason(self.file, error)
            raise ImageError(f"{self.name}: {reason}") from None


@dataclass(frozen=True)
class PictureList:
    """Pictures in the order in which they are named."""

    root: Path
    """Folder, or archive, that the names start from."""
    pictures: tuple[Picture, ...]
    alone: Path | None
    """The picture, where one file is all that was asked for."""

    @property
    def names(self) -> list[str]:
        """Return the pictures' names."""
        return [picture.name for picture in self.pictures]

    @cached_property
    def drawn_names(self) -> list[str]:
        """Return a name for each drawn picture: its own, with another ending if that is free."""
        names = [str(PurePosixPath(name).with_suffix(".png")) for name in self.names]
        times = Counter(names)
        return [
            png if times[png] == 1 else f"{name}.png"
            for png, name in zip(names, self.names, strict=True)
        ]

    def alone_pixels(self, max_pixels: int) -> RGBImage:
        """Decode the one picture that was asked for.

        Raises:
            ImageError: If it cannot be read.
        """
        assert self.alone is not None
        return read_image(self.alone, max_pixels=max_pixels)


def list_pictures(arguments: Sequence[Path], *, leave_out: Path | None = None) -> PictureList:
    """Find the pictures that arguments mean; each is listed once.

    Args:
        arguments: Picture files; folders, zips and tars of pictures; patterns of such paths; and
            ``@FILE`` with one of all these a line, meant from the current folder. Of a folder, an
            archive or a pattern, drawings of this command are no pictures.
        leave_out: A folder below which no picture is meant, but where an argument is: those that
            were drawn before.

    Raises:
        InputError: If an argument or a line is nothing of these, or there is no picture.
    """
    paths = [path for argument in arguments for path in _expanded(argument)]
    only = paths[0] if len(arguments) == len(paths) == 1 else None
    root = _root(paths, only)
    found: dict[str, Picture] = {}
    folders: dict[Path, ImageSource] = {}
    for path in paths:
        absolute = _absolute(path)
        if path.is_dir() or _is_archive(path):
            source = open_images(path)
            files: Sequence[str] = [file for file in source.names() if not _is_result(file)]
        else:
            absolute = absolute.parent
            source = folders.setdefault(absolute, FolderImages(path.parent))
            files = [path.name]
        below = absolute.relative_to(root)
        hidden = None if leave_out is None or _is_below(path, leave_out) else leave_out
        for file in files:
            if hidden is None or not _is_below(absolute / file, hidden):
                name = (below / file).as_posix()
                found.setdefault(name, Picture(name, source, file))
    if not found:
        shown = ", ".join(map(str, arguments[:3])) + (", …" if len(arguments) > 3 else "")
        raise InputError(f"{shown}: expected pictures, found none (.jpg, .png, .webp, …)")
    return PictureList(root, tuple(found.values()), find_alone(arguments))


def find_alone(arguments: Sequence[Path]) -> Path | None:
    """Return the picture file that is all that arguments mean; None where they mean anything else.

    A folder or a pattern is of several pictures, even where it has one today.
    """
    (first, *others) = arguments
    return first if not others and first.is_file() and not _is_archive(first) else None


def _expanded(argument: Path) -> Iterator[Path]:
    text = str(argument)
    if text.startswith("@") and not argument.exists():
        for number, line in read_lines(Path(text[1:]), what="one picture a line"):
            yield from _matching(Path(line), f"{text[1:]}: line {number}")
    else:
        yield from _matching(argument, "PICTURE")


def _matching(path: Path, place: str) -> list[Path]:
    found = match_pattern(path, option=place, expected=EXPECTED)
    return [each for each in found if each == path or not _is_result(each.name)]


def _root(paths: Sequence[Path], only: Path | None) -> Path:
    """Return the nearest folder above all pictures; an archive where it is all that is asked."""
    if only is not None and _is_archive(only):
        return _absolute(only)
    bases = [_absolute(path if path.is_dir() else path.parent) for path in paths]
    return Path(os.path.commonpath(bases)) if bases else Path()


def _is_below(path: Path, folder: Path) -> bool:
    return _absolute(path).is_relative_to(_absolute(folder))


def _absolute(path: PurePath) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - `..` is taken out, links stay


def _is_result(name: str) -> bool:
    return name.endswith(f"{REGIONS}.png")


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() in ARCHIVES and path.is_file()
