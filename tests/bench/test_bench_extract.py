"""`bench extract`: what it derives from its measurements, and that a wrong fast path fails it."""

import json
import time
from dataclasses import replace
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from regionspot_bench.benchmark import run_benchmark
from regionspot_bench.extract.config import CPU, SHAPES, ExtractBenchConfig
from regionspot_bench.extract.contents import write_contents
from regionspot_bench.extract.loops import ImageFeatures, Loop, Models
from regionspot_bench.extract.matrix_rate import matrix_rate
from regionspot_bench.extract.ours import Ours, agreement, backbones_of
from regionspot_bench.extract.report import ExtractBenchReport, ShapeFigures
from regionspot_bench.extract.run import measure
from regionspot_core.backbones.runtime import Runtime
from regionspot_extract.encoding import stages
from regionspot_extract.encoding.stages import StageClock, no_clock

FIGURES = ShapeFigures(
    shape=SHAPES["B/16"],
    regions=10,
    loop_seconds=14.0,
    autocast_loop_seconds=6.0,
    seconds=4.0,
    stages={
        stages.READ: 0.1,
        stages.EMBED: 3.0,
        stages.DECODE: 0.6,
        stages.CLIP: 0.2,
        stages.TRANSFER: 0.01,
        stages.WRITE: 0.02,
    },
    agreement=0.9999,
    embedding_seconds={"none": 3.8, "crop": 5.0},
    peak_bytes=3 * 2**30,
    device_peak_bytes=None,
)


def make_report(device_type: str = "cpu", **changes: Any) -> ExtractBenchReport:
    return ExtractBenchReport(
        device="a device",
        device_type=device_type,
        precision="bfloat16",
        threads=2,
        sizes=CPU,
        shapes=(replace(FIGURES, **changes), replace(FIGURES, regions=50)),
        matrix_rate=1e12,
        quick=False,
    )


def test_figures_are_ratios_of_what_was_measured() -> None:
    report = make_report()
    found = report.to_json()
    assert found["speedup_vs_loop"] == 3.5
    assert found["speedup_vs_autocast_loop"] == 1.5
    assert found["busy_share"] == pytest.approx(3.8 / 4)
    assert found["embedding_cost"] == pytest.approx(4 / 3.8)
    # 486 and 17.6 GMAC an image, two operations each, in four seconds.
    assert found["matrix_share"] == pytest.approx(2 * 503.6e9 / 4 / 1e12)
    assert FIGURES.hours == pytest.approx(3e6 * 4 / 3600)
    assert len(found["shapes"]) == 2
    json.dumps(found)


@pytest.mark.parametrize(
    ("device", "changes", "met"),
    [
        ("cpu", {}, True),
        ("cpu", {"loop_seconds": 9.9}, False),
        ("cpu", {"agreement": 0.998}, False),
        ("cpu", {"embedding_seconds": {"none": 3.63}}, False),
        ("mps", {"loop_seconds": 4.0}, True),
        ("cuda", {"loop_seconds": 25.0, "seconds": 4.0}, True),
        ("cuda", {"loop_seconds": 23.0, "seconds": 4.0}, False),
        ("cuda", {"loop_seconds": 99.0, "seconds": 4.01}, False),
    ],
)
def test_what_is_required(device: str, changes: dict[str, float], met: bool) -> None:
    report = replace(make_report(device, **changes), matrix_rate=5e11)
    assert report.all_met is met


def test_a_gpu_must_reach_its_matrix_rate() -> None:
    fast = make_report("cuda", loop_seconds=99.0)
    assert not fast.all_met  # 25 % of it
    assert replace(fast, matrix_rate=5e11).all_met


def test_tables_fit_80_columns() -> None:
    out = StringIO()
    console = Console(file=out, width=80)
    for table in make_report(loop_seconds=13.987).tables():
        console.print(table)
    said = out.getvalue()
    assert "…" not in said
    assert "not measured on a GPU" in said
    assert max(map(len, said.splitlines())) <= 80


def test_a_wrong_fast_path_is_seen(tmp_path: Path) -> None:
    """One token of a region, and one of an image, turned or never written: below the bound."""
    contents = write_contents(tmp_path / "data", images=2, regions=3)
    models, runtime = Models.build(SHAPES["tiny"], torch.device("cpu")), Runtime.create("cpu")
    loop = Loop(models, runtime.device, "float32")
    expected = [loop.features(contents.path(n), contents.boxes[n]) for n in range(2)]
    config = ExtractBenchConfig(device="cpu", precision="float32")
    ours = Ours(config, backbones_of(models, SHAPES["tiny"], runtime), batch=2)
    ours.prepare(contents)
    ours.extract(contents, tmp_path / "s", no_clock)
    assert agreement(tmp_path / "s", expected) > 0.99999

    for name in ("image_tokens", "region_tokens"):
        values = getattr(expected[1], name).copy()
        rows = values.reshape(-1, values.shape[-1])
        for row in (np.roll(rows[5], 1), np.zeros_like(rows[5]), np.full_like(rows[5], np.nan)):
            rows[5] = row
            wrong: ImageFeatures = replace(expected[1], **{name: values})
            assert agreement(tmp_path / "s", [expected[0], wrong]) < 0.999


def test_the_whole_benchmark_on_the_tiny_models(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    config = ExtractBenchConfig(
        shape="tiny", device="cpu", precision="float32", images=2, quick=True, json_file=file
    )
    report = run_benchmark(config, measure)
    found = json.loads(file.read_text())
    assert found == json.loads(json.dumps(report.to_json()))
    assert found["agreement"] > 0.99999
    assert 0 < found["busy_share"] < 1
    assert found["embedding_cost"] > 0
    (only,) = found["shapes"]
    assert (only["shape"], only["regions"]) == ("tiny", 10)
    assert all(only["stage_seconds_per_image"][stage] > 0 for stage in stages.STAGES)


def test_a_stages_seconds_add_up() -> None:
    times = iter([0.0, 1.0, 5.0, 7.5, 8.0, 8.25])
    clock = StageClock(torch.device("cpu"), now=lambda: next(times))
    for stage in (stages.READ, stages.EMBED, stages.READ):
        with clock(stage):
            pass
    found = clock.seconds()
    assert found[stages.READ] == 1.25
    assert found[stages.EMBED] == 2.5
    assert found[stages.WRITE] == 0
    assert tuple(found) == stages.STAGES


def test_the_matrix_rate_counts_two_operations_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count(step=0.5)
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    assert matrix_rate(torch.device("cpu"), "float32", side=10) == 2 * 10**3 / 0.5
