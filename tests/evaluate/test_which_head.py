"""Of a validated run's two heads, an evaluation says which one is used and how the other is."""

from pathlib import Path

import pytest
import torch

from regionspot_core.errors import CheckpointError
from regionspot_core.heads.checkpoint import HeadRecord, read_record, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_evaluate.recognition.which_head import say_which_heads


def save(folder: Path, step: int) -> None:
    torch.manual_seed(0)
    head = FusionHead(FusionConfig(region_width=8, image_width=8, text_width=8, layers=1, heads=2))
    save_head(folder, head, HeadRecord(head.config, {}, {"step": step}))


def test_either_head_names_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    save(run, 1_200)
    save(run / "best", 800)
    say_which_heads([run, run / "best"])
    assert capsys.readouterr().err.splitlines() == [
        f"{run}: the head of the last step, 1,200; the best validated one, of step 800, is --head "
        f"{run}/best",
        f"{run}/best: the best validated head, of step 800; that of the last step, 1,200, is "
        f"--head {run}",
    ]


@pytest.mark.parametrize("best", [None, 1_200])
def test_nothing_is_said_where_there_is_one_head(
    best: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "run", 1_200)
    if best is not None:
        save(tmp_path / "run" / "best", best)
    say_which_heads([tmp_path / "run"])
    assert not capsys.readouterr().err


def test_a_sweep_is_told_where_its_head_is(tmp_path: Path) -> None:
    save(tmp_path / "sweep" / "best", 7)
    with pytest.raises(CheckpointError, match=r"found none; its best head so far is .*sweep/best"):
        read_record(tmp_path / "sweep")
