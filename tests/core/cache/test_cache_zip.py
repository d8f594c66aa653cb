"""A store in one zip: zarr-python opens it, it comes back byte for byte, and damage is refused."""

import random
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.maintenance.zip_file import ZipExport, ZipFileStore
from regionspot_core.cache.maintenance.zip_import import import_of
from regionspot_core.errors import CacheDamagedError, CacheError, InputError, RegionSpotError
from regionspot_core.testing import files_of, make_cache

COUNTS = [2, 0, 3, 1, 20, 0, 1, 4, 2]


def nothing(_: int) -> None:
    """No progress is shown."""


def export(store: Path, path: Path) -> Path:
    ZipExport(store).write(path, nothing)
    return path


def import_to(path: Path, store: Path) -> int:
    with ZipFileStore(path) as source:
        return import_of(source, store).run(nothing).parts_copied


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_cache(tmp_path / "store", COUNTS, failed=[3])
    return tmp_path / "store"


@pytest.fixture
def exported(store: Path, tmp_path: Path) -> Path:
    return export(store, tmp_path / "store.zip")


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_store_comes_back_byte_for_byte(tmp_path: Path, dtype: str) -> None:
    make_cache(tmp_path / "a", COUNTS, keep=Keep(dtype=dtype, jitter=1, flip=True), failed=[3])
    whole = files_of(tmp_path / "a")
    path = export(tmp_path / "a", tmp_path / "a.zip")
    assert import_to(path, tmp_path / "b") == 3
    assert files_of(tmp_path / "b") == whole
    again = export(tmp_path / "b", tmp_path / "b.zip")
    assert again.read_bytes() == path.read_bytes()
    assert import_to(path, tmp_path / "b") == 0  # all is there already
    with zipfile.ZipFile(path) as file:
        assert {entry.filename: file.read(entry) for entry in file.infolist()} == whole


def test_a_finished_store_without_its_summary_is_exported(store: Path, tmp_path: Path) -> None:
    whole = files_of(store)
    (store / "parts" / "complete.json").unlink()
    import_to(export(store, tmp_path / "store.zip"), tmp_path / "out")
    assert files_of(tmp_path / "out") == whole


def test_zarr_python_opens_it_as_it_is(store: Path, exported: Path) -> None:
    folder = zarr.open_group(str(store), mode="r")
    group = zarr.open_group(zarr.storage.ZipStore(exported, mode="r"), mode="r")
    arrays = [
        (name, each) for name, each in group.members(max_depth=None) if isinstance(each, zarr.Array)
    ]
    assert len(arrays) > 10
    for name, array in arrays:
        assert np.array_equal(array[...], folder[name][...]), name  # type: ignore[index]


def test_an_interrupted_import_goes_on(store: Path, exported: Path, tmp_path: Path) -> None:
    with ZipFileStore(exported) as source:
        parts = iter(range(3))

        def stop_after_one(_: int) -> None:
            if next(parts) == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            import_of(source, tmp_path / "out").run(stop_after_one)
    assert 0 < import_to(exported, tmp_path / "out") < 3
    assert files_of(tmp_path / "out") == files_of(store)


def test_an_unfinished_store_and_a_taken_name_are_refused(store: Path, tmp_path: Path) -> None:
    make_cache(tmp_path / "part", COUNTS, parts=1)
    with pytest.raises(CacheError, match="2 of 3 parts are not written yet"):
        ZipExport(tmp_path / "part")
    (tmp_path / "taken.zip").touch()
    with pytest.raises(InputError, match="expected a new file"):
        export(store, tmp_path / "taken.zip")
    assert not ZipExport(store).is_at(tmp_path / "taken.zip")
    assert ZipExport(store).is_at(export(store, tmp_path / "new.zip"))


def test_a_damaged_store_leaves_no_zip(store: Path, tmp_path: Path) -> None:
    victim = next(key for key in files_of(store) if key.startswith("clip/tokens/c/"))
    content = bytearray((store / victim).read_bytes())
    content[7] ^= 1
    (store / victim).write_bytes(content)
    before = {*tmp_path.iterdir()}
    with pytest.raises(CacheDamagedError, match=f"{victim} is damaged"):
        export(store, tmp_path / "store.zip")
    assert {*tmp_path.iterdir()} == before


def test_every_flipped_bit_is_refused_or_changes_nothing(
    store: Path, exported: Path, tmp_path: Path
) -> None:
    content, chance, whole = exported.read_bytes(), random.Random(0), files_of(store)
    damaged, refused = tmp_path / "damaged.zip", 0
    for trial in range(60):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        damaged.write_bytes(flipped)
        try:
            import_to(damaged, tmp_path / f"out {trial}")
        except RegionSpotError as error:
            refused += 1
            assert "damaged.zip: " in str(error)  # noqa: PT017 - some bits change nothing
        else:  # in a date or a version that nothing of the store is in
            assert files_of(tmp_path / f"out {trial}") == whole
    assert refused > 30


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(exported: Path, tmp_path: Path, share: float) -> None:
    content = exported.read_bytes()
    exported.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CacheDamagedError, match=r"store\.zip: no zip, or one that is damaged or"):
        import_to(exported, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path, found in ((tmp_path / "absent.zip", "nothing there"), (tmp_path, "a folder")):
        with pytest.raises(InputError, match=f"got {found}"):
            ZipFileStore(path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"got a zip without zarr\.json"):
        ZipFileStore(tmp_path / "other.zip")


def link(file: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    file.writestr(entry, "/etc/passwd")


def named(name: str) -> Callable[[zipfile.ZipFile], None]:
    return lambda file: file.writestr(zipfile.ZipInfo(name), b"x")


def bomb(file: zipfile.ZipFile) -> None:
    file.writestr("bomb", bytes(10_000_000), compress_type=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        (link, "'link' is not a plain file"),
        (bomb, "'bomb' is compressed or encrypted"),
        (named("../outside"), "leads out of the store"),
        (named("/absolute"), "leads out of the store"),
        (named("a/../../b"), "leads out of the store"),
        (named("zarr.json"), "'zarr.json' comes twice"),
        (named("folder/"), "leads out of the store|is not a plain file"),
        (named("foreign"), "'foreign' is no file of the store"),
    ],
    ids=["link", "bomb", "up", "absolute", "inner up", "twice", "folder", "foreign"],
)
def test_a_hostile_zip_is_refused(
    exported: Path, tmp_path: Path, way: Callable[[zipfile.ZipFile], None], message: str
) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(exported, "a") as file:
        warnings.simplefilter("ignore")  # of the name that comes twice
        way(file)
    before = {*tmp_path.iterdir()}
    with pytest.raises(InputError, match=message) as caught:
        import_to(exported, tmp_path / "out")
    assert str(caught.value).startswith(f"{exported}: expected a zip that `regionspot extract exp")
    assert {*tmp_path.iterdir()} == before


def test_a_zip_of_another_store_is_not_imported_over_one(store: Path, tmp_path: Path) -> None:
    make_cache(tmp_path / "other", [1, 2])
    with pytest.raises(CacheError, match="found another store"):
        import_to(export(tmp_path / "other", tmp_path / "other.zip"), store)
