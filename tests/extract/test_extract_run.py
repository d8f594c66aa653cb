"""Extraction: features are the models', bad images are recorded, other options refused."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.layout.schema import stored_bytes
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.claims import FolderClaims
from regionspot_core.errors import FingerprintError, ImageError, InputError
from regionspot_core.imaging.images import read_image
from regionspot_core.testing import files_of
from regionspot_core.tiny.world import World
from regionspot_extract.config import ExtractConfig
from regionspot_extract.prepare import prepare
from regionspot_extract.run import run_extraction
from regionspot_extract.stores.info import describe_store

SCENES = 30


@pytest.fixture(scope="module")
def world(world_of: Callable[[int], World]) -> World:
    return world_of(SCENES)


def make_config(world: World, out: Path, **changes: object) -> ExtractConfig:
    values = {
        "images": world.train_images,
        "annotations": world.train_annotations,
        "bank": world.train_annotations.with_name("bank.h5"),
        "out": out,
    }
    return ExtractConfig.parse({**values, "part_images": 7, **changes}, source="test")


@pytest.fixture(scope="module")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "store.zarr"
    run_extraction(make_config(world, out))
    return out


def test_cached_features_are_the_live_models(
    world: World, finished: Path, backbones: Backbones
) -> None:
    cache = FeatureCache(finished)
    sam, clip = backbones.region_encoder, backbones.image_text_encoder
    content = json.loads(world.train_annotations.read_text())
    for index in (0, 13, SCENES - 1):
        record, batch = content["images"][index], cache.read([index])
        image = read_image(world.train_images / record["file_name"])
        boxes = np.array(
            [a["bbox"] for a in content["annotations"] if a["image_id"] == record["id"]]
        ).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        tokens = clip.image_tokens([clip.prepare(image)])
        regions = sam.decode(sam.embed([sam.prepare(image)]), [boxes], [image.shape[:2]])
        # float16 keeps 11 bits; batches of other sizes round the last float32 bits otherwise.
        np.testing.assert_allclose(batch.image_tokens, tokens, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(
            batch.region_tokens[batch.mask], regions.tokens_NMS, rtol=2e-3, atol=2e-3
        )
        assert batch.region_tokens[batch.mask].shape[0] == len(boxes)


def test_the_plan_says_what_the_store_weighs(world: World, finished: Path, tmp_path: Path) -> None:
    extraction = prepare(make_config(world, tmp_path / "unused"))
    planned = sum(stored_bytes(extraction.plan).values())
    shards = [*finished.rglob("c/*/0/0"), *finished.rglob("c/*/0")]
    stored = sum(path.stat().st_size for path in set(shards) if path.is_file())
    assert planned <= stored <= 1.02 * planned
    assert not (tmp_path / "unused").exists()


def test_a_second_run_does_nothing(world: World, finished: Path) -> None:
    before = files_of(finished)
    report = run_extraction(make_config(world, finished))
    assert (report.parts, report.parts_resumed) == (5, 5)
    assert files_of(finished) == before


def test_a_lost_marker_redoes_that_part_alone(world: World, finished: Path) -> None:
    before = files_of(finished)
    (finished / "parts" / "000002.json").unlink()
    assert run_extraction(make_config(world, finished)).parts_resumed == 4
    assert files_of(finished) == before


def test_a_lock_left_beside_a_committed_part_goes(
    world: World, finished: Path, tmp_path: Path
) -> None:
    """What a kill leaves between a part's commit and the end of its claim."""
    out = tmp_path / "store.zarr"
    run_extraction(make_config(world, out, shard={"index": 1, "of": 2}))
    (out / "locks").mkdir(exist_ok=True)
    (out / "locks" / "000000.lock").touch()
    assert run_extraction(make_config(world, out)).complete
    assert files_of(out) == files_of(finished)


def test_cleaning_up_leaves_a_lock_that_is_held(tmp_path: Path) -> None:
    claims = FolderClaims(tmp_path)
    with claims.part(3) as held:
        assert held
        (tmp_path / "locks" / "000001.lock").touch()
        FolderClaims(tmp_path).clean_up()
        assert [path.name for path in (tmp_path / "locks").iterdir()] == ["000003.lock"]
        with FolderClaims(tmp_path).part(3) as again:
            assert not again
    FolderClaims(tmp_path).clean_up()
    assert not (tmp_path / "locks").exists()


def test_broken_images_are_recorded_and_the_run_goes_on(world: World, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in world.train_images.iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    names = [i["file_name"] for i in json.loads(world.train_annotations.read_text())["images"]]
    (images / names[3]).unlink()
    (images / names[9]).write_bytes((images / names[9]).read_bytes()[:200])
    out = tmp_path / "store.zarr"
    report = run_extraction(make_config(world, out, images=images))
    assert [failure.file for failure in report.failed] == [names[3], names[9]]
    assert "no such image file" in report.failed[0].reason
    assert "cannot be decoded" in report.failed[1].reason
    assert len(FeatureCache(out)) == SCENES - 2
    assert describe_store(out).images_written == SCENES - 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"part_images": 8}, "plan.part_images: expected 8, found 7"),
        (
            {"backbones": {"precision": "bfloat16"}},
            "fingerprint.precision: expected bfloat16, found float32",
        ),
        ({"keep": {"dtype": "int8"}}, "plan.keep.dtype: expected int8, found float16"),
        ({"keep": {"sam_tokens": "paper"}}, "plan.keep.sam_tokens: expected paper, found all"),
        ({"keep": {"jitter": 2}}, "plan.keep.jitter: expected 2, found 0"),
        ({"keep": {"flip": True}}, "plan.keep.flip: expected True, found False"),
    ],
)
def test_other_options_on_a_store_are_refused(
    world: World, finished: Path, changes: dict[str, object], field: str
) -> None:
    with pytest.raises(FingerprintError, match=field):
        run_extraction(make_config(world, finished, **changes))


def test_other_annotations_on_a_store_are_refused(
    world: World, finished: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "train.json"
    changed.write_text(world.train_annotations.read_text() + "\n")
    with pytest.raises(FingerprintError, match=r"fingerprint\.dataset\.annotations_sha256"):
        run_extraction(make_config(world, finished, annotations=changed))


class Other:
    """A model that says of itself what another would."""

    def __init__(self, model: Any, **changes: object) -> None:
        self._model = model
        self._changes = changes

    def fingerprint(self) -> dict[str, Any]:
        return self._model.fingerprint() | self._changes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


@pytest.fixture(scope="module")
def without_bank(
    world_of: Callable[[int], World], tmp_path_factory: pytest.TempPathFactory
) -> ExtractConfig:
    """A finished store for which the run embedded the classes itself."""
    config = make_config(world_of(2), tmp_path_factory.mktemp("own") / "store.zarr", bank=None)
    run_extraction(config)
    return config


@pytest.mark.parametrize("which", ["region_encoder", "image_text_encoder"])
@pytest.mark.parametrize(
    ("field", "value"), [("name", "another"), ("weights", "1" * 64), ("input", "333")]
)
def test_other_models_on_a_store_are_refused(
    without_bank: ExtractConfig, backbones: Backbones, which: str, field: str, value: str
) -> None:
    other = replace(backbones, **{which: Other(getattr(backbones, which), **{field: value})})
    before = files_of(without_bank.out)
    with pytest.raises(
        FingerprintError, match=rf"backbones\.{which}\.{field}: expected "
    ) as caught:
        run_extraction(without_bank, backbones=other)
    assert str(caught.value).count("expected") == 1
    assert files_of(without_bank.out) == before


def test_an_image_that_changed_or_vanished_since_the_plan(world: World, tmp_path: Path) -> None:
    """Recorded, its rows left out; with the files back, ``retry_failed`` makes the store whole."""
    images = shutil.copytree(world.train_images, tmp_path / "images")
    first = make_config(world, tmp_path / "s", images=images, shard={"index": 1, "of": 2})
    run_extraction(first)
    names = [i["file_name"] for i in json.loads(world.train_annotations.read_text())["images"]]
    (images / names[8]).unlink()
    Image.new("RGB", (64, 48)).save(images / names[10])
    config = make_config(world, tmp_path / "s", images=images)
    report = run_extraction(config)
    assert [failure.file for failure in report.failed] == [names[8], names[10]]
    assert report.failed[0].reason == "no such image file"
    assert "the file changed since the store was planned" in report.failed[1].reason
    assert len(FeatureCache(tmp_path / "s")) == SCENES - 2

    for name in (names[8], names[10]):
        shutil.copy(world.train_images / name, images)
    retried = run_extraction(config.model_copy(update={"retry_failed": True}))
    assert (retried.parts_done, retried.failed, retried.complete) == (1, (), True)
    run_extraction(make_config(world, tmp_path / "whole"))
    assert files_of(tmp_path / "s") == files_of(tmp_path / "whole")


class Broken(Other):
    """A CLIP that has a number of its last image too large for a store."""

    def image_tokens(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        tokens: torch.Tensor = self._model.image_tokens(images).clone()
        tokens[-1, 2, 3] = 1e9
        return tokens


def test_features_that_are_not_finite_name_the_image(
    world: World, backbones: Backbones, tmp_path: Path
) -> None:
    broken = replace(backbones, image_text_encoder=Broken(backbones.image_text_encoder))
    out = tmp_path / "store.zarr"
    names = [i["file_name"] for i in json.loads(world.train_annotations.read_text())["images"]]
    config = make_config(world, out, keep={"region_embedding": "none"})
    with pytest.raises(ImageError, match=f"{names[6]}: .*not finite in float16"):
        run_extraction(config, backbones=broken)
    assert describe_store(out).parts_written == 0


def test_a_wrong_image_folder_is_refused_at_once(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the 30 annotated images is there"):
        run_extraction(make_config(world, tmp_path / "s", images=tmp_path))
    assert not (tmp_path / "s").exists()


def test_openimages_sizes_come_from_the_image_folder(world: World, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    rows = ["ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf"]
    for number, path in enumerate(sorted(world.train_images.iterdir())[:3]):
        with Image.open(path) as image:
            image.convert("RGB").save(images / f"{number:016x}.jpg")
        rows.append(f"{number:016x},/m/0,0.25,0.75,0,0.5,0")
    (images / f"{1:016x}.jpg").write_bytes(b"")
    boxes = tmp_path / "train-annotations-bbox.csv"
    boxes.write_text("\n".join(rows))
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/0,Thing\n")
    extraction = prepare(
        make_config(world, tmp_path / "s", images=images, annotations=boxes, bank=None)
    )
    assert extraction.annotations.image_id.tolist() == [0, 2]
    assert extraction.annotations.dropped["images not readable"] == 1
    height, width = extraction.annotations.size(0)
    assert extraction.annotations.box[0].tolist() == [width / 4, 0, width * 0.75, height / 2]
