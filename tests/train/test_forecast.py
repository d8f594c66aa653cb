"""A dry run says what a run would be, and touches nothing."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regionspot_core.cache.layout.keep import TokenShape
from regionspot_core.testing import make_cache
from regionspot_train.config import RECIPES, TrainConfig, recipe_or_file
from regionspot_train.forecast import forecast, print_forecast, settings
from regionspot_train.run import run_training

SMALL = ["head.heads=2", "head.ffn_width=32"]


@pytest.mark.parametrize("name", RECIPES)
def test_settings_are_what_set_takes(name: str) -> None:
    config = TrainConfig.load(recipe_or_file(name), ["reading.shuffle=windowed", "seed=7"])
    given = [f"{key}={value}" for key, value in settings(config.to_json()).items()]
    assert TrainConfig.load(None, given) == config


def test_a_forecast_is_of_the_head_that_is_trained(tmp_path: Path) -> None:
    make_cache(tmp_path / "store", [2, 0, 3, 1])
    config = TrainConfig.load(recipe_or_file("demo"), [*SMALL, "steps=6", "batch_images=2"])
    expected = forecast(config, tmp_path / "store")
    report = run_training(config, store=tmp_path / "store", out=tmp_path / "run")
    assert expected.parameters == report.parameters
    assert expected.state_bytes == 16 * report.parameters
    assert (expected.images, expected.regions, expected.epochs) == (3, 6, 4.0)
    # Two images of 5 × 16 image tokens, and of two regions of 8, the mean; 4 bytes a number.
    assert expected.batch_bytes == 2 * 4 * (5 * 16 + 2 * 8)


@pytest.mark.parametrize(
    ("recipe", "image_tokens", "image_width", "text_width", "parameters"),
    [
        ("paper-bb", 197, 768, 512, r"24,\d{3},\d{3} \(24\.2 M\)"),
        ("paper-bl", 257, 1024, 768, r"38,\d{3},\d{3} \(38\.9 M\)"),
        ("paper-bl-336", 577, 1024, 768, r"38,\d{3},\d{3} \(38\.9 M\)"),
    ],
)
def test_the_papers_heads_have_the_papers_parameters(
    regionspot: Callable[..., Any],
    tmp_path: Path,
    recipe: str,
    image_tokens: int,
    image_width: int,
    text_width: int,
    parameters: str,
) -> None:
    shape = TokenShape(image_tokens, image_width, region_tokens=5, region_width=256, ious=4)
    make_cache(tmp_path / "store", [1], shape=shape, text_width=text_width)
    done = regionspot(
        "train", "fit", "--cache", "store", "--out", "run", "--config", recipe, "--dry-run",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0
    assert re.search(rf"parameters +{parameters}", done.stdout)


def test_a_dry_run_says_what_the_head_sees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_cache(tmp_path / "store", [2, 0, 3, 1])
    options = [
        "head.region_tokens=all", "head.box_geometry=true", "head.image_positions=sincos",
        "head.image_pooling=2", "head.shared_keys=true", "head.width=8",
    ]  # fmt: skip
    config = TrainConfig.load(recipe_or_file("demo"), [*SMALL, *options])
    print_forecast(config, [tmp_path / "store"])
    said = " ".join(capsys.readouterr().out.split())
    assert "3 layers of 8, 2 heads" in said
    assert (
        "3 tokens and the box of each region; 2 of 5 image tokens, pooled 2 × 2, sincos "
        "positions, keys and values shared by all layers" in said
    )


def test_a_dry_run_touches_nothing(regionspot: Callable[..., Any], tmp_path: Path) -> None:
    make_cache(tmp_path / "store", [2, 0, 3, 1])
    overrides = [word for each in SMALL for word in ("--set", each)]
    done = regionspot(
        "train", "fit", "--cache", "store", "--out", "run", "--config", "demo", "--dry-run",
        *overrides, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0
    assert re.search(r"head.ffn_width +32", done.stdout)
    assert "1 token of each region; 5 image tokens\n" in re.sub(" +\n", "\n", done.stdout)
    assert "3 images with 6 regions, each seen 21,333 times" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
