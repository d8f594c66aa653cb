"""Stores of one plan become one: every part from the first that has it, checked on the way."""

import shutil
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import s3_server
from hypothesis import given, settings
from hypothesis import strategies as st

from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.merge import Merge, MergeReport
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.arrays import read_attributes, read_plan
from regionspot_core.cache.storage.claims import claims_on
from regionspot_core.cache.storage.markers import PLAN_FILES, marker_key
from regionspot_core.cache.storage.store import open_store
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.errors import CacheDamagedError, CacheError, FingerprintError, InputError
from regionspot_core.fingerprint import Fingerprint
from regionspot_core.testing import (
    MODEL,
    SHAPE,
    files_of,
    make_annotations,
    make_bank,
    make_cache,
    make_features,
    shard_path,
)

COUNTS = [2, 0, 3, 1, 20, 0, 1, 4, 2]
PARTS = 5
FILES = ("clip/tokens", "region/tokens", "region/iou")


def make_store(
    path: Location,
    parts: Iterable[int],
    *,
    counts: list[int] = COUNTS,
    seed: int = 0,
    precision: str = "float32",
    bytes_of_images: int = 100,
    part_images: int = 2,
) -> None:
    """A store with some parts; ``seed`` is of the features, and images and boxes are the same."""
    annotations = make_annotations(counts)
    plan = CachePlan(np.diff(annotations.region_start), SHAPE, part_images)
    fingerprint: Fingerprint = {
        "backbones": {"region_encoder": MODEL, "image_text_encoder": MODEL},
        "dataset": {"annotations_sha256": annotations.sha256},
        "precision": precision,
    }
    writer = CacheWriter.open_or_create(
        path,
        plan=plan,
        annotations=annotations,
        make_bank=lambda: make_bank(annotations.vocabulary),
        fingerprint=fingerprint,
        image_bytes=lambda: np.full(len(annotations), bytes_of_images),
    )
    for part in parts:
        writer.write(plan.part(part), make_features(plan, part, seed=seed))
    writer.finish()


def merge(sources: list[Path] | list[str], out: Location) -> MergeReport:
    return Merge(sources, out).run(lambda _: None)


@pytest.fixture(scope="module")
def store_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[[frozenset[int]], Path]:
    """Return a store with some of its parts, which no test changes."""

    @cache
    def make(parts: frozenset[int]) -> Path:
        path = tmp_path_factory.mktemp("store") / "store"
        make_store(path, sorted(parts))
        return path

    return make


@given(
    held=st.lists(st.sets(st.integers(0, PARTS - 1)), min_size=1, max_size=4),
    before=st.sets(st.integers(0, PARTS - 1)),
)
@settings(max_examples=12)
def test_a_merge_holds_every_part_that_any_store_holds(
    tmp_path_factory: pytest.TempPathFactory,
    store_with: Callable[[frozenset[int]], Path],
    held: list[set[int]],
    before: set[int],
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    for number, parts in enumerate(held):
        shutil.copytree(store_with(frozenset(parts)), folder / f"{number}")
    if before:
        shutil.copytree(store_with(frozenset(before)), folder / "out")
    report = merge([folder / f"{number}" for number in range(len(held))], folder / "out")
    there = before.union(*held)
    assert files_of(folder / "out") == files_of(store_with(frozenset(there)))
    assert report == MergeReport(
        parts=PARTS,
        parts_before=len(before),
        parts_copied=len(there - before),
        parts_in_several=sum(sum(part in each for each in held) > 1 for part in range(PARTS)),
        parts_differing=0,
        missing=tuple(sorted(set(range(PARTS)) - there)),
        failed=(),
    )


def test_of_parts_that_differ_the_first_store_wins(tmp_path: Path) -> None:
    make_store(tmp_path / "a", [0, 1])
    make_store(tmp_path / "b", range(PARTS), seed=1)
    report = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert (report.parts_in_several, report.parts_differing) == (2, 2)
    for part in range(PARTS):
        source = tmp_path / ("a" if part < 2 else "b")
        other = tmp_path / "b"
        out = shard_path(tmp_path / "out", "clip/tokens", part).read_bytes()
        assert out == shard_path(source, "clip/tokens", part).read_bytes()
        assert (out == shard_path(other, "clip/tokens", part).read_bytes()) == (part >= 2)
    FeatureCache(tmp_path / "out").read(range(len(COUNTS)))


def test_what_machines_see_otherwise_of_their_own_disks_is_no_difference(tmp_path: Path) -> None:
    make_store(tmp_path / "a", [0, 1], bytes_of_images=-1)
    make_store(tmp_path / "b", [2, 3, 4])
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out").missing == ()
    assert (tmp_path / "out" / PLAN_FILES).read_bytes() == (
        tmp_path / "a" / PLAN_FILES
    ).read_bytes()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"precision": "bfloat16"}, "fingerprint.precision: expected float32, found bfloat16"),
        ({"part_images": 3}, "plan.part_images: expected 2, found 3"),
        # The same annotation file over other images, where those decide which regions there are.
        ({"counts": [2, 0, 3, 1, 20, 0, 1, 2, 4]}, "checksum.region/count: expected"),
    ],
)
@pytest.mark.parametrize("place", ["source", "out"])
def test_stores_of_different_runs_are_refused_field_by_field(
    tmp_path: Path, other: dict[str, object], message: str, place: str
) -> None:
    make_store(tmp_path / "a", [0, 1])
    make_store(tmp_path / "b", [2], **other)  # type: ignore[arg-type]
    sources = [tmp_path / "a", *([tmp_path / "b"] if place == "source" else [])]
    out = tmp_path / ("out" if place == "source" else "b")
    before = files_of(tmp_path / "b")
    with pytest.raises(FingerprintError, match=message) as caught:
        merge(sources, out)
    assert str(caught.value).startswith(f"{tmp_path / 'a'} and {tmp_path / 'b'} are not parts of")
    assert not (tmp_path / "out").exists()
    assert files_of(tmp_path / "b") == before


@pytest.mark.parametrize("wrong", ["absent", "file", "folder"])
def test_what_is_no_store_is_refused(tmp_path: Path, wrong: str) -> None:
    make_store(tmp_path / "a", [0])
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for sources in ([tmp_path / "a", tmp_path / wrong], [tmp_path / wrong, tmp_path / "a"]):
        with pytest.raises(CacheError, match=f"{tmp_path / wrong}: expected a feature cache"):
            merge(sources, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_store_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one store"):
        merge([], tmp_path / "out")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flipped", "cut off", "missing", "another part's"])
def test_a_damaged_file_stops_the_merge_which_then_goes_on(
    tmp_path: Path, name: str, damage: str
) -> None:
    counts = [3] * 10  # all parts' files of one size
    make_store(tmp_path / "a", range(PARTS), counts=counts)
    path, key = shard_path(tmp_path / "a", name, 2), f"{name}/c/2"
    content = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(content[:30] + bytes([content[30] ^ 8]) + content[31:])
    elif damage == "cut off":
        path.write_bytes(content[:-1])
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(shard_path(tmp_path / "a", name, 3).read_bytes())
    state = "missing" if damage == "missing" else "damaged"
    with pytest.raises(CacheDamagedError, match=f"{tmp_path / 'a'}: {key}.* is {state}"):
        merge([tmp_path / "a"], tmp_path / "out")
    assert (tmp_path / "out" / marker_key(1)).exists()
    assert not (tmp_path / "out" / marker_key(2)).exists()
    path.write_bytes(content)
    report = merge([tmp_path / "a"], tmp_path / "out")
    assert (report.parts_before, report.parts_copied) == (2, 3)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "a")


def test_a_damaged_planned_file_or_marker_stops_the_merge(tmp_path: Path) -> None:
    make_store(tmp_path / "a", [0])
    (tmp_path / "a" / "classes.h5").write_bytes(b"x")
    with pytest.raises(CacheDamagedError, match=r"classes\.h5 is damaged"):
        merge([tmp_path / "a"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    make_store(tmp_path / "b", [0])
    (tmp_path / "b" / marker_key(0)).write_text("{}")
    with pytest.raises(CacheDamagedError, match=r"b: parts/000000\.json is damaged"):
        merge([tmp_path / "b"], tmp_path / "out")


def test_an_interrupted_merge_goes_on(tmp_path: Path) -> None:
    make_store(tmp_path / "a", [0, 2, 4])
    make_store(tmp_path / "b", [1, 3])

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out").run(interrupt)
    with pytest.raises(CacheError, match="4 of 5 parts are not written yet"):
        FeatureCache(tmp_path / "out")
    report = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert (report.parts_before, report.parts_copied, report.missing) == (1, 4, ())
    make_store(tmp_path / "one run", range(PARTS))
    assert files_of(tmp_path / "out") == files_of(tmp_path / "one run")


def test_a_part_that_another_run_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store(tmp_path / "a", range(PARTS))
    work = Merge([tmp_path / "a"], tmp_path / "out")
    plan = read_plan(open_store(tmp_path / "a"), read_attributes(open_store(tmp_path / "a")))
    held = claims_on(open_store(tmp_path / "out")).part(2)
    assert held.__enter__()

    def other_run_commits(_: float) -> None:
        CacheWriter(tmp_path / "out", plan).write(plan.part(2), make_features(plan, 2))
        held.__exit__(None, None, None)

    monkeypatch.setattr("time.sleep", other_run_commits)
    report = work.run(lambda _: None)
    assert (report.parts_copied, report.missing) == (PARTS - 1, ())
    assert files_of(tmp_path / "out") == files_of(tmp_path / "a")


def test_into_one_of_the_stores_themselves(tmp_path: Path) -> None:
    make_store(tmp_path / "a", [0, 2, 4])
    make_store(tmp_path / "b", [1, 3])
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "a").parts_copied == 2
    make_store(tmp_path / "one run", range(PARTS))
    assert files_of(tmp_path / "a") == files_of(tmp_path / "one run")


def test_an_extraction_goes_on_with_a_merged_store(tmp_path: Path) -> None:
    make_store(tmp_path / "a", [0])
    make_store(tmp_path / "b", [3])
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out").missing == (1, 2, 4)
    make_store(tmp_path / "out", [1, 2, 4])
    make_store(tmp_path / "one run", range(PARTS))
    assert files_of(tmp_path / "out") == files_of(tmp_path / "one run")


@pytest.mark.slow
def test_stores_at_urls_are_merged(s3: s3_server.Bucket, tmp_path: Path) -> None:
    make_store(s3.url("a"), [0, 1])
    make_store(tmp_path / "b", [2, 3, 4])
    assert merge([s3.url("a"), str(tmp_path / "b")], s3.url("out")).missing == ()
    make_store(tmp_path / "one run", range(PARTS))
    assert files_of(s3.url("out")) == files_of(tmp_path / "one run")


def test_the_command_says_what_is_missing(regionspot, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_cache(tmp_path / "a", COUNTS, part_images=1, parts=2)
    first = regionspot("extract", "merge", "a", "--out", "out", cwd=tmp_path)
    assert first.returncode == 1
    assert "out: 2 of 9 parts, 0 already there, 2 copied now" in first.stdout
    assert "still missing: parts 2–8" in " ".join(first.stdout.split())
    make_cache(tmp_path / "b", COUNTS, part_images=1)
    second = regionspot("extract", "merge", "a", "b", "--out", "out", cwd=tmp_path)
    assert second.returncode == 0
    assert "2 parts in several stores: the first store's taken" in " ".join(second.stdout.split())
    assert files_of(tmp_path / "out") == files_of(tmp_path / "b")


@pytest.mark.parametrize("out", ["/proc/x", "/proc/self/x", "/"])
def test_a_place_that_takes_no_store_is_refused_at_once(tmp_path: Path, out: str) -> None:
    make_store(tmp_path / "a", [0])
    began = time.monotonic()
    with pytest.raises(CacheError, match=out):
        merge([tmp_path / "a"], Path(out))
    assert time.monotonic() - began < 10
