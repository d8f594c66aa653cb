"""Files that were made to break what reads them, of every kind that a command takes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from campaign import hostile_documents as documents
from campaign import hostile_images as images
from campaign import hostile_records as records
from campaign import hostile_stores as stores
from campaign.oracle import changes, problems, say
from campaign.place import Place, contents
from campaign.values import Words

Maker = Callable[[random.Random, Path, str], Words]
"""Makes a hostile file in the working directory, from the good ones in a place; gives the command
that is to read it. The third is a folder that no command was given."""


def run_case(rng: random.Random, number: int, place: Place, folder: Path) -> list[str]:
    """Make a hostile file and have a command read it."""
    name = list(MAKERS)[number % len(MAKERS)]
    outside, work = folder / "outside", folder / "work"
    outside.mkdir()
    work.mkdir()
    (outside / "kept.txt").write_text("nobody gave this to a command\n")
    made = place.forks.call(
        "make_hostile", cwd=work, name=name, seed=rng.getrandbits(64),
        place=str(place.folder), outside=str(outside),
    )  # fmt: skip
    if made.code != 0:
        raise RuntimeError(f"{name} could not be made:\n{made.errors}")
    words = place.words(json.loads(made.stdout))
    before = contents(folder)
    ended = place.forks.command(*words, cwd=work, writes=folder)
    goes_on = "--repair" in words or ("--out", "bad") in pairwise(words)
    allowed = ("work/out*", "work/bad") if goes_on else ("work/out*",)
    wrong = problems(ended, given=words) + changes(before, contents(folder), allowed=allowed)
    return [f"{name}: {say(words)}", *wrong] if wrong else []


def make(name: str, seed: int, place: str, outside: str) -> None:
    """Make the files of a case here; prints the command's words."""
    rng = random.Random(seed)
    print(json.dumps(MAKERS[name](rng, Path(place), outside)))


MAKERS: dict[str, Maker] = {
    "annotations": documents.annotations,
    "store": stores.store,
    "zip": stores.zipped,
    "bank": stores.bank,
    "image": images.image,
    "results": documents.results,
    "head": records.head,
    "state": records.state,
    "config": documents.config,
    "published": records.published,
    "names in files": documents.names_in_files,
    "weights": records.weights,
    "proposals": documents.proposals,
    "run record": records.run_record,
    "evaluation record": records.evaluation_record,
    "words file": documents.words_file,
    "space": documents.space,
    "journal": records.journal,
    "openimages": documents.openimages,
    "labels": documents.labels,
    "study": records.study,
}
