"""Hostile heads, checkpoints and records: what training and evaluation leave and go on with."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaign.place import CACHED, EVALUATE, FIT, SWEEP
from campaign.values import ESCAPES, Words, as_json, copied, mutated, nasty, write_json


def head(rng: random.Random, place: Path, outside: str) -> Words:
    bad = Path("bad")
    bad.mkdir()
    shutil.copy(place / "run/head.safetensors", bad)
    write_json(rng, place / "run/head.json", "bad/head.json", outside)
    return _reads_head(rng)


def weights(rng: random.Random, place: Path, outside: str) -> Words:
    bad = Path("bad")
    bad.mkdir()
    shutil.copy(place / "run/head.json", bad)
    content = (place / "run/head.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = as_json(rng, mutated(rng, json.loads(content[8 : 8 + length]), outside))
    size = rng.choice((len(header), len(header), 2**63, 0, 10**9))
    (bad / "head.safetensors").write_bytes(struct.pack("<Q", size) + header + content[8 + length :])
    return _reads_head(rng)


def _reads_head(rng: random.Random) -> Words:
    return rng.choice((
        [*CACHED, "--head", "bad"],
        ["train", "export", "bad", "--out", "out.pth"],
        ["train", "fit", "--cache", "{place}/store.zarr", "--from", "bad", "--set", "steps=1",
         "--out", "out"],
        ["evaluate", "predict", "{place}/world/train/000001.png", "--head", "bad", "--names", "a",
         "--box", "1,1,30,30", "--out", "out"],
    ))  # fmt: skip


def state(rng: random.Random, place: Path, outside: str) -> Words:
    import torch

    bad = copied(place, "half-run", "bad")
    file = sorted(bad.glob("checkpoints/*/state.pt"))[-1]
    state = torch.load(file, weights_only=False)
    if rng.random() < 0.3:
        state = rng.choice(([], {}, 5, "text", None, {"learner": 3}, torch.zeros(3)))
    else:
        inner = state
        while isinstance(inner, dict) and inner:
            key = rng.choice(sorted(inner, key=str))
            if isinstance(inner[key], dict) and inner[key] and rng.random() < 0.8:
                inner = inner[key]
                continue
            if rng.random() < 0.2:
                del inner[key]
            else:
                inner[key] = rng.choice(
                    (
                        -5,
                        10**30,
                        None,
                        "x",
                        [],
                        {},
                        float("nan"),
                        torch.zeros(2),
                        torch.full((3,), float("nan")),
                    )
                )
            break
    torch.save(state, file)
    if rng.random() < 0.2:
        file.write_bytes(rng.choice((b"", b"junk", b"\x80\x02c__main__\nx\n.", b"PK\3\4" * 30)))
    return [*FIT, "--out", str(bad)]


def published(rng: random.Random, place: Path, outside: str) -> Words:
    import torch

    document = torch.load(place / "published.pth", weights_only=True)
    model = document.get("model", document)
    key = rng.choice(sorted(model))
    changes: list[Callable[[], Any]] = [
        lambda: model.pop(key),
        lambda: model.update({7: model[key]}),
        lambda: model.update({"model.decoder.layers.99999999.linear1.weight": model[key]}),
        lambda: model.update({key: nasty(rng, outside)}),
        lambda: model.update({key: model[key][:0]}),
        lambda: model.update({key: torch.full_like(model[key], float("nan"))}),
        lambda: model.update({key: model[key].double()}),
        lambda: model.update({key: model[key].to(torch.complex64)}),
        lambda: model.update({key: torch.zeros(1).expand(10**6, 10**6)}),
        lambda: model.update({key: model[key].to_sparse()}),
        lambda: model.update({ESCAPES: model[key]}),
        lambda: model.update({key.replace("layers.0", "layers.-1"): model[key]}),
        lambda: model.clear(),
    ]
    rng.choice(changes)()
    torch.save(
        rng.choice((document, document, document, [document], {"model": nasty(rng)})), "bad.pth"
    )
    return ["train", "import", "bad.pth", "--out", "out"]


def run_record(rng: random.Random, place: Path, outside: str) -> Words:
    bad = copied(place, "half-run", "bad")
    write_json(rng, place / "half-run/run.json", "bad/run.json", outside)
    if rng.random() < 0.5:
        return [*FIT, "--out", str(bad)]
    return ["train", "fit", "--cache", "{place}/store.zarr", "--config", "bad", "--dry-run",
            "--out", "out"]  # fmt: skip


def evaluation_record(rng: random.Random, place: Path, outside: str) -> Words:
    bad = copied(place, rng.choice(("results", "half-results")), "bad")
    names = sorted(
        path.name for path in bad.glob("*.json") if path.name != "baseline_clip_pool.json.gz"
    )
    name = rng.choice(names)
    write_json(rng, bad / name, f"bad/{name}", outside)
    if rng.random() < 0.5 and (bad / "detections.json.gz").exists():
        return ["evaluate", "report", "bad", "--out", "out.html", "--annotations",
                "{place}/world/train.json", "--images", "{place}/world/train"]  # fmt: skip
    return [*EVALUATE, "--out", "bad"]


def journal(rng: random.Random, place: Path, outside: str) -> Words:
    half = rng.random() < 0.5
    bad = copied(place, "half-results" if half else "results", "bad")
    file = bad / ("parts/1-of-1.jsonl" if half else "images.jsonl")
    lines = file.read_bytes().splitlines()
    at = rng.randrange(len(lines))
    changed = mutated(rng, json.loads(lines[at]), outside)
    lines[at] = as_json(rng, changed)
    file.write_bytes(b"\n".join(lines) + b"\n")
    return [*EVALUATE, "--out", "bad"]


def study(rng: random.Random, place: Path, outside: str) -> Words:
    import sqlite3

    bad = copied(place, "sweep", "bad")
    with sqlite3.connect(bad / "study.db") as study:
        tables = [
            row[0] for row in study.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        full = [t for t in tables if study.execute(f"SELECT count(*) FROM {t}").fetchone()[0]]
        table = rng.choice(full)
        columns = [row[1] for row in study.execute(f"PRAGMA table_info({table})")]
        value = nasty(rng, outside)
        simple = value if isinstance(value, str) or (
            isinstance(value, int | float) and abs(value) < 2**63) else None  # fmt: skip
        change = rng.choice((
            f"DELETE FROM {table}", f"UPDATE {table} SET {rng.choice(columns)} = ?",
            f"DROP TABLE {table}",
        ))  # fmt: skip
        try:
            study.execute(
                change,
                (
                    [simple.encode("utf-8", "replace").decode()]
                    if isinstance(simple, str)
                    else [simple]
                )
                if "?" in change
                else [],
            )
        except sqlite3.Error:
            study.execute(f"DELETE FROM {table}")
    study.close()
    return [*SWEEP, "--trials", rng.choice(("3", "4")), "--out", "bad"]
