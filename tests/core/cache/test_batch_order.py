"""The order of batches: every image once an epoch, by the seed alone, from any step."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from regionspot_core.cache.read.order import BatchOrder, Shuffle
from regionspot_core.errors import InputError

SHUFFLES = st.sampled_from(["full", "windowed"])
COUNTS, SIZES, SEEDS = st.integers(1, 60), st.integers(1, 70), st.integers(0, 5)


def make_order(
    count: int,
    size: int,
    *,
    seed: int = 0,
    shuffle: Shuffle = "full",
    part: int = 4,
    window: int = 2,
) -> BatchOrder:
    return BatchOrder(
        images=np.arange(count) * 3,
        batch_images=size,
        seed=seed,
        shuffle=shuffle,
        part_of=np.arange(count) // part,
        window_parts=window,
    )


def first(order: BatchOrder, batches: int, start_step: int = 0) -> list[list[int]]:
    return [batch.tolist() for batch in islice(order.batches(start_step), batches)]


@given(COUNTS, SIZES, SEEDS, SHUFFLES)
def test_an_epoch_has_no_image_twice_and_leaves_out_only_the_rest(
    count: int, size: int, seed: int, shuffle: Shuffle
) -> None:
    order = make_order(count, size, seed=seed, shuffle=shuffle)
    batches = first(order, 2 * order.epoch_batches)
    assert {len(batch) for batch in batches} == {min(size, count)}
    for epoch in range(2):
        each = batches[epoch * order.epoch_batches : (epoch + 1) * order.epoch_batches]
        seen = [image for batch in each for image in batch]
        assert len(set(seen)) == len(seen) == count - count % min(size, count)
        assert set(seen) <= set(range(0, 3 * count, 3))


@given(COUNTS, SIZES, SHUFFLES, st.integers(0, 100))
def test_starting_at_a_step_drops_the_batches_before_it(
    count: int, size: int, shuffle: Shuffle, start: int
) -> None:
    order = make_order(count, size, shuffle=shuffle)
    assert first(order, 3, start) == first(order, start + 3)[start:]
    assert [order.batch(start + i).tolist() for i in range(3)] == first(order, 3, start)


@given(COUNTS, SIZES, SEEDS)
def test_a_full_shuffle_is_the_rule_that_heads_were_trained_by(
    count: int, size: int, seed: int
) -> None:
    def naive(images: NDArray[np.int64], epochs: int) -> list[list[int]]:
        batches = []
        for epoch in range(epochs):
            order = np.random.default_rng([seed, epoch]).permutation(images)
            full = range(0, len(order) - min(size, count) + 1, min(size, count))
            batches += [order[i : i + min(size, count)].tolist() for i in full]
        return batches

    order = make_order(count, size, seed=seed)
    assert first(order, 3 * order.epoch_batches) == naive(order.images, 3)


@given(st.integers(1, 80), st.integers(1, 20), st.integers(1, 9), st.integers(1, 5), SEEDS)
def test_a_window_touches_no_more_than_its_parts(
    count: int, size: int, part: int, window: int, seed: int
) -> None:
    order = make_order(count, size, seed=seed, shuffle="windowed", part=part, window=window)
    for number in range(2):
        epoch = order.epoch(number)
        assert np.array_equal(epoch.part, epoch.images // 3 // part)
        assert (np.diff(epoch.window) >= 0).all()
        assert len(epoch.images) == order.epoch_batches * order.size
        owner: dict[int, int] = {}
        for place in np.unique(epoch.window):
            parts = set(epoch.part[epoch.window == place].tolist())
            assert len(parts) <= window
            assert all(owner.setdefault(each, place) == place for each in parts)


def test_a_batch_at_a_border_touches_two_windows() -> None:
    order = make_order(32, 6, shuffle="windowed", part=4, window=2)
    touched = [len(set((batch // 12).tolist())) for batch in islice(order.batches(), 5)]
    assert max(touched) > 2
    assert max(touched) <= 2 * 2


@pytest.mark.parametrize("shuffle", ["full", "windowed"])
def test_the_seed_decides_and_epochs_differ(shuffle: Shuffle) -> None:
    orders = [make_order(64, 32, seed=seed, shuffle=shuffle) for seed in (0, 0, 1)]
    assert first(orders[0], 4) == first(orders[1], 4)
    assert first(orders[0], 2) != first(orders[2], 2)
    assert first(orders[0], 4)[:2] != first(orders[0], 4)[2:]


def test_a_window_of_all_parts_mixes_all_images() -> None:
    order = make_order(64, 64, shuffle="windowed", part=4, window=16)
    parts = order.epoch(0).part
    assert (np.diff(parts) != 0).mean() > 0.8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": np.arange(0)}, "at least one image, got none"),
        ({"batch_images": 0}, "got 0 and 4"),
        ({"window_parts": 0}, "got 2 and 0"),
        ({"shuffle": "windowed"}, "part of each of its 5 images, got none"),
        ({"shuffle": "windowed", "part_of": np.arange(4)}, "5 images, got 4"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, object], message: str) -> None:
    values = {"images": np.arange(5), "batch_images": 2, "seed": 0}
    with pytest.raises(InputError, match=message):
        BatchOrder(**(values | changed))  # type: ignore[arg-type]


@given(st.lists(st.floats(1, 4), min_size=1, max_size=30), st.integers(1, 12), SEEDS, SHUFFLES)
def test_repeated_images_come_as_often_as_asked(
    repeat: list[float], size: int, seed: int, shuffle: Shuffle
) -> None:
    factors = np.array(repeat)
    order = BatchOrder(
        images=np.arange(len(factors)), batch_images=size, seed=seed, shuffle=shuffle,
        part_of=np.arange(len(factors)) // 4, window_parts=2, repeat=factors,
    )  # fmt: skip
    size = order.size
    assert order.epoch_batches == int(factors.sum()) // size
    times = np.bincount(order.epoch(0).images, minlength=len(factors))
    assert times.sum() == order.epoch_batches * size
    assert (times <= np.ceil(factors)).all()
    left_out = int(factors.sum()) + 1 - times.sum()
    assert (np.floor(factors) - times).clip(min=0).sum() <= left_out


def test_repeats_are_right_on_average() -> None:
    factors = np.array([1.0, 1.25, 2.5, 1.0, 3.25])
    order = BatchOrder(images=np.arange(5), batch_images=1, seed=0, repeat=factors)
    times = [np.bincount(order.epoch(n).images, minlength=5) for n in range(2_000)]
    assert np.mean(times, axis=0) == pytest.approx(factors, abs=0.05)


def test_as_many_repeats_as_images_are_needed() -> None:
    with pytest.raises(InputError, match="how often each of 3 images comes, got 2"):
        BatchOrder(images=np.arange(3), batch_images=1, seed=0, repeat=np.ones(2))
