"""Named points of a run where a test may step in: to stop it, to wait, or to count.

A stage calls :func:`reach` at a point, with the number of what it is about to do there. Nothing
happens unless a test has given a function by :func:`at_points`.

| point | before | number |
|---|---|---|
| encode part | a part's features are computed | the part |
| encode batch | a batch of a part goes to the models | its first image's position |
| write part, wrote part | a part is written; after it is committed | the part |
| built store | a new store is put in its place | how many parts |
| uploaded store | after that, where its place is at a URL | how many files |
| read images | images of a finished store are read | how many images |
| train step | a head takes a step | the step |
| sweep step | the heads of a sweep take a step | the batch |
| recognise batch | the frozen models encode a batch of an evaluation | how many images |
| record batch | a batch's results are added to its journal | the batch |
| wait for lock | a process waits for a lock that another one holds | this process |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

AtPoint = Callable[[str, int], None]
"""Function called with a point's name and number; its exceptions are raised at the point."""

_functions: list[AtPoint] = []


def reach(point: str, number: int) -> None:
    """Call the functions that tests have given."""
    for function in tuple(_functions):
        function(point, number)


@contextmanager
def at_points(function: AtPoint) -> Iterator[None]:
    """Call a function at every point, of every thread, until the context ends."""
    _functions.append(function)
    try:
        yield
    finally:
        _functions.remove(function)
