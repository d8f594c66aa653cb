"""Reading batches in a thread while the last ones are used, within a bound of memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """An item that is read, and that knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        ...


Item = TypeVar("Item")
Batch = TypeVar("Batch", bound=Sized)

MEMORY_BYTES = 512 * 2**20
DEPTH = 4
THREAD_NAME = "read-ahead"


class ReadAhead(Generic[Item, Batch]):
    """Batches read by one background thread, in order; each ``iter()`` begins anew.

    The thread ends when the iteration ends, is closed, or is left by ``break`` or an error.

    Args:
        read: Reads one batch, for instance ``FeatureCache.read``.
        items: What to call it with. They are drawn in the thread.
        memory_bytes: Bound of the tensors of the batches that wait, one more in the thread's
            hands not counted. One batch may wait however large it is.
        depth: Bound of how many wait.

    An error of ``read``, or of drawing the items, is raised where its batch is due, after those
    before it.
    """

    def __init__(
        self,
        read: Callable[[Item], Batch],
        items: Iterable[Item],
        *,
        memory_bytes: int = MEMORY_BYTES,
        depth: int = DEPTH,
    ) -> None:
        self._read = read
        self._items = items
        self._memory_bytes = memory_bytes
        self._depth = depth
        self.waited_seconds = 0.0
        """Seconds that the consumer has waited for batches, all iterations together."""

    def __iter__(self) -> Generator[Batch, None, None]:
        shelf: _Shelf[Batch] = _Shelf(self._memory_bytes, self._depth)
        thread = threading.Thread(
            target=_fill, args=(shelf, self._read, self._items), name=THREAD_NAME, daemon=True
        )
        thread.start()
        try:
            while True:
                asked = time.perf_counter()
                batch = shelf.take()
                self.waited_seconds += time.perf_counter() - asked
                if batch is None:
                    return
                yield batch
                del batch  # not held while the next one is awaited
        finally:
            shelf.close()
            thread.join()


def _fill(shelf: _Shelf[Batch], read: Callable[[Item], Batch], items: Iterable[Item]) -> None:
    try:
        for item in items:
            if not shelf.put(read(item)):
                return
    except Exception as error:
        shelf.end(error)
    else:
        shelf.end(None)


@dataclass
class _Shelf(Generic[Batch]):
    """The batches that wait, between the thread that reads them and the one that uses them."""

    memory_bytes: int
    depth: int
    batches: deque[Batch] = field(default_factory=deque)
    held_bytes: int = 0
    ended: bool = False
    closed: bool = False
    error: Exception | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, batch: Batch) -> bool:
        """Wait for room and put a batch there; False where nobody will take it."""
        size = batch.nbytes
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self._has_room(size))
            if not self.closed:
                self.batches.append(batch)
                self.held_bytes += size
                self.changed.notify_all()
            return not self.closed

    def take(self) -> Batch | None:
        """Wait for the next batch; None after the last one. Raises the thread's error."""
        with self.changed:
            self.changed.wait_for(lambda: self.batches or self.ended)
            if self.batches:
                batch = self.batches.popleft()
                self.held_bytes -= batch.nbytes
                self.changed.notify_all()
                return batch
            if self.error is not None:
                raise self.error
            return None

    def end(self, error: Exception | None) -> None:
        """Tell the consumer that no batch comes any more."""
        with self.changed:
            self.ended, self.error = True, error
            self.changed.notify_all()

    def close(self) -> None:
        """Tell the reader that no batch is taken any more."""
        with self.changed:
            self.closed = True
            self.batches.clear()
            self.changed.notify_all()

    def _has_room(self, size: int) -> bool:
        few = len(self.batches) < self.depth
        return not self.batches or (few and self.held_bytes + size <= self.memory_bytes)
