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
from regionspot_core.support.files import require_empty_folder, write_json
from regionspot_core.support.tables import format_bytes, show, show_unbroken
from regionspot_core.tiny.world import write_world
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.recognition.choose_backbones import backbones_of_head
from regionspot_evaluate.reports.printing import evaluation_output
from regionspot_evaluate.run import run_evaluation
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
    settings: tuple[str, ...] = ()
    """Settings of training that differ from the recipe's."""


SHOWN_BASELINES = ("clip-crop", "clip-masked-crop", "clip-pool")
"""CLIP alone, as the tables show it beside the head."""
FULL = DemoSize(train_scenes=3_000, val_scenes=600, steps=2_000)
QUICK = DemoSize(
    train_scenes=1_600,
    val_scenes=120,
    steps=500,
    # In so few steps the recipe's head learns less than CLIP knows of crops. One that is told where
    # regions are, and sees all of SAM's tokens, is past that (benchmarks/LOG.md, 2026-11-28).
    settings=("head.box_geometry=true", "head.image_positions=sincos", "head.region_tokens=all"),
)


def run_demo(out: Path, *, seed: int = 0, size: DemoSize = FULL) -> None:
    """Run world, extract, train and evaluate into the new folder ``out``; print the figures.

    Raises:
        InputError: ``out`` is not empty.
    """
    require_empty_folder(out)
    world, store, run, results = (out / name for name in ("world", "store.zarr", "run", "results"))
    clock = _Clock()
    with clock("world"):
        write_world(world, train_scenes=size.train_scenes, val_scenes=size.val_scenes, seed=seed)
    with clock("extract"):
        run_extraction(
            ExtractConfig(images=world / "train", annotations=world / "train.json", out=store)
        )
    with clock("train"):
        run_training(
            TrainConfig.load(
                recipe_or_file("demo"), [f"seed={seed}", f"steps={size.steps}", *size.settings]
            ),
            store=store,
            out=run,
        )
    with clock("evaluate"):
        models = backbones_of_head(run, {}, sam=None, clip=None)
        report = run_evaluation(
            EvaluateConfig(
                images=world / "val",
                annotations=world / "val.json",
                heads=(run,),
                out=results,
                baseline=SHOWN_BASELINES,
                protocol=("lvis", "lvis-fixed"),
                backbones=BackboneConfig.parse(models, source="regionspot demo"),
            )
        )
    metrics = {
        **report.to_json(),
        "seconds": clock.seconds,
        "bytes": {p.name: _bytes_below(p) for p in (world, store, run, results)},
        "seed": seed,
        "quick": size != FULL,
    }
    write_json(out / "metrics.json", metrics)
    (results / "predictions.png").replace(out / "predictions.png")
    show(
        "",
        *evaluation_output({"head": report}),
        "",
        _costs(metrics),
        "",
    )
    show_unbroken(next_steps(out, quick=size != FULL))


class _Clock:
    """Seconds of each stage, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - began, 2)


def _bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _costs(metrics: dict[str, Any]) -> Table:
    made = dict(zip(metrics["seconds"], metrics["bytes"], strict=True))
    table = Table(title="Cost", box=None)
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("wrote")
    table.add_column("bytes", justify="right")
    for stage, seconds in metrics["seconds"].items():
        name = made[stage]
        table.add_row(stage, f"{seconds:.1f}", name, format_bytes(metrics["bytes"][name]))
    table.add_row("all", f"{sum(metrics['seconds'].values()):.1f}", "", "")
    return table


def next_steps(out: Path, *, quick: bool) -> str:
    """Return what to look at, and commands to paste into the shell that the demo was run in."""
    world = out / "world"
    fit = (
        "regionspot train fit --config demo",
        "--set steps=400 --set head.box_geometry=true",
        "--set head.image_positions=sincos",
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
        lines.append("This was --quick: fewer scenes, and a head with options that learns faster.")
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
