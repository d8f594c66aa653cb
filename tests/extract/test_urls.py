"""A store at a URL: extracted, resumed, verified, repaired and read as one in a folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import s3_server
import zarr

from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.store import open_store
from regionspot_core.errors import CacheDamagedError, CacheError, FingerprintError
from regionspot_core.support.fault_points import at_points
from regionspot_core.testing import files_of
from regionspot_core.tiny.world import World
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_extract.stores.info import describe_store
from regionspot_extract.stores.repair import repair_store
from regionspot_extract.stores.verify import verify_store

pytestmark = pytest.mark.slow

SCENES, PART = 15, 4


@pytest.fixture(scope="module")
def world(world_of: Callable[[int], World]) -> World:
    return world_of(SCENES)


def make_config(world: World, out: Path | str, **changes: object) -> ExtractConfig:
    values = {
        "images": world.train_images,
        "annotations": world.train_annotations,
        "bank": world.train_annotations.with_name("bank.h5"),
        "out": out,
    }
    return ExtractConfig.parse({**values, "part_images": PART, **changes}, source="test")


@pytest.fixture(scope="module")
def local(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local") / "store"
    run_extraction(make_config(world, out))
    return out


def test_a_store_at_a_url(world: World, local: Path, s3: s3_server.Bucket) -> None:
    url = s3.url("stores/lvis")
    run_extraction(make_config(world, url, shard={"index": 1, "of": 2}))
    with pytest.raises(CacheError, match="2 of 4 parts are not written yet"):
        FeatureCache(url)
    report = run_extraction(make_config(world, url))
    assert (report.parts_resumed, report.parts_done, report.complete) == (2, 2, True)
    assert files_of(url) == files_of(local)
    with pytest.raises(FingerprintError, match=r"plan\.part_images: expected 5, found 4"):
        run_extraction(make_config(world, url, part_images=5))

    there, here = FeatureCache(url), FeatureCache(local)
    order = np.random.default_rng(0).permutation(SCENES)
    for rows in (order[:4], order[4:], np.arange(SCENES)):
        left, right = there.read(rows), here.read(rows)
        assert (left.image_tokens == right.image_tokens).all()
        assert (left.region_tokens == right.region_tokens).all()
    told, known = describe_store(url), describe_store(local)
    assert (told.store, told.disk_bytes, told.files) == (url, known.disk_bytes, known.files)

    obstore = pytest.importorskip("obstore.store")
    group = zarr.open_group(
        zarr.storage.ObjectStore(obstore.S3Store.from_url(url), read_only=True), mode="r"
    )
    tokens = np.asarray(group["clip/tokens"][7])  # type: ignore[index]
    assert (tokens == there.read([7]).image_tokens[0].numpy()).all()


def test_a_public_bucket_needs_no_credentials(
    world: World,
    local: Path,
    s3: s3_server.Bucket,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    url = s3.url("public")
    run_extraction(make_config(world, url))
    keys = open_store(url).keys()
    for name in s3_server.CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # without ~/.aws
    # Swift calls a request without a signature malformed.
    told = "no permission for .*; it is not public, and no AWS" if s3.server == "moto" else url
    with pytest.raises(CacheError, match=told):
        FeatureCache(url)
    if s3.server == "moto":
        s3_server.publish(s3, [f"public/{key}" for key in keys])
        here, there = FeatureCache(local), FeatureCache(url)
        left, right = here.read(range(SCENES)), there.read(range(SCENES))
        assert (left.image_tokens == right.image_tokens).all()


def test_a_bucket_that_nobody_answers_for_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # the port of discarded bytes
    with pytest.raises(CacheError, match=r"the bucket cannot be reached \(Could not connect"):
        FeatureCache("s3://bucket/store")


def test_damage_at_a_url_is_found_and_repaired(
    world: World, local: Path, s3: s3_server.Bucket
) -> None:
    url = s3.url("damaged")
    run_extraction(make_config(world, url))
    store = open_store(url)
    key = "clip/tokens/c/2/0/0"
    content = bytearray(store.read(key) or b"")
    content[100] ^= 1
    store.write(key, [bytes(content)])
    with pytest.raises(CacheDamagedError):
        FeatureCache(url).read(range(SCENES))
    found = verify_store(url)
    assert [damage.part for damage in found.damages] == [2]
    repair_store(make_config(world, url), found)
    assert verify_store(url).damages == ()
    assert files_of(url) == files_of(local)


def test_two_runs_that_make_one_store_at_a_url(
    world: World, local: Path, s3: s3_server.Bucket
) -> None:
    """Nothing can be claimed there. The later one takes what is there, and mixes nothing."""
    url, other = s3.url("race"), s3.url("other")
    reached: list[str] = []

    def another_makes_it(point: str, _: int) -> None:
        reached.append(point)
        if reached == ["built store"]:
            run_extraction(make_config(world, url, shard={"index": 1, "of": 2}))

    with at_points(another_makes_it):
        report = run_extraction(make_config(world, url))
    assert (report.parts_resumed, report.parts_done) == (2, 2)
    assert files_of(url) == files_of(local)

    def another_overwrites_it(point: str, _: int) -> None:
        if point == "uploaded store":
            rounded = b"of a machine with another rounding"
            open_store(other).write("classes.h5", [rounded])

    with at_points(another_overwrites_it), pytest.raises(CacheError, match=r"its classes\.h5 diff"):
        run_extraction(make_config(world, other))
