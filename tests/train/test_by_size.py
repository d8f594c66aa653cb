"""A run that names no recipe: its settings follow from the data's size, and it says which."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from regionspot_core.cache.layout.keep import Keep
from regionspot_core.errors import ConfigError
from regionspot_core.testing import SHAPE, make_cache
from regionspot_train.by_size import (
    LARGE,
    DataSize,
    choose_settings,
    inputs_of,
    recipe_for,
    repetition_warning,
)
from regionspot_train.config import TrainConfig

QUICK = ["--set=steps=8", "--set=head.layers=1", "--set=head.ffn_width=32", "--set=head.heads=2"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("by-size") / "store"
    make_cache(path, [2, 3, 1, 2, 0, 4, 1, 1, 2, 3, 0, 1])
    return path


def test_images_are_counted_without_those_held_out(store: Path) -> None:
    assert DataSize.of(store, TrainConfig())[:2] == (10, SHAPE.image_width)
    assert DataSize.of([store, store], TrainConfig()).images == 20
    assert DataSize.of(store, TrainConfig.load(None, ["data.split=0.3"])).images == 7


EVERYTHING = {"box_geometry": True, "region_tokens": "all", "mask_geometry": True}


@pytest.mark.parametrize(
    ("kept", "inputs"),
    [
        ([Keep(region_embedding="tokens", region_masks=True)],
         {**EVERYTHING, "region_embedding": "residual"}),
        ([Keep(region_embedding="masked-crop", region_masks=True)],
         {**EVERYTHING, "region_embedding": "residual"}),
        ([Keep(region_embedding="none", region_masks=True)], EVERYTHING),
        ([Keep(sam_tokens="paper", region_embedding="none")], {"box_geometry": True}),
        # What one of two stores lacks, or made otherwise, their head cannot take.
        ([Keep(region_embedding="crop", region_masks=True), Keep(region_embedding="tokens")],
         {"box_geometry": True, "region_tokens": "all"}),
    ],
)  # fmt: skip
def test_a_head_takes_what_all_stores_keep(kept: list[Keep], inputs: dict[str, object]) -> None:
    assert inputs_of(kept) == inputs
    head = TrainConfig.parse(recipe_for(DataSize(100, 768, inputs)), source="test").head
    assert head.mask_geometry == ("mask_geometry" in inputs)
    assert head.region_embedding == inputs.get("region_embedding")


def test_a_store_without_regions_is_left_for_the_run_to_refuse(tmp_path: Path) -> None:
    make_cache(tmp_path / "empty", [0, 0])
    config, _ = choose_settings(None, ["data.split=0.3"], tmp_path / "empty")
    assert config == TrainConfig.load(None, ["data.split=0.3"])


@pytest.mark.parametrize("images", [1, 3, 30, 45, 100, 600, 5_000, LARGE - 1])
def test_no_region_is_seen_thousands_of_times(images: int) -> None:
    config = TrainConfig.parse(recipe_for(DataSize(images, 768)), source="test")
    assert repetition_warning(config, images) is None
    assert config.optimiser.warmup_steps < config.steps
    assert config.validation.every * 20 <= config.steps


def test_more_images_are_learnt_from_for_longer() -> None:
    steps = [recipe_for(DataSize(n, 768))["steps"] for n in (30, 100, 600, 5_000, LARGE)]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1]


@pytest.mark.parametrize(("width", "rate"), [(16, 1e-3), (128, 1e-3), (256, 5e-4), (768, 1.7e-4)])
def test_wider_heads_learn_at_a_lower_rate(width: int, rate: float) -> None:
    assert recipe_for(DataSize(100, width))["optimiser"]["lr"] == rate


def test_what_is_set_stays_and_the_rest_follows_from_it(store: Path) -> None:
    config, reason = choose_settings(None, ["steps=400", "optimiser.lr=0.01"], store)
    assert (config.steps, config.optimiser.lr) == (400, 0.01)
    assert config.optimiser.warmup_steps == 20
    assert config.validation.every == 20
    assert reason is not None
    assert "400 steps" in reason
    own, _ = choose_settings(None, ["head.kind=some.module:Head", "head.options.width=3"], store)
    assert own.head.kind == "some.module:Head"


def test_a_named_recipe_is_left_as_it_is(store: Path) -> None:
    config, reason = choose_settings("paper-bb", [], store)
    assert (config.steps, config.optimiser.lr, reason) == (270_000, 2.5e-5, None)
    with pytest.raises(ConfigError, match="stepps"):
        choose_settings(None, ["stepps=3"], store)


def test_the_paper_s_rates_stay_for_data_of_lvis_s_size(tmp_path: Path) -> None:
    make_cache(tmp_path / "large", [1] * LARGE, part_images=LARGE)
    config, reason = choose_settings(None, [], tmp_path / "large")
    assert config == TrainConfig()
    assert reason is not None
    assert "the paper's rates" in reason


def test_20_000_steps_on_a_few_photographs_are_warned_of() -> None:
    warning = repetition_warning(TrainConfig(), 45)
    assert warning is not None
    assert "seen 7,111 times: 20,000 steps of 16 images on 45 images" in warning
    assert repetition_warning(TrainConfig(), 100_000) is None


def test_the_commands_say_what_was_chosen(
    store: Path, tmp_path: Path, regionspot: Callable[..., tuple[int, str, str]]
) -> None:
    """A dry run shows it, and the run has it; resumed by the same command, it goes on."""
    fit = ["train", "fit", "--cache", str(store), "--split", "0.3", *QUICK]
    _, shown, _ = regionspot(*fit, "--dry-run")
    assert "regions, each seen 18 times; 3 images held out" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    fit += ["--set=optimiser.lr=1e-30", "--set=validation.patience=2"]  # it never gets better
    for flags in ([], ["--resume"]):
        code, shown, said = regionspot(*fit, "--out", str(tmp_path / "run"), *flags)
        assert code == 0, said
        assert "3 of 8 in" in shown
        assert "early: 2 validations brought no better head" in " ".join(shown.split())
        assert "a recipe for few images, 7 to learn from: 8 steps of 16 at 1e-30" in said
    asked = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    assert asked["optimiser"]["schedule"] == "cosine"
