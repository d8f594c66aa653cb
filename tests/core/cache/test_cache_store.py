"""The store: what is written comes back, through our reader and through zarr-python alone."""

import json
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import xxhash
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.markers import COMPLETE, marker_key, read_marker
from regionspot_core.cache.storage.store import open_store
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.errors import CacheDamagedError, CacheError, FingerprintError
from regionspot_core.testing import (
    SHAPE,
    make_annotations,
    make_bank,
    make_cache,
    make_features,
    shard_path,
)

COUNTS = [2, 0, 3, 1, 20, 0, 1, 4, 2]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_cache(tmp_path / "store.zarr", COUNTS)
    return tmp_path / "store.zarr"


def test_batch_holds_what_was_written(store: Path) -> None:
    annotations, cache = make_annotations(COUNTS), FeatureCache(store)
    order = [4, 0, 1, 8]
    batch = cache.read(order)
    assert batch.image_tokens.shape == (4, SHAPE.image_tokens, SHAPE.image_width)
    assert batch.region_tokens.shape == (4, 20, SHAPE.region_tokens, SHAPE.region_width)
    for slot, image in enumerate(order):
        part, offset = divmod(image, cache.plan.part_images)
        features = make_features(cache.plan, part)
        assert np.array_equal(batch.image_tokens[slot], features.arrays["clip/tokens"][offset])
        before = sum(COUNTS[part * cache.plan.part_images : image])
        count = COUNTS[image]
        assert np.array_equal(
            batch.region_tokens[slot, :count],
            features.arrays["region/tokens"][before : before + count],
        )
        assert batch.mask[slot].tolist() == [True] * count + [False] * (20 - count)
        regions = annotations.regions(image)
        assert np.array_equal(batch.boxes[slot, :count], annotations.box[regions])
        assert batch.classes[slot, :count].tolist() == annotations.class_index[regions].tolist()
        assert batch.annotation_ids[slot, :count].tolist() == (
            annotations.annotation_id[regions].tolist()
        )
        assert not batch.region_tokens[slot, count:].any()
        assert (batch.classes[slot, count:] == -1).all()
    assert batch.image_ids.tolist() == annotations.image_id[order].tolist()
    assert batch.image_sizes.tolist() == annotations.image_size[order].tolist()


def test_zarr_python_alone_reads_the_same_values(store: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = zarr.open_group(str(store), mode="r")
        listed = dict(group.members(max_depth=None))
    assert {"clip/tokens", "region/tokens", "region/iou", "image/file"} <= listed.keys()
    batch = FeatureCache(store).read(range(len(COUNTS)))
    assert np.array_equal(group["clip/tokens"][...], batch.image_tokens)
    starts = group["region/start"][...].tolist()
    for image, (start, count) in enumerate(zip(starts, COUNTS, strict=True)):
        rows = group["region/tokens"][start : start + count]
        assert np.array_equal(rows, batch.region_tokens[image, :count])


def test_file_names_come_back_from_utf8_bytes(store: Path) -> None:
    group = zarr.open_group(str(store), mode="r")
    text, start = group["image/file"][...].tobytes(), group["image/file_start"][...]
    names = [text[a:b].decode() for a, b in pairwise(start)]
    assert names == list(make_annotations(COUNTS).image_file)


@given(
    counts=st.lists(st.integers(0, 20), min_size=1, max_size=9),
    part_images=st.integers(1, 10),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_any_shape_round_trips(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], part_images: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("cache") / "store.zarr"
    make_cache(path, counts, part_images=part_images, seed=seed)
    cache = FeatureCache(path)
    batch = cache.read(range(len(counts)))
    parts = [make_features(cache.plan, part, seed=seed) for part in range(cache.plan.part_count)]
    written = {
        name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays
    }
    assert np.array_equal(batch.image_tokens, written["clip/tokens"])
    assert np.array_equal(batch.region_tokens[batch.mask], written["region/tokens"])


def test_failed_images_are_left_out(tmp_path: Path) -> None:
    annotations = make_cache(tmp_path / "s", COUNTS, failed=[0, 4])
    cache = FeatureCache(tmp_path / "s")
    kept = [1, 2, 3, 5, 6, 7, 8]
    assert len(cache) == len(kept)
    assert cache.read(range(7)).image_ids.tolist() == annotations.image_id[kept].tolist()
    assert [failure.position for failure in cache.failed] == [0, 4]
    marker = read_marker(open_store(tmp_path / "s"), FeatureCache(tmp_path / "s").plan, 0)
    assert marker is not None
    assert (marker.images, marker.regions) == (3, 4)


def test_an_unfinished_store_is_refused_and_says_so(tmp_path: Path) -> None:
    make_cache(tmp_path / "s", COUNTS, parts=2)
    with pytest.raises(CacheError, match="1 of 3 parts are not written yet"):
        FeatureCache(tmp_path / "s")


@pytest.mark.parametrize("kind", ["missing", "file", "empty folder", "other zarr"])
def test_what_is_no_store_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("no store")
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "other zarr":
        zarr.create_group(str(path))
    with pytest.raises(CacheError, match="feature cache"):
        FeatureCache(path)


@pytest.mark.parametrize("name", ["clip/tokens", "region/tokens"])
def test_a_flipped_bit_raises_and_names_the_image(store: Path, name: str) -> None:
    path = shard_path(store, name, 1)
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    cache = FeatureCache(store)
    with pytest.raises(CacheDamagedError, match=r"part 1 \(images 31"):
        cache.read([4])
    cache.read([0])


def test_a_damaged_marker_is_named(store: Path) -> None:
    (store / COMPLETE).unlink()
    (store / marker_key(1)).write_text('{"part": 1')
    with pytest.raises(CacheDamagedError, match=r"000001\.json.*damaged"):
        FeatureCache(store)


def test_another_fingerprint_is_refused_field_by_field(store: Path) -> None:
    annotations = make_annotations(COUNTS)
    plan = CachePlan(np.diff(annotations.region_start), SHAPE, part_images=5)
    with pytest.raises(FingerprintError) as caught:
        CacheWriter.open_or_create(
            store,
            plan=plan,
            annotations=annotations,
            make_bank=lambda: make_bank(annotations.vocabulary),
            fingerprint={"backbones": {"region_encoder": {"name": "another"}}},
        )
    message = str(caught.value)
    assert "backbones.region_encoder.name: expected another, found generated" in message
    assert "plan.part_images: expected 5, found 4" in message


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_cache(tmp_path / name, COUNTS)
    files = {
        name: {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("a", "b")
    }
    assert files["a"] == files["b"]


def test_no_two_parts_write_one_file(tmp_path: Path) -> None:
    seen: set[Path] = set()
    annotations = make_annotations(COUNTS)
    plan = CachePlan(np.diff(annotations.region_start), SHAPE, part_images=4)
    make_cache(tmp_path / "s", COUNTS, parts=0)
    before = {path for path in (tmp_path / "s").rglob("*") if path.is_file()}
    writer = CacheWriter(tmp_path / "s", plan)
    for part in writer.pending():
        writer.write(part, make_features(plan, part.index))
        files = {path for path in (tmp_path / "s").rglob("*") if path.is_file()} - before - seen
        expected = {
            shard_path(tmp_path / "s", name, part.index)
            for name in ("clip/tokens", "region/tokens", "region/iou", "region/clip")
        }
        assert files == expected | {tmp_path / "s" / marker_key(part.index)}
        seen |= files


def test_a_part_of_another_shape_is_refused_before_writing(store: Path) -> None:
    plan = FeatureCache(store).plan
    with pytest.raises(CacheError, match="clip/tokens must be"):
        CacheWriter(store, plan).write(plan.part(0), make_features(plan, 2))


def test_markers_hold_the_checksums_of_the_files(store: Path) -> None:
    values = json.loads((store / marker_key(0)).read_text())
    expected = {"clip/tokens", "region/tokens", "region/iou", "region/clip"}
    assert values["files"].keys() == expected
    for name, file in values["files"].items():
        content = shard_path(store, name, 0).read_bytes()
        assert (file["size"], file["xxh3"]) == (len(content), xxhash.xxh3_64_hexdigest(content))


def test_files_of_other_content_have_other_sums(store: Path) -> None:
    """A CRC over content that ends in its own CRC is one number for all content."""
    sums = [
        (file["size"], file["xxh3"])
        for part in (0, 1)
        for file in json.loads((store / marker_key(part)).read_text())["files"].values()
    ]
    assert len(set(sums)) == len(sums) == 8


def test_images_without_regions_make_an_empty_mask(store: Path) -> None:
    batch = FeatureCache(store).read([1, 5])
    assert batch.mask.shape == (2, 1)
    assert not batch.mask.any()
    assert torch.equal(batch.classes, torch.full((2, 1), -1))
