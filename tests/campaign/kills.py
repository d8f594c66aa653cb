"""Stages that are killed at chosen events, and then run again until they end."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from campaign.oracle import ERROR, differing, problems, say
from campaign.place import EVALUATE, EXTRACT, FIT, MERGE, SWEEP, Contents, Place, contents


@dataclass(frozen=True)
class Stage:
    """A command that makes one thing, and a run of it that nothing disturbed."""

    words: list[str]
    """Without ``--out``."""
    whole: str
    """What it made, in the place."""
    timed: tuple[str, ...] = ()
    """Files that hold times, and so differ from run to run."""


_LOGS = ("*metrics.jsonl", "*report.html", "*.png", "*run.json", "*study.db", "*trials.csv",
         "*validation.jsonl", "*/checkpoints/*/state.pt", "*/checkpoints/*/head.json")  # fmt: skip
STAGES = {
    "extract run": Stage(EXTRACT, "store.zarr"),
    "extract export": Stage(["extract", "export", "{place}/store.zarr"], "store.zip"),
    "extract import": Stage(["extract", "import", "{place}/store.zip"], "imported.zarr"),
    "extract merge": Stage(MERGE, "merged.zarr"),
    "train fit": Stage(FIT, "run", _LOGS),
    "train sweep": Stage(SWEEP, "sweep", _LOGS),
    "evaluate run": Stage(EVALUATE, "results", ("*run.json",)),
}


def run_case(rng: random.Random, number: int, place: Place, folder: Path) -> list[str]:
    """Kill a stage up to four times, run it to its end, and compare what is there."""
    name = list(STAGES)[number % len(STAGES)]
    stage = STAGES[name]
    out = stage.whole
    words = [*place.words(stage.words), "--out", out]
    events = place.events[name]
    story = [f"{name}: {say(words)}"]
    for kills in range(rng.choice((1, 1, 2, 4))):
        at = rng.randint(1, events if not kills else max(1, events // 2))
        torn = rng.choice((None, 0.0, rng.random()))
        ended = place.forks.command(
            *words, cwd=folder, events_of=str(place.folder.parent), kill_at=at, torn=torn
        )
        story.append(f"killed at event {at} of {events} (torn: {torn})")
        if ended.code != -9 or ended.timed_out:
            break
    else:
        ended = place.forks.command(*words, cwd=folder)
    (folder / "events").unlink(missing_ok=True)
    if ended.code != 0:
        wrong = problems(ended)
        errors = [line for line in ended.errors.splitlines() if line.startswith(ERROR)]
        return [*story, *wrong, f"exit code {ended.code} instead of 0", *errors]
    found = _comparable(contents(folder), stage)
    expected = {
        key: value
        for key, value in _comparable(contents(place.folder), stage).items()
        if key == out or key.startswith(f"{out}/")
    }
    wrong = differing(expected, found)
    return [*story, *wrong] if wrong else []


def _comparable(found: Contents, stage: Stage) -> Contents:
    """What must be equal: of files that hold times, that they are there."""
    return {
        key: None if any(fnmatch(key, name) for name in stage.timed) else value
        for key, value in found.items()
    }
