"""Pictures that were looked at, and what their regions are called, as COCO JSON in a folder.

``labels.json`` holds the annotations, ``pictures`` the files that they are of: each picture is
copied when it is first saved, so that the folder is a data set of its own, which `extract run
--images DIR/pictures --annotations DIR/labels.json` takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from filelock import Timeout

from regionspot_app.pictures import image_id_of
from regionspot_app.saved_labels import SavedPicture, SavedRegion, coco_content, read_labels
from regionspot_app.upright import has_ambiguous_orientation, upright_png
from regionspot_core.errors import InputError
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.files import written_aside
from regionspot_core.support.locks import HeldLock, hold_lock

LABELS, PICTURES, LOCK = "labels.json", "pictures", "app.lock"
Result = TypeVar("Result")


class ChangedError(InputError):
    """The regions of a picture are not those that the save began with."""


class OtherPictureError(InputError):
    """The folder keeps another picture under the name, with regions of that one."""


class Corrections:
    """The saved regions of pictures, in memory and in a folder that is written at every change.

    The folder is locked, so that no second app writes to it: from the beginning where it is there,
    else from the first save on. Use it as a context manager, or close it.

    Args:
        folder: Folder of them; it is made at the first change.

    Raises:
        AnnotationError: If the folder's labels were not written by the app.
        InputError: If another app saves to the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pictures: dict[str, SavedPicture] = {}
        self._lock: HeldLock | None = None
        # One thread, in which saves follow each other and which alone takes and drops the lock.
        self._saver = ThreadPoolExecutor(1, "saver")
        try:
            self.submit(self._open).result()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for the saves that were begun, and let go of the folder."""
        self.submit(self._release)
        self._saver.shutdown(wait=True)

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
        return sorted({each.name for saved in self._pictures.values() for each in saved.regions})

    def saved(self, picture: str) -> SavedPicture | None:
        """Return what is saved of a picture; None where it was never saved."""
        return self._pictures.get(picture)

    def regions(self, picture: str) -> tuple[SavedRegion, ...]:
        """Return the saved regions of a picture; none where it was never saved."""
        saved = self.saved(picture)
        return () if saved is None else saved.regions

    def is_done(self, picture: str) -> bool:
        """Return whether a picture was called done."""
        saved = self.saved(picture)
        return saved is not None and saved.done

    def name_of(self, image: str) -> str | None:
        """Return the first name under which the picture of an id is saved; None for none."""
        return next((name for name, each in self._pictures.items() if each.image == image), None)

    def count(self) -> tuple[int, int]:
        """Return the number of saved pictures and of their regions."""
        pictures = self._pictures.values()
        return len(pictures), sum(len(each.regions) for each in pictures)

    def submit(self, save: Callable[[], Result]) -> Future[Result]:
        """Run a function that saves behind those that were begun before; :meth:`close` waits."""
        return self._saver.submit(save)

    def save(
        self,
        picture: str,
        content: bytes,
        size: Size,
        regions: Sequence[SavedRegion],
        *,
        done: bool,
        revision: int | None = None,
    ) -> SavedPicture:
        """Keep the regions of a picture in place of those that were kept before.

        It is called in the thread of :meth:`submit` alone.

        Args:
            picture: Its name: a path below the folder of pictures, with ``/``.
            content: The picture's file.
            size: (height, width) of the picture as viewers show it.
            regions: Its regions.
            done: Whether it is done.
            revision: Revision that the regions are a change of, 0 for a picture that was not saved
                before; None: whatever is saved.

        Raises:
            InputError: If a prompt, a box or a mask is none of the picture's, or another app saves
                to the folder.
            ChangedError: If the revision is not the present one.
            OtherPictureError: If the folder has another picture of that name, with regions.
            AnnotationError: If labels came into the folder that were not written by the app.
            OSError: If it cannot be written; what was kept before stays.
        """
        for region in regions:
            _check(region, size)
        if self._lock is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._claim()
        before = self.saved(picture)
        present = 0 if before is None else before.revision
        if revision not in (None, present):
            raise ChangedError(
                f"the regions of {picture!r} were changed elsewhere, in another tab, say (expected "
                f"revision {present}, got {revision}); open the picture again to see them"
            )
        image = image_id_of(content)
        self._keep_picture(picture, content, image, size)
        after = (image, tuple(regions), done)
        changed = before is None or after != (before.image, before.regions, before.done)
        highest = max((each.id for each in self._pictures.values()), default=0)
        number = highest + 1 if before is None else before.id
        saved = SavedPicture(number, image, size, tuple(regions), done, present + changed)
        pictures = self._pictures | {picture: saved}
        self._write(pictures)
        self._pictures = pictures
        return saved

    def _keep_picture(self, picture: str, content: bytes, image: str, size: Size) -> None:
        """Copy a picture into the folder, unless it is there.

        Where readers of the labels could not tell whether the regions are of the pixels as stored
        or as shown, the copy is a PNG of the pixels as shown.
        """
        file = self.pictures / picture
        ambiguous = has_ambiguous_orientation(content, size)
        if file.exists():
            before = self.saved(picture)
            is_same = file.read_bytes() == content
            is_kept = before is not None and before.image == image
            if is_same != ambiguous and (is_same or is_kept):
                return
            if not is_same and not is_kept and before is not None and before.regions:
                raise OtherPictureError(
                    f"{file} is another picture than the one to save as {picture!r}, and its saved "
                    f"regions are of that one; delete that file to replace both, or give another "
                    f"--out"
                )
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(file) as partial:
            partial.write_bytes(upright_png(content, size) if ambiguous else content)

    def _write(self, pictures: dict[str, SavedPicture]) -> None:
        text = (
            json.dumps(coco_content(pictures), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        )
        with written_aside(self.labels) as partial:
            # What UTF-8 cannot hold, as of a file's name, is written as JSON's own escape.
            partial.write_bytes(text.encode(errors="backslashreplace"))

    def _open(self) -> None:
        if not self.folder.is_dir():
            return
        try:
            self._claim()
        except OSError:  # a folder to look at alone; a save will say what is wrong
            self._read()

    def _claim(self) -> None:
        """Take the folder's lock, and read what is in it now."""
        try:
            lock = hold_lock(self.folder / LOCK, timeout=0)
        except Timeout:
            raise InputError(
                f"--out {self.folder}: another regionspot app saves there, and two would overwrite "
                f"each other; end that one, or give another --out"
            ) from None
        try:
            self._read()
        except BaseException:  # what is there is somebody else's, and stays theirs
            lock.release()
            raise
        self._lock = lock

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _read(self) -> None:
        if self.labels.exists():
            self._pictures = read_labels(self.labels, self._kept_id)

    def _kept_id(self, picture: str) -> str:
        """Return the id of a picture's copy; no id where it is gone."""
        with suppress(OSError):
            return image_id_of((self.pictures / picture).read_bytes())
        return ""


def _check(region: SavedRegion, size: Size) -> None:
    """Refuse a region that is none of a picture's.

    Args:
        region: The region.
        size: (height, width) of the picture.

    Raises:
        InputError: If its prompt, its mask or its box is not.
    """
    region.mask.decoded(size)
    region.prompt.for_image(size)
    (height, width), (x1, y1, x2, y2) = size, region.box
    # Twice the picture: a box around a mask is rounded, and may be of another program's making.
    if not (-width <= x1 <= x2 <= 2 * width and -height <= y1 <= y2 <= 2 * height):
        raise InputError(
            f"box {list(region.box)}: expected x1, y1, x2, y2 with x1 ≤ x2 and y1 ≤ y2, in the "
            f"picture of {width} × {height} pixels"
        )
