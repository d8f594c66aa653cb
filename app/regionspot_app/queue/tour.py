"""A look at every picture of the folder, one after another, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from regionspot_app.queue.listing import Entry, Queue
from regionspot_app.queue.looks import Look, look_of
from regionspot_app.server.turns import EndingError, Turns
from regionspot_core.errors import InputError, RegionSpotError

TAB = "look at all"
"""Name that it asks the models by: one more tab, whose turn comes after the others'."""
SECONDS_OF_NAMES = 1.0
"""Time that names are embedded for before others have their turn."""
MOST_FAILURES = 20
"""Pictures that could not be read, of which the reason is told."""


class Tour:
    """A look at all pictures, of which one is at work at most.

    A picture takes three turns at the models, encoded, segmented and classified, so that people
    wait for a part of one picture at most. It has no place among the open pictures, and one at
    a time is in memory.

    Args:
        queue: The pictures.
        turns: The thread that has the models.
    """

    def __init__(self, queue: Queue, turns: Turns) -> None:
        self._queue = queue
        self._turns = turns
        self._task: asyncio.Task[None] | None = None
        self._state = "idle"
        self._looked = self._total = self._names_left = 0
        self._failures: list[dict[str, str]] = []
        self._failed = 0
        self._error: str | None = None

    def begin(self, names: Sequence[str] | None, *, again: bool) -> None:
        """Begin a look at the pictures that nobody has looked at with these names.

        Args:
            names: K class names; None for the app's own.
            again: Whether the others are looked at again.

        Raises:
            InputError: If one is at work already.
        """
        if self._state == "running":
            raise InputError("a look at all pictures is at work; wait for its end, or stop it")
        entries = [each for each in self._queue.entries(names) if again or each.look is None]
        self._state, self._error = "running", None
        self._looked, self._total, self._names_left = 0, len(entries), 0
        self._failures, self._failed = [], 0
        self._task = asyncio.create_task(self._run(entries, names))

    async def stop(self) -> None:
        """End it after the part of a picture that the models are at; what it saw stays."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def status(self) -> dict[str, Any]:
        """Return how far it is, as plain values."""
        return {
            "state": self._state,
            "looked": self._looked,
            "total": self._total,
            "names_left": self._names_left,
            "failed": self._failed,
            "failures": list(self._failures),
            "error": self._error,
        }

    async def _run(self, entries: Sequence[Entry], names: Sequence[str] | None) -> None:
        try:
            await self._look_at(entries, names)
            self._queue.looks.write(make=True)
            self._state = "done"
        except (asyncio.CancelledError, EndingError):
            self._state = "stopped"
            with suppress(OSError):
                self._queue.looks.write(make=True)
        except OSError as error:
            self._state, self._error = "failed", f"it cannot be written ({error.strerror})"
        except RegionSpotError as error:
            self._state, self._error = "failed", str(error)
        except Exception:
            self._state, self._error = "failed", "a fault of the app's; its terminal has details"
            raise

    async def _look_at(self, entries: Sequence[Entry], names: Sequence[str] | None) -> None:
        bench, looks = self._queue.bench, self._queue.looks
        words = bench.names if names is None else names
        embed = partial(bench.learn_names, words, SECONDS_OF_NAMES)
        while left := await self._turns.ask(TAB, embed):
            self._names_left = left
        self._names_left = 0
        for entry in entries:
            try:
                question, look = await self._look(entry, names)
            except RegionSpotError as error:
                self._failed += 1
                if self._failed <= MOST_FAILURES:
                    self._failures.append({"picture": entry.picture, "message": str(error)})
            else:
                looks.note(question, entry.picture, look)
            self._looked += 1
            looks.write_sometimes(make=True)

    async def _look(self, entry: Entry, names: Sequence[str] | None) -> tuple[str, Look]:
        bench = self._queue.bench
        content = await asyncio.to_thread(self._queue.pictures.read, entry.picture)
        image = await self._turns.ask(TAB, lambda: bench.encode_file(content))
        saved = [region.prompt for region in self._queue.corrections.regions(entry.picture)]
        if saved:
            regions = await self._turns.ask(TAB, lambda: bench.segment(image, saved))
        else:
            everything = await self._turns.ask(TAB, lambda: bench.everything(image))
            regions = [region for _, region in everything]

        def classify() -> tuple[str, Look]:
            found = bench.classify(image, regions, names)
            words = bench.names if names is None else names
            return bench.question(names), look_of(found, bench.heads, words)

        return await self._turns.ask(TAB, classify)
