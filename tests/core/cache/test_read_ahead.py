"""Reading ahead: in order, bounded in bytes, errors where they are due, no thread left."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.read_ahead import ReadAhead

TOKENS = 1000


def make_batch(item: int) -> FeatureBatch:
    """A batch whose image id is the item."""
    return FeatureBatch(
        image_tokens=torch.zeros(1, TOKENS, 1, dtype=torch.float16),
        region_tokens=torch.zeros(1, 1, 1, 1, dtype=torch.float16),
        region_embeddings=torch.zeros(1, 1, 0, dtype=torch.float16),
        region_masks=torch.zeros(1, 1, 0, 0, dtype=torch.uint8),
        mask=torch.ones(1, 1, dtype=torch.bool),
        classes=torch.zeros(1, 1, dtype=torch.int64),
        boxes=torch.zeros(1, 1, 4),
        annotation_ids=torch.zeros(1, 1, dtype=torch.int64),
        image_ids=torch.tensor([item]),
        image_sizes=torch.ones(1, 2, dtype=torch.int64),
        negative_classes=torch.zeros(1, 0, dtype=torch.int64),
    )


BYTES = 2 * TOKENS + 2 + 1 + 8 + 16 + 8 + 8 + 16


def ids(batches: ReadAhead[int, FeatureBatch]) -> list[int]:
    return [int(batch.image_ids) for batch in batches]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_the_bytes_of_a_batch() -> None:
    assert make_batch(0).nbytes == BYTES


@settings(max_examples=40)
@given(st.lists(st.integers(0, 99), max_size=30), st.integers(1, 6), st.integers(1, 5 * BYTES))
def test_it_is_map(items: list[int], depth: int, memory: int) -> None:
    ahead = ReadAhead(make_batch, items, depth=depth, memory_bytes=memory)
    assert ids(ahead) == items
    assert ids(ahead) == items  # and once more from the beginning
    assert not threads()
    assert ahead.waited_seconds >= 0


@pytest.mark.parametrize(
    ("memory", "depth", "waiting"),
    [(1, 4, 1), (3 * BYTES, 10, 3), (4 * BYTES - 1, 10, 3), (100 * BYTES, 2, 2)],
)
def test_no_more_wait_than_the_bound_says(memory: int, depth: int, waiting: int) -> None:
    """One more is in the reader's hands."""
    read: list[int] = []
    another = threading.Condition()

    def counted(item: int) -> FeatureBatch:
        with another:
            read.append(item)
            another.notify_all()
        return make_batch(item)

    batches = iter(ReadAhead(counted, range(1000), memory_bytes=memory, depth=depth))
    for used in range(1, 11):
        next(batches)
        with another:
            assert another.wait_for(lambda used=used: len(read) == used + waiting + 1, timeout=10)
    batches.close()
    assert len(read) == 10 + waiting + 1


def failing_read(item: int) -> FeatureBatch:
    if item == 3:
        raise ValueError("item 3")
    return make_batch(item)


def failing_items() -> Iterator[int]:
    yield from range(3)
    raise ValueError("item 3")


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReadAhead(failing_read, range(100)),
        lambda: ReadAhead(make_batch, failing_items()),
    ],
    ids=["reading fails", "the items fail"],
)
def test_an_error_is_raised_where_its_batch_is_due(
    make: Callable[[], ReadAhead[int, FeatureBatch]],
) -> None:
    batches = iter(make())
    assert [int(next(batches).image_ids) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)
    assert not threads()


def test_closing_ends_the_thread() -> None:
    batches = iter(ReadAhead(make_batch, iter(range(10**9))))
    next(batches)
    assert threads()
    batches.close()
    assert not threads()


def test_leaving_a_loop_ends_the_thread() -> None:
    for _ in ReadAhead(make_batch, iter(range(10**9))):
        break
    assert not threads()


def test_an_error_of_the_consumer_ends_the_thread() -> None:
    def consume() -> None:
        for _ in ReadAhead(make_batch, iter(range(10**9))):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        consume()
    assert not threads()


def test_reading_and_using_go_on_side_by_side() -> None:
    """The second batch is read while the first is used: each waits for the other."""
    second_read, first_used = threading.Event(), threading.Event()

    def read(item: int) -> FeatureBatch:
        if item == 1:
            assert first_used.wait(10)
            second_read.set()
        return make_batch(item)

    batches = iter(ReadAhead(read, range(2)))
    next(batches)
    first_used.set()
    assert second_read.wait(10)
    next(batches)
    assert next(batches, None) is None
