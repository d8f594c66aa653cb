"""int8: at most half a step of error, outliers survive, zarr-python gives the same values."""

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from regionspot_core.cache.layout.encodings.int8 import INT8, LARGEST, SMALLEST, STEPS
from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import stored_bytes
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.testing import make_cache, make_features

finite16 = st.floats(-65504, 65504, width=16)


def quantise(values: np.ndarray, *, axis: int) -> tuple[np.ndarray, np.ndarray]:
    steps, scales = INT8.encode(torch.from_numpy(values), axis=axis)
    assert scales is not None
    return steps.numpy(), scales.numpy()


restore = INT8.decoded


def test_a_hand_computed_case() -> None:
    values = np.array([[[127.0, 1.0], [-63.5, -2.0]]], np.float16)  # one image, T = 2, C = 2
    steps, scale = quantise(values, axis=1)
    assert scale.dtype == np.float16
    assert scale[0].tolist() == [1.0, float(np.float16(2 / 127))]
    # 63.5 lies half-way: rounding to even takes 64.
    assert steps[0].tolist() == [[127, 64], [-64, -127]]
    assert restore(steps, scale, axis=1)[0, :, 0].tolist() == [127.0, -64.0]


@example(values=np.full((1, 1, 1), 2.5e-5, np.float16), axis=1)
@given(
    values=hnp.arrays(np.float16, st.tuples(*[st.integers(0, 5)] * 3), elements=finite16),
    axis=st.integers(1, 2),
)
@settings(max_examples=150, deadline=None)
def test_the_error_is_at_most_half_a_step_and_nothing_overflows(
    values: np.ndarray, axis: int
) -> None:
    if values.shape[axis] == 0:
        return
    steps, scale = quantise(values, axis=axis)
    back = restore(steps, scale, axis=axis)
    assert back.dtype == np.float16
    assert back.shape == values.shape
    assert np.isfinite(back).all()
    wide, step = values.astype(np.float64), np.expand_dims(scale.astype(np.float64), axis)
    largest = np.abs(wide).max(axis, keepdims=True, initial=0.0)
    # A scale is largest / 127 rounded to float16; then the product is rounded to float16 too.
    assert (step <= largest / STEPS * (1 + 2**-10) + SMALLEST).all()
    allowed = 0.5 * step + np.abs(wide) * 2**-10 + SMALLEST
    clipped = step == LARGEST
    allowed = np.where(clipped, allowed + 65504 - 127 * LARGEST, allowed)
    assert (np.abs(back.astype(np.float64) - wide) <= allowed).all()


def test_planted_outliers_leave_the_other_channels_alone() -> None:
    """CLIP's activations: a few channels a hundred times the rest. One scale a token loses them."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((4, 197, 64)).astype(np.float16)
    outliers = [3, 17, 40]
    values[..., outliers] = (100 + 30 * rng.standard_normal((4, 197, 3))).astype(np.float16)

    def relative_error(axis: int) -> np.ndarray:
        back = restore(*quantise(values, axis=axis), axis=axis).astype(np.float64)
        error = np.sqrt(((back - values) ** 2).mean(axis=(0, 1)))
        return np.asarray(error / values.astype(np.float64).std(axis=(0, 1)))

    assert relative_error(axis=1).max() < 0.02
    others = np.delete(relative_error(axis=2), outliers)
    assert others.min() > 0.2  # what the choice of axis is for


def test_zero_channels_and_empty_arrays() -> None:
    steps, scale = quantise(np.zeros((2, 3, 4), np.float16), axis=1)
    assert not restore(steps, scale, axis=1).any()
    steps, scale = quantise(np.zeros((0, 3, 4), np.float16), axis=2)
    assert (steps.shape, scale.shape) == ((0, 3, 4), (0, 3))


COUNTS = [2, 0, 3, 1, 20, 0, 1, 4, 2]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_cache(tmp_path / "s", COUNTS, keep=Keep(dtype="int8", jitter=2, flip=True))
    return tmp_path / "s"


def test_our_reader_gives_steps_times_scale_as_zarr_python_reads_them(store: Path) -> None:
    group = zarr.open_group(str(store), mode="r")
    batch = FeatureCache(store).read(range(len(COUNTS)))
    tokens, scale = group["clip/tokens"], group["clip/scale"]
    assert tokens.dtype == np.int8
    for image in range(len(COUNTS)):
        value = tokens[image].astype(np.float16) * scale[image]
        assert np.array_equal(batch.image_tokens[image], value)
        first, count = group["region/start"][image], COUNTS[image]
        steps = group["region/tokens"][first : first + count].astype(np.float16)
        value = steps * group["region/scale"][first : first + count][..., None]
        assert np.array_equal(batch.region_tokens[image, :count], value)


def test_views_are_quantised_each_by_its_own_scales(store: Path) -> None:
    cache = FeatureCache(store)
    images = np.arange(len(COUNTS))
    written = [make_features(cache.plan, part).arrays for part in range(cache.plan.part_count)]
    whole = {name: np.concatenate([arrays[name] for arrays in written]) for name in written[0]}

    def close(found: np.ndarray, name: str, copy: int | None = None) -> None:
        wanted = whole[name] if copy is None else whole[name][:, copy]
        assert np.abs(found.astype(np.float64) - wanted).max() < 0.02 * np.abs(wanted).max()
        assert np.abs(found.astype(np.float64) - wanted).max() > 0  # it did go through int8

    for flip, prefix in ((False, ""), (True, "flipped/")):
        flipped = np.full(len(images), flip)
        batch = cache.read(images, flipped=flipped)
        close(batch.image_tokens.numpy(), f"{prefix}clip/tokens")
        close(batch.region_tokens[batch.mask].numpy(), f"{prefix}region/tokens")
        for copy in (1, 2):
            batch = cache.read(images, flipped=flipped, copy=np.full(len(images), copy))
            found = batch.region_tokens[batch.mask].numpy()
            close(found, f"{prefix}region/jittered/tokens", copy - 1)


@pytest.mark.parametrize(("tokens", "width"), [(197, 768), (257, 1024), (577, 1024)])
def test_int8_takes_at_most_52_percent_of_the_bytes(tokens: int, width: int) -> None:
    shape = TokenShape(tokens, width, region_tokens=5, region_width=256, ious=4)
    counts = np.full(64, 10)
    sizes = [
        sum(stored_bytes(CachePlan(counts, shape, 32, Keep(dtype=dtype))).values())
        for dtype in ("float16", "int8")
    ]
    assert sizes[1] <= 0.52 * sizes[0]
