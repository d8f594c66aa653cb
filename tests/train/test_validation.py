"""Validation while training: counted rightly, the best head kept, and it changes nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stepping import killed_at

from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import CacheError, ConfigError, FingerprintError
from regionspot_core.heads.cached import embed
from regionspot_core.heads.checkpoint import load_head, read_record
from regionspot_core.scoring.lvis import NamedBoxes, score_boxes
from regionspot_core.testing import MODEL, make_cache
from regionspot_train.config import TrainConfig, ValidationConfig, recipe_or_file
from regionspot_train.learning.validation import Accuracy, Validator, accuracy
from regionspot_train.run import TrainReport, run_training

SETTINGS = [
    "steps=40", "batch_images=4", "log_every=10", "head.ffn_width=32", "head.heads=2",
    "optimiser.lr=0.003", "optimiser.warmup_steps=5", "checkpoint_every=15", "validation.every=10",
]  # fmt: skip


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One to train on, and one to validate on, of other images."""
    folder = tmp_path_factory.mktemp("stores")
    make_cache(folder / "train", [2, 3, 1, 2, 0, 4])
    make_cache(folder / "val", [3, 0, 2, 20, 1, 1, 2], seed=7)
    return folder / "train", folder / "val"


def fit(
    stores: tuple[Path, Path], out: Path, *overrides: str, val: bool = True, resume: bool = False
) -> TrainReport:
    config = TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, *overrides])
    validate_on = stores[1] if val else None
    return run_training(
        config, store=stores[0], out=out, validate_on=validate_on, resume=resume, pictured=False
    )


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "validation.jsonl").read_text().splitlines()]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1),
    st.lists(st.sampled_from(["r", "c", "f", ""]), min_size=4, max_size=4),
)
def test_accuracy_equals_the_naive_count(
    pairs: list[tuple[int, int]], frequencies: list[str]
) -> None:
    said, true = np.array(pairs, dtype=np.int64).T
    held_out = np.array([False, True, False, True])
    found = accuracy(5, said, true, tuple(frequencies), held_out)
    assert found.top1 == pytest.approx(sum(s == t for s, t in pairs) / len(pairs))
    shares = []
    for k in {t for _, t in pairs}:
        mine = [s == t for s, t in pairs if t == k]
        shares.append(sum(mine) / len(mine))
    assert found.class_mean == pytest.approx(sum(shares) / len(shares))
    for letter, name in (("f", "frequent"), ("c", "common"), ("r", "rare")):
        mine = [s == t for s, t in pairs if frequencies[t] == letter]
        assert (name in found.by_frequency) == bool(mine)
        if mine:
            assert found.by_frequency[name] == pytest.approx(sum(mine) / len(mine))
    mine = [s == t for s, t in pairs if held_out[t]]
    assert found.held_out == (pytest.approx(sum(mine) / len(mine)) if mine else None)


def test_the_figures_are_those_of_the_head(stores: tuple[Path, Path], tmp_path: Path) -> None:
    """The last line equals naming every region of the cache, one image at a time."""
    report = fit(stores, tmp_path / "run")
    assert [line["step"] for line in lines(tmp_path / "run")] == [10, 20, 30, 40]
    cache, head = FeatureCache(stores[1]), load_head(tmp_path / "run")
    bank, right = cache.class_bank(), []
    for index in range(len(cache)):
        batch = cache.read([index])
        with torch.no_grad():
            embedded = head(
                batch.region_tokens[:, :, cache.plan.paper_token].float(),
                batch.image_tokens.float(),
                batch.mask,
            )
        said = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale).argmax(-1)
        right += (said == batch.classes)[batch.mask].tolist()
    assert len(right) == 29
    assert lines(tmp_path / "run")[-1]["top1"] == pytest.approx(sum(right) / len(right))
    assert report.best is not None
    assert report.best.top1 == max(line["top1"] for line in lines(tmp_path / "run"))
    assert read_record(tmp_path / "run" / "best").training["step"] == report.best.step


def federated(folder: Path) -> tuple[Path, Path]:
    make_cache(folder / "train", [2, 3, 1, 2, 0, 4], federated=True)
    make_cache(folder / "val", [3, 0, 2, 20, 1, 1, 2], seed=7, federated=True)
    return folder / "train", folder / "val"


def naive_precision(run: Path, store: Path) -> dict[str, float | None]:
    """Of the finished head, one image at a time and every pair sorted."""
    cache, head = FeatureCache(store), load_head(run)
    bank, images, rows, truth = cache.class_bank(), [], [], []
    for index in range(len(cache)):
        batch = cache.read([index])
        with torch.no_grad():
            embedded, mask = embed(head, batch, cache.plan.keep.sam_tokens, torch.device("cpu"))
            logits = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)
        boxes = batch.boxes[mask].tolist()
        truth += [
            (index, box, k) for box, k in zip(boxes, batch.classes[mask].tolist(), strict=True)
        ]
        pairs = [
            (-p, index, box, k)
            for box, row in zip(boxes, logits[mask].softmax(-1).tolist(), strict=True)
            for k, p in enumerate(row)
        ]
        rows += sorted(pairs)[:300]
        images.append(index)
    return score_boxes(
        NamedBoxes(*(np.array(column) for column in zip(*truth, strict=True))),
        NamedBoxes(*(np.array(column) for column in zip(*(r[1:] for r in rows), strict=True))),
        np.array([-row[0] for row in rows]),
        images=len(cache),
        vocabulary=cache.vocabulary,
        negative=cache.negative,
        not_exhaustive=cache.not_exhaustive,
    ).values


def test_average_precision_is_that_of_the_head(tmp_path: Path) -> None:
    """Images without regions change nothing, and the last line is the finished head's."""
    stores = federated(tmp_path)
    report = fit(stores, tmp_path / "run", "validation.ap=true", "validation.best_by=ap")
    found, expected = lines(tmp_path / "run")[-1], naive_precision(tmp_path / "run", stores[1])
    for ours, name in (("ap", "AP"), ("ap_r", "APr"), ("ap_c", "APc"), ("ap_f", "APf")):
        assert expected[name] is not None
        assert found[ours] == pytest.approx(expected[name], rel=1e-9), name
    each = [line["ap"] for line in lines(tmp_path / "run")]
    assert report.best is not None
    assert report.best.ap == max(each)
    assert read_record(tmp_path / "run" / "best").training["step"] == 10 * (1 + np.argmax(each))
    again = fit(
        stores, tmp_path / "run", "validation.ap=true", "validation.best_by=ap", resume=True
    )
    assert again.best == report.best


def test_average_precision_of_a_store_that_is_not_lvis_s(
    stores: tuple[Path, Path], tmp_path: Path
) -> None:
    """No frequencies: the mean over all classes alone; no negative classes: all of them count."""
    fit(stores, tmp_path / "run", "validation.ap=true")
    for line in lines(tmp_path / "run"):
        assert line.keys() == {"step", "top1", "class_mean", "by_frequency", "ap"}
    expected = naive_precision(tmp_path / "run", stores[1])
    assert lines(tmp_path / "run")[-1]["ap"] == pytest.approx(expected["AP"], rel=1e-9)


def test_the_best_by_a_figure_that_is_not_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"best_by=ap .* set validation\.ap=true"):
        TrainConfig.load(recipe_or_file("demo"), ["validation.best_by=ap"])


def test_validating_changes_no_weight(stores: tuple[Path, Path], tmp_path: Path) -> None:
    fit(stores, tmp_path / "with", "head.dropout=0.2", "validation.ap=true")
    fit(stores, tmp_path / "without", "head.dropout=0.2", val=False)
    both = [(tmp_path / name / "head.safetensors").read_bytes() for name in ("with", "without")]
    assert both[0] == both[1]
    assert not (tmp_path / "without" / "best").exists()


@pytest.mark.parametrize(
    ("patience", "figures", "best", "lost"),
    [
        (1, [0.1, 0.3, 0.2], 2, True),
        (2, [0.1, 0.3, 0.2, 0.35, 0.2, 0.35], 4, True),
        (2, [0.1, 0.3, 0.3, 0.4, 0.5, 0.2, 0.6, 0.7, 0.6, 0.8], 10, False),
        (None, [0.3, *[0.1] * 50], 1, False),
    ],
)
def test_patience_is_lost_after_so_many_that_are_no_better(
    patience: int | None, figures: list[float], best: int, lost: bool
) -> None:
    validator = Validator(ValidationConfig(patience=patience))
    for number, figure in enumerate(figures, start=1):
        assert not validator.patience_is_lost
        better = figure > max([*figures[: number - 1], -1.0])
        assert validator.add(Accuracy(number, figure, figure)) == better
    assert validator.best == Accuracy(best, figures[best - 1], figures[best - 1])
    assert validator.patience_is_lost == lost


@pytest.mark.parametrize(("patience", "ends"), [(1, 20), (3, 40)])
def test_a_run_ends_when_patience_is_lost(
    stores: tuple[Path, Path], tmp_path: Path, patience: int, ends: int
) -> None:
    """At such a rate no weight changes by as much as float32 can tell, and the first head stays."""
    out, best = tmp_path / "run", 10
    options = ["steps=100", f"validation.patience={patience}", "optimiser.lr=1e-30"]
    report = fit(stores, out, *options)
    assert (report.steps, report.stopped) == (ends, None)
    assert report.best is not None
    assert report.best.step == best
    assert read_record(out / "best").training["step"] == best
    assert read_record(out).training["step"] == ends
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"] == ends
    again = fit(stores, out, *options, resume=True)
    assert (again.steps, again.resumed, again.stopped) == (ends, ends, None)


def test_a_resumed_run_validates_as_if_never_interrupted(
    stores: tuple[Path, Path], tmp_path: Path
) -> None:
    fit(stores, tmp_path / "whole")
    with killed_at("train step", 23):
        fit(stores, tmp_path / "run")
    assert [line["step"] for line in lines(tmp_path / "run")] == [10, 20]
    report = fit(stores, tmp_path / "run", resume=True)
    assert report.resumed == 15
    for name in ("validation.jsonl", "head.safetensors", "best/head.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_stores_that_cannot_be_validated_on(stores: tuple[Path, Path], tmp_path: Path) -> None:
    make_cache(tmp_path / "empty", [0, 0])
    with pytest.raises(CacheError, match="nothing to validate on"):
        fit((stores[0], tmp_path / "empty"), tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL, "weights", "1" * 64)
        make_cache(tmp_path / "other", [2])
    with pytest.raises(FingerprintError, match="made by other backbones than the training cache"):
        fit((stores[0], tmp_path / "other"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command(
    stores: tuple[Path, Path], regionspot: Callable[..., Any], tmp_path: Path
) -> None:
    options = [word for each in SETTINGS for word in ("--set", each)]
    done = regionspot(
        "train", "fit", "--cache", str(stores[0]), "--val", str(stores[1]), "--out", "run",
        "--config", "demo", *options, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "classes' mean" in " ".join(done.stdout.split())
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
