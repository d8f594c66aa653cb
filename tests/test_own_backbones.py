"""Frozen models of this file's own go through extraction, training and evaluation by name."""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from regionspot.cli import app
from regionspot_core.backbones.protocols import (
    ProposedRegions,
    RegionTokens,
    SegmentedRegions,
)
from regionspot_core.backbones.registry import (
    Entry,
    register_image_text_encoder,
    register_region_encoder,
    unregister,
)
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.imaging.images import read_image
from regionspot_core.tiny.world import World, write_world

WIDTH = 7


class Pictures:
    """Embeddings that are no tensor: whole pictures, of which slices are taken."""

    def __init__(self, images: list[torch.Tensor]) -> None:
        self.images = images

    def __getitem__(self, place: slice) -> "Pictures":
        return Pictures(self.images[place])


class ColourBoxes:
    """A region encoder of one token: the mean colour in a box, and the box."""

    token_order, paper_token, token_count, token_width = "mean colour, box", 0, 1, WIDTH
    has_mask_grids = False

    def __init__(self, name: str) -> None:
        self.name = name

    def fingerprint(self) -> dict[str, Any]:
        return {"name": self.name, "weights": "none"}

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image.transpose(2, 0, 1).copy())

    def embed(self, images: Sequence[torch.Tensor]) -> Pictures:
        return Pictures([image.float() / 255 for image in images])

    def decode(
        self, embeddings: Pictures, boxes: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]
    ) -> RegionTokens:
        rows = [
            colour_token(image, box, size)
            for image, each, size in zip(embeddings.images, boxes, sizes, strict=True)
            for box in each
        ]
        tokens = torch.stack(rows)[:, None] if rows else torch.zeros(0, 1, WIDTH)
        return RegionTokens(tokens, torch.ones(len(tokens), 1))

    def segment(
        self, embedding: Pictures, prompts: Any, size: tuple[int, int]
    ) -> Iterator[SegmentedRegions]:
        masks = np.zeros((len(prompts.boxes), *size), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, prompts.boxes.astype(int), strict=True):
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
        yield SegmentedRegions(self.decode(embedding, [prompts.boxes], [size]), masks)

    def propose(self, embedding: Pictures, size: tuple[int, int], options: Any) -> ProposedRegions:
        raise NotImplementedError


def colour_token(image: torch.Tensor, box: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    x0, y0, x1, y1 = box.astype(int).tolist()
    inside = image[:, y0 : y1 + 1, x0 : x1 + 1].mean((1, 2))
    return torch.cat([inside, torch.tensor(box / [size[1], size[0], size[1], size[0]]).float()])


class Letters:
    """An image and text encoder: quarters of a picture, and how often a text has each vowel."""

    token_order, token_count, token_width, text_width = "quarters", 4, 3, 5
    logit_scale, mean_colour, patch_grid = 10.0, (0, 0, 0), None
    embeds_patches, region_obstacle = False, "its tokens are quarters"

    def __init__(self, name: str) -> None:
        self.name = name

    def fingerprint(self) -> dict[str, Any]:
        return {"name": self.name, "weights": "none"}

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image[:96, :96].transpose(2, 0, 1).copy())

    def image_tokens(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        pixels = torch.stack(list(images)).float() / 255
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(2).transpose(1, 2)

    def text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor(
            [[1 + text.count(vowel) for vowel in "aeiou"] for text in texts]
        ).float()


def load_boxes(
    name: str, *, weights: str | None, input_size: int | None, runtime: Runtime
) -> ColourBoxes:
    return ColourBoxes(name)


def load_letters(
    name: str, *, weights: str | None, input_size: int | None, runtime: Runtime
) -> Letters:
    return Letters(name)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    boxes: Entry[Any] = Entry(lambda: ["colour-boxes"], load_boxes)
    letters: Entry[Any] = Entry(lambda: ["letters"], load_letters)
    register_region_encoder(boxes)
    register_image_text_encoder(letters)
    yield
    unregister(boxes)
    unregister(letters)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"), train_scenes=6, val_scenes=3, seed=5)


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
    return f"{done.output}{done.exception or ''}"


MODELS = ("--sam", "colour-boxes", "--clip", "letters")


@pytest.fixture(scope="module")
def store(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("own") / "s"
    where = ("--images", world.train_images, "--annotations", world.train_annotations)
    run("extract", "run", *where, "--out", out, *MODELS)
    return out


@pytest.mark.parametrize("kept", ["all", "paper"])
def test_the_store_has_their_tokens(world: World, store: Path, tmp_path: Path, kept: str) -> None:
    where = ("--images", world.train_images, "--annotations", world.train_annotations)
    run("extract", "run", *where, "--out", tmp_path / "s", *MODELS, "--sam-tokens", kept)
    cache = FeatureCache(tmp_path / "s")
    assert cache.plan.paper_token == 0
    assert cache.fingerprint["backbones"]["tokens"] == {
        "region": "mean colour, box", "image": "quarters",
    }  # fmt: skip
    images = json.loads(world.train_annotations.read_text())["images"]
    files = {each["id"]: each["file_name"] for each in images}
    batch = cache.read(range(len(cache)))
    for row, image_id in enumerate(batch.image_ids.tolist()):
        pixels = read_image(world.train_images / files[image_id])
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
        for region in np.flatnonzero(batch.mask[row]):
            box = batch.boxes[row, region].numpy()
            wanted = colour_token(image, box, pixels.shape[:2])
            assert torch.equal(batch.region_tokens[row, region, 0], wanted.half())
    assert FeatureCache(store).plan.shape.region_tokens == 1


def test_masks_that_they_do_not_give(world: World, tmp_path: Path) -> None:
    where = ("--images", world.train_images, "--annotations", world.train_annotations)
    for option in ("--region-masks", "--region-embedding=masked-crop"):
        text = run("extract", "run", *where, "--out", tmp_path / "s", *MODELS, option, code=1)
        option = option.replace("=", " ")
        assert f"{option}: the region encoder colour-boxes has no masks; " in text
        assert not (tmp_path / "s").exists()


def test_a_head_of_them_is_trained_and_evaluated(world: World, store: Path, tmp_path: Path) -> None:
    short = ("--set", "steps=3", "--set", "batch_images=4", "--set", "head.heads=1")
    run("train", "fit", "--cache", store, "--out", tmp_path / "run", "--config", "demo", *short)
    where = ("--images", world.val_images, "--annotations", world.val_annotations)
    options = ("--baseline", "none", "--out", tmp_path / "results")
    run("evaluate", "run", *where, "--head", tmp_path / "run", *options)
    detections = json.loads(
        gzip.decompress((tmp_path / "results" / "detections.json.gz").read_bytes())
    )
    options = ("--baseline", "region-masked-crop", "--out", tmp_path / "masked")
    text = run("evaluate", "run", *where, "--head", tmp_path / "run", *options, code=1)
    assert "(masked-crop), and the region encoder colour-boxes has none; " in text
    assert {each["image_id"] for each in detections} == {
        each["id"] for each in json.loads(world.val_annotations.read_text())["images"]
    }


def test_a_module_s_entry_is_taken_by_its_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_models.py").write_text(
        "from regionspot_core.backbones.registry import Entry\n"
        "from regionspot_core.backbones.tiny import load_tiny_region_encoder\n"
        "TINY_TOO = Entry(lambda: [], load_tiny_region_encoder)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    where = ("--images", world.train_images, "--annotations", world.train_annotations)
    text = run("extract", "plan", *where, "--sam", "own_models:TINY_TOO", "--clip", "tiny")
    assert "6 images" in text
    text = run("extract", "plan", *where, "--sam", "own_models:NONE", "--clip", "tiny", code=1)
    assert "--sam own_models:NONE: expected NONE of the module own_models" in text
    text = run("extract", "weights", "--sam", "own_models:TINY_TOO", "--list", code=1)
    assert "nothing is published to fetch for it" in text


def test_tokens_in_another_order_are_refused(world: World, tmp_path: Path) -> None:
    class Backwards(ColourBoxes):
        token_count, paper_token = 3, 2

    entry: Entry[Any] = Entry(lambda: ["backwards"], lambda name, **_: Backwards(name))
    register_region_encoder(entry)
    try:
        where = ("--images", world.train_images, "--annotations", world.train_annotations)
        text = run("extract", "plan", *where, "--sam", "backwards", "--clip", "tiny", code=1)
    finally:
        unregister(entry)
    assert "expected paper_token = 1 of 3 tokens, got 2" in text
