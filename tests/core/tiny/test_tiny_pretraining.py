"""Pretraining at a minuscule size: it resumes exactly, and its parts mean what they say."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from regionspot_core.tiny.models import GRID, PATCH_SIZE
from regionspot_core.tiny.names import CLASSES
from regionspot_core.tiny.pretraining import __main__ as program
from regionspot_core.tiny.pretraining import pretrain_clip as clip_recipe
from regionspot_core.tiny.pretraining import pretrain_sam as sam_recipe
from regionspot_core.tiny.pretraining.__main__ import pretrain_clip, pretrain_sam
from regionspot_core.tiny.pretraining.captions import PLACES, CaptionBank, place_index
from regionspot_core.tiny.pretraining.clip_batches import (
    NEGATIVE,
    POSITIVE,
    UNDECIDED,
    WINDOW,
    scene_batch,
    window_batch,
)
from regionspot_core.tiny.pretraining.pool import ScenePool, make_pool
from regionspot_core.tiny.pretraining.positions import sincos_positions
from regionspot_core.tiny.pretraining.pretrain_clip import multi_positive_loss
from regionspot_core.tiny.pretraining.training_loop import Schedule

pytestmark = pytest.mark.slow


class Pretraining(Protocol):
    def __call__(
        self, out: Path, *, steps: int, scenes: int, seed: int, stop_after: int | None = None
    ) -> None: ...


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in a fixed order, so that equal runs are equal to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pool() -> ScenePool:
    return make_pool(60, seed=5)


@pytest.mark.parametrize(("pretrain", "name"), [(pretrain_sam, "sam"), (pretrain_clip, "clip")])
def test_an_interrupted_run_ends_with_the_same_weights(
    pretrain: Pretraining, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "CaptionBank", cache(CaptionBank))
    monkeypatch.setattr(sam_recipe, "SCENES_PER_STEP", 2)
    monkeypatch.setattr(clip_recipe, "WINDOWS_PER_STEP", 6)
    monkeypatch.setattr(clip_recipe, "SCENES_PER_STEP", 10)
    monkeypatch.setattr(clip_recipe, "PLACED_BANK", 50)
    for folder in ("whole", "broken"):
        (tmp_path / folder).mkdir()
    pretrain(tmp_path / "whole", steps=4, scenes=40, seed=1)
    pretrain(tmp_path / "broken", steps=4, scenes=40, seed=1, stop_after=2)
    assert not (tmp_path / "broken" / f"{name}.safetensors").exists()
    pretrain(tmp_path / "broken", steps=4, scenes=40, seed=1)
    whole = load_file(tmp_path / "whole" / f"{name}.safetensors")
    broken = load_file(tmp_path / "broken" / f"{name}.safetensors")
    assert whole.keys() == broken.keys()
    for key, value in whole.items():
        assert torch.equal(value, broken[key]), key


def test_the_schedule_warms_up_and_ends_at_zero() -> None:
    schedule = Schedule(steps=1000, peak=1.0, warmup=100)
    assert schedule.rate(0) == pytest.approx(0.01, rel=1e-3)
    assert schedule.rate(100) == pytest.approx(1.0, rel=0.03)
    assert schedule.rate(999) < 1e-4


def test_a_pool_does_not_depend_on_its_size(pool: ScenePool) -> None:
    smaller = make_pool(10, seed=5)
    np.testing.assert_array_equal(smaller.images, pool.images[:10])
    np.testing.assert_array_equal(smaller.class_ids, pool.class_ids[:10])


def test_windows_show_their_own_cells_and_name_what_they_show(pool: ScenePool) -> None:
    batch = window_batch(pool, 50, np.random.default_rng(0))
    assert batch.images.shape == (50, 3, WINDOW, WINDOW)
    assert batch.cells.shape == (50, (WINDOW // PATCH_SIZE) ** 2)
    rows, columns = batch.cells // GRID, batch.cells % GRID
    assert (rows.amax(1) - rows.amin(1) == 5).all()
    assert (columns.amax(1) - columns.amin(1) == 5).all()
    assert (batch.names == POSITIVE).any(dim=1).float().mean() > 0.95
    of_class = batch.placed_names.view(50, len(CLASSES), len(PLACES))
    assert ((of_class == POSITIVE).any(dim=2) == (batch.names == POSITIVE)).all()


def test_whole_scenes_are_fully_named_and_crops_have_no_places(pool: ScenePool) -> None:
    batch = scene_batch(pool, 20, np.random.default_rng(0))
    assert batch.images.shape == (20, 3, 96, 96)
    assert (batch.names[:18] != UNDECIDED).all()
    assert (batch.placed_names[18:] == UNDECIDED).all()
    assert (batch.names == POSITIVE).any(dim=1).all()


def test_places_are_thirds_in_row_order() -> None:
    boxes = np.array([[0, 0, 10, 10], [40, 40, 56, 56], [80, 80, 96, 96], [60, 0, 96, 20]])
    named = [PLACES[index] for index in place_index(boxes.astype(np.float32))]
    assert named == ["top left", "centre", "bottom right", "top right"]


def test_the_loss_is_infonce_over_each_positive_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, generator=generator)
    truth = torch.randint(-1, 2, (4, 5), generator=generator, dtype=torch.int8)
    of_image, of_text = [], []
    for row, column in (truth == POSITIVE).nonzero().tolist():
        own = logits[row, column].exp()
        in_row = logits[row][truth[row] == NEGATIVE].exp().sum()
        in_column = logits[:, column][truth[:, column] == NEGATIVE].exp().sum()
        of_image.append(-(own / (own + in_row)).log())
        of_text.append(-(own / (own + in_column)).log())
    expected = (torch.stack(of_image).mean() + torch.stack(of_text).mean()) / 2
    torch.testing.assert_close(multi_positive_loss(logits, truth), expected)


def test_positions_tell_all_cells_apart() -> None:
    table = sincos_positions(128)
    assert table.shape == (GRID * GRID, 128)
    distances = torch.cdist(table, table) + torch.eye(GRID * GRID) * 1e3
    assert distances.min() > 1
