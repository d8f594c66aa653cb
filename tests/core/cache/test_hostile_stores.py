"""Stores that somebody made to do harm: no file outside is written or followed, whatever they say.

Every checksum in them is right: a checksum tells that a file is what was written, not by whom.
"""

import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from regionspot_core.cache.maintenance.merge import Merge
from regionspot_core.cache.maintenance.restore import restore_plan_files
from regionspot_core.cache.maintenance.survey import survey_store
from regionspot_core.cache.maintenance.verify import checks, verify
from regionspot_core.cache.maintenance.zip_file import ZipExport, ZipFileStore
from regionspot_core.cache.maintenance.zip_import import import_of
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.arrays import read_attributes, read_plan
from regionspot_core.cache.storage.markers import PLAN_FILES, read_plan_files
from regionspot_core.cache.storage.store import FolderStore, ObjectStore, open_store
from regionspot_core.errors import CacheError, RegionSpotError
from regionspot_core.support.checksums import FileSum, sealed
from regionspot_core.testing import files_of, make_annotations, make_bank, make_cache

COUNTS = [2, 0, 3, 1, 4]
PAYLOAD = b"written by somebody else"
OUTSIDE = {
    "absolute": "{outside}/payload.txt",
    "above": "../payload.txt",
    "above, from within": "image/id/c/0/../../../../../payload.txt",
    "a link": "linked/payload.txt",
    "a drive": "C:/payload.txt",
    "a drive's own": "C:payload.txt",
    "of Windows": "..\\payload.txt",
    "a share": "\\\\host\\share\\payload.txt",
    "NUL": "payload.txt\0.json",
    "empty": "",
    "a folder": "image/",
    "an empty name": "image//id",
    "itself": "./zarr.json",
}
STRANGE = {
    "notes": "notes.txt",
    "a marker": "parts/000000.json",
    "a token's file": "clip/tokens/c/0/0/0",
    "another way to count": "image/id/c/00",
    "one axis too many": "image/id/c/0/0",
    "a name of no array": "image/secret/zarr.json",
    "not this plan's": "flipped/clip/tokens/zarr.json",
}
KEYS = OUTSIDE | STRANGE


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "given/store"
    make_cache(path, COUNTS)
    return path


def hostile_files(store: Path, key: str) -> dict[str, FileSum]:
    """The store's list of files, with one more."""
    return read_plan_files(open_store(store)) | {key: FileSum.of([PAYLOAD])}


def reseal(store: Path, files: dict[str, FileSum]) -> bytes:
    """Put a list of files into a store, with a right checksum; its content."""
    content = sealed({key: asdict(each) for key, each in files.items()})
    (store / PLAN_FILES).write_bytes(content)
    return content


def everything(folder: Path) -> dict[str, bytes | None]:
    """All files and folders below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def plant(store: Path, key: str, outside: Path) -> str:
    """Make a store that lists a file outside; the key it has."""
    outside.mkdir()
    (store / "linked").symlink_to(outside)
    key = key.format(outside=outside)
    reseal(store, hostile_files(store, key))
    if "\0" not in key and key and not key.endswith("/"):
        path = store / key
        if path.parent.is_dir() and not path.exists():
            path.write_bytes(PAYLOAD)
    return key


def merge(store: Path, out: Path) -> None:
    Merge([store], out).run(lambda _: None)


def export(store: Path, out: Path) -> None:
    ZipExport(store).write(out / "exported.zip", lambda _: None)


def read(store: Path, out: Path) -> None:
    FeatureCache(store).read([0])


def import_(store: Path, out: Path) -> None:
    with ZipFileStore(store.parent / "store.zip") as source:
        import_of(source, out / "imported").run(lambda _: None)


def repair(store: Path, out: Path) -> None:
    annotations = make_annotations(COUNTS)
    restore_plan_files(
        open_store(store),
        plan=read_plan(open_store(out / "sound"), read_attributes(open_store(out / "sound"))),
        annotations=annotations,
        make_bank=lambda: make_bank(annotations.vocabulary),
        fingerprint=read_attributes(open_store(out / "sound"))["fingerprint"],
        image_bytes=lambda: np.full(len(annotations), -1),
    )


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("action", [merge, export, read])
def test_a_key_that_is_not_the_plans_is_refused(
    store: Path, tmp_path: Path, key: str, action: Callable[[Path, Path], None]
) -> None:
    plant(store, KEYS[key], tmp_path / "outside")
    out = tmp_path / "out"
    before = everything(tmp_path)
    with pytest.raises(CacheError, match=r"parts/plan\.json is not what this project writes"):
        action(store, out)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("key", KEYS)
def test_an_import_follows_no_key_that_is_not_the_plans(
    store: Path, tmp_path: Path, key: str
) -> None:
    name = KEYS[key].format(outside=tmp_path / "outside")
    reseal(store, hostile_files(store, name))
    with zipfile.ZipFile(store.parent / "store.zip", "w") as file:
        for each, content in files_of(store).items():
            file.writestr(each, content)
        if name and "\0" not in name and name not in file.namelist():
            file.writestr(zipfile.ZipInfo(name), PAYLOAD)
    (tmp_path / "out").mkdir()
    before = everything(tmp_path)
    with pytest.raises(RegionSpotError, match=r"store\.zip: "):
        import_(store, tmp_path / "out")
    assert everything(tmp_path) == before


@pytest.mark.parametrize("key", KEYS)
def test_a_repair_restores_the_list_and_writes_nothing_else(
    store: Path, tmp_path: Path, key: str
) -> None:
    shutil.copytree(store, tmp_path / "sound")
    before = (store / PLAN_FILES).read_bytes()
    plant(store, KEYS[key], tmp_path / "outside")
    outside = everything(tmp_path / "outside")
    repair(store, tmp_path)
    assert (store / PLAN_FILES).read_bytes() == before
    assert everything(tmp_path / "outside") == outside
    assert not (tmp_path / "payload.txt").exists()


@pytest.mark.parametrize("key", KEYS)
def test_verify_blames_the_list_and_looks_at_nothing_outside(
    store: Path, tmp_path: Path, key: str
) -> None:
    plant(store, KEYS[key], tmp_path / "outside")
    survey = survey_store(open_store(store))
    found = verify(survey, checks(survey), lambda _: None)
    assert not found.whole
    assert PLAN_FILES in {damage.key for damage in found.damages}


@pytest.mark.parametrize("key", OUTSIDE)
def test_no_kind_of_store_takes_a_key_that_leads_out(tmp_path: Path, key: str) -> None:
    name = OUTSIDE[key].format(outside=tmp_path / "outside")
    (tmp_path / "outside").mkdir()
    folder = tmp_path / "store"
    make_cache(folder, COUNTS)
    export(folder, tmp_path)
    (folder / "linked").symlink_to(tmp_path / "outside")
    before = everything(tmp_path)
    stores = [FolderStore(folder), ObjectStore("s3://bucket/store")]
    if key == "a link":
        stores = stores[:1]
    refused = "store" if key == "a link" else "inside the store"
    for opened in stores:
        with pytest.raises(CacheError, match=refused):
            opened.write(name, [PAYLOAD])
        with pytest.raises(CacheError, match=refused):
            opened.delete(name)
        if key != "a link":
            with pytest.raises(CacheError, match="inside the store"):
                opened.read(name)
    if key != "a link":
        with ZipFileStore(tmp_path / "exported.zip") as opened, pytest.raises(CacheError):
            opened.read(name)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("folder", ["parts", "clip", "clip/tokens/c", "locks"])
@pytest.mark.parametrize("dangling", [False, True])
def test_nothing_is_written_through_a_link_in_the_target(
    store: Path, tmp_path: Path, folder: str, dangling: bool
) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    make_cache(out, COUNTS, parts=0)
    if (out / folder).exists():
        (out / folder).rename(outside)
    elif not dangling:
        outside.mkdir()
    if dangling and outside.exists():
        shutil.rmtree(outside)
    (out / folder).parent.mkdir(parents=True, exist_ok=True)
    (out / folder).symlink_to(outside)
    before = everything(outside) if outside.exists() else None
    with pytest.raises(CacheError, match=f"{out}"):
        merge(store, out)
    assert (everything(outside) if outside.exists() else None) == before


def test_a_store_that_is_itself_a_link_is_written(store: Path, tmp_path: Path) -> None:
    make_cache(tmp_path / "there", COUNTS, parts=0)
    (tmp_path / "out").symlink_to(tmp_path / "there")
    merge(store, tmp_path / "out")
    assert files_of(tmp_path / "there") == files_of(store)


def test_a_link_in_a_files_place_is_replaced_and_what_it_points_to_stays(
    store: Path, tmp_path: Path
) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside.txt"
    make_cache(out, COUNTS, parts=0)
    outside.write_bytes(b"keep me")
    (out / "clip/tokens/c/0/0").mkdir(parents=True)
    (out / "clip/tokens/c/0/0/0").symlink_to(outside)
    merge(store, out)
    assert outside.read_bytes() == b"keep me"
    FeatureCache(out).read([0])


@pytest.mark.parametrize("key", ["zarr.json", "region/count/c/0", "parts/complete.json"])
def test_a_pipe_in_a_files_place_is_refused_at_once(store: Path, key: str) -> None:
    (store / key).unlink()
    os.mkfifo(store / key)
    with pytest.raises(CacheError, match="expected a file, found a pipe"):
        FeatureCache(store)


def test_a_pipe_in_place_of_tokens_is_refused_at_once(store: Path) -> None:
    (store / "clip/tokens/c/0/0/0").unlink()
    os.mkfifo(store / "clip/tokens/c/0/0/0")
    with pytest.raises(CacheError, match="expected a file, found a pipe"):
        FeatureCache(store).read([0])
