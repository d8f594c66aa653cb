"""Damage planted in every file of small stores: verify finds each, and readers never trust it.

Every file kind is hit in every way: a flipped bit at either end and at random places, cut by a
byte and by half, emptied, deleted; and whole files where they do not belong.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.layout.schema import GROUP, part_arrays
from regionspot_core.cache.maintenance.survey import survey_store
from regionspot_core.cache.maintenance.verify import Verification, checks, verify
from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.markers import COMPLETE, PLAN_FILES, marker_key
from regionspot_core.cache.storage.store import open_store
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.errors import CacheDamagedError, CacheError
from regionspot_core.testing import make_annotations, make_cache
from regionspot_core.text.class_bank import ClassBank

COUNTS = [2, 0, 3, 1, 20, 0, 1, 4, 2, 0]
PART_IMAGES = 4
KEEPS = {
    "float16": Keep(),
    "all": Keep(dtype="int8", jitter=2, flip=True),
}
Damager = Callable[[bytes], bytes]


def verified(store: Path) -> Verification:
    survey = survey_store(open_store(store))
    return verify(survey, checks(survey), lambda _: None)


def flipped(content: bytes, place: int, bit: int = 0) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def damagers(size: int, rng: np.random.Generator, keep: Keep) -> dict[str, Damager]:
    """Ways to damage a file of a size, by name; the store of many files gets a few of them."""
    ways: dict[str, Damager] = {
        "first byte": lambda content: flipped(content, 0, 7),
        "last byte": lambda content: flipped(content, -1),
        "cut by 1": lambda content: content[:-1],
        "cut by half": lambda content: content[: len(content) // 2],
        "emptied": lambda _: b"",
        "longer": lambda content: content + b"\0",
    }
    for place, bit in zip(rng.integers(0, size, 2), rng.integers(0, 8, 2), strict=True):
        ways[f"bit {bit} of byte {place}"] = partial(flipped, place=int(place), bit=int(bit))
    chosen = sorted(ways) if keep == Keep() else rng.choice(sorted(ways), 3, replace=False)
    return {name: ways[name] for name in chosen}


@pytest.fixture(scope="module", params=KEEPS)
def keep(request: pytest.FixtureRequest) -> Keep:
    return KEEPS[request.param]


@pytest.fixture(scope="module")
def store(keep: Keep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "store.zarr"
    make_cache(path, COUNTS, keep=keep, part_images=PART_IMAGES)
    return path


def keys_of(store: Path) -> list[str]:
    return sorted(open_store(store).keys())


def part_of(key: str) -> int | None:
    """The part a file belongs to, by its name."""
    if key in (PLAN_FILES, COMPLETE):
        return None
    if key.startswith("parts/"):
        return int(key[6:12])
    name, chunks, place = key.partition("/c/")
    small = name.startswith("image/") or name in {
        f"region/{each}" for each in ("start", "count", "box", "class", "annotation")
    }
    return int(place.split("/")[0]) if chunks and not small else None


def test_an_undamaged_store_passes(store: Path) -> None:
    result = verified(store)
    assert result.whole
    assert (result.damages, result.leftovers, result.foreign) == ((), (), ())
    sealed = {PLAN_FILES, COMPLETE} | {marker_key(part) for part in range(3)}
    read = [key for key in keys_of(store) if key not in sealed]
    assert result.bytes == sum((store / key).stat().st_size for key in read)
    assert result.files == len(read) + 3


@pytest.mark.slow
def test_every_damage_to_every_file_is_found_and_named(store: Path, keep: Keep) -> None:
    rng, planted = np.random.default_rng(7), 0
    for key in keys_of(store):
        path = store / key
        content = path.read_bytes()
        for way, damage in damagers(len(content), rng, keep).items():
            path.write_bytes(damage(content))
            result = verified(store)
            assert not result.whole, (key, way)
            assert [each.key for each in result.damages] == [key], (key, way)
            assert result.damages[0].part == part_of(key), (key, way)
            planted += 1
        path.unlink()
        gone = verified(store)
        assert not gone.whole, key
        found = [(each.key, each.problem) for each in gone.damages]
        assert found == ([] if key == COMPLETE else [(key, "missing")])
        path.write_bytes(content)
    assert planted > 200
    assert verified(store).whole


def test_a_damaged_chunk_names_its_images_and_no_others(store: Path, keep: Keep) -> None:
    """One flip in each chunk of one image, or of one run of region rows, of the first part."""
    annotations = make_annotations(COUNTS)
    plan = FeatureCache(store).plan
    for array in part_arrays(plan).values():
        for part in plan.parts():
            path = store / array.file(part.index)
            content = path.read_bytes()
            chunk = int(np.prod(array.chunk)) * np.dtype(array.dtype).itemsize + 4
            copies = array.shard[1] // array.chunk[1] if "jittered" in array.name else 1
            for place in range((len(content) - 4) // (chunk + 16)):
                if (place + 1) * chunk > len(content):
                    break
                path.write_bytes(flipped(content, place * chunk + chunk // 2))
                (damage,) = verified(store).damages
                if array.of_regions:
                    first = part.row_start + place // copies * array.chunk[0]
                    rows = range(first, first + array.chunk[0])
                    hit = [
                        i
                        for i in part.images
                        if any(plan.region_start[i] + k in rows for k in range(COUNTS[i]))
                    ]
                    if place // copies * array.chunk[0] >= part.rows:
                        break
                else:
                    hit = [part.image_start + place]
                assert [image.position for image in damage.images] == hit
                assert [image.id for image in damage.images] == annotations.image_id[hit].tolist()
                assert [i.file for i in damage.images] == [annotations.image_file[i] for i in hit]
                assert damage.part == part.index
            path.write_bytes(content)


def test_a_damaged_index_hits_all_images_of_the_part(store: Path) -> None:
    path = store / "clip/tokens/c/1/0/0"
    content = path.read_bytes()
    path.write_bytes(flipped(content, -20))
    (damage,) = verified(store).damages
    path.write_bytes(content)
    assert "index of chunks is damaged" in damage.problem
    assert [image.position for image in damage.images] == [4, 5, 6, 7]


def test_files_of_other_parts_are_found(store: Path) -> None:
    first, second = (store / f"clip/tokens/c/{part}/0/0" for part in (0, 1))
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    found = [(each.key, each.part, "another part's file" in each.problem, len(each.images))
             for each in verified(store).damages]  # fmt: skip
    first.write_bytes(contents[0])
    second.write_bytes(contents[1])
    assert found == [
        ("clip/tokens/c/0/0/0", 0, True, 4),
        ("clip/tokens/c/1/0/0", 1, True, 4),
    ]


@pytest.mark.parametrize(
    ("source", "target", "part"),
    [
        (marker_key(0), marker_key(1), 1),
        (COMPLETE, marker_key(1), 1),
        (PLAN_FILES, marker_key(2), 2),
        (marker_key(0), COMPLETE, None),
        (marker_key(0), PLAN_FILES, None),
        (COMPLETE, PLAN_FILES, None),
    ],
)
def test_a_sealed_file_in_anothers_place_is_found(
    store: Path, tmp_path: Path, source: str, target: str, part: int | None
) -> None:
    copy = shutil.copytree(store, tmp_path / "s")
    shutil.copy(copy / source, copy / target)
    (damage,) = verified(copy).damages
    assert (damage.key, damage.part) == (target, part)
    (copy / COMPLETE).unlink()
    if source != COMPLETE and target != COMPLETE:
        with pytest.raises(CacheDamagedError, match=Path(target).name):
            FeatureCache(copy)


def test_foreign_files_are_told_from_leftovers(store: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(store, tmp_path / "s")
    folders = [copy, *(path for path in copy.rglob("*") if path.is_dir())]
    foreign = []
    for folder in folders:
        for name in ("notes.txt", "0.bak", "strange.partial"):
            (folder / name).write_text("of somebody else")
            foreign.append((folder / name).relative_to(copy).as_posix())
    (copy / "parts" / "000003.json").write_text("{}")
    (copy / "clip/tokens/c/3/0").mkdir(parents=True)
    (copy / "clip/tokens/c/3/0/0").write_bytes(b"")
    foreign += ["parts/000003.json", "clip/tokens/c/3/0/0"]
    leftovers = [
        "locks/000001.lock", "clip/tokens/c/1/0/0.partial", "parts/000002.json.partial",
        "parts/complete.json.partial", "clip/tokens/c/0/0/0.__lock",
    ]  # fmt: skip
    (copy / "locks").mkdir()
    for key in leftovers:
        (copy / key).write_bytes(b"")
    result = verified(copy)
    assert result.complete
    assert not result.whole
    assert result.damages == ()
    assert result.leftovers == tuple(sorted(leftovers))
    assert result.foreign == tuple(sorted(foreign))
    FeatureCache(copy).read([0])


def test_a_store_without_summary_or_parts_is_not_complete(tmp_path: Path) -> None:
    make_cache(tmp_path / "s", COUNTS, part_images=4, parts=1)
    (tmp_path / "s/clip/tokens/c/1/0").mkdir(parents=True)
    (tmp_path / "s/clip/tokens/c/1/0/0").write_bytes(b"killed before its marker was written")
    result = verified(tmp_path / "s")
    assert (result.unwritten, result.complete, result.undamaged) == ((1, 2), False, True)


def test_a_lost_marker_of_a_finished_store_is_damage(store: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(store, tmp_path / "s")
    (copy / marker_key(1)).unlink()
    result = verified(copy)
    (damage,) = result.damages
    assert (damage.key, damage.problem, damage.part) == (marker_key(1), "missing", 1)
    assert [image.position for image in damage.images] == [4, 5, 6, 7]


@pytest.mark.parametrize("what", ["a folder", "a full folder", "a loop of links", "a pipe"])
@pytest.mark.parametrize("key", [marker_key(1), COMPLETE, PLAN_FILES, GROUP, "image/id/c/0"])
def test_what_stands_in_a_files_place_is_damage_and_ends_nothing(
    store: Path, tmp_path: Path, key: str, what: str
) -> None:
    copy = shutil.copytree(store, tmp_path / "s")
    shard = copy / "clip/tokens/c/0/0/0"
    shard.write_bytes(flipped(shard.read_bytes(), 20))
    (copy / key).unlink()
    if what == "a loop of links":
        (copy / key).symlink_to(copy / key)
    elif what == "a pipe":
        os.mkfifo(copy / key)
    else:
        (copy / key).mkdir()
        if what == "a full folder":
            (copy / key / "notes.txt").touch()
    result = verified(copy)
    damages = {each.key: each for each in result.damages}
    looked_at = {key} if key == GROUP else {key, "clip/tokens/c/0/0/0"}
    assert damages.keys() == looked_at
    assert damages[key].part == part_of(key)
    assert result.foreign == ((f"{key}/notes.txt",) if what == "a full folder" else ())


def test_a_store_whose_summary_is_missing_is_to_be_completed(store: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(store, tmp_path / "s")
    content = (copy / COMPLETE).read_bytes()
    (copy / COMPLETE).unlink()
    result = verified(copy)
    assert (result.complete, result.damages, result.repairable) == (False, (), True)
    assert not verified(store).repairable
    writer = CacheWriter(copy, FeatureCache(copy).plan)
    assert writer.finish()
    assert (copy / COMPLETE).read_bytes() == content


def test_of_an_unfinished_store_nothing_is_to_be_repaired(tmp_path: Path) -> None:
    make_cache(tmp_path / "s", COUNTS, part_images=4, parts=1)
    assert not verified(tmp_path / "s").repairable


@pytest.mark.parametrize("other", [{"seed": 3}, {"part_images": 2}, {"failed": [0], "seed": 1}])
def test_another_stores_list_is_blamed_and_not_the_files_that_it_lists(
    store: Path, tmp_path: Path, keep: Keep, other: dict[str, object]
) -> None:
    make_cache(tmp_path / "o", COUNTS, keep=keep, **{"part_images": PART_IMAGES} | other)  # type: ignore[arg-type]
    copy = shutil.copytree(store, tmp_path / "s")
    shutil.copy(tmp_path / "o" / PLAN_FILES, copy / PLAN_FILES)
    (damage,) = verified(copy).damages
    assert (damage.key, damage.part) == (PLAN_FILES, None)
    assert damage.problem.startswith("another store's")
    with pytest.raises(CacheDamagedError, match=r"parts/plan\.json is another store's"):
        FeatureCache(copy)


@pytest.mark.parametrize("key", [GROUP, "region/count/c/0", f"region/count/{GROUP}", PLAN_FILES])
def test_what_cannot_be_looked_at_is_said(store: Path, tmp_path: Path, key: str) -> None:
    copy = shutil.copytree(store, tmp_path / "s")
    (copy / key).write_bytes(flipped((copy / key).read_bytes(), 20))
    shard = copy / "clip/tokens/c/0/0/0"
    shard.write_bytes(flipped(shard.read_bytes(), 20))
    result = verified(copy)
    assert not result.whole
    assert len(result.not_checked) == 1
    assert result.foreign == ()
    found = {each.key for each in result.damages}
    assert found == ({key, "clip/tokens/c/0/0/0"} if key == PLAN_FILES else {key})


# Readers.


def read_all(store: Path) -> tuple[list[FeatureBatch | None], ClassBank | None, list[str]]:
    """Every image in every view, a part at a time; None where reading raised as it should."""
    try:
        cache = FeatureCache(store)
    except CacheError as error:
        return [], None, [str(error)]
    batches: list[FeatureBatch | None] = []
    errors = []
    for part in cache.plan.parts():
        for view in range(2 * (cache.plan.keep.jitter + 1)):
            copy, flip = divmod(view, 2)
            if flip and not cache.plan.keep.flip:
                continue
            count = len(part.images)
            try:
                flips, copies = np.full(count, bool(flip)), np.full(count, copy)
                batches.append(cache.read(part.images, flipped=flips, copy=copies))
            except CacheDamagedError as error:
                batches.append(None)
                errors.append(str(error))
    try:
        return batches, cache.class_bank(), errors
    except CacheDamagedError as error:
        return batches, None, [*errors, str(error)]


def same(left: FeatureBatch, right: FeatureBatch) -> bool:
    return all(
        torch.equal(getattr(left, field.name), getattr(right, field.name))
        for field in fields(FeatureBatch)
    )


@pytest.mark.slow
def test_reading_a_damaged_store_raises_or_gives_what_was_written(store: Path, keep: Keep) -> None:
    rng = np.random.default_rng(11)
    whole, bank, errors = read_all(store)
    assert errors == []
    assert bank is not None
    silent = set()
    for key in keys_of(store):
        path = store / key
        content = path.read_bytes()
        ways = damagers(len(content), rng, keep) | {"deleted": None}
        for way, damage in ways.items():
            path.unlink() if damage is None else path.write_bytes(damage(content))
            batches, found, errors = read_all(store)
            assert all(
                batch is None or same(batch, whole[index])  # type: ignore[arg-type]
                for index, batch in enumerate(batches)
            ), (key, way)
            assert found is None or np.array_equal(found.embeddings, bank.embeddings)
            assert all(len(error) < 700 and "\n" not in error for error in errors), errors
            # A byte behind a small array's chunk changes no value: verify's work.
            if not errors and way != "longer":
                silent.add(key)
            path.write_bytes(content)
    # What reading does not need.
    unneeded = {marker_key(part) for part in range(3)} | {COMPLETE, "region/start/c/0"}
    unneeded |= {f"image/{name}/c/0" for name in ("bytes", "file", "file_start")}
    unneeded |= {key for key in keys_of(store) if "iou/c/" in key}
    assert silent <= unneeded
