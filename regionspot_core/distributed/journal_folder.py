"""A folder whose work is kept in journals: what is ours in it, and nothing else, is removed."""

from __future__ import annotations

import os
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from filelock import Timeout

from regionspot_core.errors import InputError
from regionspot_core.fingerprint import require_equal
from regionspot_core.support.locks import hold_lock
from regionspot_core.support.records import read_json_object

JOURNALS = "parts"
KEPT = "parts.kept"
MARK = ".regionspot-journals"
CLAIM_SECONDS = 60.0
"""Longest wait for another process that writes the record."""
_GATHERED = "parts.gathered"
_OURS = re.compile(r"\d+-of-\d+\.(jsonl|lock)|claim\.lock")


class JournalledFolder(ABC):
    """A folder for one piece of work, whose journals lie in it until the work is finished.

    It is new, or was asked for the same. Nothing is written before :meth:`claim`.

    Args:
        path: The folder.
        asked: Plain values that decide the work.

    Raises:
        FingerprintError: If the folder is of other work; the fields are named.
        InputError: If its record cannot be read, or it has files of something else.
    """

    record: ClassVar[str]
    """Name of the file that says what the work is."""
    command: ClassVar[str]
    """Words for the command in errors."""
    advice: ClassVar[str] = "Go on with what it was asked for, or choose another --out"
    """End of the error about other work."""

    def __init__(self, path: Path, asked: dict[str, Any]) -> None:
        self.path = path
        self.journals = path / JOURNALS
        self.asked = asked
        recorded = self.recorded
        self._require_ours(recorded=recorded)
        for folder in (self.journals, path / KEPT):
            require_ours(folder, recorded=recorded)

    @property
    def recorded(self) -> bool:
        """Return whether the folder says what it is for."""
        return (self.path / self.record).exists()

    @property
    def has_journals(self) -> bool:
        """Return whether work is kept that is not gathered."""
        return any(path.stat().st_size for path in self.journals.glob("*.jsonl"))

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Return whether all work is done and its results written."""

    def claim(self) -> None:
        """Make the folder, and record what it is for; processes may do so at once.

        Raises:
            InputError: If another process holds the record, or has put something else here.
            FingerprintError: If another process has begun other work here.
        """
        make_ours(self.journals)
        try:
            lock = hold_lock(self.journals / "claim.lock", timeout=CLAIM_SECONDS)
        except Timeout:
            raise InputError(
                f"{self.path}: another process holds its record; wait for it, or choose another "
                f"--out"
            ) from None
        try:
            recorded = self.recorded
            self._require_ours(recorded=recorded)
            if not recorded:
                self._record_asked()
        finally:
            lock.release()

    def set_aside(self) -> None:
        """Keep the journals of finished work, of which some images could not be read."""
        remove_ours(self.path / KEPT)
        self.journals.rename(self.path / KEPT)

    def take_up(self) -> None:
        """Go on with what was set aside, if something was; processes may do so at once.

        Raises:
            InputError: If another process has begun something here.
        """
        try:
            (self.path / KEPT).rename(self.journals)
        except FileNotFoundError:
            pass
        except OSError:
            raise InputError(
                f"{self.path}: another process is at work on it; wait for it"
            ) from None

    def leave(self) -> None:
        """Remove what :meth:`claim` made, where another process had finished meanwhile."""
        remove_ours(self.journals)

    def clear(self) -> None:
        """Remove the journals, in one step: never do only some of them remain."""
        remove_gathered(self.journals)

    def clear_left(self) -> None:
        """Remove what a process that was killed in :meth:`clear` left."""
        remove_left_gathered(self.journals)

    def _require_ours(self, *, recorded: bool) -> None:
        """Refuse a folder of other work, or of none with files of the same names."""
        if not recorded:
            self._require_free()
            return
        path = self.path / self.record
        before = self._asked_before(read_json_object(path))
        if not isinstance(before, dict):
            raise InputError(
                f"{path}: expected what {self.command} was asked for; choose another --out"
            )
        what = f"{self.path} was asked for something else than this"
        require_equal(self.asked, before, what=what, advice=self.advice)

    def _require_free(self) -> None:
        """Refuse to write over, or among, the files of something else."""
        for name in (Path("zarr.json"), *self._files()):
            if os.path.lexists(self.path / name):
                raise InputError(
                    f"--out {self.path}: expected a new folder, or one of {self.command}; this one "
                    f"has {name} and no {self.record}. Choose another"
                )

    def _asked_before(self, record: dict[str, Any]) -> object:
        """Return the values that the record says were asked for."""
        return record.get("asked")

    @abstractmethod
    def _files(self) -> Iterable[Path]:
        """Return the files that the work writes, below ``path``, but not its record or journals."""

    @abstractmethod
    def _record_asked(self) -> None:
        """Write the record."""


def require_ours(folder: Path, *, recorded: bool) -> None:
    """Refuse a folder of journals that holds anything else.

    Args:
        folder: Folder for journals.
        recorded: Whether the work's record lies beside it. Earlier versions left no mark, and
            the names of the files are then enough.

    Raises:
        InputError: If the folder is not ours; the message names what is in it.
    """
    if not os.path.lexists(folder):
        return
    foreign = _foreign(folder, recorded=recorded)
    if foreign is not None:
        raise InputError(
            f"--out {folder.parent}: expected {folder.name} to be free, where a run keeps what is "
            f"not finished; there is {foreign}, which is not of one. Move it, or choose another "
            f"--out"
        )


def make_ours(folder: Path) -> None:
    """Make a folder with our mark; several processes may do so at once."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def remove_ours(folder: Path) -> None:
    """Remove a folder's journals, locks and mark, and then the folder, unless more is in it."""
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if _OURS.fullmatch(path.name):
                path.unlink(missing_ok=True)
        (folder / MARK).unlink(missing_ok=True)
        folder.rmdir()


def remove_gathered(folder: Path) -> None:
    """Remove a folder of journals, in one step: never do only some of them remain."""
    gathered = folder.with_name(f"{_GATHERED}-{secrets.token_hex(4)}")
    folder.rename(gathered)
    remove_ours(gathered)
    remove_left_gathered(folder)


def remove_left_gathered(folder: Path) -> None:
    """Remove folders of journals that a process was removing when it was killed."""
    for left in folder.parent.glob(f"{_GATHERED}-*"):
        is_empty = left.is_dir() and not any(left.iterdir())
        if is_empty or ((left / MARK).is_file() and _foreign(left, recorded=False) is None):
            remove_ours(left)


def _foreign(folder: Path, *, recorded: bool) -> str | None:
    """Return a file that shows that a folder is not ours; None if there is none, or no folder."""
    try:
        with os.scandir(folder) as entries:
            is_file = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    except FileNotFoundError:  # another process has just gathered it
        return None
    except OSError:
        return folder.name
    if folder.is_symlink():
        return folder.name
    for name in sorted(is_file):
        if not is_file[name] or not (name == MARK or _OURS.fullmatch(name)):
            return f"{folder.name}/{name}"
    if is_file and MARK not in is_file and not recorded:
        return f"{folder.name}/{min(is_file)}"
    return None
