"""Good things of every kind that the cases take, damage, and compare with what they get.

They are made once a session, by the commands themselves, from a tiny world of a few images.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from campaign.forks import Ended, Forks

SCENES, PART = 7, 3
STEPS, CHECKPOINT = 12, 3

DATA = ["--images", "{place}/world/train", "--annotations", "{place}/world/train.json"]
EXTRACT = [
    "extract", "run", *DATA, "--bank", "{place}/bank.h5", "--part-images", str(PART),
    "--workers", "1",
]  # fmt: skip
SETTINGS = {
    "steps": STEPS,
    "batch_images": 3,
    "checkpoint_every": CHECKPOINT,
    "log_every": 2,
    "validation.every": 5,
    "head.layers": 1,
    "head.ffn_width": 16,
    "head.logit_scale": "clip",
    "optimiser.lr": 0.001,
    "optimiser.warmup_steps": 2,
}
SET = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
FIT = [
    "train", "fit", "--cache", "{place}/store.zarr", "--val", "{place}/store.zarr", *SET,
    "--resume",
]  # fmt: skip
SWEEP = [
    "train", "sweep", "--cache", "{place}/store.zarr", "--val", "{place}/store.zarr", *SET,
    "--space", "{place}/space.toml", "--trials", "3", "--at-once", "2", "--resume",
]  # fmt: skip
EVALUATE = [
    "evaluate", "run", *DATA, "--head", "{place}/run", "--bank", "{place}/bank.h5", "--batch", "2",
    "--workers", "1", "--baseline", "clip-pool",
]  # fmt: skip
CACHED = ["evaluate", "cached", "--cache", "{place}/store.zarr", "--out", "out"]
SPACE = """[search]
pruner_startup = 1
[space]
"optimiser.lr" = { low = 1e-4, high = 1e-2, log = true }
"loss.kind" = ["focal", "softmax"]
"""
Contents = Mapping[str, bytes | None]
"""All below a folder by its relative name: a file's bytes, a link's aim, None of a folder."""


@dataclass
class Place:
    """Where the good things lie, and what runs commands on them."""

    folder: Path
    forks: Forks
    events: dict[str, int] = field(default_factory=dict)
    """How many events each stage had."""

    def words(self, words: Sequence[str]) -> list[str]:
        """A command's words, with the place's folder for ``{place}``."""
        return [word.replace("{place}", str(self.folder)) for word in words]

    def make(self, *words: str, **arguments: object) -> Ended:
        """Run a command that has to work."""
        ended = self.forks.command(*self.words(words), cwd=self.folder, **arguments)
        killed = "kill_at" in arguments or "kill_on" in arguments
        if ended.code != (-9 if killed else 0):
            raise RuntimeError(f"{' '.join(words)}: code {ended.code}\n{ended.errors}")
        return ended


def make_place(folder: Path, forks: Forks) -> Place:
    """Make everything, in about ten seconds."""
    folder.mkdir()
    (folder / "space.toml").write_text(SPACE)
    place = Place(folder, forks)
    forks.call("make_world", cwd=folder, scenes=SCENES, seed=3)
    place.make(
        "extract", "text", "--vocabulary", "world/train.json", "--templates", "simple",
        "--out", "bank.h5",
    )  # fmt: skip

    def counted(stage: str, *words: str) -> None:
        place.make(*words, events_of=str(folder))
        place.events[stage] = int((folder / "events").read_text())

    counted("extract run", *EXTRACT, "--out", "store.zarr")
    for number in (1, 2):
        place.make(*EXTRACT, "--out", f"shard{number}.zarr", "--shard", f"{number}/2")
    counted("extract export", "extract", "export", "store.zarr", "--out", "store.zip")
    counted("extract import", "extract", "import", "store.zip", "--out", "imported.zarr")
    counted("extract merge", *MERGE, "--out", "merged.zarr")
    counted("train fit", *FIT, "--out", "run")
    place.make(
        *FIT, "--out", "half-run", events_of=str(folder),
        kill_on=f"step_{STEPS - CHECKPOINT:07}",
    )  # fmt: skip
    counted("train sweep", *SWEEP, "--out", "sweep")
    place.make(*FIT, *PAPERS_HEAD, "--out", "paper")
    place.make("train", "export", "paper", "--out", "published.pth")
    counted("evaluate run", *EVALUATE, "--out", "results")
    place.make(
        *EVALUATE, "--out", "half-results", events_of=str(folder),
        kill_on=f"{SCENES - 1:06}.png",
    )  # fmt: skip
    place.make(*CACHED, "--head", "run")
    shutil.copytree(folder / "world" / "train", folder / "sets" / "Own" / "valid")
    shutil.copy(folder / "world" / "train.json", folder / "sets/Own/valid/_annotations.coco.json")
    return place


PAPERS_HEAD = [
    "--set", "head.region_tokens=paper", "--set", "head.box_geometry=false",
    "--set", "head.region_embedding=none",
]  # fmt: skip
"""The only head that the published layout has a place for."""
MERGE = ["extract", "merge", "{place}/shard1.zarr", "{place}/shard2.zarr"]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, by relative name."""
    found: dict[str, bytes | None] = {}
    for path in folder.rglob("*"):
        key = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[key] = b"-> " + os.fsencode(path.readlink())
        else:
            found[key] = path.read_bytes() if path.is_file() else None
    return found
