"""Doing work on items ahead of their use, in threads, results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Generator[Result]:
    """Yield results as ``map`` does, with ``workers`` threads, at most four a thread ahead of use.

    An exception of ``function`` is raised where its result is due, and one of ``items`` behind the
    results of all items before it.
    """
    failure: list[Exception] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="ahead") as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            for item in _until_failure(items, failure):
                ahead.append(pool.submit(function, item))
                if len(ahead) > 4 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
            if failure:
                raise failure[0]
        finally:
            for future in ahead:
                future.cancel()


def _until_failure(items: Iterable[Item], failure: list[Exception]) -> Iterator[Item]:
    try:
        yield from items
    except Exception as error:  # whatever it is, it is raised when it is due
        failure.append(error)


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of ``size`` items, the last one shorter."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
