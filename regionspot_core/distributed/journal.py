"""Batches of images that are done, kept so that a process killed at any moment loses only one.

A folder has a journal for each share of the work: a first line that says which frozen models made
it, and then a line of JSON a batch, each with its CRC-32. A line counts once its end is there; what
a killed process left behind its last whole line is cut off when its share goes on.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from filelock import Timeout

from regionspot_core.distributed.shares import Shard
from regionspot_core.errors import InputError
from regionspot_core.fingerprint import Fingerprint, require_equal
from regionspot_core.support.fault_points import reach
from regionspot_core.support.locks import hold_lock

WHOLE = Shard()
PATIENCE_SECONDS = 2.0
"""Longest wait for a lock: a share that begins holds that of the whole work for a moment."""
_BATCH = re.compile(rb'\{"batch": (\d{1,12}), "failed": (\d{1,12}), ')
"""Beginning of a batch's line; the rest is long."""
_SUM = re.compile(rb', "crc32": "([0-9a-f]{8})"\}\n$')
"""End of a line: the checksum of all before it. Earlier versions wrote none."""
_SUM_BYTES = len(b', "crc32": "00000000"}\n')


class Recorded(Protocol):
    """Record that a journal keeps of one image."""

    @property
    def failed(self) -> str | None:
        """Reason why the image could not be read; None for one that was."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        ...


class HasPosition(Protocol):
    """Record of the image at a position."""

    @property
    def position(self) -> int:
        """Position of the image among all."""
        ...


Placed = TypeVar("Placed", bound=HasPosition)
Record = TypeVar("Record", bound=Recorded)
Kept = TypeVar("Kept", bound=Recorded, covariant=True)


class Form(Protocol[Kept]):
    """Form of the records of one piece of work."""

    @property
    def batches(self) -> Sequence[range]:
        """Positions of each batch's images."""
        ...

    def parse(self, line: bytes, batch: int) -> Sequence[Kept]:
        """Read the records of a batch; raise ``ValueError`` for a line that is not of the work."""
        ...


class _Batch(msgspec.Struct, Generic[Placed]):
    images: list[Placed]


@dataclass(frozen=True)
class BatchForm(Generic[Placed]):
    """Form of records whose type says all that a record must hold."""

    kind: type[Placed]
    batches: Sequence[range]
    """Positions of each batch's images."""

    def parse(self, line: bytes, batch: int) -> list[Placed]:
        """Read the records of a batch, equal to the last bit to those that were written.

        Raises:
            ValueError: If the line does not have this form, or is of other images.
        """
        try:
            content: Any = msgspec.json.decode(line, type=_Batch[self.kind])  # type: ignore[name-defined]
        except RecursionError:
            raise ValueError("it nests too deeply") from None
        images: list[Placed] = content.images
        expected = self.batches[batch]
        if [image.position for image in images] != list(expected):
            raise ValueError(f"expected images {expected.start} to {expected.stop - 1}")
        return images


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    """First line of a journal. Another key is a damaged ``crc32``."""

    models: dict[str, Any]
    crc32: str | None = None
    """Checksum of the line; None for earlier versions, whose lines have none."""


@dataclass(frozen=True)
class BatchLine:
    """Place of a batch in a journal."""

    path: Path
    line: int
    """Counted from 1."""
    offset: int
    length: int
    batch: int
    failed: int
    """Images of it that could not be read."""

    def records(self, form: Form[Record]) -> Sequence[Record]:
        """Read its images.

        Raises:
            InputError: If the line is not of this work.
        """
        with self.path.open("rb") as file:
            file.seek(self.offset)
            line = file.read(self.length)
        try:
            if self.batch >= len(form.batches):
                raise ValueError(f"expected one of {len(form.batches):,} batches")
            records = form.parse(line, self.batch)
            if sum(record.failed is not None for record in records) != self.failed:
                raise ValueError(f"expected {self.failed} images that could not be read")
        except ValueError as error:  # msgspec's are ValueErrors too
            raise _damaged(self.path, self.line, str(error)) from None
        return records


@dataclass(frozen=True)
class Done:
    """Batches that the journals of a folder hold."""

    batches: dict[int, BatchLine]
    models: Fingerprint | None
    """The frozen models that made them; None where nothing is done."""

    @property
    def failed(self) -> int:
        """Return the number of images that could not be read."""
        return sum(batch.failed for batch in self.batches.values())

    def failures(self, form: Form[Recorded]) -> tuple[str, ...]:
        """Return why images could not be read, in the images' order."""
        batches = (batch for _, batch in sorted(self.batches.items()) if batch.failed)
        records = (record for batch in batches for record in batch.records(form))
        return tuple(record.failed for record in records if record.failed is not None)

    def require_models(self, found: Fingerprint, *, what: Path) -> None:
        """Refuse to go on with frozen models other than those of what is done.

        Raises:
            FingerprintError: If they are others; the fields are named.
        """
        if self.models is not None:
            require_equal(
                found,
                self.models,
                what=f"{what}: its images were done with other frozen models than these",
                advice="Go on with the same --sam and --clip and their weights, or choose another "
                "--out",
            )


def read_journals(folder: Path) -> Done:
    """Find what is done, by all shares together.

    Raises:
        FingerprintError: Shares were done by different frozen models.
        InputError: If a journal is damaged; the message names it and the line.
    """
    done = Done({}, None)
    for path in sorted(folder.glob("*.jsonl")):
        header: _Header | None = None
        for number, (offset, line) in enumerate(_whole_lines(path), start=1):
            has_sum = _check_sum(path, number, line)
            if header is None:
                header = _read_header(path, line)
                _require_sum(path, number, header, has_sum=has_sum)
                done.require_models(header.models, what=folder.parent)
                done = Done(done.batches, header.models)
                continue
            found = _BATCH.match(line)
            if found is None:
                raise _damaged(path, number, "expected a batch of images")
            _require_sum(path, number, header, has_sum=has_sum)
            batch = BatchLine(
                path, number, offset, len(line), batch=int(found[1]), failed=int(found[2])
            )
            before = done.batches.get(batch.batch)
            if before is None or batch.failed <= before.failed:  # it may be done twice
                done.batches[batch.batch] = batch
    return done


def _check_sum(path: Path, number: int, line: bytes) -> bool:
    """Return whether a line has a checksum; refuse a line that does not match its own."""
    found = _SUM.search(line, max(0, len(line) - _SUM_BYTES))
    if found is not None and int(found[1], 16) != zlib.crc32(line[: found.start()]):
        raise _damaged(path, number, "its bytes do not match its checksum")
    return found is not None


def _require_sum(path: Path, number: int, header: _Header, *, has_sum: bool) -> None:
    """Refuse a line without a checksum in a journal whose header has one."""
    if header.crc32 is not None and not has_sum:
        raise _damaged(path, number, "it has no checksum")


def _read_header(path: Path, line: bytes) -> _Header:
    try:
        return msgspec.json.decode(line, type=_Header)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, 1, f"expected the frozen models: {error}") from None


def _damaged(path: Path, number: int, why: str) -> InputError:
    return InputError(
        f"{path}: line {number} is damaged ({why}); delete the file, and the same command does its "
        f"images again"
    )


class Journal:
    """The journal of one share, open to add to."""

    def __init__(self, file: FileIO, path: Path) -> None:
        self._file = file
        self._path = path

    def start(self, models: Fingerprint) -> None:
        """Write which frozen models the batches will be of, where the journal is empty."""
        if not self._path.stat().st_size:
            self._write({"models": models})

    def add(self, batch: int, records: Sequence[Recorded]) -> None:
        """Add a batch that is done.

        Raises:
            ValueError: If a figure is not finite, which JSON cannot say.
            OSError: If the disk is full, or cannot be written to; the journal stays as it was.
        """
        reach("record batch", batch)
        failed = sum(record.failed is not None for record in records)
        images = [record.to_json() for record in records]
        self._write({"batch": batch, "failed": failed, "images": images})

    def _write(self, values: dict[str, Any]) -> None:
        body = json.dumps(values, allow_nan=False).encode()[:-1]
        line = memoryview(body + b', "crc32": "%08x"}\n' % zlib.crc32(body))
        before = self._path.stat().st_size
        try:
            while line:  # the system may take a part of it
                line = line[self._file.write(line) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(before)
            error.filename = str(self._path)
            raise


@contextmanager
def open_journal(folder: Path, share: Shard) -> Iterator[Journal]:
    """Open a share's journal for this process alone; a torn last line is cut off.

    The whole work, 1/1, holds those of all shares: it is to gather them.

    Raises:
        InputError: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{share.index}-of-{share.of}.jsonl"
    whole = folder / f"{WHOLE.index}-of-{WHOLE.of}.lock"
    locks = []
    try:
        try:
            locks.append(hold_lock(path.with_suffix(".lock"), timeout=PATIENCE_SECONDS))
            if share == WHOLE:  # it looks for the others when none can begin any more
                others = (each for each in sorted(folder.glob("*-of-*.lock")) if each != whole)
                locks += [hold_lock(each, timeout=PATIENCE_SECONDS) for each in others]
            else:  # nothing is to be added while shares are gathered
                hold_lock(whole, timeout=PATIENCE_SECONDS).release()
        except Timeout as error:
            held = Path(error.lock_file).stem.replace("-of-", "/")
            raise InputError(
                f"{folder.parent}: another process is at work on it (share {held}); wait for it, "
                f"or choose another --out"
            ) from None
        with path.open("ab", buffering=0) as file:
            ends = [offset + len(line) for offset, line in _whole_lines(path)]
            file.truncate(ends[-1] if ends else 0)
            yield Journal(file, path)
    finally:
        for lock in locks:
            lock.release()


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines of a journal with their offsets; a torn last line is left out."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield offset, line
            offset += len(line)
