"""`regionspot bench`: cache, extract, train, score, app."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer

from regionspot_bench.app.config import AppBenchConfig
from regionspot_bench.benchmark import BenchConfig, run_benchmark
from regionspot_bench.cache.config import CacheBenchConfig
from regionspot_bench.extract.config import ExtractBenchConfig
from regionspot_bench.score.config import ScoreBenchConfig
from regionspot_bench.train.config import TrainBenchConfig
from regionspot_bench.workplace import require_places
from regionspot_core.support.commands import Commands
from regionspot_core.support.options import takes

app = Commands("Measure here what the project promises: ratios from one run, met or not.")
BENCHMARKS: dict[str, type[BenchConfig]] = {
    "cache": CacheBenchConfig,
    "extract": ExtractBenchConfig,
    "train": TrainBenchConfig,
    "score": ScoreBenchConfig,
    "app": AppBenchConfig,
}
"""Settings by the command's name; `measure` in the folder of that name does the work."""


def _command(name: str, settings: type[BenchConfig]) -> Callable[..., None]:
    @takes(settings)
    def command(values: dict[str, Any]) -> None:
        config = settings.parse(values, source=f"regionspot bench {name}")

        from regionspot_core.support.tables import show

        require_places(config.dir, config.json_file)  # before torch is imported
        report = run_benchmark(config, import_module(f"regionspot_bench.{name}.run").measure)
        show(*report.tables())
        if not report.all_met:
            raise typer.Exit(1)

    command.__doc__ = settings.__doc__
    return command


for name, settings in BENCHMARKS.items():
    app.add(_command(name, settings), name)
