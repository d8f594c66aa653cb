"""Finished things of which a file is damaged: reading one is refused, or gives what it gave."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from campaign.forks import Ended
from campaign.oracle import ERROR, differing, problems, say
from campaign.place import CACHED, DATA, EVALUATE, EXTRACT, FIT, Contents, Place, contents

Damage = Callable[[random.Random, Path, Sequence[Path]], str]
"""Damages a file, given others of its kind too, and says how."""


def run_case(rng: random.Random, number: int, place: Place, folder: Path) -> list[str]:
    """Damage one file of one thing and read it in every way that there is."""
    thing = THINGS[number % len(THINGS)]
    original, copy = place.folder / thing.name, folder / thing.name
    if original.is_dir():
        shutil.copytree(original, copy)
    else:
        shutil.copy(original, copy)
    files = [path for path in sorted(copy.glob(thing.files)) if path.is_file()] or [copy]
    file = rng.choice(files)
    others = [path for path in files if path != file]
    damage = rng.choice([each for each in DAMAGES if others or each not in (_swap, _copy)])
    before = contents(folder)
    how = damage(rng, file, others)
    if contents(folder) == before:
        return []  # a byte that became what it was
    wrong = thing.read(place, folder)
    return [f"{file.relative_to(folder)}: {how}", *wrong] if wrong else []


def _flip(rng: random.Random, file: Path, others: Sequence[Path]) -> str:
    content = bytearray(file.read_bytes())
    places = (
        [rng.randrange(len(content)) for _ in range(rng.choice((1, 1, 1, 8)))] if content else []
    )
    for at in places:
        content[at] ^= 1 << rng.randrange(8)
    file.write_bytes(content)
    return f"bits flipped in bytes {places}"


def _truncate(rng: random.Random, file: Path, others: Sequence[Path]) -> str:
    size = file.stat().st_size
    left = rng.choice((0, max(0, size - 1), rng.randrange(size + 1)))
    os.truncate(file, left)
    return f"cut from {size} to {left} bytes"


def _extend(rng: random.Random, file: Path, others: Sequence[Path]) -> str:
    more = rng.choice((b"\0", b"\n", rng.randbytes(40), file.read_bytes()))
    with file.open("ab") as opened:
        opened.write(more)
    return f"{more[:8]!r} and so on added, {len(more)} bytes"


def _delete(rng: random.Random, file: Path, others: Sequence[Path]) -> str:
    file.unlink()
    return "deleted"


def _swap(rng: random.Random, file: Path, others: Sequence[Path]) -> str:
    other = rng.choice(_alike(file, others))
    first, second = file.read_bytes(), other.read_bytes()
    file.write_bytes(second)
    other.write_bytes(first)
    return f"swapped with {other.name} in {other.parent}"


def _copy(rng: random.Random, file: Path, others: Sequence[Path]) -> str:
    other = rng.choice(_alike(file, others))
    file.write_bytes(other.read_bytes())
    return f"has the content of {other.name} in {other.parent}"


def _alike(file: Path, others: Sequence[Path]) -> list[Path]:
    """Files of the same size if there are any: only a sum of the content tells them apart."""
    same = [path for path in others if path.stat().st_size == file.stat().st_size]
    near = [path for path in others if path.suffix == file.suffix]
    return same or near or list(others)


def _zero(rng: random.Random, file: Path, others: Sequence[Path]) -> str:
    content = bytearray(file.read_bytes())
    begin = rng.choice((0, rng.randrange(len(content) + 1)))
    end = min(len(content), begin + rng.choice((1, 64, len(content))))
    content[begin:end] = bytes(end - begin)
    file.write_bytes(content)
    return f"bytes {begin} to {end} are zeros"


def _folder(rng: random.Random, file: Path, others: Sequence[Path]) -> str:
    file.unlink()
    file.mkdir()
    if rng.random() < 0.5:
        (file / "inside").write_text("a file")
    return "is a folder"


def _link(rng: random.Random, file: Path, others: Sequence[Path]) -> str:
    aim = rng.choice((file.name, "nothing"))
    file.unlink()
    file.symlink_to(aim)
    return f"is a link to {aim}"


DAMAGES: tuple[Damage, ...] = (
    _flip, _flip, _flip, _truncate, _extend, _delete, _swap, _copy, _zero, _folder, _link,
)  # fmt: skip


def _store(place: Place, folder: Path) -> list[str]:
    """Reading, verifying, repairing."""
    call = place.forks.call
    read = call("read_store", cwd=folder, store="store.zarr")
    whole = call("read_store", cwd=place.folder, store="store.zarr")
    assert whole.code == 0, whole.errors
    wrong = _refused_or_equal("reading it", read, read.stdout == whole.stdout)
    verify = ["extract", "verify", "store.zarr"]
    verified = place.forks.command(*verify, "--json", cwd=folder)
    wrong += _told(say(verify), problems(verified))
    if verified.code == 0:
        wrong.append(f"{say(verify)}: found nothing")
    repair = place.words([*verify, "--repair", *DATA, *EXTRACT[EXTRACT.index("--bank") :]])
    repaired = place.forks.command(*repair, cwd=folder)
    wrong += _told(say(repair), problems(repaired))
    if repaired.code == 2 and any("move it away" in line for line in _errors(repaired)):
        return wrong  # a folder or a link where a file belongs is not ours to remove
    left = differing(contents(place.folder / "store.zarr"), contents(folder / "store.zarr"))
    if repaired.code != 0 or left:
        wrong += _told(f"{say(repair)}: code {repaired.code}", [*left, *_errors(repaired)])
    return wrong


def _export(place: Place, folder: Path) -> list[str]:
    words = ["extract", "import", "store.zip", "--out", "out.zarr"]
    ended = place.forks.command(*words, cwd=folder)
    made = contents(folder / "out.zarr") if ended.code == 0 else {}
    return _refused_or_equal(
        say(words), ended, made == contents(place.folder / "store.zarr"), refusals=(1, 2)
    )


def _head(place: Place, folder: Path) -> list[str]:
    words = place.words([*CACHED, "--head", "run"])
    return [*_cached(place, folder, words), *_verified(place, folder, "run")]


def _verified(place: Place, folder: Path, run: str) -> list[str]:
    """Whether `train verify` sees that something is wrong."""
    words = ["train", "verify", run]
    ended = place.forks.command(*words, cwd=folder)
    wrong = problems(ended)
    if ended.code == 0:
        wrong.append("found nothing")
    return _told(say(words), wrong)


def _bank(place: Place, folder: Path) -> list[str]:
    words = place.words([*CACHED, "--head", "{place}/run", "--bank", "bank.h5"])
    return _cached(place, folder, words)


def _cached(place: Place, folder: Path, words: list[str]) -> list[str]:
    ended = place.forks.command(*words, cwd=folder)
    whole = (place.folder / "out" / "detections.json.gz").read_bytes()
    found = folder / "out" / "detections.json.gz"
    return _refused_or_equal(say(words), ended, found.exists() and found.read_bytes() == whole)


def _run(place: Place, folder: Path) -> list[str]:
    words = place.words([*FIT, "--out", "half-run"])
    ended = place.forks.command(*words, cwd=folder)
    whole = (place.folder / "run" / "head.safetensors").read_bytes()
    found = folder / "half-run" / "head.safetensors"
    return _refused_or_equal(say(words), ended, found.is_file() and found.read_bytes() == whole)


def _checkpoint(place: Place, folder: Path) -> list[str]:
    return [*_verified(place, folder, "half-run"), *_run(place, folder)]


def _evaluation(place: Place, folder: Path) -> list[str]:
    return _evaluated(place, folder, "results")


def _half_evaluation(place: Place, folder: Path) -> list[str]:
    return _evaluated(place, folder, "half-results")


def _evaluated(place: Place, folder: Path, out: str) -> list[str]:
    words = place.words([*EVALUATE, "--out", out])
    ended = place.forks.command(*words, cwd=folder)
    made = _results(contents(folder / out))
    return _refused_or_equal(
        say(words), ended, made == _results(contents(place.folder / "results"))
    )


def _results(found: Contents) -> Contents:
    names = ("detections.json.gz", "images.jsonl", "baseline_clip_pool.json.gz", "metrics.json")
    return {name: found.get(name) for name in names}


@dataclass(frozen=True)
class Thing:
    """Something of the place that is damaged."""

    name: str
    read: Callable[[Place, Path], list[str]]
    """Reads it in a folder; what was wrong with that."""
    files: str = "**/*"
    """Which of its files are damaged."""


THINGS = (
    Thing("store.zarr", _store),
    Thing("run", _head, "head.*"),
    Thing("half-run", _checkpoint, "checkpoints/*/*"),
    Thing("store.zarr", _store, "parts/*"),
    Thing("store.zip", _export),
    Thing("results", _evaluation),
    Thing("bank.h5", _bank),
    Thing("store.zarr", _store),
    Thing("half-results", _half_evaluation),
    Thing("half-run", _run),
)


def _refused_or_equal(
    what: str, ended: Ended, equal: bool, refusals: tuple[int, ...] = (1, 2)
) -> list[str]:
    wrong = problems(ended)
    if ended.code == 0 and not equal:
        wrong.append("exit code 0, and another result than of the undamaged one")
    if ended.code == 1 and not _errors(ended):
        wrong.append("exit code 1 and no error line")
    return _told(what, wrong)


def _told(what: str, wrong: Sequence[str]) -> list[str]:
    return [f"{what}: {each}" for each in wrong]


def _errors(ended: Ended) -> list[str]:
    return [line for line in ended.errors.splitlines() if line.startswith(ERROR)]
