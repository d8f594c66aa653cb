"""Stores whose checksums are right and whose numbers cannot be: one sentence, at once.

Each file is damaged as somebody would who seals it again: readers get no checksum's help.
"""

import json
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest

from regionspot_core.cache.layout.schema import GROUP
from regionspot_core.cache.maintenance.merge import Merge
from regionspot_core.cache.maintenance.survey import survey_store
from regionspot_core.cache.maintenance.verify import checks, verify
from regionspot_core.cache.maintenance.zip_file import ZipExport, ZipFileStore
from regionspot_core.cache.maintenance.zip_import import import_of
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.markers import COMPLETE, PLAN_FILES, marker_key
from regionspot_core.cache.storage.store import open_store
from regionspot_core.errors import RegionSpotError
from regionspot_core.support.checksums import SEAL, FileSum, sealed
from regionspot_core.testing import files_of, make_cache

COUNTS = [2, 0, 3, 1, 4]
SECONDS = 5.0
"""Far more than a refusal takes, and far less than allocating what is asked for."""
HUGE = 10**13
LONG = 10**400
DEEP = 100_000
LENGTHS = (
    "image_tokens",
    "image_width",
    "region_tokens",
    "region_width",
    "ious",
    "region_embedding",
)
Change = Callable[[Any], Any]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("impossible") / "store"
    make_cache(path, COUNTS)
    return path


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "store")


def put(place: list[str], value: object) -> Change:
    """Sets a value somewhere in a JSON object; ``...`` deletes it."""

    def change(content: Any) -> Any:
        target = content
        for key in place[:-1]:
            target = target[int(key) if isinstance(target, list) else key]
        if value is ...:
            del target[place[-1]]
        else:
            target[int(place[-1]) if isinstance(target, list) else place[-1]] = value
        return content

    return change


def plan(*place: str) -> list[str]:
    return ["attributes", "regionspot", "plan", *place]


def said(*place: str) -> list[str]:
    return ["attributes", "regionspot", *place]


ATTRIBUTES = {
    **{f"part_images {str(v)[:9]!r}": put(plan("part_images"), v)
       for v in (0, -4, "x", None, 2.5, True, [], {}, LONG, HUGE, ...)},
    **{f"{name} {str(v)[:9]!r}": put(plan("shape", name), v)
       for name in ("image_tokens", "region_width", "ious", "region_embedding")
       for v in (0, -1, "x", None, [], HUGE, LONG, ...)},
    **{f"shape {str(v)[:9]!r}": put(plan("shape"), v) for v in ({}, [], None, 7, ...)},
    "one more length": put(plan("shape", "depth"), 3),
    "all lengths": put(plan("shape"), dict.fromkeys(LENGTHS, 2**20)),
    **{f"keep {str(v)[:9]!r}": put(plan("keep"), v) for v in ([], None, "x", {"jitter": -1}, ...)},
    **{f"plan {str(v)[:9]!r}": put(plan(), v) for v in ([], None, "x", 3, {}, ...)},
    **{f"fingerprint {str(v)[:9]!r}": put(said("fingerprint"), v)
       for v in ([], None, "x", {}, {"backbones": 3}, {"backbones": {"a": 1}}, ...)},
    **{f"vocabulary {str(v)[:9]!r}": put(said("vocabulary"), v)
       for v in ([], None, {}, {"names": ["a"]}, ...)},
    "no names": put(said("vocabulary", "names"), []),
    "a name that is no text": put(said("vocabulary", "names", "0"), 7),
    "half a character": put(said("vocabulary", "names", "0"), "\ud800"),
    "an id of 400 digits": put(said("vocabulary", "ids", "0"), LONG),
    "ids that are one": put(said("vocabulary", "ids", "0"), 2),
    "format 3": put(said("format"), 3),
    "format LONG": put(said("format"), LONG),
    "no format": put(said("format"), ...),
    "nothing of ours": put(["attributes"], {}),
    "a list": lambda _: [],
    "a number": lambda _: 3,
}  # fmt: skip
TEXTS = {
    "nested deep": b"[" * DEEP + b"]" * DEEP,
    "objects nested deep": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "empty": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"a": "\xff"}',
    "NaN": b'{"a": NaN}',
    "digits": b'{"a": ' + b"9" * 5000 + b"}",
}


def reseal(store: Path, key: str, content: bytes) -> None:
    """Put a file of the plan into a store and into its list of files, every checksum right."""
    (store / key).write_bytes(content)
    listed = json.loads((store / PLAN_FILES).read_bytes())
    del listed[SEAL]
    listed[key] = asdict(FileSum.of([content]))
    (store / PLAN_FILES).write_bytes(sealed(listed))


def reseal_json(store: Path, key: str, change: Change) -> None:
    """Change a sealed file, a marker or a list, and seal it again."""
    values = json.loads((store / key).read_bytes())
    del values[SEAL]
    values = change(values)
    (store / key).write_bytes(sealed(values) if isinstance(values, dict) else b"[]")


def refused(action: Callable[[], object]) -> str:
    """What is said where something is refused, which it must be soon and in one sentence."""
    began = time.monotonic()
    with pytest.raises(RegionSpotError) as caught:
        action()
    assert time.monotonic() - began < SECONDS
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 800
    return message


def read_all(store: Path) -> None:
    cache = FeatureCache(store)
    cache.read(range(len(cache)))
    cache.class_bank()


def import_(store: Path) -> None:
    """Put the store's files into a zip, as they are, and import that."""
    with zipfile.ZipFile(store.with_name("store.zip"), "w") as file:
        for key, content in files_of(store).items():
            file.writestr(key, content)
    with ZipFileStore(store.with_name("store.zip")) as source:
        import_of(source, store.with_name("back")).run(lambda _: None)


def verify_all(store: Path) -> bool:
    began = time.monotonic()
    survey = survey_store(open_store(store))
    found = verify(survey, checks(survey), lambda _: None)
    assert time.monotonic() - began < SECONDS
    return found.whole


def require_refused(store: Path) -> None:
    """Require that every reader refuses the store, in a folder and in a zip."""
    refused(lambda: read_all(store))
    out = store.with_name("out")
    refused(lambda: Merge([store], out).run(lambda _: None))
    refused(lambda: ZipExport(store).write(store.with_name("again.zip"), lambda _: None))
    refused(lambda: import_(store))
    assert not store.with_name("back").exists()
    try:
        assert not verify_all(store)
    except RegionSpotError as error:
        assert "format" in str(error) or "not a feature cache" in str(error)  # noqa: PT017


@pytest.mark.parametrize("change", ATTRIBUTES)
def test_attributes_that_cannot_be(store: Path, change: str) -> None:
    content = ATTRIBUTES[change](json.loads((store / GROUP).read_bytes()))
    reseal(store, GROUP, json.dumps(content).encode())
    require_refused(store)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("key", [GROUP, "region/count/zarr.json", "clip/tokens/zarr.json"])
def test_metadata_that_is_no_json(store: Path, key: str, text: str) -> None:
    reseal(store, key, TEXTS[text])
    require_refused(store)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("key", [marker_key(0), PLAN_FILES, COMPLETE])
def test_a_sealed_file_that_is_no_json(store: Path, key: str, text: str) -> None:
    (store / key).write_bytes(TEXTS[text])
    refused(lambda: read_all(store)) if key != marker_key(0) else verify_all(store)
    assert not verify_all(store)
    if key != COMPLETE:
        refused(lambda: import_(store))


METADATA = {
    **{f"shape {str(v)[:9]}": put(["shape"], v)
       for v in ([], [0], [-1], [HUGE], [LONG], ["x"], [5, 5], None, 3, ...)},
    **{f"chunk {str(v)[:9]}": put(["chunk_grid", "configuration", "chunk_shape"], v)
       for v in ([], [0], [-1], [1], [HUGE], [LONG], None, ...)},
    **{f"type {v}": put(["data_type"], v) for v in ("int4", "float64", "uint8", None, 3, [], ...)},
    "another grid": put(["chunk_grid", "name"], "irregular"),
    "no grid": put(["chunk_grid"], None),
    "another codec": put(["codecs", "0", "name"], "zstd"),
    "no codec": put(["codecs"], []),
    "a codec that is none": put(["codecs", "0"], 3),
    "a fill of 400 digits": put(["fill_value"], LONG),
    "a group": put(["node_type"], "group"),
    "zarr 2": put(["zarr_format"], 2),
}  # fmt: skip


@pytest.mark.parametrize("change", METADATA)
@pytest.mark.parametrize("name", ["region/count", "image/file", "region/tokens"])
def test_metadata_that_cannot_be(store: Path, name: str, change: str) -> None:
    key = f"{name}/{GROUP}"
    content = METADATA[change](json.loads((store / key).read_bytes()))
    if json.dumps(content) == (json.dumps(json.loads((store / key).read_bytes()))):
        pytest.skip("that is what it says")
    reseal(store, key, json.dumps(content).encode())
    require_refused(store)


MARKERS = {
    **{f"{name} {str(v)[:9]!r}": put([name], v)
       for name in ("part", "images", "regions") for v in (-1, "x", None, 2.5, LONG, True, ...)},
    **{f"{name} {str(v)[:9]!r}": put([name], v)
       for name in ("files", "failed", "chunks") for v in (None, "x", 3, {"../x": {}}, [[]])},
    "a file more": put(["files", "flipped/clip/tokens"], {"size": 0, "xxh3": "0" * 16}),
    "a file of nowhere": put(["files", "../payload"], {"size": 0, "xxh3": "0" * 16}),
    "a file less": put(["files", "clip/tokens"], ...),
    "a size of 400 digits": put(["files", "clip/tokens", "size"], LONG),
    "another size": put(["files", "clip/tokens", "size"], 3),
    "a sum that is none": put(["files", "clip/tokens", "xxh3"], "zz"),
    "sums of chunks too few": put(["chunks", "clip/tokens"], "00000000"),
    "sums of chunks that are none": put(["chunks", "clip/tokens"], "xx"),
    "sums of no array": put(["chunks", "no/array"], ""),
    "an image of another part": put(["failed"], [{"position": 4, "file": "a", "reason": "b"}]),
    "an image of nowhere": put(["failed"], [{"position": LONG, "file": "a", "reason": "b"}]),
    "an image that is none": put(["failed"], [{"position": "x", "file": 3}]),
    "one more key": put(["more"], 1),
    "a list": lambda _: [],
}  # fmt: skip


@pytest.mark.parametrize("change", MARKERS)
def test_markers_that_cannot_be(store: Path, change: str) -> None:
    reseal_json(store, marker_key(0), MARKERS[change])
    require_refused(store)
    (store / COMPLETE).unlink()
    require_refused(store)


@pytest.mark.parametrize(
    "change",
    [
        *(put([name], v) for name in ("parts", "images") for v in (-1, 0, "x", None, LONG, ...)),
        *(put(["failed"], v) for v in (None, 3, [3], [{"position": 99, "file": "", "reason": ""}])),
        *(put(["seals"], v) for v in (None, 3, "zz", "00000000")),
        put(["markers"], "x"),
        put(["more"], 1),
        lambda _: [],
    ],
)
def test_a_summary_that_cannot_be(store: Path, change: Change) -> None:
    reseal_json(store, COMPLETE, change)
    assert not verify_all(store)
    try:
        read_all(store)
    except RegionSpotError as error:
        assert COMPLETE in str(error)  # noqa: PT017
    else:
        assert FeatureCache(store).failed == ()


@pytest.mark.parametrize(
    "change",
    [
        *(put([GROUP], v) for v in (None, 3, "x", [], {}, {"size": LONG, "xxh3": "0" * 16}, ...)),
        put(["classes.h5"], ...),
        put(["region/class/zarr.json"], ...),
        put(["region/class/c/0"], ...),
        put(["image/id/c/1"], {"size": 0, "xxh3": "0" * 16}),
        lambda _: {},
        lambda _: [],
    ],
)
def test_a_list_of_files_that_cannot_be(store: Path, change: Change) -> None:
    reseal_json(store, PLAN_FILES, change)
    require_refused(store)


def count_of(values: list[int]) -> bytes:
    plain = np.array(values, "<i8").tobytes()
    return plain + google_crc32c.value(plain).to_bytes(4, "little")


@pytest.mark.parametrize("values", [[-1, 0, 3, 1, 4], [2**62] * 5, [HUGE, 0, 3, 1, 4], [2] * 5])
def test_regions_that_cannot_be(store: Path, values: list[int]) -> None:
    reseal(store, "region/count/c/0", count_of(values))
    require_refused(store)
