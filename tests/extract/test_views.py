"""What a store keeps beside each image's own tokens is what the models say of it."""

import json
import shutil
from itertools import product
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from regionspot_core.backbones.loading import Backbones
from regionspot_core.backbones.patch_grid import touched_patches
from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import InputError
from regionspot_core.imaging.boxes import box_iou
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.region_tokens import PAPER_TOKEN
from regionspot_core.tiny.world import World, write_world
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction

SCENES = 6


@pytest.fixture(scope="module")
def world(bank: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    world = write_world(folder, train_scenes=SCENES, val_scenes=2, seed=5)
    shutil.copy(bank, world.train_annotations.with_name("bank.h5"))
    return world


def extracted(
    images: Path, annotations: Path, out: Path, backbones: Backbones, **keep: object
) -> FeatureCache:
    bank = annotations.with_name("bank.h5")
    values = {
        "images": images, "annotations": annotations, "bank": bank, "out": out, "part_images": 4,
    }  # fmt: skip
    run_extraction(
        ExtractConfig.parse({**values, "keep": keep}, source="test"), backbones=backbones
    )
    return FeatureCache(out)


def scene(world: World, number: int, *, flip: bool) -> RGBImage:
    """An image of the world, or its mirror image."""
    record = json.loads(world.train_annotations.read_text())["images"][number]
    image = read_image(
        world.train_images / record["file_name"], size=(record["height"], record["width"])
    )
    return np.ascontiguousarray(image[:, ::-1]) if flip else image


def one_scene(
    world: World, backbones: Backbones, out: Path, *, flip: bool, **keep: object
) -> tuple[RGBImage, list[FeatureBatch]]:
    """A scene in one view, and what a new store keeps of its boxes and of a jittered copy."""
    cache = extracted(
        world.train_images, world.train_annotations, out, backbones, flip=True, jitter=2, **keep
    )
    batches = [cache.read([2], flipped=np.array([flip]), copy=np.array([copy])) for copy in (0, 2)]
    return scene(world, 2, flip=flip), batches


@pytest.fixture(scope="module")
def plain(
    world: World, backbones: Backbones, tmp_path_factory: pytest.TempPathFactory
) -> FeatureCache:
    out = tmp_path_factory.mktemp("plain") / "s"
    return extracted(world.train_images, world.train_annotations, out, backbones)


@pytest.fixture(scope="module")
def views(
    world: World, backbones: Backbones, tmp_path_factory: pytest.TempPathFactory
) -> FeatureCache:
    out = tmp_path_factory.mktemp("views") / "s"
    return extracted(
        world.train_images, world.train_annotations, out, backbones, jitter=3, flip=True
    )


def test_the_boxes_own_tokens_are_those_of_a_store_without_views(
    plain: FeatureCache, views: FeatureCache
) -> None:
    one, other = plain.read(range(SCENES)), views.read(range(SCENES))
    np.testing.assert_array_equal(one.image_tokens, other.image_tokens)
    np.testing.assert_allclose(one.region_tokens, other.region_tokens, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(one.region_embeddings, other.region_embeddings, atol=1e-3)


def test_the_mirrored_view_is_an_extraction_of_mirrored_images(
    world: World, backbones: Backbones, views: FeatureCache, tmp_path: Path
) -> None:
    content = json.loads(world.train_annotations.read_text())
    (tmp_path / "images").mkdir()
    widths = {}
    for image in content["images"]:
        with Image.open(world.train_images / image["file_name"]) as picture:
            ImageOps.mirror(picture).save(tmp_path / "images" / image["file_name"])
        widths[image["id"]] = image["width"]
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        mirrored = widths[annotation["image_id"]] - x - width
        annotation["bbox"] = [mirrored, y, width, height]
    (tmp_path / "mirrored.json").write_text(json.dumps(content))
    shutil.copy(world.train_annotations.with_name("bank.h5"), tmp_path)
    wanted = extracted(
        tmp_path / "images", tmp_path / "mirrored.json", tmp_path / "s", backbones
    ).read(range(SCENES))
    found = views.read(range(SCENES), flipped=np.ones(SCENES, dtype=bool))
    np.testing.assert_array_equal(found.image_tokens, wanted.image_tokens)
    np.testing.assert_allclose(found.region_tokens, wanted.region_tokens, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-4)
    np.testing.assert_allclose(found.region_embeddings, wanted.region_embeddings, atol=1e-3)


@pytest.mark.parametrize("flip", [False, True])
def test_jittered_tokens_are_those_of_the_boxes_stored_with_them(
    world: World, backbones: Backbones, views: FeatureCache, flip: bool
) -> None:
    sam, clip = backbones.region_encoder, backbones.image_text_encoder
    own, image = views.read([2]), scene(world, 2, flip=flip)
    size = image.shape[:2]
    embedding = sam.embed([sam.prepare(image)])
    encoded = clip.encode([clip.prepare(image)])
    for copy in (1, 2, 3):
        batch = views.read([2], flipped=np.array([flip]), copy=np.array([copy]))
        boxes = batch.boxes[batch.mask].numpy()
        assert not np.array_equal(boxes, own.boxes[own.mask])
        wanted = sam.decode(embedding, [boxes], [size]).tokens_NMS
        found = batch.region_tokens[batch.mask]
        np.testing.assert_allclose(found, wanted.numpy(), rtol=3e-3, atol=3e-3)
        seen = touched_patches(boxes, size, clip.patch_grid)
        embedded = clip.region_embeddings(encoded, [seen])
        np.testing.assert_allclose(batch.region_embeddings[batch.mask], embedded, atol=1e-3)
        if not flip:
            overlap = np.diag(box_iou(boxes, own.boxes[own.mask].numpy()))
            assert overlap.min() > 0.5
        assert np.array_equal(batch.classes, own.classes)


def test_only_the_papers_token(
    world: World, backbones: Backbones, plain: FeatureCache, tmp_path: Path
) -> None:
    cache = extracted(
        world.train_images, world.train_annotations, tmp_path / "s", backbones, sam_tokens="paper"
    )
    assert (cache.plan.shape.region_tokens, cache.plan.paper_token) == (1, 0)
    assert plain.plan.paper_token == PAPER_TOKEN
    wanted = plain.read(range(SCENES)).region_tokens[:, :, [PAPER_TOKEN]]
    assert np.array_equal(cache.read(range(SCENES)).region_tokens, wanted)


def test_no_region_embeddings_and_everything_else_the_same(
    world: World, backbones: Backbones, plain: FeatureCache, tmp_path: Path
) -> None:
    cache = extracted(
        world.train_images, world.train_annotations, tmp_path / "s", backbones,
        region_embedding="none",
    )  # fmt: skip
    assert plain.plan.keep.region_embedding == "tokens"  # where the tower can
    bare, embedded = cache.read(range(SCENES)), plain.read(range(SCENES))
    assert bare.region_embeddings.shape[2] == 0
    width = plain.class_bank().embeddings.shape[1]
    assert embedded.region_embeddings.shape[2] == plain.plan.shape.region_embedding == width
    lengths = embedded.region_embeddings[embedded.mask].float().norm(dim=-1)
    assert (lengths - 1).abs().max() <= 2e-3
    assert np.array_equal(bare.image_tokens, embedded.image_tokens)
    assert np.array_equal(bare.region_tokens, embedded.region_tokens)


def painted(image: RGBImage, box: list[float], grid: NDArray[np.float32], paint: list[int]) -> Any:
    """Pixel by pixel: painted, but where the mask's grid is above a half between its cells."""
    result = np.empty_like(image)
    result[:] = paint
    for row, column in np.ndindex(image.shape[:2]):
        across = (column + 0.5 - box[0]) / (box[2] - box[0])
        down = (row + 0.5 - box[1]) / (box[3] - box[1])
        if not (0 <= across <= 1 and 0 <= down <= 1):
            continue
        y, x = (min(max(16 * place - 0.5, 0), 15) for place in (down, across))
        share = 0.0
        for i, j in product({floor(y), ceil(y)}, {floor(x), ceil(x)}):
            share += (1 - abs(y - i)) * (1 - abs(x - j)) * grid[i, j]
        if share > 0.5:
            result[row, column] = image[row, column]
    return result


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("kind", ["crop", "masked-crop"])
def test_embeddings_of_crops(
    world: World, backbones: Backbones, tmp_path: Path, kind: str, flip: bool
) -> None:
    """By hand: the box, a tenth of its sides larger on each side, cut out and encoded."""
    image, batches = one_scene(
        world, backbones, tmp_path / "s", flip=flip, region_embedding=kind, region_masks=False
    )
    sam, clip = backbones.region_encoder, backbones.image_text_encoder
    embedding = sam.embed([sam.prepare(image)])
    for batch in batches:
        assert batch.region_masks.shape[2] == 0
        boxes = batch.boxes[batch.mask]
        grids = sam.decode(embedding, [boxes.numpy()], [image.shape[:2]], masks=True).mask_grids
        for box, grid, found in zip(
            boxes.tolist(), grids.numpy(), batch.region_embeddings[batch.mask], strict=True
        ):
            across, down = 0.1 * (box[2] - box[0]), 0.1 * (box[3] - box[1])
            left, top = max(0, floor(box[0] - across)), max(0, floor(box[1] - down))
            whole = image if kind == "crop" else painted(image, box, grid, [*clip.mean_colour])
            crop = whole[top : ceil(box[3] + down), left : ceil(box[2] + across)]
            wanted = clip.image_embeddings([clip.prepare(crop)])[0]
            np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize("flip", [False, True])
def test_masks_are_those_that_sam_segments(
    world: World, backbones: Backbones, tmp_path: Path, flip: bool
) -> None:
    """At the centres of 16 × 16 cells of the box: the full-size mask's pixels, but at its edges."""
    image, batches = one_scene(world, backbones, tmp_path / "s", flip=flip, region_masks=True)
    sam, size = backbones.region_encoder, image.shape[:2]
    embedding = sam.embed([sam.prepare(image)])
    for batch in batches:
        boxes = batch.boxes[batch.mask].numpy()
        (segmented,) = sam.segment(embedding, BoxPrompts(boxes), size)
        stored = batch.region_masks[batch.mask].numpy()
        assert stored.shape == (len(boxes), 16, 16)
        steps = (np.arange(16) + 0.5) / 16
        agree = []
        for (left, top, right, bottom), mask, found in zip(
            boxes, segmented.masks_NHW, stored, strict=True
        ):
            rows = np.floor(top + (bottom - top) * steps).astype(int).clip(0, size[0] - 1)
            columns = np.floor(left + (right - left) * steps).astype(int).clip(0, size[1] - 1)
            agree.append((mask[np.ix_(rows, columns)] == (found > 127)).mean())
            assert (found > 127).mean() > 0.1  # it is on the thing
        assert min(agree) >= 0.9


def test_a_tower_that_cannot_embed_regions(
    world: World, backbones: Backbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (world.train_images, world.train_annotations)
    monkeypatch.setattr(backbones.image_text_encoder, "region_obstacle", "it is made of air")
    with pytest.raises(InputError, match=r"region-embedding tokens: CLIP tiny cannot .* of air"):
        extracted(*data, tmp_path / "a", backbones, region_embedding="tokens")
    assert not (tmp_path / "a").exists()
    cache = extracted(*data, tmp_path / "b", backbones)
    assert (cache.plan.keep.region_embedding, cache.plan.shape.region_embedding) == ("none", 0)


def test_views_that_are_not_kept_are_refused(plain: FeatureCache) -> None:
    with pytest.raises(InputError, match=r"keeps no mirrored view.*--flip"):
        plain.read([0], flipped=np.array([True]))
    with pytest.raises(InputError, match=r"keeps 0 jittered copies.*--jitter"):
        plain.read([0], copy=np.array([1]))
