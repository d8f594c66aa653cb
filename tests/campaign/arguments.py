"""Commands with values that nobody means, from the commands' own list of options."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import typer.main
from campaign.oracle import changes, problems, say
from campaign.place import CACHED, DATA, EVALUATE, EXTRACT, FIT, MERGE, SWEEP, Place, contents
from campaign.values import ESCAPES

import regionspot.cli

PATHS = (
    "", " ", ".", "..", "/", "/dev/null", "/dev/full", "/proc/x", "/proc/self/mem", "/sys/x",
    "/etc/passwd", "nowhere/deep/er", "kept.txt", "kept", "~", "~nobody", "$HOME", "*", "-", "--",
    "x" * 300, "x/" * 3_000, "x" * 200_000, "d\udcff", "d\udcff/x.h5", ESCAPES, f"d{ESCAPES}.json",
    "a\nb", "\u202efdp.exe", "😀.zarr", "file:///etc/passwd", "http://localhost:1/x", "ftp://x/y",
    "{place}/world", "{place}/store.zarr", "{place}/run", "{place}/bank.h5", "{place}/results",
    "loop", "pipe", "a?b#c%d", "kept.txt/x",
)  # fmt: skip
NUMBERS = (
    "0", "-1", "1", "3", "-0", "0.5", "1e3", "1e999", "nan", "inf", "-inf", "1_000", "0x10", " 7 ",
    "２", str(2**31), str(2**63), str(-(2**63) - 1), str(10**30), "9" * 5_000, "1/0", "0/1", "9/3",
    "1/1000000", "-1/2",
)  # fmt: skip
WORDS = (
    "None",
    "null",
    "true",
    "[]",
    "{}",
    "a=b",
    "a=b=c",
    "=",
    "=1",
    "a.b=1",
    ",",
    ",,,",
    "a,,b",
    "a,a",
    "1,2,3",
    "nan,nan,1,1",
    "1e30,0,1e31,5",
    "0,0,0,0",
    "steps=0",
    "steps=-1",
    f"steps={10**30}",
    f"seed={10**30}",
    "head.layers=9999999",
    f"head.ffn_width={10**12}",
    "head.heads=7",
    "device=x",
    "device=cuda:99",
    "precision=int4",
    "optimiser.lr=nan",
    "optimiser.lr=inf",
    "batch_images=99999999",
    "log.tensorboard=2",
    "data.weights=[1,",
    'loss.kind="\x1b[31m"',
    "steps=" + "[" * 20_000,
    "pieces=0",
    "head.width=7",
    "checkpoint_every=0",
    "keep_checkpoints=-1",
    "reading.memory_mib=0",
)
NEVER = {"--compile", "--help", "--version"}
"""Compiling takes minutes, and the others print and end."""
UNREACHABLE = {
    "--ray-groups",
    "--engine",
    "--actors",
    "--actor-gpus",
    "--actor-threads",
    "--ray-address",
}
"""Right values of these start a cluster: they get wrong ones alone."""

_FOUND = "{place}/out/detections.json.gz"
_TRAIN = "{place}/world/train.json"
GOOD: dict[str, list[str]] = {
    "demo": ["--quick", "--out", "out"],
    "doctor": ["--dir", "."],
    "app": ["--head", "{place}/run", "--port", "0"],
    "extract weights": ["--list"],
    "extract check": [*DATA, "--pictures", "out.png"],
    "extract propose": [
        "--images", "{place}/world/train", "--points-per-side", "2", "--workers", "1", "--out",
        "out.json",
    ],
    "extract plan": [*DATA, "--workers", "1"],
    "extract run": [*EXTRACT[2:], "--out", "out"],
    "extract text": ["--names", "a,b", "--templates", "simple", "--out", "out.h5"],
    "extract info": ["{place}/store.zarr"],
    "extract verify": ["{place}/store.zarr"],
    "extract export": ["{place}/store.zarr", "--out", "out.h5"],
    "extract import": ["{place}/store.zip", "--out", "out"],
    "extract merge": [*MERGE[2:], "--out", "out"],
    "train fit": [*FIT[2:], "--set", "steps=2", "--out", "out"],
    "train sweep": [*SWEEP[2:], "--set", "steps=2", "--trials", "1", "--out", "out"],
    "train import": ["{place}/published.pth", "--out", "out"],
    "train export": ["{place}/paper", "--out", "out.pth"],
    "train verify": ["{place}/run"],
    "evaluate run": [*EVALUATE[2:], "--baseline", "none", "--out", "out"],
    "evaluate cached": [*CACHED[2:], "--head", "{place}/run"],
    "evaluate odinw": [
        "--root", "{place}/sets", "--head", "{place}/run", "--workers", "1", "--out", "out",
    ],
    "evaluate predict": [
        "{place}/world/train/000001.png", "--head", "{place}/run", "--names", "a,b", "--out", "out",
        "--box", "1,1,40,40",
    ],
    "evaluate report": [
        "{place}/results", "--annotations", _TRAIN, "--images", "{place}/world/train",
        "--out", "out.html",
    ],
    "evaluate score": ["--annotations", _TRAIN, "--detections", _FOUND],
    "evaluate compare": ["{place}/results", "--annotations", _TRAIN, "--bootstrap", "5"],
    "evaluate tune": ["--cache", "{place}/store.zarr", "--head", "{place}/run"],
    "bench cache": ["--quick", "--dir", "."],
    "bench extract": ["--quick", "--dir", "."],
    "bench train": ["--quick", "--dir", "."],
    "bench score": ["--quick", "--dir", "."],
    "bench app": ["--quick", "--dir", "."],
}  # fmt: skip
"""What each command is given where nothing is wrong."""
LONG = ("demo", "app", "bench")
"""Their work is long where nothing is wrong, or has no end: they are ended, as they may be, after a
second."""


def run_case(rng: random.Random, number: int, place: Place, folder: Path) -> list[str]:
    """Give a command a wrong value, or two."""
    commands = command_tree()
    name = list(commands)[number % len(commands)]
    work = folder / "work"
    work.mkdir()
    (folder / "outside.txt").write_text("nobody gave this to a command\n")
    (work / "kept.txt").write_text("a file of the user's\n")
    (work / "kept").mkdir()
    (work / "kept" / "too.txt").write_text("another\n")
    (work / "loop").symlink_to("loop")
    os.mkfifo(work / "pipe")
    words = [*name.split(), *GOOD.get(name, [])]
    given: list[str] = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        words = _with_wrong_value(rng, words, len(name.split()), commands[name], given)
    words = place.words(words)
    before = contents(folder)
    long = name.startswith(LONG)
    limit = {"cpu_seconds": 3} if long else {}
    ended = place.forks.command(*words, cwd=work, writes=folder, **limit)
    wrong = problems(ended, given=words, may_be_cut=long)
    wrong += changes(before, contents(folder), allowed=_given(words, folder, ended.code, long))
    return [say(words), *wrong] if wrong else []


def command_tree() -> dict[str, list[Any]]:
    """The parameters of every command, by the command's words."""
    found: dict[str, list[Any]] = {}

    def walk(command: Any, path: tuple[str, ...]) -> None:
        for name, each in getattr(command, "commands", {}).items():
            walk(each, (*path, name))
        if not hasattr(command, "commands"):
            found[" ".join(path)] = list(command.params)

    walk(typer.main.get_command(regionspot.cli.app), ())
    return found


def _with_wrong_value(
    rng: random.Random, words: list[str], fixed: int, params: list[Any], given: list[str]
) -> list[str]:
    """The words with one parameter's value replaced, or added."""
    param = rng.choice([each for each in params if not NEVER & {*each.opts}])
    option = param.opts[0]
    if param.param_type_name == "argument":
        if option in given:
            return words
        given.append(option)
        value = rng.choice(PATHS)
        return [*words[:fixed], *([value] if not value.startswith("-") else ["--", value]),
                *words[fixed + 1 :]]  # fmt: skip
    if getattr(param, "is_flag", False):
        return [*words, rng.choice(param.opts)]
    values = PATHS if _takes_path(param) else NUMBERS if _takes_number(param) else WORDS
    value = rng.choice(rng.choice((values, values, values, PATHS, NUMBERS, WORDS)))
    if option in UNREACHABLE and not value.startswith("-"):
        value = rng.choice(("", "-1", "0", "nan", "x", ESCAPES, "d\udcff", "9" * 5_000))
    kept = list(words)
    if not param.multiple or rng.random() < 0.5:
        while option in kept[fixed:] and not (option == "--set" and rng.random() < 0.9):
            at = kept.index(option, fixed)
            del kept[at : at + 2]
    return [*kept, f"{option}={value}"] if rng.random() < 0.3 else [*kept, option, value]


def _takes_path(param: Any) -> bool:
    words = ("DIR", "FILE", "STORE", "RUN", "HEAD", "SWEEP", "IMAGE")
    return any(word in (param.metavar or "") for word in words)


def _takes_number(param: Any) -> bool:
    return (param.metavar or "N") in ("N", "X", "P", "I/N")


def _given(words: list[str], folder: Path, code: int, long: bool) -> set[str]:
    """What a command may make: what it was given to write to, if it was not refused."""
    if code == 2 and not long:
        return set()
    aims = {"work/out*"}
    for value in {*words, *(word.split("=", 1)[-1] for word in words)}:
        path = Path(os.path.normpath(folder / "work" / value))
        for aim in (path, *path.parents):
            if folder / "work" in aim.parents:
                name = aim.relative_to(folder).as_posix()
                aims |= {name, f"{name}.run"}  # beside it: how far a list of boxes has come
        if value and path == folder / "work":  # results may lie among the user's files
            aims |= {"work/*.json", "work/*.json.gz"}
    if "evaluate predict" in " ".join(words) and "--out" not in words:
        aims.add("work")
    return aims if not long else {*aims, "work"}
