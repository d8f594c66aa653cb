"""One thread that has the models, or the stores, and the tabs that take turns at it."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

Answer = TypeVar("Answer")
MOST_WAITING = 64
"""Most questions of one tab that wait: a page that asks more is not waiting for the answers."""
MOST_WAITING_TOGETHER = 512
"""Most questions of all tabs that wait: whoever changes its name with each question is bounded too.
"""


class TooManyWaitingError(Exception):
    """One tab asks more than it waits for, or all of them together ask too much."""


class EndingError(Exception):
    """The app was asked to stop before a question was answered."""


class Turns:
    """A thread that answers the questions of many tabs, one of each tab in turn.

    A question whose asker has gone is dropped, unless it is being answered already.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str = "models") -> None:
        self._waiting: OrderedDict[str, deque[tuple[Future[Any], Callable[[], Any]]]] = (
            OrderedDict()
        )
        self._changed = threading.Condition()
        self._closed = False
        self._asked: Future[Any] | None = None
        # A daemon: the process may end in the middle of an answer that nobody waits for.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def ask(self, tab: str, question: Callable[[], Answer]) -> Answer:
        """Return a question's answer when it is the tab's turn.

        Args:
            tab: Whoever asks.
            question: Function that is called in the thread.

        Raises:
            TooManyWaitingError: If too many questions of this tab, or of all, wait already.
            EndingError: If the app was asked to stop before it was answered.
        """
        future: Future[Answer] = Future()
        with self._changed:
            if self._closed:
                raise EndingError
            if (
                len(self._waiting.get(tab, ())) >= MOST_WAITING
                or self.waiting >= MOST_WAITING_TOGETHER
            ):
                raise TooManyWaitingError
            self._waiting.setdefault(tab, deque()).append((future, question))
            self._changed.notify()
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._forget(tab, future)
            raise

    def _forget(self, tab: str, gone: Future[Any]) -> None:
        """Drop a question whose asker has gone, and with it what it holds."""
        with self._changed:
            left = deque(each for each in self._waiting.get(tab, ()) if each[0] is not gone)
            if left:
                self._waiting[tab] = left
            else:
                self._waiting.pop(tab, None)

    @property
    def waiting(self) -> int:
        """Return the number of questions that wait."""
        with self._changed:
            return sum(map(len, self._waiting.values()))

    @property
    def answering(self) -> bool:
        """Return whether the thread is at a question."""
        with self._changed:
            return self._asked is not None

    def close(self) -> None:
        """Tell those that wait of the end, and end the thread after the question that it is at."""
        with self._changed:
            self._closed = True
            for questions in self._waiting.values():
                for future, _ in questions:
                    _end(future)
            self._waiting.clear()
            self._changed.notify()

    def abandon(self) -> None:
        """Tell whoever asked the question that the thread is at that nobody waits for its end."""
        with self._changed:
            if self._asked is not None:
                _end(self._asked)

    def _work(self) -> None:
        while (turn := self._next()) is not None:
            future, question = turn
            if not future.set_running_or_notify_cancel():
                continue
            try:
                answer = question()
            except BaseException as error:  # whoever asked is told of all
                _settle(future.set_exception, error)
            else:
                _settle(future.set_result, answer)

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """Return the first question of the tab whose turn it is; None at the end."""
        with self._changed:
            self._asked = None
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            tab, questions = self._waiting.popitem(last=False)
            turn = questions.popleft()
            if questions:
                self._waiting[tab] = questions  # behind all others
            self._asked = turn[0]
            return turn


def _end(future: Future[Any]) -> None:
    _settle(future.set_exception, EndingError())


def _settle(settle: Callable[[Any], None], value: object) -> None:
    """Give a question its answer, unless it was abandoned or its asker has gone."""
    with suppress(InvalidStateError):
        settle(value)
