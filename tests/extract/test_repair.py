"""What verify calls repairable, a repair repairs: the store is, byte for byte, what it was."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.storage.markers import COMPLETE, PLAN_FILES, marker_key
from regionspot_core.errors import CacheError
from regionspot_core.testing import files_of
from regionspot_core.tiny.world import World
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_extract.stores.info import describe_store
from regionspot_extract.stores.repair import repair_store
from regionspot_extract.stores.verify import verify_store

SCENES = 6


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
    return ExtractConfig.parse({**values, "part_images": 2, **changes}, source="test")


@pytest.fixture(scope="module")
def finished(world: World, backbones: Backbones, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run_extraction(make_config(world, folder / "store"), backbones=backbones)
    other = make_config(world, folder / "other", part_images=3, keep={"dtype": "int8"})
    run_extraction(other, backbones=backbones)
    return folder / "store"


def swap(store: Path, first: str, second: str) -> None:
    (store / first).rename(store / "aside")
    (store / second).rename(store / first)
    (store / "aside").rename(store / second)


def swap_small(store: Path, other: Path) -> None:
    swap(store, "image/bytes/c/0", "region/count/c/0")


def swap_shards(store: Path, other: Path) -> None:
    swap(store, "clip/tokens/c/0/0/0", "clip/tokens/c/2/0/0")


def delete_summary(store: Path, other: Path) -> None:
    (store / COMPLETE).unlink()


def put_anothers_list(store: Path, other: Path) -> None:
    shutil.copy(other / PLAN_FILES, store / PLAN_FILES)


def put_anothers_list_and_group(store: Path, other: Path) -> None:
    put_anothers_list(store, other)
    (store / "classes.h5").write_bytes(b"x")


def loop_in_place_of_a_marker(store: Path, other: Path) -> None:
    (store / marker_key(1)).unlink()
    (store / marker_key(1)).symlink_to(store / marker_key(1))


def loop_in_place_of_a_plan_file(store: Path, other: Path) -> None:
    (store / "image/file_start/zarr.json").unlink()
    (store / "image/file_start/zarr.json").symlink_to("zarr.json")


def link_in_place_of_a_token_file(store: Path, other: Path) -> None:
    path = store / "clip/tokens/c/1/0/0"
    path.unlink()
    path.symlink_to(other / "clip/tokens/c/1/0/0")


@pytest.mark.parametrize(
    "damage",
    [
        swap_small,
        swap_shards,
        delete_summary,
        put_anothers_list,
        put_anothers_list_and_group,
        loop_in_place_of_a_marker,
        loop_in_place_of_a_plan_file,
        link_in_place_of_a_token_file,
    ],
)
def test_what_is_repairable_is_repaired(
    world: World,
    backbones: Backbones,
    finished: Path,
    tmp_path: Path,
    damage: Callable[[Path, Path], None],
) -> None:
    store, before = shutil.copytree(finished, tmp_path / "store"), files_of(finished)
    other = shutil.copytree(finished.with_name("other"), tmp_path / "other")
    others = files_of(other)
    damage(store, other)
    found = verify_store(store)
    assert not found.whole
    assert found.repairable
    repaired = repair_store(make_config(world, store), found, backbones=backbones)
    assert repaired.after.whole
    assert files_of(store) == before
    assert files_of(other) == others
    assert verify_store(store).whole


def test_without_any_marker_the_plan_is_restored_and_a_run_does_the_parts(
    world: World, backbones: Backbones, finished: Path, tmp_path: Path
) -> None:
    store, before = shutil.copytree(finished, tmp_path / "store"), files_of(finished)
    shutil.rmtree(store / "parts")
    config = make_config(world, store)
    repaired = repair_store(config, verify_store(store), backbones=backbones)
    assert (repaired.after.undamaged, repaired.after.unwritten) == (True, (0, 1, 2))
    run_extraction(config, backbones=backbones)
    assert files_of(store) == before


def test_info_and_verify_agree(finished: Path, tmp_path: Path) -> None:
    store = shutil.copytree(finished, tmp_path / "store")
    for whole in (True, False):
        if not whole:
            (store / COMPLETE).unlink()
        info, found = describe_store(store), verify_store(store)
        assert (info.parts_written, info.complete, found.complete) == (3, whole, whole)


@pytest.mark.parametrize("what", ["a folder", "a pipe"])
def test_what_is_not_ours_is_left_and_named(
    world: World, backbones: Backbones, finished: Path, tmp_path: Path, what: str
) -> None:
    store = shutil.copytree(finished, tmp_path / "store")
    path = store / marker_key(1)
    path.unlink()
    if what == "a folder":
        path.mkdir()
        (path / "notes.txt").write_text("keep me")
    else:
        os.mkfifo(path)
    found = verify_store(store)
    with pytest.raises(
        CacheError, match=rf"{marker_key(1)}: expected a file or nothing, found {what}"
    ):
        repair_store(make_config(world, store), found, backbones=backbones)
    assert path.exists()
