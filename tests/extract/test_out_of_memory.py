"""Memory that runs out: smaller batches, the same features, one line about it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray_mischief import PlainImages, PlainRegions, plain_backbones

from regionspot_core.backbones.loading import Backbones
from regionspot_core.backbones.protocols import RegionTokens
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import DeviceMemoryError
from regionspot_core.tiny.world import World
from regionspot_extract.config import ExtractConfig
from regionspot_extract.encoding.fitting import is_out_of_memory
from regionspot_extract.run import run_extraction

SCENES = 12
WORDS = "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"


def cuda_error() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def cpu_error() -> Exception:
    return RuntimeError(WORDS)


class Small:
    """A device's memory that holds so many images, and regions, of one call."""

    def __init__(self, images: int, regions: int, error: Callable[[], Exception]) -> None:
        self.images, self.regions, self.error = images, regions, error
        self.calls: list[tuple[str, int]] = []

    def take(self, what: str, count: int) -> None:
        self.calls.append((what, count))
        if count > (self.images if what == "images" else self.regions):
            raise self.error()


class SmallImages(PlainImages):
    def __init__(self, memory: Small) -> None:
        self._memory = memory

    def image_tokens(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        self._memory.take("images", len(images))
        return super().image_tokens(images)


class SmallRegions(PlainRegions):
    def __init__(self, memory: Small) -> None:
        self._memory = memory

    def decode(
        self, embeddings: torch.Tensor, boxes: Sequence[np.ndarray], sizes: Sequence[object]
    ) -> RegionTokens:
        self._memory.take("regions", max(map(len, boxes)))
        return super().decode(embeddings, boxes, sizes)


@pytest.fixture(scope="module")
def world(world_of: Callable[[int], World]) -> World:
    return world_of(SCENES)


def extract(world: World, out: Path, backbones: Backbones, **keep: object) -> Any:
    config = ExtractConfig.parse(
        {
            "images": world.train_images,
            "annotations": world.train_annotations,
            "out": out,
            "batch_images": 8,
            "part_images": SCENES,
            "keep": keep,
        },
        source="test",
    )
    run_extraction(config, backbones=backbones)
    return FeatureCache(out).read(list(range(SCENES)))


def small(memory: Small) -> Backbones:
    return Backbones(SmallRegions(memory), SmallImages(memory))  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [cuda_error, cpu_error, MemoryError])
@pytest.mark.parametrize(
    ("images", "regions", "said"),
    [
        (8, 99, None),
        (3, 99, "out of memory with 8 images at once; going on with 2 images"),
        (1, 99, "out of memory with 8 images at once; going on with 1 image"),
        (8, 3, "out of memory with 8 images at once; going on with 2 regions of an image"),
    ],
)
def test_batches_are_halved_until_they_fit(
    world: World,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    error: Callable[[], Exception],
    images: int,
    regions: int,
    said: str | None,
) -> None:
    expected = extract(world, tmp_path / "whole", plain_backbones(), jitter=1)
    capfd.readouterr()
    memory = Small(images, regions, error)
    found = extract(world, tmp_path / "small", small(memory), jitter=1)
    lines = [line for line in capfd.readouterr().err.splitlines() if "memory" in line]
    assert lines == ([f"extract: {said}"] if said else [])
    np.testing.assert_array_equal(found.image_tokens, expected.image_tokens)
    np.testing.assert_array_equal(found.region_tokens, expected.region_tokens)


def test_the_smaller_size_is_kept(world: World, tmp_path: Path) -> None:
    memory = Small(3, 99, cuda_error)
    extract(world, tmp_path / "s", small(memory))
    taken = [count for what, count in memory.calls if what == "images"]
    # 8 and 4 are tried once; then all twelve images in twos.
    assert taken == [8, 4, *[2] * (SCENES // 2)]


def test_an_image_that_does_not_fit_is_one_error(world: World, tmp_path: Path) -> None:
    with pytest.raises(DeviceMemoryError, match="one image with one region does not fit") as caught:
        extract(world, tmp_path / "s", small(Small(0, 99, cuda_error)))
    assert len(str(caught.value).splitlines()) == 1


def test_a_region_that_does_not_fit_is_one_error(world: World, tmp_path: Path) -> None:
    with pytest.raises(DeviceMemoryError, match="one image with one region does not fit"):
        extract(world, tmp_path / "s", small(Small(8, 0, cpu_error)))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (cuda_error(), True),
        (cpu_error(), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"), True),
        (RuntimeError("not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_another_error_is_not_swallowed(world: World, tmp_path: Path) -> None:
    broken = Small(0, 99, lambda: RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        extract(world, tmp_path / "s", small(broken))
    assert broken.calls == [("images", 8)]
