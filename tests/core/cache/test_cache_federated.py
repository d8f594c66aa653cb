"""LVIS's lists of classes in a store: kept, read, and no other store is changed by them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import CLASS_BANK
from regionspot_core.cache.maintenance.hdf5_file import Hdf5Export
from regionspot_core.cache.maintenance.merge import Merge
from regionspot_core.cache.maintenance.restore import restore_plan_files
from regionspot_core.cache.maintenance.survey import survey_store
from regionspot_core.cache.maintenance.verify import Verification, checks, verify
from regionspot_core.cache.maintenance.zip_file import ZipExport, ZipFileStore
from regionspot_core.cache.maintenance.zip_import import import_of
from regionspot_core.cache.read.order import BatchOrder
from regionspot_core.cache.read.part_reader import PartReader
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.markers import PLAN_FILES, read_plan_files, write_plan_files
from regionspot_core.cache.storage.store import open_store
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import CacheDamagedError, CacheError, FingerprintError
from regionspot_core.support.checksums import FileSum
from regionspot_core.testing import (
    SHAPE,
    files_of,
    make_annotations,
    make_bank,
    make_cache,
    make_features,
)
from regionspot_core.text.class_bank import HEADER_BYTES

COUNTS = [2, 0, 3, 1, 20, 0, 1, 4, 2]
PART_IMAGES = 4
FAILED = [3]
LISTS = {f"image/{name}{end}" for name in ("negative", "not_exhaustive") for end in ("", "_start")}


def nothing(_: int) -> None:
    """No progress is shown."""


def verified(path: Path) -> Verification:
    survey = survey_store(open_store(path))
    return verify(survey, checks(survey), nothing)


def write(
    path: Path, annotations: AnnotationSet, parts: Sequence[int] | None = None
) -> dict[str, object]:
    """Write a store of annotations; what it was made from."""
    plan = CachePlan(np.diff(annotations.region_start), SHAPE, PART_IMAGES)
    made = {
        "plan": plan,
        "annotations": annotations,
        "make_bank": lambda: make_bank(annotations.vocabulary),
        "fingerprint": {"backbones": {}, "dataset": annotations.fingerprint()},
        "image_bytes": lambda: np.full(len(annotations), 7),
    }
    writer = CacheWriter.open_or_create(path, **made)  # type: ignore[arg-type]
    for part in writer.pending():
        if parts is None or part.index in parts:
            writer.write(part, make_features(plan, part.index))
    writer.finish()
    return made


def annotated() -> AnnotationSet:
    return make_annotations(COUNTS, federated=True)


def earlier(annotations: AnnotationSet) -> AnnotationSet:
    """As a version read it that kept no lists: the same in all else, its hash included."""
    return replace(annotations, negative=None, not_exhaustive=None)


@given(lists=st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6))
def test_lists_come_back(lists: list[list[int]]) -> None:
    made = ClassLists.of(lists)
    assert [made[image].tolist() for image in range(len(made))] == lists
    assert made.longest == max(map(len, lists))
    order = np.arange(len(lists))[::-1]
    padded = made.padded(order, made.longest + 1)
    for row, image in zip(padded.tolist(), order, strict=True):
        assert row == lists[image] + [-1] * (made.longest + 1 - len(lists[image]))
    twice = ClassLists.joined([made, made])
    assert [twice[image].tolist() for image in range(len(twice))] == lists * 2


def test_zarr_python_reads_the_lists(tmp_path: Path) -> None:
    annotations = annotated()
    assert annotations.negative is not None
    assert annotations.negative.longest == 2
    write(tmp_path / "s", annotations)
    group = zarr.open_group(tmp_path / "s", mode="r")
    for name, lists in (
        ("negative", annotations.negative),
        ("not_exhaustive", annotations.not_exhaustive),
    ):
        assert lists is not None
        values, start = group[f"image/{name}"], group[f"image/{name}_start"]
        assert (values.dtype, start.dtype) == (np.int32, np.int64)
        for image in range(len(annotations)):
            assert values[start[image] : start[image + 1]].tolist() == lists[image].tolist()


def test_a_batch_has_the_negative_classes_of_its_images(tmp_path: Path) -> None:
    annotations = make_cache(
        tmp_path / "s", COUNTS, part_images=PART_IMAGES, failed=FAILED, federated=True
    )
    cache = FeatureCache(tmp_path / "s")
    assert annotations.negative is not None
    assert annotations.not_exhaustive is not None
    kept = [image for image in range(len(COUNTS)) if image not in FAILED]
    assert cache.negative is not None
    assert cache.not_exhaustive is not None
    for place, image in enumerate(kept):
        assert cache.negative[place].tolist() == annotations.negative[image].tolist()
        assert cache.not_exhaustive[place].tolist() == annotations.not_exhaustive[image].tolist()
    found = cache.read([5, 0, 2]).negative_classes
    assert found.dtype == torch.int64
    assert found.shape == (3, annotations.negative.longest)
    for row, place in zip(found.tolist(), (5, 0, 2), strict=True):
        own = annotations.negative[kept[place]].tolist()
        assert row == own + [-1] * (len(row) - len(own))


def test_stores_are_read_as_one_and_by_whole_parts(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        make_cache(tmp_path / name, COUNTS, part_images=2, seed=seed, federated=True)
    cache = FeatureCache([tmp_path / "a", tmp_path / "b"])
    assert cache.negative is not None
    single = [FeatureCache(tmp_path / name).negative for name in ("a", "b")]
    for place in range(2 * len(COUNTS)):
        store, image = divmod(place, len(COUNTS))
        lists = single[store]
        assert lists is not None
        assert cache.negative[place].tolist() == lists[image].tolist()
    mixed = cache.read([12, 1, 9]).negative_classes
    assert torch.equal(mixed, torch.from_numpy(cache.negative.padded(np.array([12, 1, 9]), 2)))
    order = BatchOrder(
        images=np.arange(len(cache)),
        batch_images=5,
        seed=0,
        shuffle="windowed",
        part_of=cache.part_of,
        window_parts=2,
    )
    with_parts = PartReader(lambda indices, epoch: cache.read(indices), order).batches(0)
    for indices, batch in zip(order.batches(0), with_parts, strict=False):
        assert torch.equal(batch.negative_classes, cache.read(indices).negative_classes)
        if len(batch) < 5 or indices[0] == 0:
            break
    with_parts.close()


def test_where_one_store_does_not_say_none_does(tmp_path: Path) -> None:
    annotations = annotated()
    write(tmp_path / "new", annotations)
    write(tmp_path / "old", earlier(annotations))
    for stores in (["old"], ["new", "old"]):
        cache = FeatureCache([tmp_path / name for name in stores])
        assert cache.negative is None
        assert cache.not_exhaustive is None
        assert cache.read([0, 2]).negative_classes.shape == (2, 0)


def test_only_the_lists_files_are_new(tmp_path: Path) -> None:
    """A store of a data set without lists has no trace of them."""
    write(tmp_path / "with", annotated())
    write(tmp_path / "without", earlier(annotated()))
    with_lists, without = files_of(tmp_path / "with"), files_of(tmp_path / "without")
    new = with_lists.keys() - without.keys()
    assert new == {f"{name}/{file}" for name in LISTS for file in ("zarr.json", "c/0")}
    changed = {key for key, content in without.items() if with_lists[key] != content}
    assert changed == {"zarr.json", PLAN_FILES}
    assert not any(b"negative" in content for content in without.values())


def test_every_damage_to_a_list_is_found_and_reading_refuses_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    write(path, annotated())
    assert verified(path).whole
    keys = [key for key in files_of(path) if key.split("/c/")[0] in LISTS and "/c/" in key]
    assert len(keys) == 4
    for key in keys:
        content = (path / key).read_bytes()
        (path / key).write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
        result = verified(path)
        assert [each.key for each in result.damages] == [key]
        assert result.plan_is_damaged
        with pytest.raises(CacheDamagedError, match=key.split("/c/")[0]):
            _ = FeatureCache(path).negative, FeatureCache(path).not_exhaustive
        (path / key).write_bytes(content)


@pytest.mark.parametrize("empty", [False, True])
def test_an_export_comes_back_byte_for_byte(tmp_path: Path, empty: bool) -> None:
    annotations = annotated()
    if empty:  # the data set has the lists, and no class in any
        nobody = ClassLists.of([[]] * len(annotations))
        annotations = replace(annotations, negative=nobody, not_exhaustive=nobody)
    write(tmp_path / "s", annotations)
    assert verified(tmp_path / "s").whole
    Hdf5Export(tmp_path / "s").write(tmp_path / "s.h5", nothing)
    with h5py.File(tmp_path / "s.h5") as file:
        for name, lists in (
            ("negative", annotations.negative),
            ("not_exhaustive", annotations.not_exhaustive),
        ):
            assert lists is not None
            assert file[f"image/{name}"][...].tolist() == lists.values.tolist()
            assert file[f"image/{name}_start"][...].tolist() == lists.start.tolist()
    ZipExport(tmp_path / "s").write(tmp_path / "s.zip", nothing)
    with ZipFileStore(tmp_path / "s.zip") as source:
        import_of(source, tmp_path / "back").run(nothing)
    assert files_of(tmp_path / "back") == files_of(tmp_path / "s")
    negative = FeatureCache(tmp_path / "back").negative
    assert negative is not None
    assert annotations.negative is not None
    assert negative.values.tolist() == annotations.negative.values.tolist()


@pytest.mark.parametrize("kept", [True, False])
def test_a_store_is_restored_as_it_was_written(tmp_path: Path, kept: bool) -> None:
    """A store that an earlier version wrote gets no lists from today's annotations."""
    path, today = tmp_path / "s", annotated()
    write(path, today if kept else earlier(today))
    before = files_of(path)
    made = write(tmp_path / "other", today)
    keys = ["image/size/c/0/0", "zarr.json", PLAN_FILES]
    keys += ["image/negative/c/0", "image/not_exhaustive_start/c/0"] if kept else []
    for key in keys:
        (path / key).write_bytes(b"damaged")
        restore_plan_files(open_store(path), **made)  # type: ignore[arg-type]
        assert files_of(path) == before, key


def test_a_class_bank_from_before_checksums_is_restored_too(tmp_path: Path) -> None:
    path = tmp_path / "s"
    made = write(path, annotated())
    content = (path / CLASS_BANK).read_bytes()[HEADER_BYTES:]
    sums = read_plan_files(open_store(path)) | {CLASS_BANK: FileSum.of([content])}
    (path / CLASS_BANK).write_bytes(content)
    write_plan_files(open_store(path), sums)
    before = files_of(path)
    (path / CLASS_BANK).write_bytes(b"damaged")
    restore_plan_files(open_store(path), **made)  # type: ignore[arg-type]
    assert files_of(path) == before
    assert len(FeatureCache(path).class_bank().embeddings) == len(annotated().vocabulary)


def test_an_earlier_store_is_gone_on_with(tmp_path: Path) -> None:
    path, today = tmp_path / "s", annotated()
    write(path, earlier(today), parts=[0])
    write(path, today)
    assert verified(path).whole
    write(tmp_path / "one run", earlier(today))
    assert files_of(path) == files_of(tmp_path / "one run")


def test_earlier_stores_and_todays_merge_into_what_the_first_is(tmp_path: Path) -> None:
    today = annotated()
    write(tmp_path / "new", today, parts=[0, 1])
    write(tmp_path / "old", earlier(today), parts=[2])
    for first, second in (("new", "old"), ("old", "new")):
        Merge([tmp_path / first, tmp_path / second], tmp_path / f"{first} first").run(nothing)
        assert verified(tmp_path / f"{first} first").whole
    write(tmp_path / "whole new", today)
    write(tmp_path / "whole old", earlier(today))
    assert files_of(tmp_path / "new first") == files_of(tmp_path / "whole new")
    assert files_of(tmp_path / "old first") == files_of(tmp_path / "whole old")


def test_stores_of_other_lists_do_not_merge(tmp_path: Path) -> None:
    today = annotated()
    assert today.negative is not None
    other = replace(today.negative, values=today.negative.values[::-1].copy())
    write(tmp_path / "a", today, parts=[0, 1])
    write(tmp_path / "b", replace(today, negative=other), parts=[2])
    with pytest.raises(FingerprintError, match="image/negative: expected"):
        Merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")


def test_a_missing_list_is_damage_and_not_an_earlier_store(tmp_path: Path) -> None:
    write(tmp_path / "s", annotated())
    (tmp_path / "s" / "image" / "negative" / "zarr.json").unlink()
    with pytest.raises(CacheError, match=r"image/negative/zarr\.json is missing"):
        FeatureCache(tmp_path / "s")
