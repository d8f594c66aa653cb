"""Report of `regionspot bench train`, as JSON and as tables."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from rich.table import Table

from regionspot_bench.benchmark import Benchmark
from regionspot_bench.measure import Requirement, at_least, at_most
from regionspot_bench.train.config import CLASSES, CLIPS, REGIONS
from regionspot_bench.train.memory import TIMES, MemoryFigures
from regionspot_bench.train.online import CACHED, ONLINE, StepTimes
from regionspot_bench.train.sweep import HEADS, SweepFigures
from regionspot_core.support.tables import counted, facts_table, format_bytes, format_seconds
from regionspot_train.record.meter import LogLine

Figures = dict[str, float]


@dataclass(frozen=True)
class ClipReport:
    """The figures of one CLIP's tokens."""

    name: str
    steps: StepTimes
    training: LogLine

    def figures(self) -> Figures:
        """Return all figures by flat keys."""
        times = self.steps.times
        return {
            "cached_vs_online": self.steps.ratio,
            "cached_step_seconds": times.median(CACHED),
            "online_step_seconds": times.median(ONLINE),
            "rounds": len(times.seconds[ONLINE]),
            "batch_images": self.steps.batch_images,
            "data_wait_share": self.training.waiting_share,
            "data_wait_steps": self.training.step,
            "regions_per_second": self.training.regions_per_second,
        }

    def requirements(self) -> list[Requirement]:
        """Return the bounds that it must keep."""
        return [
            at_least(
                f"{self.name}: cached step, × CLIP online",
                self.steps.ratio,
                CLIPS[self.name].required,
            ),
            at_most(
                f"{self.name}: waiting for data, share",
                self.training.waiting_share,
                0.05,
            ),
        ]

    def facts(self) -> dict[str, str]:
        """Return the figures for people."""
        times, count = self.steps.times, self.steps.batch_images
        cached, online = times.median(CACHED), times.median(ONLINE)
        return {
            "step, cached": f"{cached:.3g} s, {count / cached:.3g} images/s",
            "step, CLIP online": f"{online:.3g} s, {count / online:.3g} images/s",
            "in training": f"{self.training.regions_per_second:,.0f} regions/s, "
            f"{self.training.waiting_share:.1%} waiting, {self.training.step} steps",
        }


@dataclass(frozen=True, kw_only=True)
class TrainBenchReport(Benchmark):
    """The figures of a whole run."""

    clips: tuple[ClipReport, ...]
    memory: MemoryFigures
    sweep: SweepFigures
    precision: str
    threads: int
    quick: bool

    @property
    def requirements(self) -> list[Requirement]:
        """All bounds, in the order they are shown."""
        rows = [row for each in self.clips for row in each.requirements()]
        return [
            *rows,
            at_most(
                f"peak memory, store of {TIMES} × the images",
                self.memory.ratio,
                1.1,
                note="not comparable: files are mapped",
            ),
            at_most(
                f"sweep of {HEADS}, × {HEADS} runs, slow disk",
                self.sweep.ratio,
                0.15,
            ),
            at_least(
                "… one run waiting for it, share",
                self.sweep.waiting,
                0.9,
            ),
        ]

    @property
    def figures(self) -> dict[str, object]:
        """All figures by flat keys; keys of a second CLIP end in its name."""
        memory, sweep = self.memory, self.sweep
        values: dict[str, object] = {
            "torch": torch.__version__,
            "shape": self.clips[0].name,
            "precision": self.precision,
            "threads": self.threads,
            "regions": REGIONS,
            "classes": CLASSES,
        }
        for number, clip in enumerate(self.clips):
            behind = f"_{clip.name}" if number else ""
            values |= {f"{key}{behind}": value for key, value in clip.figures().items()}
        for times, peak in (("1x", memory.small), ("10x", memory.large)):
            values[f"memory_images_{times}"] = peak.images
            values[f"memory_data_bytes_{times}"] = peak.data_bytes
            values[f"memory_peak_bytes_{times}"] = peak.peak_bytes
        return values | {
            "memory_10x_vs_1x": memory.ratio,
            "sweep16_vs_16_runs": sweep.ratio,
            "sweep16_uncapped_vs_16_runs": sweep.free_ratio,
            "sweep_single_waiting_share": sweep.waiting,
            "sweep_steps": sweep.steps,
            "sweep_batch_images": sweep.batch_images,
            "sweep_bytes_per_second": sweep.bytes_per_second,
            "sweep_single_seconds": sweep.seconds("single"),
            "sweep16_seconds": sweep.seconds("sweep"),
            "sweep_single_uncapped_seconds": sweep.seconds("free_single"),
            "sweep16_uncapped_seconds": sweep.seconds("free_sweep"),
        }

    def figure_tables(self) -> list[Table]:
        """Return the figures for people, at 80 columns."""
        behind = f"{self.precision}, {counted(self.threads, 'thread')}"
        tables = [
            facts_table(f"{each.name}, {behind}", each.facts() | {"a step": _step_words(each)})
            for each in self.clips
        ]
        return [
            *tables,
            facts_table("Memory of a training process", self._memory_facts()),
            facts_table(
                f"A sweep of {HEADS} demo-size heads, {self.sweep.steps} batches of "
                f"{self.sweep.batch_images}",
                self._sweep_facts(),
            ),
        ]

    def _memory_facts(self) -> dict[str, str]:
        return {
            f"{peak.images:,} images": f"{format_bytes(peak.peak_bytes)} at its peak, "
            f"{format_bytes(peak.data_bytes)} of tokens"
            for peak in (self.memory.small, self.memory.large)
        }

    def _sweep_facts(self) -> dict[str, str]:
        sweep = self.sweep

        def pair(single: str, many: str) -> str:
            return (
                f"{format_seconds(sweep.seconds(many))}, one run "
                f"{format_seconds(sweep.seconds(single))}"
            )

        return {
            f"at {format_bytes(sweep.bytes_per_second)}/s": pair("single", "sweep"),
            "from memory": f"{pair('free_single', 'free_sweep')}: {sweep.free_ratio:.2g} × "
            f"{HEADS} runs",
        }


def _step_words(clip: ClipReport) -> str:
    return f"{clip.steps.batch_images} images, {REGIONS} regions each, of {CLASSES} classes"
