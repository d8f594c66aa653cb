"""Hostile documents: annotations, results, proposals, settings and lists of names."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from campaign.place import CACHED, EVALUATE, SWEEP
from campaign.values import ESCAPES, NUMBERS, Raw, Words, as_json, mutated, nasty, write_json


def annotations(rng: random.Random, place: Path, outside: str) -> Words:
    document = json.loads((place / "world/train.json").read_bytes())
    document["categories"] = document["categories"][:40]
    Path("bad.json").write_bytes(as_json(rng, mutated(rng, document, outside)))
    bad = ["--annotations", "bad.json"]
    found = "{place}/out/detections.json.gz"
    return rng.choice((
        ["extract", "plan", "--images", "{place}/world/train", *bad],
        ["extract", "text", "--vocabulary", "bad.json", "--templates", "simple", "--out", "out",
         *rng.choice(([], ["--synonyms"], ["--wording", "cleaned"]))],
        ["evaluate", "score", *bad, "--detections", found],
        ["evaluate", "score", *bad, "--detections", found, "--scorer", "reference"],
        ["evaluate", "compare", "{place}/results", *bad, "--bootstrap", "5"],
        ["evaluate", "report", "{place}/results", *bad, "--out", "out.html"],
        [*CACHED, "--head", "{place}/run", *bad],
        ["extract", "run", "--images", "{place}/world/train", *bad, "--out", "out"],
    ))  # fmt: skip


def openimages(rng: random.Random, place: Path, outside: str) -> Words:
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


def labels(rng: random.Random, place: Path, outside: str) -> Words:
    """Labelling tools' formats, with one hostile value."""
    bad = str(nasty(rng, outside))
    csv = ["file,x1,y1,x2,y2,name", "1.png,1,2,30,40,a thing"]
    xml = ["<annotation>", "<filename>1.png</filename>", "<object>", "<name>a thing</name>",
           "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>",
           "</object>", "</annotation>"]  # fmt: skip
    data = ["path: .", "train: images", "names:", "  0: a thing"]
    split, yolo = ["1"], ["0 0.5 0.5 0.25 0.25"]
    lines = rng.choice((csv, xml, data, split, yolo))
    row = rng.randrange(len(lines))
    words = re.split(r"([,:<> ])", lines[row])
    words[rng.randrange(len(words))] = bad
    lines[row] = "".join(words)
    for name, content in (("boxes.csv", csv), ("voc/Annotations/1.xml", xml),
                          ("voc/ImageSets/Main/val.txt", split), ("yolo/data.yaml", data),
                          ("yolo/labels/1.txt", yolo)):  # fmt: skip
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes("\n".join(content).encode("utf-8", "surrogatepass"))
    Path("images").mkdir()
    given = rng.choice(("boxes.csv", "voc", "voc/ImageSets/Main/val.txt", "yolo", "yolo/labels"))
    return rng.choice((
        ["extract", "check", "--images", "images", "--annotations", given],
        ["extract", "text", "--vocabulary", given, "--templates", "simple", "--out", "out"],
        ["evaluate", "score", "--annotations", given, "--detections",
         "{place}/out/detections.json"],
    ))  # fmt: skip


def results(rng: random.Random, place: Path, outside: str) -> Words:
    write_json(rng, place / "out/detections.json.gz", "bad.json", outside)
    annotations = ["--annotations", "{place}/world/train.json"]
    scorer = rng.choice((["--scorer", "fast"], ["--scorer", "reference"], ["--check"], []))
    return rng.choice((
        ["evaluate", "score", "--detections", "bad.json", *annotations, *scorer],
        ["evaluate", "compare", "bad.json", *annotations, "--bootstrap", "5"],
        ["evaluate", "report", "bad.json", *annotations, "--out", "out.html",
         "--images", "{place}/world/train"],
        [*EVALUATE, "--proposals", "bad.json", "--out", "out"],
    ))  # fmt: skip


def proposals(rng: random.Random, place: Path, outside: str) -> Words:
    document = {str(n): {"boxes": [[1.0, 2.0, 30.0, 40.0]], "scores": [0.5]} for n in range(1, 5)}
    Path("bad.json").write_bytes(as_json(rng, mutated(rng, document, outside)))
    return [*EVALUATE, "--proposals", "bad.json", "--out", "out"]


def config(rng: random.Random, place: Path, outside: str) -> Words:
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


def space(rng: random.Random, place: Path, outside: str) -> Words:
    span = f"{{ low = {rng.choice(NUMBERS)}, high = {rng.choice(NUMBERS)} }}"
    key = rng.choice(("head.layers", "optimiser.lr", "loss.kind", "steps", "seed", "head.heads",
                      "device", "", "no.such"))  # fmt: skip
    value = rng.choice((span, _toml_value(rng, outside), f"[{_toml_value(rng, outside)}, 1]"))
    text = f'[search]\nsampler = "random"\n[space]\n"{key}" = {value}\n'
    Path("bad.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    words = list(SWEEP)
    words[words.index("--space") + 1] = "bad.toml"
    return [*words, "--trials", "1", "--set", "steps=1", "--out", "out"]


def _toml_value(rng: random.Random, outside: str) -> str:
    value = nasty(rng, outside)
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, float):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("null", "{}")


def words_file(rng: random.Random, place: Path, outside: str) -> Words:
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


def names_in_files(rng: random.Random, place: Path, outside: str) -> Words:
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
