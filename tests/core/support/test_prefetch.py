"""Working ahead: results in order, bounded, and errors where they are due. No sleeps."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regionspot_core.support.prefetch import in_batches, map_ahead


@settings(max_examples=30)
@given(st.lists(st.integers(), max_size=40), st.integers(1, 5))
def test_it_is_map(items: list[int], workers: int) -> None:
    assert list(map_ahead(lambda item: item * 2, items, workers=workers)) == [i * 2 for i in items]


def test_results_come_in_order_though_they_finish_in_reverse() -> None:
    finished = [threading.Event() for _ in range(4)]

    def work(item: int) -> int:
        if item < 3:
            assert finished[item + 1].wait(10)
        finished[item].set()
        return item

    assert list(map_ahead(work, range(4), workers=4)) == [0, 1, 2, 3]


def test_threads_work_side_by_side() -> None:
    together = threading.Barrier(3, timeout=10)
    assert len({*map_ahead(lambda _: together.wait(), range(3), workers=3)}) == 3


def test_no_more_than_four_results_a_thread_are_made_ahead() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = map_ahead(lambda item: item, source(), workers=2)
    for used in range(1, 21):
        next(results)
        assert len(taken) - used <= 4 * 2
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 1000


def test_nothing_is_done_before_the_first_result_is_asked_for() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for item in range(3):
            taken.append(item)
            yield item

    results = map_ahead(lambda item: item, source(), workers=1)
    assert taken == []
    assert list(results) == taken == [0, 1, 2]


def test_an_error_is_raised_where_its_result_is_due() -> None:
    def work(item: int) -> int:
        if item == 5:
            raise ValueError("item 5")
        return item

    results = map_ahead(work, range(100), workers=3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="item 5"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_an_error_of_the_source_is_raised_behind_the_results_before_it() -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise OSError("the source broke")

    results = map_ahead(lambda item: item * 2, source(), workers=2)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(OSError, match="the source broke"):
        next(results)


def test_stopping_early_leaves_no_thread() -> None:
    before = threading.active_count()
    results = map_ahead(lambda item: item, iter(range(10**9)), workers=4)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_stopping_early_does_not_begin_what_nobody_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopping, begun = threading.Event(), []
    shutdown = ThreadPoolExecutor.shutdown

    def release_and_shut_down(pool: ThreadPoolExecutor, wait: bool = True) -> None:
        stopping.set()
        shutdown(pool, wait=wait)

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            assert stopping.wait(10)
        return item

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", release_and_shut_down)
    results = map_ahead(work, range(100), workers=1)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert set(begun) <= {0, 1}


@pytest.mark.parametrize(
    ("items", "size", "batches"),
    [
        ([], 3, []),
        ([1], 3, [[1]]),
        ([1, 2, 3], 3, [[1, 2, 3]]),
        ([1, 2, 3, 4], 3, [[1, 2, 3], [4]]),
        ([1, 2], 1, [[1], [2]]),
        ("abc", 2, [["a", "b"], ["c"]]),
    ],
)
def test_batches(items: list[int], size: int, batches: list[list[int]]) -> None:
    assert list(in_batches(items, size)) == batches


def test_batches_take_no_more_than_they_need() -> None:
    source = iter(range(10))
    assert next(in_batches(source, 3)) == [0, 1, 2]
    assert next(source) == 3
