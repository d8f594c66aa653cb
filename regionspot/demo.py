"""`regionspot demo`: the embedded world through the three stages, as the commands run them."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from regionspot_core.backbones.loading import BackboneConfig
from regionspot_core.cache.layout.keep import Keep
from regionspot_core.support.files import require_empty_folder, write_json
from regionspot_core.support.tables import format_bytes, show, show_unbroken
from regionspot_core.tiny.world import write_world
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.recognition.choose_backbones import backbones_of_head
from regionspot_evaluate.reports.printing import evaluation_output
from regionspot_evaluate.run import run_evaluations
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.run import run_training


@dataclass(frozen=True)
class DemoSize:
    """Size of the tiny world and of its training."""

    train_scenes: int
    val_scenes: int
    steps: int
    """Steps of our own recipe's head."""
    paper_steps: int
    """Steps of the paper's head, which learns more slowly."""


SHOWN_BASELINES = ("clip-crop", "clip-masked-crop", "clip-pool")
"""CLIP alone, as the tables show it beside the heads."""
FULL = DemoSize(train_scenes=3_000, val_scenes=600, steps=600, paper_steps=2_000)
QUICK = DemoSize(train_scenes=1_600, val_scenes=120, steps=300, paper_steps=500)


def run_demo(out: Path, *, seed: int = 0, size: DemoSize = FULL) -> None:
    """Run world, extract, train and evaluate into the new folder ``out``; print the figures.

    Raises:
        InputError: ``out`` is not empty.
    """
    require_empty_folder(out)
    made = ("world", "store.zarr", "run", "paper", "results")
    world, store, run, paper, results = (out / name for name in made)
    clock = _Clock()
    with clock("world", world):
        write_world(world, train_scenes=size.train_scenes, val_scenes=size.val_scenes, seed=seed)
    with clock("extract", store):
        run_extraction(
            ExtractConfig(
                images=world / "train",
                annotations=world / "train.json",
                out=store,
                keep=Keep(region_masks=True),
            )
        )
    with clock("train", run):
        _train("mask-demo", store, run, steps=size.steps, seed=seed)
    with clock("train paper", paper):
        _train("demo", store, paper, steps=size.paper_steps, seed=seed)
    with clock("evaluate", results):
        models = backbones_of_head(run, {}, sam=None, clip=None)
        reports = run_evaluations(
            EvaluateConfig(
                images=world / "val",
                annotations=world / "val.json",
                heads=(run, paper),
                out=results,
                baseline=SHOWN_BASELINES,
                protocol=("lvis", "lvis-fixed"),
                backbones=BackboneConfig.parse(models, source="regionspot demo"),
            )
        )
    of_paper = reports["paper"].to_json()
    metrics = {
        **reports["run"].to_json(),
        "paper_head": {key: of_paper[key] for key in ("scores", "training_groups", "naming")},
        **clock.to_json(),
        "seed": seed,
        "quick": size != FULL,
    }
    write_json(out / "metrics.json", metrics)
    (results / "run" / "predictions.png").replace(out / "predictions.png")
    show("", *evaluation_output(reports), "", clock.table(), "")
    show_unbroken(next_steps(out, quick=size != FULL))


def _train(recipe: str, store: Path, out: Path, *, steps: int, seed: int) -> None:
    config = TrainConfig.load(recipe_or_file(recipe), [f"seed={seed}", f"steps={steps}"])
    run_training(config, store=store, out=out)


@dataclass(frozen=True)
class _Stage:
    seconds: float
    wrote: str
    bytes: int


class _Clock:
    """Cost of each stage, by name."""

    def __init__(self) -> None:
        self._stages: dict[str, _Stage] = {}

    @contextmanager
    def __call__(self, stage: str, folder: Path) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds = round(time.perf_counter() - began, 2)
        written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        self._stages[stage] = _Stage(seconds, folder.name, written)

    def to_json(self) -> dict[str, Any]:
        """Return seconds by stage and bytes by folder."""
        return {
            "seconds": {name: stage.seconds for name, stage in self._stages.items()},
            "bytes": {stage.wrote: stage.bytes for stage in self._stages.values()},
        }

    def table(self) -> Table:
        """Return a table with a row a stage."""
        table = Table(title="Cost", box=None)
        table.add_column("stage")
        table.add_column("seconds", justify="right")
        table.add_column("wrote")
        table.add_column("bytes", justify="right")
        for name, stage in self._stages.items():
            table.add_row(name, f"{stage.seconds:.1f}", stage.wrote, format_bytes(stage.bytes))
        total = sum(stage.seconds for stage in self._stages.values())
        table.add_row("all", f"{total:.1f}", "", "")
        return table


def next_steps(out: Path, *, quick: bool) -> str:
    """Return what to look at, and commands to paste into the shell that the demo was run in."""
    world = out / "world"
    fit = (
        "regionspot train fit --config mask-demo",
        "--set steps=300 --set head.layers=2",
        _shell("--cache", out / "store.zarr"),
        _shell("--out", out / "head2"),
    )
    evaluate = (
        "regionspot evaluate run",
        _shell("--images", world / "val"),
        _shell("--annotations", world / "val.json"),
        _shell("--head", out / "head2"),
        _shell("--out", out / "scores2"),
    )
    predict = (
        "regionspot evaluate predict",
        _shell(world / "val" / "000004.png"),
        "--names 'solid lime square,striped teal circle,dotted red star'",
        "--iou-threshold 0.7",
        _shell("--head", out / "run"),
        _shell("--out", out),
    )
    lines = [f"Look at {out / 'predictions.png'} and {out / 'run' / 'report.html'}."]
    if quick:
        lines.append("This was --quick: fewer scenes and steps, too few for the paper's head.")
    activate = _activation()
    if activate is not None:
        lines += ["", "First let this shell find `regionspot`:", _command([activate])]
    lines += [
        "",
        "Next, train another head on the same store, without the models:",
        _command(fit),
        _command(evaluate),
        "or look at one image, in whatever words you like:",
        _command(predict),
    ]
    return "\n".join(lines)


def _activation() -> str | None:
    """Return the command that puts this environment's `regionspot` on the PATH; None if it is."""
    scripts = Path(sys.prefix, "bin")
    found = shutil.which("regionspot")
    if found is not None and Path(found).resolve() == (scripts / "regionspot").resolve():
        return None
    script = scripts / "activate"
    if not script.is_file():
        return None
    here = Path.cwd()
    return f". {_shell(script.relative_to(here) if script.is_relative_to(here) else script)}"


def _shell(*words: str | Path) -> str:
    return shlex.join(map(str, words))


def _command(parts: Sequence[str], *, width: int = 78) -> str:
    """Return a command as lines of a shell; a part is never divided."""
    lines = [f"  {parts[0]}"]
    for part in parts[1:]:
        if len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(f"    {part}")
    return " \\\n".join(lines)
