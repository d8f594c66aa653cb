"""A share of the labelled classes held out of training: neither a region nor a name is learnt."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import features
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.writer import CacheWriter, PartFeatures
from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import CacheError, InputError
from regionspot_core.heads.cached import embed
from regionspot_core.heads.checkpoint import load_head, read_record
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.testing import (
    CLASSES,
    MODEL,
    SHAPE,
    make_annotations,
    make_bank,
    make_cache,
    make_features,
)
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.sources import open_sources
from regionspot_train.learning.learner import Learner
from regionspot_train.run import run_training

REGIONS = [2, 3, 1, 2, 0, 4, 1, 1, 2, 3, 0, 1]
SETTINGS = [
    "steps=12", "batch_images=3", "log_every=4", "head.ffn_width=32", "head.heads=2",
    "optimiser.warmup_steps=2", "checkpoint_every=6", "validation.every=4", "head.dropout=0",
]  # fmt: skip


def config(*overrides: str) -> TrainConfig:
    return TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, *overrides])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classes") / "store"
    make_cache(path, REGIONS, federated=True)
    return path


def held_out(store: Path, share: float = 0.3) -> np.ndarray:
    """(K,) which classes of a store are held out."""
    cache = FeatureCache(store)
    names = cache.vocabulary.names
    labelled = [names[k] for k in np.unique(cache.region_classes()[1])]
    return HeldOutClasses.of(labelled, share=share, seed=0).among(names)


NAMES = st.lists(st.text("abc_ ", min_size=1), min_size=4, max_size=20)


@given(NAMES, st.randoms(use_true_random=False), st.integers(0, 9))
def test_names_and_the_seed_alone_decide(names: list[str], random: object, seed: int) -> None:
    """And two spellings of one name are one class."""
    read = {" ".join(name.replace("_", " ").split()).lower() for name in names}
    if len(read) < 3:
        return
    chosen = HeldOutClasses.of(names, share=0.4, seed=seed)
    mixed = list(names)
    random.shuffle(mixed)  # type: ignore[attr-defined] # hypothesis's own Random
    assert HeldOutClasses.of(mixed, share=0.4, seed=seed) == chosen
    assert len(chosen.names) == max(1, round(0.4 * len(read)))
    for name, held in zip(names, chosen.among(names), strict=True):
        assert chosen.among([f" {name.upper()}_"]).tolist() == [held]


def test_other_seeds_hold_out_other_classes() -> None:
    names = [f"class {n}" for n in range(100)]
    of_seeds = [HeldOutClasses.of(names, share=0.2, seed=seed) for seed in range(8)]
    assert {len(each.names) for each in of_seeds} == {20}
    assert len({each.names for each in of_seeds}) == 8


def write_store_without(store: Path, regions_R: np.ndarray, kept_K: Sequence[int]) -> None:
    """Write the same images with some of their regions, and a vocabulary of some of its classes."""
    whole = make_annotations(REGIONS, federated=True)
    owner = np.repeat(np.arange(len(REGIONS)), REGIONS)[regions_R]
    counts = np.bincount(owner, minlength=len(REGIONS))
    number = np.full(CLASSES, -1)
    number[kept_K] = np.arange(len(kept_K))

    def kept(lists: ClassLists | None) -> ClassLists:
        assert lists is not None
        new = (number[lists[i]].tolist() for i in range(len(REGIONS)))
        return ClassLists.of([[k for k in each if k >= 0] for each in new])

    bank = make_bank(whole.vocabulary)
    vocabulary = Vocabulary(
        names=tuple(whole.vocabulary.names[k] for k in kept_K),
        ids=tuple(whole.vocabulary.ids[k] for k in kept_K),
        frequencies=tuple(whole.vocabulary.frequencies[k] for k in kept_K),
    )
    annotations = replace(
        whole,
        vocabulary=vocabulary,
        region_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        box=whole.box[regions_R],
        class_index=number[whole.class_index[regions_R]].astype(np.int32),
        annotation_id=whole.annotation_id[regions_R],
        negative=kept(whole.negative),
        not_exhaustive=kept(whole.not_exhaustive),
    )
    plan = CachePlan(counts, SHAPE, len(REGIONS), Keep())
    writer = CacheWriter.open_or_create(
        store,
        plan=plan,
        annotations=annotations,
        make_bank=lambda: replace(
            bank, vocabulary=vocabulary, embeddings=bank.embeddings[list(kept_K)],
            text=make_bank(vocabulary).text,
        ),
        fingerprint={
            "backbones": {"region_encoder": MODEL, "image_text_encoder": MODEL},
            "dataset": annotations.fingerprint(),
            "precision": "float32",
        },
    )  # fmt: skip
    (part,) = writer.pending()
    made = make_features(CachePlan(np.array(REGIONS), SHAPE, len(REGIONS), Keep()), 0)
    arrays = {
        name: made.arrays[name][regions_R] if each.of_regions else made.arrays[name]
        for name, each in features(plan).items()
    }
    writer.write(part, PartFeatures(arrays))
    writer.finish()


@pytest.mark.parametrize(
    "options",
    [["loss.kind=focal"], ["loss.label_smoothing=0.1"], ["loss.federated=true"]],
    ids=" ".join,
)
def test_a_head_learns_what_it_would_learn_had_they_never_been_there(
    tmp_path: Path, options: list[str]
) -> None:
    """From a store that has neither their regions nor their names, and all else to the bit."""
    make_cache(tmp_path / "whole", REGIONS, part_images=len(REGIONS), federated=True)
    kept_K = np.flatnonzero(~held_out(tmp_path / "whole"))
    _, classes = FeatureCache(tmp_path / "whole").region_classes()
    regions = np.flatnonzero(np.isin(classes, kept_K))
    assert 0 < len(regions) < len(classes)
    write_store_without(tmp_path / "part", regions, kept_K.tolist())
    own = config(*options, "data.hold_out_classes=0.3")
    run_training(own, store=tmp_path / "whole", out=tmp_path / "a")
    run_training(config(*options), store=tmp_path / "part", out=tmp_path / "b")
    logs = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("a", "b")]
    losses, expected = ([json.loads(line)["loss"] for line in log] for log in logs)
    assert losses == pytest.approx(expected, rel=1e-4)
    batch = FeatureCache(tmp_path / "part").read(range(len(REGIONS)))
    with torch.no_grad():
        # What they say, not weights: AdamW moves one that changes nothing by its rounding errors.
        own, other = (
            embed(load_head(tmp_path / run), batch, "all", torch.device("cpu"))[0][batch.mask]
            for run in ("a", "b")
        )
    torch.testing.assert_close(own, other, rtol=0, atol=1e-3)
    counts = read_record(tmp_path / "b").training_counts()
    assert read_record(tmp_path / "a").training_counts() == counts


@pytest.mark.parametrize("shuffle", ["full", "windowed"])
def test_their_regions_are_never_read_to_learn(store: Path, shuffle: str) -> None:
    chosen = config(f"reading.shuffle={shuffle}", "data.hold_out_classes=0.3", "data.split=0.2")
    sources = open_sources(store, chosen.data)
    cache, held = FeatureCache(store), held_out(store)
    batches = list(FeatureLoader(sources, chosen))
    assert all(batch.regions == batch.features.mask.sum() for batch in batches)
    assert all(batch.features.mask.any(1).all() for batch in batches)
    seen = {
        (int(features.annotation_ids[b, r]), int(features.classes[b, r]))
        for features in (batch.features for batch in batches)
        for b, r in features.mask.nonzero().tolist()
    }
    assert not {k for _, k in seen} & set(np.flatnonzero(held).tolist())
    assert sources[0].split is not None
    learnt = cache.read(np.flatnonzero(~sources[0].split.held_out(cache.image_ids)))
    ours = learnt.mask & ~torch.from_numpy(held)[learnt.classes.clamp(min=0)]
    assert {i for i, _ in seen} == set(learnt.annotation_ids[ours].tolist())


def test_the_split_of_the_images_is_the_same_with_and_without(store: Path) -> None:
    one, other = (
        open_sources(store, config("data.split=0.3", *more).data)[0].split
        for more in ([], ["data.hold_out_classes=0.3"])
    )
    assert one == other


def test_their_names_are_not_drawn_as_negatives(store: Path) -> None:
    chosen = config("data.hold_out_classes=0.3", "loss.negatives=5")
    sources = open_sources(store, chosen.data)
    learner = Learner(chosen, sources, torch.device("cpu"))
    for batch in FeatureLoader(sources, chosen):
        drawn = learner.classes(batch).drawn_K
        assert drawn is not None
        assert drawn.tolist() == (~held_out(store)).tolist()  # fewer than five are left


def test_validation_and_the_record_say_which_they_are(
    store: Path, tmp_path: Path, regionspot: Callable[..., tuple[int, str, str]]
) -> None:
    make_cache(tmp_path / "val", [3, 0, 20, 1, 5, 2], seed=7, federated=True)
    words = ["train", "fit", "--cache", str(store), "--val", str(tmp_path / "val")]
    words += ["--out", str(tmp_path / "run"), "--config", "demo", "--hold-out-classes", "0.3"]
    code, out, error = regionspot(*words, *(f"--set={each}" for each in SETTINGS))
    assert code == 0, error
    lines = (tmp_path / "run/validation.jsonl").read_text().splitlines()

    held, cache = held_out(store), FeatureCache(tmp_path / "val")
    head, bank, right = load_head(tmp_path / "run"), cache.class_bank(), []
    for index in range(len(cache)):
        batch = cache.read([index])
        with torch.no_grad():
            embedded, mask = embed(head, batch, cache.plan.keep.sam_tokens, torch.device("cpu"))
            logits = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)
        true = batch.classes[mask]
        named = logits[mask].argmax(-1) == true
        right += named[torch.from_numpy(held)[true]].tolist()
    assert len(right) > 3
    assert json.loads(lines[-1])["held_out"] == pytest.approx(sum(right) / len(right))
    best = max(map(json.loads, lines), key=lambda line: line["top1"])
    assert f"held-out classes {100 * best['held_out']:.1f} %" in " ".join(out.split())
    assert "held-out classes" in (tmp_path / "run/report.html").read_text()

    record, names = read_record(tmp_path / "run"), FeatureCache(store).vocabulary.names
    assert record.held_out_classes == HeldOutClasses(
        share=0.3, seed=0, names=tuple(sorted(np.array(names)[held]))
    )
    counts = record.training_counts() or {}
    assert set(counts) == set(np.array(names)[~held])
    assert record.training["caches"][0]["classes"]["names"] == list(counts)


def test_a_class_that_an_earlier_head_learnt_is_not_held_out(store: Path, tmp_path: Path) -> None:
    run_training(config(), store=store, out=tmp_path / "all")
    held = config("data.hold_out_classes=0.3")
    run_training(held, store=store, out=tmp_path / "late", start_from=tmp_path / "all")
    run_training(held, store=store, out=tmp_path / "first")
    run_training(held, store=store, out=tmp_path / "later", start_from=tmp_path / "first")
    assert read_record(tmp_path / "late").held_out_classes is None
    assert read_record(tmp_path / "later").held_out_classes is not None


def test_shares_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    make_cache(tmp_path / "store", [2, 2])  # an image of two classes, and one of a third
    with pytest.raises(InputError, match=r"of . labelled classes, which leaves none to learn"):
        open_sources(tmp_path / "store", config("data.hold_out_classes=0.9").data)
    # The first image is held out, and the third class is or the first.
    values = ["data.hold_out_classes=0.3", "data.split=0.5"]
    assert open_sources(tmp_path / "store", config(*values, "data.hold_out_seed=0").data)
    with pytest.raises(CacheError, match="which leaves none to learn from; use smaller shares"):
        open_sources(tmp_path / "store", config(*values, "data.hold_out_seed=10").data)
