"""Values that nobody means: what is drawn from where a name, a number or a document belongs."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x9b1m"
"""What would rename and colour a terminal."""
OUTSIDE = ("../outside/kept.txt", "../../outside/kept.txt", "out/../../outside/kept.txt",
           "..\\outside\\kept.txt", "C:\\kept.txt", "{outside}/kept.txt", "{outside}/new.txt",
           "/proc/self/mem", "kept\0.txt")  # fmt: skip
"""Paths out of a folder; ``{outside}`` stands for the absolute one of a folder that is not ours."""
TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    ESCAPES,
    "a\nb\rc\td",
    "\u202eflipped",
    "x" * 100_000,
    "é" * 300,
    "😀",
    "null",
    "-1",
    "nan",
    "[]",
    "%s%n",
    "{}",
    "=1+1",
    "../..",
    *OUTSIDE,
)
NUMBERS = (0, -1, 1, 2, -(2**31), 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400,
           0.5, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"))  # fmt: skip
DEPTH = 100_000


Words = list[str]
"""A command's."""


class Raw(str):
    """Text that goes into a JSON document as it is."""


def nasty(rng: random.Random, outside: str = "") -> Any:
    """Any of them."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return rng.choice(TEXTS).replace("{outside}", outside)
    if kind == 2:
        return rng.choice(
            (None, True, False, [], {}, [[]], {"": None}, [None] * 3, [0, -1, "2", {}])
        )
    return rng.choice(
        (
            Raw("[" * DEPTH + "]" * DEPTH),
            Raw('{"a":' * DEPTH + "1" + "}" * DEPTH),
            Raw("9" * 5_000),
            Raw("1e999999"),
            Raw('"\\ud800"'),
            Raw("NaN"),
        )
    )


def mutated(rng: random.Random, document: Any, outside: str = "") -> Any:
    """A copy of a JSON document in which one value, or a few, are nasty, missing or doubled."""
    copy = json.loads(json.dumps(document))
    for _ in range(rng.choice((1, 1, 1, 3))):
        copy = _mutate(rng, copy, outside)
    return copy


def _mutate(rng: random.Random, document: Any, outside: str) -> Any:
    if rng.random() < 0.05:
        return nasty(rng, outside)
    places: list[tuple[Any, Any]] = []
    _collect(document, places)
    if not places:
        return nasty(rng, outside)
    # Deep lists of the same thing would be most of what is drawn: each kind of place once.
    kinds: dict[Any, list[tuple[Any, Any]]] = {}
    for parent, key in places:
        kind = key if isinstance(key, str) else type(parent[key]).__name__
        kinds.setdefault(kind, []).append((parent, key))
    parent, key = rng.choice(kinds[rng.choice(sorted(kinds))])
    what = rng.random()
    if what < 0.7:
        parent[key] = nasty(rng, outside)
    elif what < 0.85:
        del parent[key]
    elif isinstance(parent, list):
        parent.append(parent[key])
    else:
        parent[rng.choice(TEXTS).replace("{outside}", outside)] = parent[key]
    return document


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    if isinstance(value, Raw):
        return
    if isinstance(value, dict):
        keys: Any = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    else:
        return
    for key in keys:
        places.append((value, key))
        _collect(value[key], places)


def as_json(rng: random.Random, document: Any) -> bytes:
    """The document's text, sometimes itself damaged."""
    text = _text(document)
    content = text.encode("utf-8", "surrogatepass")
    what = rng.random()
    if what < 0.85:
        return content
    changes: list[Callable[[], bytes]] = [
        lambda: b"\xef\xbb\xbf" + content,
        lambda: text.encode("utf-16", "surrogatepass"),
        lambda: content[: rng.randrange(len(content) + 1)],
        lambda: content + rng.choice((b"}", b"\0", b"\xff", content)),
        lambda: content.replace(b":", b":" + rng.choice((b" /*", b" ,", b"\x1b[1m")), 1),
        lambda: b"",
        lambda: rng.randbytes(300),
    ]
    return rng.choice(changes)()


def _text(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, int) and abs(value) > 10**300:
        return "1" + "0" * 400
    return json.dumps(value)


def write_json(rng: random.Random, good: Path, to: str, outside: str) -> None:
    """Write a good JSON file, mutated."""
    packed = good.suffix == ".gz"
    content = gzip.decompress(good.read_bytes()) if packed else good.read_bytes()
    bad = as_json(rng, mutated(rng, json.loads(content), outside))
    Path(to).write_bytes(gzip.compress(bad) if packed and rng.random() < 0.5 else bad)


def copied(place: Path, name: str, to: str) -> Path:
    """Copy a file or folder of the place here."""
    if (place / name).is_dir():
        shutil.copytree(place / name, to)
    else:
        shutil.copy(place / name, to)
    return Path(to)
