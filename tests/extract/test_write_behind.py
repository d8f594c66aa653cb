"""One process: a part is written while the next is encoded, and nothing is lost by it."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ray_mischief import plain_backbones
from stepping import killed_at

from regionspot_core.cache.layout.plan import Part
from regionspot_core.cache.storage.claims import FolderClaims
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.errors import CacheError
from regionspot_core.support.fault_points import at_points
from regionspot_core.testing import files_of
from regionspot_core.tiny.world import World
from regionspot_extract.config import ExtractConfig
from regionspot_extract.parts import encode_parts
from regionspot_extract.prepare import Extraction, open_writer, prepare
from regionspot_extract.run import run_extraction
from regionspot_extract.stores.info import describe_store

SCENES, PART, PARTS = 20, 4, 5
BOUND = 120
"""Seconds that an event may take on a busy machine."""


@pytest.fixture(scope="module")
def world(world_of: Callable[[int], World]) -> World:
    return world_of(SCENES)


def make_config(world: World, out: Path, **changes: object) -> ExtractConfig:
    values = {"images": world.train_images, "annotations": world.train_annotations, "out": out}
    return ExtractConfig.parse(
        {**values, "part_images": PART, "batch_images": 2, "workers": 1, **changes}, source="test"
    )


@pytest.fixture
def opened(world: World, tmp_path: Path) -> tuple[Extraction, CacheWriter]:
    extraction = prepare(make_config(world, tmp_path / "s"), backbones=plain_backbones())
    return extraction, open_writer(extraction)


def test_a_part_is_written_while_the_next_one_is_encoded(
    opened: tuple[Extraction, CacheWriter],
) -> None:
    """Each write waits for the beginning of the next part: one after the other would never end."""
    begun = [threading.Event() for _ in range(PARTS)]

    def step_in(point: str, part: int) -> None:
        if point == "encode part":
            begun[part].set()
        if point == "write part" and part + 1 < PARTS:
            assert begun[part + 1].wait(BOUND)

    extraction, writer = opened
    with at_points(step_in):
        outcomes = list(
            encode_parts(extraction, writer, extraction.plan.parts(), lambda count: None)
        )
    assert [outcome.part.index for outcome in outcomes] == list(range(PARTS))
    assert all(outcome.marker is not None for outcome in outcomes)


def test_at_most_two_parts_are_in_memory(
    opened: tuple[Extraction, CacheWriter],
) -> None:
    """While one is written, the next is made, and no third is begun."""
    alive: set[int] = set()
    most: list[int] = []

    def step_in(point: str, part: int) -> None:
        if point == "encode part":
            alive.add(part)
            most.append(len(alive))
        if point == "wrote part":
            alive.remove(part)

    extraction, writer = opened
    with at_points(step_in):
        list(encode_parts(extraction, writer, extraction.plan.parts(), lambda count: None))
    assert len(most) == PARTS
    assert max(most) <= 2


def test_a_failed_write_stops_the_next_part(world: World, tmp_path: Path) -> None:
    """It is raised as it is, within a batch, and what was committed stays."""
    failed = threading.Event()
    batches: list[int] = []

    def step_in(point: str, number: int) -> None:
        if (point, number) == ("write part", 1):
            failed.set()
            raise CacheError("no space left")
        if point == "encode batch":
            if number >= 2 * PART:
                assert failed.wait(BOUND)
            batches.append(number)

    config = make_config(world, tmp_path / "s")
    with at_points(step_in), pytest.raises(CacheError, match="no space left"):
        run_extraction(config, backbones=plain_backbones())
    assert describe_store(config.out).parts_written == 1
    # The writing thread may end a moment after it has failed: two batches at most.
    assert max(batches) < 3 * PART
    assert run_extraction(config, backbones=plain_backbones()).parts_done == PARTS - 1


def test_an_encoding_that_fails_leaves_the_part_before_whole(world: World, tmp_path: Path) -> None:
    config = make_config(world, tmp_path / "s")
    with killed_at("encode batch", 2 * PART):
        run_extraction(config, backbones=plain_backbones())
    # The part that was being written is committed, and nothing is held any more.
    assert describe_store(config.out).parts_written == 2
    claims = FolderClaims(Path(config.out))
    for part in range(PARTS):
        with claims.part(part) as mine:
            assert mine


def test_parts_held_by_another_run_are_left_to_it(opened: tuple[Extraction, CacheWriter]) -> None:
    extraction, writer = opened
    parts = extraction.plan.parts()
    with writer.claim(parts[2]) as mine:
        assert mine
        other = CacheWriter(writer.store, writer.plan)
        outcomes = list(encode_parts(extraction, other, parts, lambda count: None))
    held = [outcome.part.index for outcome in outcomes if outcome.held]
    assert held == [2]
    # Looked at again, they are there already, but for that one.
    again = list(encode_parts(extraction, writer, parts, lambda count: None))
    assert [outcome.part.index for outcome in again if outcome.marker is not None] == [2]


def test_claims_are_taken_only_as_images_are_read(
    opened: tuple[Extraction, CacheWriter],
) -> None:
    """One reader is four images ahead of the one in use: no part beyond that is claimed."""
    extraction, writer = opened
    asked: list[int] = []

    def parts() -> Iterator[Part]:
        for part in extraction.plan.parts():
            asked.append(part.index)
            yield part

    seen: list[tuple[int, int]] = []

    def step_in(point: str, number: int) -> None:
        if point == "encode batch":
            seen.append((number, max(asked)))

    with at_points(step_in):
        list(encode_parts(extraction, writer, parts(), lambda count: None))
    assert len(seen) == SCENES // 2
    assert all(part <= (first + 1 + 5) // PART for first, part in seen)


@pytest.mark.parametrize("keep", [{}, {"dtype": "int8", "jitter": 2, "flip": True}])
def test_failed_images_rows_are_those_of_zeros(
    world: World, tmp_path: Path, keep: dict[str, object]
) -> None:
    """What the encoder stores of a failed image is what the writer makes of zeros."""
    from regionspot_core.cache.layout.encoded import encoded_features
    from regionspot_core.cache.writer import PartFeatures

    names = [i["file_name"] for i in json.loads(world.train_annotations.read_text())["images"]]
    images = tmp_path / "images"
    images.mkdir()
    (images / names[1]).symlink_to(world.train_images / names[1])
    config = make_config(world, tmp_path / "s", images=images, keep=keep)
    extraction = prepare(config, backbones=plain_backbones())
    part = extraction.plan.part(1)
    read = extraction.pictures.read((None, position) for position in part.images)
    stored = extraction.encoder.encode_part(
        part,
        [picture for _, picture in read if picture is not None],
        batch_images=3,
        on_images=lambda count: None,
    )
    assert len(stored.failed) == PART
    zeros = PartFeatures(
        {
            name: np.zeros(
                (part.rows if feature.of_regions else PART, *feature.trailing), feature.dtype
            )
            for name, feature in extraction.encoder._features.items()
        }
    )
    expected = encoded_features(extraction.plan, zeros.arrays)
    assert stored.arrays.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(stored.arrays[name], values)
        assert stored.arrays[name].dtype == values.dtype


def test_plain_models_by_parts_of_any_size_give_equal_features(
    world: World, tmp_path: Path
) -> None:
    config = make_config(world, tmp_path / "a", workers=3, batch_images=7)
    run_extraction(config, backbones=plain_backbones())
    run_extraction(make_config(world, tmp_path / "b"), backbones=plain_backbones())
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
