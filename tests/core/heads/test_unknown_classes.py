"""None of these: the area under the ROC curve, the threshold, and its file beside a head."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from regionspot_core.errors import CheckpointError
from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.heads.unknown_classes import (
    UnknownThreshold,
    auroc,
    best_threshold,
    known_scores,
    load_threshold,
    save_threshold,
)
from regionspot_core.support.checksums import FileSum
from regionspot_train.verify import verify_run

FOUND = UnknownThreshold(
    threshold=12.5,
    cache={"annotations_sha256": "0"},
    head=FileSum.of([b"weights"]),
    held_out_classes=HeldOutClasses(share=0.1, seed=0, names=("a",)),
    regions={"seen": 3, "held_out": 2},
    auroc=0.75,
    known_kept=0.9,
    unknown_refused=0.8,
)


def make_head(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    widths = {"region_width": 8, "image_width": 8, "text_width": 8, "heads": 2, "ffn_width": 8}
    head = FusionHead(FusionConfig.parse(widths, source="test"))
    save_head(folder, head, HeadRecord(head.config, {}, {"step": 1}))
    return folder


def test_the_score_is_the_largest_logit() -> None:
    assert known_scores(torch.tensor([[1.0, -2.0], [-3.0, -1.0]])).tolist() == [1.0, -1.0]
    assert known_scores(torch.zeros(0, 3)).shape == (0,)


@pytest.mark.parametrize(
    ("known", "unknown", "expected"),
    [
        ([3, 4], [1, 2], 1.0),
        ([1, 2], [3, 4], 0.0),
        ([1, 1], [1, 1, 1], 0.5),
        ([1, 2, 3], [2], 0.5),  # below, a tie, above
        ([5, 2], [1, 2, 3, 4], (4 + 1.5) / 8),
    ],
)
def test_area_by_hand(known: list[float], unknown: list[float], expected: float) -> None:
    assert auroc(np.array(known, dtype=float), np.array(unknown, dtype=float)) == expected


def test_area_is_the_share_of_pairs() -> None:
    random = np.random.default_rng(0)
    known, unknown = (
        random.integers(2, 9, 70).astype(float),
        random.integers(0, 7, 50).astype(float),
    )
    pairs = [(k > u) + 0.5 * (k == u) for k in known for u in unknown]
    assert auroc(known, unknown) == pytest.approx(np.mean(pairs))
    with pytest.raises(ValueError, match="expected scores of known and of unknown"):
        auroc(known, unknown[:0])


def test_the_threshold_keeps_and_refuses_most() -> None:
    by_hand = best_threshold(np.array([1.0, 5, 6, 7]), np.array([2.0, 3, 5, 0]))
    assert by_hand == (5.0, 0.75, 0.75)
    random = np.random.default_rng(1)
    known, unknown = random.normal(1, 1, 80).round(1), random.normal(0, 1, 60).round(1)
    found = best_threshold(known, unknown)
    sums = {t: np.mean(known >= t) + np.mean(unknown < t) for t in np.arange(-4, 5, 0.05).round(2)}
    assert found.known_kept + found.unknown_refused == pytest.approx(max(sums.values()))
    assert found.known_kept == pytest.approx(np.mean(known >= found.threshold))
    assert found.unknown_refused == pytest.approx(np.mean(unknown < found.threshold))


def test_the_file_belongs_to_its_head(tmp_path: Path) -> None:
    make_head(tmp_path / "head", 1)
    make_head(tmp_path / "other", 2)
    assert load_threshold(tmp_path / "head") is None
    save_threshold(tmp_path / "head", FOUND)
    assert load_threshold(tmp_path / "head") == FOUND
    shutil.copy(tmp_path / "head" / "unknown.json", tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"other weights .* --unknown-threshold none"):
        load_threshold(tmp_path / "other")
    assert not verify_run(tmp_path / "head").damaged
    path = tmp_path / "head" / "unknown.json"
    path.write_text(path.read_text().replace("12.5", "12.6"))
    with pytest.raises(CheckpointError, match=r"damaged.*--unknown-threshold none"):
        load_threshold(tmp_path / "head")
    (damaged,) = verify_run(tmp_path / "head").damaged
    assert "unknown.json" in (damaged.problem or "")
