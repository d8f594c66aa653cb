"""Files that were made to break what reads them, of every kind that a command takes."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from campaign.oracle import changes, problems, say
from campaign.place import CACHED, DATA, EVALUATE, FIT, SWEEP, Place, contents
from campaign.values import ESCAPES, NUMBERS, Raw, as_json, mutated, nasty

Words = list[str]
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
    wrong = problems(ended) + changes(before, contents(folder), allowed=("work/out", *_made(words)))
    return [f"{name}: {say(words)}", *wrong] if wrong else []


def _made(words: Sequence[str]) -> tuple[str, ...]:
    """What a command is to go on with, so may change."""
    aims = [word for flag, word in pairwise(words) if flag == "--out" or word == "bad"]
    return tuple(f"work/{aim}" for aim in aims if "--out" in words or "--repair" in words)


def make(name: str, seed: int, place: str, outside: str) -> None:
    """Make the files of a case here; prints the command's words."""
    rng = random.Random(seed)
    print(json.dumps(MAKERS[name](rng, Path(place), outside)))


def _write_json(rng: random.Random, good: Path, to: str, outside: str) -> None:
    document = json.loads(good.read_bytes())
    Path(to).write_bytes(as_json(rng, mutated(rng, document, outside)))


def _annotations(rng: random.Random, place: Path, outside: str) -> Words:
    document = json.loads((place / "world/train.json").read_bytes())
    document["categories"] = document["categories"][:40]
    Path("bad.json").write_bytes(as_json(rng, mutated(rng, document, outside)))
    bad = ["--annotations", "bad.json"]
    found = "{place}/out/detections.json"
    return rng.choice((
        ["extract", "plan", "--images", "{place}/world/train", *bad],
        ["extract", "text", "--vocabulary", "bad.json", "--templates", "simple", "--out", "out",
         *rng.choice(([], ["--synonyms"], ["--wording", "cleaned"]))],
        ["evaluate", "score", *bad, "--detections", found],
        ["evaluate", "score", *bad, "--detections", found, "--scorer", "lvis"],
        ["evaluate", "compare", "{place}/results", *bad, "--bootstrap", "5"],
        ["evaluate", "report", "{place}/results", *bad, "--out", "out.html"],
        [*CACHED, "--head", "{place}/run", *bad],
        ["extract", "run", "--images", "{place}/world/train", *bad, "--out", "out"],
    ))  # fmt: skip


def _openimages(rng: random.Random, place: Path, outside: str) -> Words:
    boxes = [["ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf"],
             ["000a1249af2bc5f0", "/m/1", "0.1", "0.5", "0.1", "0.6", "0"],
             ["000a1249af2bc5f0", "/m/2", "0.2", "0.9", "0.3", "0.8", "0"]]  # fmt: skip
    names = [["/m/1", "a thing"], ["/m/2", "another"]]
    sizes = [["ImageID", "Width", "Height"], ["000a1249af2bc5f0", "96", "96"]]
    table = rng.choice((boxes, boxes, names, sizes))
    row = rng.randrange(len(table))
    table[row][rng.randrange(len(table[row]))] = str(nasty(rng, outside)).replace("\0", "")
    Path("set").mkdir()
    for name, rows in (("set/train-bbox.csv", boxes), ("set/class-descriptions.csv", names),
                       ("set/image-sizes.csv", sizes)):  # fmt: skip
        text = "".join(",".join(row) + "\n" for row in rows)
        Path(name).write_bytes(text.encode("utf-8", "surrogatepass"))
    Path("images").mkdir()
    return ["extract", "plan", "--images", "images", "--annotations",
            rng.choice(("set", "set/train-bbox.csv"))]  # fmt: skip


def _results(rng: random.Random, place: Path, outside: str) -> Words:
    _write_json(rng, place / "out/detections.json", "bad.json", outside)
    annotations = ["--annotations", "{place}/world/train.json"]
    scorer = rng.choice((["--scorer", "fast"], ["--scorer", "lvis"], ["--check"], []))
    return rng.choice((
        ["evaluate", "score", "--detections", "bad.json", *annotations, *scorer],
        ["evaluate", "compare", "bad.json", *annotations, "--bootstrap", "5"],
        ["evaluate", "report", "bad.json", *annotations, "--out", "out.html",
         "--images", "{place}/world/train"],
        [*EVALUATE, "--proposals", "bad.json", "--out", "out"],
    ))  # fmt: skip


def _proposals(rng: random.Random, place: Path, outside: str) -> Words:
    document = {str(n): {"boxes": [[1.0, 2.0, 30.0, 40.0]], "scores": [0.5]} for n in range(1, 5)}
    Path("bad.json").write_bytes(as_json(rng, mutated(rng, document, outside)))
    return [*EVALUATE, "--proposals", "bad.json", "--out", "out"]


def _toml_value(rng: random.Random, outside: str) -> str:
    value = nasty(rng, outside)
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, float):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("null", "{}")


def _config(rng: random.Random, place: Path, outside: str) -> Words:
    keys = (
        "steps",
        "seed",
        "batch_images",
        "head.layers",
        "head.ffn_width",
        "optimiser.lr",
        "device",
        "optimiser.milestones",
        "data.weights",
        "pieces",
        "log_every",
        "reading.memory_mib",
        "head.initial_scale",
        "loss.negatives",
        "log.tensorboard",
        "new",
        "a.b.c",
    )
    lines = ["steps = 2", "[head]", "layers = 1"]
    lines[:0] = [f"{rng.choice(keys)} = {_toml_value(rng, outside)}"]
    if rng.random() < 0.2:
        lines = [rng.choice(("a = " + "[" * 100_000, "[" * 100_000, "a." * 100_000 + "b = 1",
                             'x = "\x1b[31m"', "a = 1\na = 2", "\0", '"" = 1'))]  # fmt: skip
    text = "\n".join(lines)
    Path("bad.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    return ["train", "fit", "--cache", "{place}/store.zarr", "--config", "bad.toml", "--dry-run",
            "--out", "out"]  # fmt: skip


def _space(rng: random.Random, place: Path, outside: str) -> Words:
    span = f"{{ low = {rng.choice(NUMBERS)}, high = {rng.choice(NUMBERS)} }}"
    key = rng.choice(("head.layers", "optimiser.lr", "loss.kind", "steps", "seed", "head.heads",
                      "device", "", "no.such"))  # fmt: skip
    value = rng.choice((span, _toml_value(rng, outside), f"[{_toml_value(rng, outside)}, 1]"))
    text = f'[search]\nsampler = "random"\n[space]\n"{key}" = {value}\n'
    Path("bad.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    words = list(SWEEP)
    words[words.index("--space") + 1] = "bad.toml"
    return [*words, "--trials", "1", "--set", "steps=1", "--out", "out"]


def _copy(place: Path, name: str, to: str) -> Path:
    if (place / name).is_dir():
        shutil.copytree(place / name, to)
    else:
        shutil.copy(place / name, to)
    return Path(to)


def _head(rng: random.Random, place: Path, outside: str) -> Words:
    bad = Path("bad")
    bad.mkdir()
    shutil.copy(place / "run/head.safetensors", bad)
    _write_json(rng, place / "run/head.json", "bad/head.json", outside)
    return _reads_head(rng)


def _weights(rng: random.Random, place: Path, outside: str) -> Words:
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


def _run_record(rng: random.Random, place: Path, outside: str) -> Words:
    bad = _copy(place, "half-run", "bad")
    _write_json(rng, place / "half-run/run.json", "bad/run.json", outside)
    if rng.random() < 0.5:
        return [*FIT, "--out", str(bad)]
    return ["train", "fit", "--cache", "{place}/store.zarr", "--config", "bad", "--dry-run",
            "--out", "out"]  # fmt: skip


def _evaluation_record(rng: random.Random, place: Path, outside: str) -> Words:
    bad = _copy(place, rng.choice(("results", "half-results")), "bad")
    names = sorted(
        path.name for path in bad.glob("*.json") if path.name != "baseline_clip_pool.json"
    )
    name = rng.choice(names)
    _write_json(rng, bad / name, f"bad/{name}", outside)
    if rng.random() < 0.5 and (bad / "detections.json").exists():
        return ["evaluate", "report", "bad", "--out", "out.html", "--annotations",
                "{place}/world/train.json", "--images", "{place}/world/train"]  # fmt: skip
    return [*EVALUATE, "--out", "bad"]


def _journal(rng: random.Random, place: Path, outside: str) -> Words:
    half = rng.random() < 0.5
    bad = _copy(place, "half-results" if half else "results", "bad")
    file = bad / ("parts/1-of-1.jsonl" if half else "images.jsonl")
    lines = file.read_bytes().splitlines()
    at = rng.randrange(len(lines))
    changed = mutated(rng, json.loads(lines[at]), outside)
    lines[at] = as_json(rng, changed)
    file.write_bytes(b"\n".join(lines) + b"\n")
    return [*EVALUATE, "--out", "bad"]


def _state(rng: random.Random, place: Path, outside: str) -> Words:
    import torch

    bad = _copy(place, "half-run", "bad")
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


def _published(rng: random.Random, place: Path, outside: str) -> Words:
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


def _hdf5(rng: random.Random, place: Path, outside: str) -> Words:
    import h5py

    export = rng.random() < 0.6
    bad = _copy(place, "store.h5" if export else "bank.h5", "bad.h5")
    with h5py.File(bad, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, each: names.append(name))
        name = rng.choice(names)
        if export and rng.random() < 0.4:
            _reseal_plan(rng, file, outside)
        elif rng.random() < 0.25 and file.attrs:
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
    if export:
        return ["extract", "import", "bad.h5", "--out", "out"]
    return rng.choice((
        [*CACHED, "--head", "{place}/run", "--bank", "bad.h5"],
        ["evaluate", "predict", "{place}/world/train/000001.png", "--head", "{place}/run",
         "--bank", "bad.h5", "--box", "1,1,30,30", "--out", "out"],
    ))  # fmt: skip


def _reseal_plan(rng: random.Random, file: Any, outside: str) -> None:
    """Have an export say, with a right checksum, that it holds a file of another name."""
    import numpy as np

    names = [name for name in file["files/parts"] if name.endswith("plan.json")]
    key = f"files/parts/{names[0]}"
    values = json.loads(file[key][()].tobytes())
    wrong = _outside(rng, outside)
    some = rng.choice(sorted(set(values) - {"crc32c"}))
    values[wrong] = values[some]
    content = np.frombuffer(_resealed(values), dtype=np.uint8)
    del file[key]
    file[key] = content
    if "\0" not in wrong and f"files/{some}" in file:
        file["files/" + wrong.lstrip("/")] = file[f"files/{some}"][()]


def _outside(rng: random.Random, outside: str) -> str:
    return rng.choice((f"{outside}/kept.txt", f"{outside}/new.txt", "../outside/kept.txt",
                       "../../outside/new.txt", "..\\outside\\new.txt", "C:\\new.txt", "a\0b",
                       "parts/../../outside/new.txt", "new.txt", "", "."))  # fmt: skip


def _resealed(values: dict[str, Any]) -> bytes:
    from regionspot_core.cache.sealed import sealed

    values.pop("crc32c", None)
    return sealed(values)


def _store(rng: random.Random, place: Path, outside: str) -> Words:
    """A store that was changed and given right checksums again."""
    from dataclasses import asdict

    from regionspot_core.cache.markers import FileSum

    bad = _copy(place, "store.zarr", "bad")
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
        ["extract", "export", "bad", "--out", "out.h5"],
        ["extract", "merge", "bad", "--out", "out"],
        ["train", "fit", "--cache", "bad", "--set", "steps=1", "--out", "out"],
        ["train", "fit", "--cache", "bad", "--dry-run", "--out", "out"],
        ["evaluate", "cached", "--cache", "bad", "--head", "{place}/run", "--out", "out"],
        ["extract", "verify", "bad", "--repair", *DATA, "--bank", "{place}/bank.h5",
         "--part-images", "3"],
    ))  # fmt: skip


def _png(width: int, height: int, *, extra: bytes = b"") -> bytes:
    """A picture of any size in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = min(height, 20_000) * (min(width, 20_000) * 3 + 1)
    squeezed = zlib.compressobj(9)
    pixels = b"".join(squeezed.compress(bytes(1 << 20)) for _ in range(rows >> 20))
    pixels += squeezed.compress(bytes(rows & ((1 << 20) - 1))) + squeezed.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels)
            + chunk(b"IEND", b""))  # fmt: skip


def _image(rng: random.Random, place: Path, outside: str) -> Words:
    bad = Path("bad.png")
    good = (place / "world/train/000001.png").read_bytes()
    what = rng.choice(
        ("pipe", "device", "cut", "flipped", "bomb", "sides", "text", "folder", "other", "exif")
    )
    if what == "pipe":
        os.mkfifo(bad)
    elif what == "device":
        bad.symlink_to(rng.choice(("/dev/zero", "/dev/full", "/proc/self/mem", "bad.png")))
    elif what == "cut":
        bad.write_bytes(good[: rng.randrange(len(good))])
    elif what == "flipped":
        content = bytearray(good)
        for _ in range(5):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        bad.write_bytes(content)
    elif what == "bomb":
        side = rng.choice((13_000, 20_000))
        bad.write_bytes(_png(side, side))
    elif what == "sides":
        bad.write_bytes(
            _png(*rng.choice(((1, 1), (1, 60_000), (60_000, 1), (2**31 - 1, 1), (0, 0))))
        )
    elif what == "text":
        bad.write_bytes(_png(8, 8, extra=b"".join(
            struct.pack(">I", 4) + b"tEXt" + b"a\0bc" + b"\0\0\0\0" for _ in range(3)
        )))  # fmt: skip
    elif what == "folder":
        bad.mkdir()
    elif what == "exif":
        bad.write_bytes(b"\xff\xd8\xff\xe1\xff\xffExif\0\0" + rng.randbytes(200))
    else:
        bad.write_bytes(
            rng.choice(
                (
                    b"",
                    b"GIF89a",
                    b"%!PS-Adobe\nshowpage\n",
                    b"P6 99999 99999 255\n",
                    b"RIFF0000WEBP",
                    b"II*\0\xff\xff\xff\xff",
                    rng.randbytes(99),
                )
            )
        )
    if rng.random() < 0.5:
        return ["evaluate", "predict", "bad.png", "--head", "{place}/run", "--names", "a,b",
                "--box", "0,0,1,1", "--out", "out"]  # fmt: skip
    if rng.random() < 0.3:
        return ["evaluate", "predict", "{place}/world/train/000001.png", "--head", "{place}/run",
                "--names", "a,b", "--mask", "bad.png", "--out", "out"]  # fmt: skip
    _copy(place, "world/train", "images")
    (Path("images") / "000002.png").unlink()
    bad.rename("images/000002.png")
    data = ["--images", "images", "--annotations", "{place}/world/train.json", "--bank",
            "{place}/bank.h5"]  # fmt: skip
    return rng.choice((
        ["extract", "run", *data, "--out", "out"],
        ["extract", "plan", *data[:4]],
        ["evaluate", "run", *data, "--head", "{place}/run", "--baseline", "none", "--out", "out"],
    ))  # fmt: skip


def _words_file(rng: random.Random, place: Path, outside: str) -> Words:
    lines = [
        "a thing",
        "another",
        str(nasty(rng, outside)),
        rng.choice(("", "{}", "{", "{0.__class__}")),
    ]
    rng.shuffle(lines)
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    Path("bad.txt").write_bytes(
        rng.choice((content, content, b"\xff\xfe" + content, rng.randbytes(50)))
    )
    if rng.random() < 0.5:
        return [
            "extract",
            "text",
            "--vocabulary",
            "bad.txt",
            "--templates",
            "simple",
            "--out",
            "out",
        ]
    return ["extract", "text", "--names", "a,b", "--templates", "bad.txt", "--out", "out"]


def _names_in_files(rng: random.Random, place: Path, outside: str) -> Words:
    """Class names and file names that would command a terminal, in sound files."""
    name = rng.choice((ESCAPES, "a\nb", "\u202ex", "😀", "=1+1", "é" * 200, "\x7f", "a\tb"))
    document = json.loads((place / "world/train.json").read_bytes())
    for category in document["categories"][:5]:
        category["name"] += name
    if rng.random() < 0.5:
        document["images"][0]["file_name"] = f"{name[:80]}.png"
    Path("bad.json").write_text(json.dumps(document))
    bad = ["--annotations", "bad.json"]
    return rng.choice((
        ["extract", "plan", "--images", "{place}/world/train", *bad],
        ["extract", "run", "--images", "{place}/world/train", *bad, "--out", "out"],
        ["evaluate", "report", "{place}/results", *bad, "--out", "out.html"],
        ["evaluate", "predict", "{place}/world/train/000001.png", "--head", "{place}/run",
         "--vocabulary", "bad.json", "--box", "1,1,60,60", "--out", "out"],
    ))  # fmt: skip


def _study(rng: random.Random, place: Path, outside: str) -> Words:
    import sqlite3

    bad = _copy(place, "sweep", "bad")
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


MAKERS: dict[str, Maker] = {
    "annotations": _annotations,
    "store": _store,
    "hdf5": _hdf5,
    "image": _image,
    "results": _results,
    "head": _head,
    "state": _state,
    "config": _config,
    "published": _published,
    "names in files": _names_in_files,
    "weights": _weights,
    "proposals": _proposals,
    "run record": _run_record,
    "evaluation record": _evaluation_record,
    "words file": _words_file,
    "space": _space,
    "journal": _journal,
    "openimages": _openimages,
    "study": _study,
}
