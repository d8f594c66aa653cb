"""Tabs take turns at the models; what nobody waits for is dropped."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from regionspot_app.server.turns import (
    MOST_WAITING,
    MOST_WAITING_TOGETHER,
    EndingError,
    TooManyWaitingError,
    Turns,
)


async def blocked(turns: Turns) -> tuple[threading.Event, asyncio.Task[None]]:
    """Keep the models busy until the event is set."""
    began, go = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        assert go.wait(30)

    task = asyncio.create_task(turns.ask("first", wait))
    await asyncio.to_thread(began.wait, 30)
    return go, task


def test_one_tab_with_many_questions_does_not_keep_another_waiting() -> None:
    async def story() -> list[str]:
        turns, order = Turns(), []
        go, first = await blocked(turns)
        asks = [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1")]
        waiting = []
        for tab, name in asks:
            question = partial(order.append, name)
            waiting.append(asyncio.create_task(turns.ask(tab, question)))
            await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, *waiting)
        turns.close()
        return order

    assert asyncio.run(story()) == ["a1", "b1", "c1", "a2", "a3"]


def test_a_question_whose_asker_has_gone_is_not_answered() -> None:
    async def story() -> list[str]:
        turns, order = Turns(), []
        go, first = await blocked(turns)
        gone = asyncio.create_task(turns.ask("a", lambda: order.append("gone")))
        stays = asyncio.create_task(turns.ask("a", lambda: order.append("stays")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, stays)
        turns.close()
        return order

    assert asyncio.run(story()) == ["stays"]


def test_an_error_is_the_askers_and_the_next_is_answered() -> None:
    async def story() -> int:
        turns = Turns()
        with pytest.raises(ZeroDivisionError):
            await turns.ask("a", lambda: 1 // 0)
        answer = await turns.ask("a", lambda: 7)
        turns.close()
        return answer

    assert asyncio.run(story()) == 7


def test_a_tab_that_asks_without_end_is_refused() -> None:
    async def story() -> None:
        turns = Turns()
        go, first = await blocked(turns)
        waiting = [asyncio.create_task(turns.ask("a", lambda: None)) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaitingError):
            await turns.ask("a", lambda: None)
        go.set()
        await asyncio.gather(first, *waiting)
        assert turns.waiting == 0
        turns.close()

    asyncio.run(story())


def test_questions_whose_askers_have_gone_do_not_count() -> None:
    async def story() -> None:
        turns = Turns()
        go, first = await blocked(turns)
        gone = [asyncio.create_task(turns.ask("a", lambda: None)) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert turns.waiting == 0
        stays = asyncio.create_task(turns.ask("a", lambda: 7))
        await asyncio.sleep(0)
        go.set()
        await first
        assert await stays == 7
        turns.close()

    asyncio.run(story())


def test_all_tabs_together_are_bounded() -> None:
    async def story() -> None:
        turns = Turns()
        go, first = await blocked(turns)
        waiting = [
            asyncio.create_task(turns.ask(f"tab {n}", lambda: None))
            for n in range(MOST_WAITING_TOGETHER)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaitingError):
            await turns.ask("another", lambda: None)
        go.set()
        await asyncio.gather(first, *waiting)
        turns.close()

    asyncio.run(story())


def test_at_the_end_all_who_wait_are_told() -> None:
    async def story() -> None:
        turns = Turns()
        go, first = await blocked(turns)
        waiting = asyncio.create_task(turns.ask("a", lambda: None))
        await asyncio.sleep(0)
        turns.close()
        with pytest.raises(EndingError):
            await waiting
        assert not first.done()  # the one that is being answered has some time
        turns.abandon()
        with pytest.raises(EndingError):
            await first
        with pytest.raises(EndingError):
            await turns.ask("a", lambda: None)
        go.set()

    asyncio.run(story())
