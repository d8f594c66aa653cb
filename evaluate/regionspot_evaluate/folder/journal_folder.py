"""The folder of journals in an evaluation's folder: only what is marked as ours is removed."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from regionspot_core.errors import InputError

JOURNALS = "parts"
KEPT = "parts.kept"
MARK = ".regionspot-journals"
_GATHERED = "parts.gathered"
_OURS = re.compile(r"\d+-of-\d+\.(jsonl|lock)|claim\.lock")


def require_ours(folder: Path, *, recorded: bool) -> None:
    """Refuse a folder of journals that holds anything else.

    Args:
        folder: Folder for journals.
        recorded: Whether an evaluation's record lies beside it. Earlier versions left no mark, and
            the names of the files are then enough.

    Raises:
        InputError: If the folder is not ours; the message names what is in it.
    """
    if not os.path.lexists(folder):
        return
    foreign = _foreign(folder, recorded=recorded)
    if foreign is not None:
        raise InputError(
            f"--out {folder.parent}: expected {folder.name} to be free, where an evaluation keeps "
            f"what is not finished; there is {foreign}, which is not of one. Move it, or choose "
            f"another --out"
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
