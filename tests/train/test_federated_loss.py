"""The federated loss: an image's labels say nothing of the classes nobody looked for."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import CacheError
from regionspot_core.heads.cached import embed
from regionspot_core.heads.checkpoint import load_head
from regionspot_core.testing import CLASSES, make_cache
from regionspot_train.config import LossConfig, TrainConfig, recipe_or_file
from regionspot_train.data.loader import TrainBatch
from regionspot_train.data.sources import open_sources
from regionspot_train.forecast import forecast
from regionspot_train.learning.learner import Learner
from regionspot_train.learning.losses import counted_classes, reduce_losses, region_losses
from regionspot_train.learning.objective import Classes
from regionspot_train.run import run_training

CPU = torch.device("cpu")
COUNTS = [2, 3, 1, 2, 0, 4]
QUICK = [
    "steps=60", "batch_images=4", "log_every=10", "head.ffn_width=32", "head.heads=2",
    "optimiser.lr=0.003", "optimiser.warmup_steps=5", "loss.federated=true",
]  # fmt: skip


def config(*overrides: str) -> TrainConfig:
    return TrainConfig.load(recipe_or_file("demo"), [*QUICK, *overrides])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    make_cache(folder / "store", COUNTS, federated=True)
    return folder / "store"


def naive_loss(logits: list[float], own: int, counted: set[int], loss: LossConfig) -> float:
    """Of one region, from the formulas, over its image's counted classes alone."""
    if loss.kind == "focal":
        total = 0.0
        for k in counted:
            p = 1 / (1 + math.exp(-logits[k]))
            p_t, alpha_t = (p, loss.alpha) if k == own else (1 - p, 1 - loss.alpha)
            total -= alpha_t * (1 - p_t) ** loss.gamma * math.log(p_t)
        return total
    over = math.log(sum(math.exp(logits[k]) for k in counted))
    share = loss.label_smoothing / len(counted)
    weights = {k: share + (1 - loss.label_smoothing) * (k == own) for k in counted}
    return sum(weight * (over - logits[k]) for k, weight in weights.items())


LOSSES = [
    {"kind": "focal"},
    {"kind": "focal", "alpha": 0.6, "gamma": 0.5},
    {"kind": "softmax"},
    {"kind": "softmax", "label_smoothing": 0.2},
]


def a_batch(data: st.DataObject, count: int) -> FeatureBatch:
    """Images with classes (B, R) and negative classes (B, N), padded; no features."""
    images, regions, wide = (data.draw(st.integers(low, 3)) for low in (1, 1, 0))
    classes = st.lists(st.integers(0, count - 1), min_size=regions, max_size=regions)
    absent = st.lists(st.integers(-1, count - 1), min_size=wide, max_size=wide)
    reals = torch.tensor([data.draw(st.integers(0, regions)) for _ in range(images)])
    mask = torch.arange(regions) < reals[:, None]
    drawn = torch.tensor([data.draw(classes) for _ in range(images)])
    negative = torch.tensor([data.draw(absent) for _ in range(images)], dtype=torch.int64)
    empty = {field.name: torch.zeros(images, regions) for field in fields(FeatureBatch)}
    return FeatureBatch(
        **empty
        | {
            "mask": mask,
            "classes": drawn.masked_fill(~mask, -1),
            "negative_classes": negative.reshape(images, wide),
        }
    )


def naive_counted(batch: FeatureBatch) -> list[set[int]]:
    """Of each image: the classes of its real regions, and its negative ones."""
    return [
        set(batch.classes[b][batch.mask[b]].tolist())
        | {k for k in batch.negative_classes[b].tolist() if k >= 0}
        for b in range(len(batch))
    ]


@given(data=st.data(), count=st.integers(1, 6))
def test_what_counts_is_what_is_annotated_and_what_is_negative(
    data: st.DataObject, count: int
) -> None:
    batch = a_batch(data, count)
    found = counted_classes(batch, count)
    assert found.shape == (len(batch), count)
    for b, expected in enumerate(naive_counted(batch)):
        assert set(found[b].nonzero()[:, 0].tolist()) == expected


@given(data=st.data(), count=st.integers(1, 6), options=st.sampled_from(LOSSES))
def test_the_loss_equals_the_naive_loop(
    data: st.DataObject, count: int, options: dict[str, Any]
) -> None:
    loss, batch = LossConfig.parse(options, source="test"), a_batch(data, count)
    classes, mask = batch.classes, batch.mask
    noise = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    logits = 3 * torch.randn(*classes.shape, count, generator=noise)
    logits.requires_grad_()
    counted = counted_classes(batch, count)
    found = region_losses(logits, classes, loss, counted)
    for b, known in enumerate(naive_counted(batch)):
        for r in mask[b].nonzero()[:, 0].tolist():
            expected = naive_loss(logits[b, r].tolist(), int(classes[b, r]), known, loss)
            assert found[b, r].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    reduce_losses(found, mask, loss, regions=int(mask.sum())).backward()
    assert logits.grad is not None
    # Padding, and whatever nobody looked for, moves nothing; and nothing becomes NaN.
    moved = logits.grad != 0
    assert logits.grad.isfinite().all()
    assert not (moved & ~(mask[:, :, None] & counted[:, None])).any()


@pytest.mark.parametrize("options", LOSSES)
def test_where_every_class_counts_it_is_the_loss_of_before(options: dict[str, Any]) -> None:
    loss = LossConfig.parse(options, source="test")
    logits = 3 * torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([[0, 4, 2], [1, 1, 3]])
    everything = torch.ones(2, 5, dtype=torch.bool)
    found = region_losses(logits, classes, loss, everything)
    assert torch.allclose(found, region_losses(logits, classes, loss), rtol=1e-5)


@given(
    own=st.sets(st.integers(0, 9)),
    among=st.sets(st.integers(0, 9)),
    negatives=st.integers(1, 12),
    seed=st.integers(0, 5),
)
def test_others_are_drawn_among_those_that_count(
    own: set[int], among: set[int], negatives: int, seed: int
) -> None:
    def marked(classes: set[int]) -> torch.Tensor:
        return torch.tensor([k in classes for k in range(10)])

    everything = Classes(torch.arange(10.0)[:, None], 1.0)
    drawn = everything.drawn(marked(own), negatives, (seed,), among_K=marked(among))
    names = set(drawn.embeddings_KD[:, 0].int().tolist())
    assert own <= names <= own | among
    assert len(names) == min(len(own | among), len(own) + negatives)
    assert drawn.drawn_K is not None
    assert set(drawn.drawn_K.nonzero()[:, 0].tolist()) == names
    assert (drawn.vocabulary, everything.vocabulary) == (10, 10)


@pytest.mark.parametrize("kind", ["focal", "softmax"])
@pytest.mark.parametrize("negatives", ["none", "1", "6"])
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_step_has_the_loss_of_the_cache_s_lists(
    store: Path, kind: str, negatives: str, pieces: int
) -> None:
    """Of the first step, by a loop over the batch's regions and the store's own lists."""
    options = [f"loss.kind={kind}", f"loss.negatives={negatives}", f"pieces={pieces}"]
    asked = config(*options, "head.dropout=0")
    sources = open_sources(store, asked.data)
    cache, bank = sources[0].cache, sources[0].bank
    assert cache.negative is not None
    places = [0, 1, 5]
    batch = cache.read(places)
    learner = Learner(asked, sources, CPU)
    with torch.no_grad():
        embedded, mask = embed(learner.head, batch, cache.plan.keep.sam_tokens, CPU)
        logits = learner.head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)
    known = [
        set(batch.classes[b][mask[b]].tolist()) | set(cache.negative[image].tolist())
        for b, image in enumerate(places)
    ]
    step = TrainBatch(source=0, features=batch, regions=int(mask.sum()))
    drawn_K = learner.classes(step).drawn_K
    if negatives != "none":
        assert drawn_K is not None
        drawn = set(drawn_K.nonzero()[:, 0].tolist())
        own = set(batch.classes[mask].tolist())
        assert own <= drawn <= set().union(*known)
        assert len(drawn) == min(len(set().union(*known)), len(own) + int(negatives))
        known = [each & drawn for each in known]
    each_region = [
        naive_loss(logits[b, r].tolist(), int(batch.classes[b, r]), known[b], asked.loss)
        for b in range(3)
        for r in mask[b].nonzero()[:, 0].tolist()
    ]
    assert float(learner.learn(step).loss) == pytest.approx(np.mean(each_region), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [["loss.kind=softmax", "loss.label_smoothing=0.1"], ["loss.kind=focal", "loss.negatives=2"]],
    ids=" ".join,
)
def test_a_head_learns_which_of_the_counted_classes_it_is(
    store: Path, tmp_path: Path, options: list[str]
) -> None:
    run_training(config("steps=250", *options), store=store, out=tmp_path / "run", pictured=False)
    cache, head = FeatureCache(store), load_head(tmp_path / "run")
    batch, bank = cache.read(range(len(cache))), cache.class_bank()
    with torch.no_grad():
        embedded, mask = embed(head, batch, cache.plan.keep.sam_tokens, CPU)
        logits = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)
    counted = counted_classes(batch, CLASSES)
    said = logits.masked_fill(~counted[:, None], -torch.inf).argmax(-1)
    assert (said == batch.classes)[mask].all()


def test_a_store_without_negative_classes_is_refused_before_anything(
    store: Path, tmp_path: Path
) -> None:
    make_cache(tmp_path / "coco", COUNTS)
    stores = [store, tmp_path / "coco"]
    with pytest.raises(CacheError, match=r"coco: loss\.federated needs .* the store has none"):
        run_training(config(), store=stores, out=tmp_path / "run")
    with pytest.raises(CacheError, match=r"coco: loss\.federated needs"):
        forecast(config(), stores)
    assert not (tmp_path / "run").exists()
