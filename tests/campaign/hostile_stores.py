"""Hostile stores, exports and class banks, whose checksums are right."""

from __future__ import annotations

import json
import random
import stat
import zipfile
from pathlib import Path
from typing import Any

from campaign.place import CACHED, DATA
from campaign.values import Words, as_json, copied, mutated, nasty


def store(rng: random.Random, place: Path, outside: str) -> Words:
    """A store that was changed and given right checksums again."""
    from dataclasses import asdict

    from regionspot_core.support.checksums import FileSum

    bad = copied(place, "store.zarr", "bad")
    name = rng.choice(
        (
            "zarr.json",
            "zarr.json",
            "parts/plan.json",
            "parts/000001.json",
            "parts/complete.json",
            "clip/tokens/zarr.json",
            "region/start/zarr.json",
        )
    )
    document = json.loads((bad / name).read_bytes())
    if name == "parts/plan.json" and rng.random() < 0.7:
        document[_outside(rng, outside)] = rng.choice(list(document.values()))
    else:
        document = mutated(rng, document, outside)
        if name == "zarr.json" and rng.random() < 0.6:
            document = json.loads((bad / name).read_bytes())
            plan = document["attributes"]["regionspot"]["plan"]
            plan |= mutated(rng, plan) if rng.random() < 0.3 else {
                "part_images": rng.choice((0, -4, "x", 1e13, 2**40, None))
            }  # fmt: skip
    if name.startswith("parts/") and isinstance(document, dict):
        try:
            content = _resealed(document)
        except (TypeError, ValueError):
            content = as_json(rng, document)
    else:
        content = as_json(rng, document)
    (bad / name).write_bytes(content)
    if not name.startswith("parts/"):
        sums = json.loads((bad / "parts/plan.json").read_bytes())
        sums[name] = asdict(FileSum.of([content]))
        (bad / "parts/plan.json").write_bytes(_resealed(sums))
    return rng.choice((
        ["extract", "info", "bad"],
        ["extract", "info", "bad", "--json"],
        ["extract", "verify", "bad"],
        ["extract", "export", "bad", "--out", rng.choice(("out.zip", "out.h5"))],
        ["extract", "merge", "bad", "--out", "out"],
        ["train", "fit", "--cache", "bad", "--set", "steps=1", "--out", "out"],
        ["train", "fit", "--cache", "bad", "--dry-run", "--out", "out"],
        ["evaluate", "cached", "--cache", "bad", "--head", "{place}/run", "--out", "out"],
        ["extract", "verify", "bad", "--repair", *DATA, "--bank", "{place}/bank.h5",
         "--part-images", "3"],
    ))  # fmt: skip


def zipped(rng: random.Random, place: Path, outside: str) -> Words:
    """An exported zip with one entry that is missing, renamed, or one too many."""
    with zipfile.ZipFile(copied(place, "store.zip", "whole.zip")) as whole:
        files = {entry.filename: whole.read(entry) for entry in whole.infolist()}
    strange = zipfile.ZipInfo(_outside(rng, outside).replace("\0", "0") or "empty")
    name, what, packed = rng.choice(sorted(files)), rng.randrange(5), zipfile.ZIP_STORED
    content = files.pop(name) if what < 2 else files[name]
    if what == 3:
        strange.external_attr = (stat.S_IFLNK | 0o777) << 16
        content = f"{outside}/kept.txt".encode()
    elif what == 4:
        content, packed = bytes(10**7), zipfile.ZIP_DEFLATED
    if what in (0, 2):
        sums = json.loads(files.get("parts/plan.json", b"{}"))
        sums[strange.filename] = sums.get(name, {"size": 0, "xxh3": "0" * 16})
        files["parts/plan.json"] = _resealed(sums)
    with zipfile.ZipFile("bad.zip", "w") as bad:
        for key, each in files.items():
            bad.writestr(key, each)
        if what:
            bad.writestr(strange, content, compress_type=packed)
    return ["extract", "import", "bad.zip", "--out", "out"]


def bank(rng: random.Random, place: Path, outside: str) -> Words:
    import h5py

    bad = copied(place, "bank.h5", "bad.h5")
    with h5py.File(bad, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, each: names.append(name))
        name = rng.choice(names)
        if rng.random() < 0.25 and file.attrs:
            key = rng.choice(sorted(file.attrs))
            value = nasty(rng, outside)
            file.attrs[key] = str(value).replace("\0", "")[:1000] if rng.random() < 0.5 else 7
        else:
            whole = file[name][()] if isinstance(file[name], h5py.Dataset) else None
            del file[name]
            what = rng.randrange(7)
            if what == 0:
                file[name] = h5py.ExternalLink(f"{outside}/kept.txt", "/x")
            elif what == 1:
                file[name] = h5py.SoftLink(f"/{name}")
            elif what == 2:
                file.create_group(name)
            elif what == 3:
                file.create_dataset(name, shape=(10**6, 10**6), dtype="f4", chunks=(1, 1000))
            elif what == 4:
                file.create_dataset(name, data=str(nasty(rng, outside))[:1000].replace("\0", "0"))
            elif what == 5 and whole is not None:
                file.create_dataset(name, data=[0.0, float("nan")])
    return rng.choice((
        [*CACHED, "--head", "{place}/run", "--bank", "bad.h5"],
        ["evaluate", "predict", "{place}/world/train/000001.png", "--head", "{place}/run",
         "--bank", "bad.h5", "--box", "1,1,30,30", "--out", "out"],
    ))  # fmt: skip


def _outside(rng: random.Random, outside: str) -> str:
    return rng.choice((f"{outside}/kept.txt", f"{outside}/new.txt", "../outside/kept.txt",
                       "../../outside/new.txt", "..\\outside\\new.txt", "C:\\new.txt", "a\0b",
                       "parts/../../outside/new.txt", "new.txt", "", "."))  # fmt: skip


def _resealed(values: dict[str, Any]) -> bytes:
    from regionspot_core.support.checksums import sealed

    values.pop("crc32c", None)
    return sealed(values)
