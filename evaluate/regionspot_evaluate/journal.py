"""Batches of images that are done, kept so that a process killed at any moment loses only one.

A folder has a journal for each share of the work: a first line that says which frozen models made
it, and then a line of JSON a batch. A line counts once its end is there; what a killed process
left behind its last whole line is cut off when its share goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from regionspot_core.cache.fingerprint import Fingerprint, require_equal
from regionspot_core.errors import InputError
from regionspot_core.shard import Shard
from regionspot_evaluate.image_records import ImageRecord

WHOLE = Shard()
PATIENCE_SECONDS = 2.0
_BATCH = re.compile(rb'\{"batch": (\d+), "failed": (\d+), ')
"""How the line of a batch begins; its rest is long."""


@dataclass(frozen=True)
class BatchLine:
    """Where a batch is written."""

    path: Path
    offset: int
    length: int
    failed: int
    """Images of it that could not be read."""

    def records(self) -> list[ImageRecord]:
        """Its images."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            values = json.loads(file.read(self.length))
        return [ImageRecord.from_json(each) for each in values["images"]]


@dataclass(frozen=True)
class Done:
    """What the journals of a folder hold."""

    batches: dict[int, BatchLine]
    models: Fingerprint | None
    """The frozen models that made them; None where nothing is done."""

    @property
    def failed(self) -> int:
        """How many images could not be read."""
        return sum(batch.failed for batch in self.batches.values())

    def require_models(self, found: Fingerprint, *, what: Path) -> None:
        """Refuse to go on with frozen models other than those of what is done.

        Raises:
            FingerprintError: They are others; the fields are named.
        """
        if self.models is not None:
            require_equal(
                found,
                self.models,
                what=f"{what}: its images were named with other frozen models than these",
                advice="Go on with the same --sam and --clip and their weights, or choose another "
                "--out",
            )


def read_journals(folder: Path) -> Done:
    """What is done, by all shares together.

    Raises:
        FingerprintError: Shares were done by different frozen models.
    """
    done = Done({}, None)
    for path in sorted(folder.glob("*.jsonl")):
        for offset, line in _whole_lines(path):
            number = _BATCH.match(line)
            if number is None:
                models = json.loads(line)["models"]
                done.require_models(models, what=folder.parent)
                done = Done(done.batches, models)
            else:
                batch = BatchLine(path, offset, len(line), failed=int(number[2]))
                before = done.batches.get(int(number[1]))
                if before is None or batch.failed <= before.failed:  # it may be done twice
                    done.batches[int(number[1])] = batch
    return done


class Journal:
    """The journal of one share, open to add to."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path

    def start(self, models: Fingerprint) -> None:
        """Say which frozen models the batches will be of, where the journal is empty."""
        if not self._path.stat().st_size:
            self._write({"models": models})

    def add(self, batch: int, records: list[ImageRecord]) -> None:
        """Add a batch that is done.

        Raises:
            ValueError: A figure is not finite, which JSON cannot say.
        """
        failed = sum(record.failed is not None for record in records)
        images = [record.to_json() for record in records]
        self._write({"batch": batch, "failed": failed, "images": images})

    def _write(self, values: dict[str, Any]) -> None:
        self._file.write(json.dumps(values, allow_nan=False).encode() + b"\n")
        self._file.flush()


@contextmanager
def open_journal(folder: Path, share: Shard) -> Iterator[Journal]:
    """A share's journal, held for this process, what is torn at its end cut off.

    The whole work, 1/1, holds those of all shares: it is to gather them.

    Raises:
        InputError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{share.index}-of-{share.of}.jsonl"
    whole = folder / f"{WHOLE.index}-of-{WHOLE.of}.lock"
    locks = []
    try:
        try:
            locks.append(_locked(path.with_suffix(".lock")))
            if share == WHOLE:  # it looks for the others when none can begin any more
                locks += [
                    _locked(each) for each in sorted(folder.glob("*-of-*.lock")) if each != whole
                ]
            else:  # nothing is to be added while shares are gathered
                _locked(whole).release()
        except Timeout as error:
            held = Path(error.lock_file).stem.replace("-of-", "/")
            raise InputError(
                f"{folder.parent}: another process is at work on it (share {held}); wait for it, "
                f"or choose another --out"
            ) from None
        with path.open("ab") as file:
            whole_lines = list(_whole_lines(path))
            end = whole_lines[-1][0] + len(whole_lines[-1][1]) if whole_lines else 0
            file.truncate(end)
            yield Journal(file, path)
    finally:
        for lock in locks:
            lock.release()


def _locked(path: Path) -> FileLock:
    """Hold a lock. A share that begins holds that of the whole work for a moment."""
    lock = FileLock(path, timeout=PATIENCE_SECONDS)
    lock.acquire()
    return lock


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a journal with their offsets, up to the first that is torn."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"}\n"):
                return
            yield offset, line
            offset += len(line)
