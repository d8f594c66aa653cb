"""The local engine: a part is written while the next is encoded, and nothing is lost by it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray_mischief import plain_backbones

from regionspot_core.cache.layout.plan import Part
from regionspot_core.cache.storage.claims import FolderClaims
from regionspot_core.cache.writer import CacheWriter, StoredPart
from regionspot_core.errors import CacheError
from regionspot_core.testing import files_of
from regionspot_core.tiny.world import World, write_world
from regionspot_extract.config import ExtractConfig
from regionspot_extract.encoding.encode import Encoder
from regionspot_extract.engine import in_turn
from regionspot_extract.prepare import Extraction, open_writer, prepare
from regionspot_extract.run import run_extraction
from regionspot_extract.stores.info import describe_store

SCENES, PART, PARTS = 20, 4, 5


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return write_world(folder, train_scenes=SCENES, val_scenes=1, seed=3)


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
    opened: tuple[Extraction, CacheWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write waits for the beginning of the next part: one after the other would never end."""
    begun = [threading.Event() for _ in range(PARTS)]
    encode, write = Encoder.encode_part, CacheWriter.write_stored

    def encode_part(self: Encoder, part: Part, *rest: Any, **named: Any) -> StoredPart:
        begun[part.index].set()
        return encode(self, part, *rest, **named)

    def write_stored(self: CacheWriter, part: Part, given: StoredPart) -> Any:
        if part.index + 1 < PARTS:
            assert begun[part.index + 1].wait(30)
        return write(self, part, given)

    monkeypatch.setattr(Encoder, "encode_part", encode_part)
    monkeypatch.setattr(CacheWriter, "write_stored", write_stored)
    extraction, writer = opened
    attempts = list(in_turn(extraction, writer, extraction.plan.parts(), lambda count: None))
    assert [attempt.part.index for attempt in attempts] == list(range(PARTS))
    assert all(attempt.marker is not None for attempt in attempts)


def test_at_most_two_parts_are_in_memory(
    opened: tuple[Extraction, CacheWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is written, the next is made, and no third is begun."""
    alive, most = {0: 0}, []
    encode, write = Encoder.encode_part, CacheWriter.write_stored

    def encode_part(self: Encoder, part: Part, *rest: Any, **named: Any) -> StoredPart:
        alive[0] += 1
        most.append(alive[0])
        return encode(self, part, *rest, **named)

    def write_stored(self: CacheWriter, part: Part, given: StoredPart) -> Any:
        marker = write(self, part, given)
        alive[0] -= 1
        return marker

    monkeypatch.setattr(Encoder, "encode_part", encode_part)
    monkeypatch.setattr(CacheWriter, "write_stored", write_stored)
    extraction, writer = opened
    list(in_turn(extraction, writer, extraction.plan.parts(), lambda count: None))
    assert len(most) == PARTS
    assert max(most) <= 2


def test_a_failed_write_stops_the_next_part(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised as it is, within a batch, and what was committed stays."""
    failed = threading.Event()
    write, begin = CacheWriter.write_stored, Encoder.begin
    batches: list[int] = []

    def write_stored(self: CacheWriter, part: Part, given: StoredPart) -> Any:
        if part.index == 1:
            failed.set()
            raise CacheError("no space left")
        return write(self, part, given)

    def begin_batch(self: Encoder, pictures: list[Any]) -> Iterator[Any]:
        if pictures[0].position >= 2 * PART:
            assert failed.wait(30)
        batches.append(pictures[0].position)
        return begin(self, pictures)

    monkeypatch.setattr(CacheWriter, "write_stored", write_stored)
    monkeypatch.setattr(Encoder, "begin", begin_batch)
    config = make_config(world, tmp_path / "s")
    with pytest.raises(CacheError, match="no space left"):
        run_extraction(config, backbones=plain_backbones())
    assert describe_store(config.out).parts_written == 1
    # The writing thread may end a moment after it has failed: two batches at most.
    assert max(batches) < 3 * PART
    monkeypatch.undo()
    assert run_extraction(config, backbones=plain_backbones()).parts_done == PARTS - 1


def test_an_encoding_that_fails_leaves_the_part_before_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Encoder.begin

    def begin_batch(self: Encoder, pictures: list[Any]) -> Iterator[Any]:
        if pictures[0].position >= 2 * PART:
            raise KeyboardInterrupt
        return begin(self, pictures)

    monkeypatch.setattr(Encoder, "begin", begin_batch)
    config = make_config(world, tmp_path / "s")
    with pytest.raises(KeyboardInterrupt):
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
        attempts = list(in_turn(extraction, other, parts, lambda count: None))
    held = [attempt.part.index for attempt in attempts if attempt.held]
    assert held == [2]
    # Looked at again, they are there already, but for that one.
    again = list(in_turn(extraction, writer, parts, lambda count: None))
    assert [attempt.part.index for attempt in again if attempt.marker is not None] == [2]


def test_claims_are_taken_only_as_images_are_read(
    opened: tuple[Extraction, CacheWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reader is four images ahead of the one in use: no part beyond that is claimed."""
    extraction, writer = opened
    asked: list[int] = []

    def parts() -> Iterator[Part]:
        for part in extraction.plan.parts():
            asked.append(part.index)
            yield part

    seen: list[tuple[int, int]] = []
    begin = Encoder.begin

    def begin_batch(self: Encoder, pictures: list[Any]) -> Iterator[Any]:
        seen.append((pictures[-1].position, max(asked)))
        return begin(self, pictures)

    monkeypatch.setattr(Encoder, "begin", begin_batch)
    list(in_turn(extraction, writer, parts(), lambda count: None))
    assert len(seen) == SCENES // 2
    assert all(part <= (position + 5) // PART for position, part in seen)


@pytest.mark.parametrize("keep", [{}, {"dtype": "int8", "jitter": 2, "flip": True}])
def test_failed_images_rows_are_those_of_zeros(
    world: World, tmp_path: Path, keep: dict[str, object]
) -> None:
    """What the encoder stores of a failed image is what the writer makes of zeros."""
    from regionspot_core.cache.writer import PartFeatures, encoded_features

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
