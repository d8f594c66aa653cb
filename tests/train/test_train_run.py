"""A run learns, repeats itself by seed, and leaves whole files."""

import json
import re
import tomllib
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import CacheError, CheckpointError, ConfigError
from regionspot_core.heads.checkpoint import load_head, read_record
from regionspot_core.region_tokens import PAPER_TOKEN
from regionspot_core.testing import make_cache
from regionspot_train.config import RECIPES, TrainConfig, recipe_or_file
from regionspot_train.run import run_training

QUICK = [
    "steps=24", "batch_images=4", "log_every=4", "head.layers=1", "head.ffn_width=32",
    "head.heads=2", "optimiser.lr=0.003", "optimiser.warmup_steps=5", "checkpoint_every=10",
]  # fmt: skip


learn = partial(run_training, pictured=False)


def quick(*overrides: str) -> TrainConfig:
    return TrainConfig.load(recipe_or_file("demo"), [*QUICK, *overrides])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    make_cache(folder / "store.zarr", [2, 3, 1, 2, 0, 4])
    return folder / "store.zarr"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=" ".join(options), marks=() if first else pytest.mark.slow)
        for first, options in [
            (True, ["loss.kind=focal"]),
            (False, ["loss.kind=softmax"]),
            (False, ["loss.negatives=1"]),
            (False, ["loss.label_smoothing=0.1", "head.norm=pre", "head.activation=gelu"]),
        ]
    ],
)
def test_a_head_learns_a_small_cache_by_heart(
    store: Path, tmp_path: Path, options: list[str]
) -> None:
    learn(quick("steps=150", *options), store=store, out=tmp_path / "run")
    cache, head = FeatureCache(store), load_head(tmp_path / "run")
    batch, bank = cache.read(range(len(cache))), cache.class_bank()
    with torch.no_grad():
        embedded = head(
            batch.region_tokens[:, :, PAPER_TOKEN].float(), batch.image_tokens.float(), batch.mask
        )
        said = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale).argmax(-1)
    assert (said == batch.classes)[batch.mask].float().mean() == 1.0


def test_same_seed_same_weights(store: Path, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        learn(quick(f"seed={seed}"), store=store, out=tmp_path / name)
        weights.append((tmp_path / name / "head.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_what_a_run_leaves(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    report = run_training(quick(), store=store, out=out)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20, 24]
    assert lines[-1]["loss"] == report.loss
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    record = read_record(out)
    assert record.backbones == FeatureCache(store).fingerprint["backbones"]
    assert record.training["step"] == 24
    assert record.training["config"]["optimiser"]["lr"] == 0.003
    saved = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert saved == ["step_0000010", "step_0000020"]
    assert read_record(out / "checkpoints" / "step_0000010").training["step"] == 10
    assert not list(out.rglob("*.partial"))


def naive_counts(store: Path) -> Counter[str]:
    """Regions of each class by name, one image at a time."""
    cache = FeatureCache(store)
    names = cache.vocabulary.names
    counts = Counter(dict.fromkeys(names, 0))
    for index in range(len(cache)):
        batch = cache.read([index])
        counts.update(names[k] for k in batch.classes[batch.mask].tolist())
    return counts


def test_a_head_keeps_the_vocabulary_it_learnt_and_its_counts(store: Path, tmp_path: Path) -> None:
    """Caches are summed by name, and so is what the head it began with had learnt from."""
    other = tmp_path / "other"
    make_cache(other, [3, 2], seed=5, federated=True)
    first, second = naive_counts(store), naive_counts(other)
    learn(quick("steps=4"), store=[store, other], out=tmp_path / "a")
    record = read_record(tmp_path / "a")
    counts = record.training_counts()
    assert counts == {name: first[name] + second[name] for name in first}
    kept, vocabulary = record.training["caches"][1]["classes"], FeatureCache(other).vocabulary
    assert (tuple(kept["ids"]), tuple(kept["frequencies"])) == (
        vocabulary.ids,
        vocabulary.frequencies,
    )

    run_training(
        quick("steps=4", "checkpoint_every=2"),
        store=store,
        out=tmp_path / "b",
        start_from=tmp_path / "a",
    )
    later = read_record(tmp_path / "b" / "checkpoints" / "step_0000002").training_counts()
    assert later == {name: counts[name] + first[name] for name in first}


def test_a_run_is_never_overwritten(store: Path, tmp_path: Path) -> None:
    learn(quick(), store=store, out=tmp_path / "run")
    before = (tmp_path / "run" / "head.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="already holds a training run"):
        learn(quick("seed=9"), store=store, out=tmp_path / "run")
    assert (tmp_path / "run" / "head.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("regions", "failed", "message"),
    [([0, 0], [], "no image has a region"), ([1, 2], [0, 1], "it holds no image")],
)
def test_a_cache_without_regions_is_refused_before_anything_is_written(
    tmp_path: Path, regions: list[int], failed: list[int], message: str
) -> None:
    make_cache(tmp_path / "s", regions, failed=failed)
    with pytest.raises(CacheError, match=message):
        learn(quick(), store=tmp_path / "s", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_and_names_images(store: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"step \d+: loss .* not finite \(images "):
        learn(quick("optimiser.lr=1e30"), store=store, out=tmp_path / "run")


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_load(name: str) -> None:
    """Each setting that a recipe's file has is the configuration's."""
    written = tomllib.loads(recipe_or_file(name).read_text(encoding="utf-8"))
    config = TrainConfig.load(recipe_or_file(name)).model_dump(mode="json")
    assert written.keys() <= config.keys()
    for key, value in written.items():
        section = {key: value} if not isinstance(value, dict) else value
        taken = config if not isinstance(value, dict) else config[key]
        assert section.items() <= taken.items()


PAPERS = [name for name in RECIPES if name.startswith("paper")]


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_recipes_are_the_papers(name: str) -> None:
    """Their heads differ only by the frozen models' widths, which come from the cache."""
    config = TrainConfig.load(recipe_or_file(name))
    assert (config.steps, config.batch_images) == (270_000, 16)
    assert (config.optimiser.lr, config.optimiser.weight_decay) == (2.5e-5, 1e-4)
    assert (config.loss.kind, config.loss.reduction) == ("focal", "paper")
    assert (config.head.layers, config.head.heads, config.head.ffn_width) == (3, 8, 2048)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_tells_the_commands_that_use_it(name: str) -> None:
    """In the comment that it begins with; tests/test_documents.py holds them against the parser."""
    text = recipe_or_file(name).read_text(encoding="utf-8").split("\nsteps =")[0]
    lines = re.sub(r"\\\n# +", "", text).splitlines()
    told = [line.removeprefix("#").strip() for line in lines]
    commands = [line for line in told if re.match("regionspot (extract|train) ", line)]
    assert sum(f" --config {name} " in command for command in commands) == 1 + (name in PAPERS)


@pytest.mark.parametrize("name", PAPERS)
def test_the_second_stage_is_in_the_comment(name: str) -> None:
    text = recipe_or_file(name).read_text(encoding="utf-8")
    overrides = [a or b for a, b in re.findall(r'--set (?:"([^"]+)"|(\S+))', text)]
    second = TrainConfig.load(recipe_or_file(name), overrides)
    assert (second.steps, second.optimiser.milestones) == (450_000, (350_000, 420_000))


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"paper-bb, paper-bl, .*, demo, mask-bb, mask-bl-336, mask-demo"
    ):
        recipe_or_file("papr")


def test_the_paper_loss_matches_a_hand_sum(store: Path) -> None:
    """One batch through the head and the paper's loss equals a loop over images and regions."""
    from regionspot_core.heads.fusion import FusionConfig, FusionHead
    from regionspot_train.config import LossConfig
    from regionspot_train.learning.losses import reduce_losses, region_losses

    cache = FeatureCache(store)
    bank, batch = cache.class_bank(), cache.read([0, 1, 3])
    torch.manual_seed(0)
    head = FusionHead(
        FusionConfig(region_width=8, image_width=16, text_width=12, heads=2, ffn_width=32)
    ).eval()
    classes = torch.from_numpy(bank.embeddings)
    with torch.no_grad():
        regions = batch.region_tokens[:, :, PAPER_TOKEN].float()
        embedded = head(regions, batch.image_tokens.float(), batch.mask)
        logits = head.logits(embedded, classes, bank.logit_scale)
        config = LossConfig()
        losses = region_losses(logits, batch.classes, config)
        batched = reduce_losses(losses, batch.mask, config, regions=0)
        alone = 0.0
        for b in range(3):
            count = int(batch.mask[b].sum())
            one = head(regions[b : b + 1, :count], batch.image_tokens[b : b + 1].float())
            p = torch.sigmoid(bank.logit_scale * (one[0] @ classes.T).double())
            target = torch.nn.functional.one_hot(batch.classes[b, :count], len(classes))
            p_t = torch.where(target == 1, p, 1 - p)
            alpha = torch.where(target == 1, 0.25, 0.75)
            alone += float((-alpha * (1 - p_t) ** 2 * p_t.log()).sum(1).mean())
    assert np.isclose(float(batched), alone, rtol=1e-5)


def test_a_run_begins_with_another_heads_weights(store: Path, tmp_path: Path) -> None:
    first, options = tmp_path / "first", ["optimiser.lr=1e-30", "optimiser.weight_decay=0"]
    learn(quick("seed=3"), store=store, out=first)
    out = tmp_path / "second"
    learn(quick("steps=5", *options), store=store, out=out, start_from=first)
    before, after = load_head(first).state_dict(), load_head(out).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert json.loads((out / "run.json").read_text())["start_from"] == str(first)


def test_a_head_of_another_shape_is_no_beginning(store: Path, tmp_path: Path) -> None:
    learn(quick("head.layers=2"), store=store, out=tmp_path / "first")
    with pytest.raises(CheckpointError, match="a head of another shape: layers 2, expected 1;"):
        learn(quick(), store=store, out=tmp_path / "run", start_from=tmp_path / "first")
    with pytest.raises(CheckpointError, match="expected a trained head"):
        learn(quick(), store=store, out=tmp_path / "run", start_from=tmp_path / "none")
    assert not (tmp_path / "run").exists()
