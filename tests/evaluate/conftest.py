"""A small evaluation, made once for all files here that only read it."""

from pathlib import Path

import pytest
from small_evaluation import config, write_place

from regionspot_core.backbones.loading import Backbones
from regionspot_evaluate.reports.printing import EvaluationReport
from regionspot_evaluate.run import run_evaluation


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, backbones: Backbones) -> Path:
    """A small world and two heads; no test changes it."""
    return write_place(tmp_path_factory.mktemp("place"), backbones)


@pytest.fixture(scope="session")
def evaluated(
    place: Path, backbones: Backbones, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, EvaluationReport]:
    """The first head and every baseline, evaluated in one go; no test changes the folder."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    return out, run_evaluation(config(place, out), backbones=backbones)
