"""`compile` makes kernels of the same head: the same losses, and the same names in its files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from regionspot_core.testing import make_cache
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.run import run_training

pytestmark = pytest.mark.slow

# Dropout draws other numbers in a compiled kernel.
TINY = ["steps=8", "batch_images=3", "log_every=1", "head.layers=1", "head.ffn_width=8",
        "head.heads=2", "head.dropout=0", "optimiser.lr=0.003", "checkpoint_every=4"]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "store"
    make_cache(path, [2, 3, 1, 2, 0, 4, 1])
    return path


def fit(store: Path, out: Path, *overrides: str) -> list[tuple[float, float]]:
    config = TrainConfig.load(recipe_or_file("demo"), [*TINY, *overrides])
    run_training(config, store=store, out=out, validate_on=store, pictured=False)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["loss"], line["gradient_norm"]) for line in lines]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_a_compiled_run_is_the_same_run(store: Path, tmp_path: Path) -> None:
    plain = fit(store, tmp_path / "plain")
    compiled = fit(store, tmp_path / "compiled", "compile=true")
    assert compiled == [pytest.approx(line, rel=1e-4) for line in plain]
    names = []
    for out in ("plain", "compiled"):
        for place in ("", "best", "checkpoints/step_0000004"):
            with safe_open(tmp_path / out / place / "head.safetensors", "pt") as file:
                names.append(set(file.keys()))
    assert all(each == names[0] for each in names)
    state = tmp_path / "compiled" / "checkpoints" / "step_0000004" / "state.pt"
    before = torch.load(state, weights_only=True)["learner"]["optimiser"]
    state = tmp_path / "plain" / "checkpoints" / "step_0000004" / "state.pt"
    assert before.keys() == torch.load(state, weights_only=True)["learner"]["optimiser"].keys()


def test_no_compiler_is_said_before_the_first_step(store: Path, tmp_path: Path) -> None:
    """In a process of its own: what was compiled here before would be found again."""
    (tmp_path / "nothing").mkdir()
    options = [word for each in [*TINY, "compile=true"] for word in ("--set", each)]
    command = [sys.executable, "-c", "import regionspot.cli; regionspot.cli.main()", "train", "fit",
               "--cache", str(store), "--out", str(tmp_path / "run"), "--config", "demo",
               *options]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PATH": str(tmp_path / "nothing"), "HOME": str(tmp_path), "TMPDIR": str(tmp_path),
             "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "compile=true: torch.compile cannot make kernels here" in done.stderr
    assert "install a C++ compiler (g++ or clang++), or set compile=false" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
