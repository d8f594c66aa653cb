"""Timing things against each other, and saying whether a required ratio is met.

A shared machine is slower at one moment than at the next. So what is compared takes turns, each
ratio is taken within a round, and the median over the rounds counts. A turn counts by its fastest
repetition: the others were interrupted, and the longer a repetition takes the more often.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from rich.table import Table

from regionspot_core.support.tables import titled_table

Task = Callable[[int], None]
"""Does one repetition; told its number, counted through all rounds."""


@dataclass(frozen=True)
class Times:
    """Seconds of one repetition of each task, for each round."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Return the median seconds of one repetition."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, other: str) -> float:
        """Return the median over the rounds of ``name``'s seconds over ``other``'s."""
        pairs = zip(self.seconds[name], self.seconds[other], strict=True)
        return statistics.median(first / second for first, second in pairs)


def take_turns(
    tasks: Mapping[str, Task],
    *,
    rounds: int,
    repeats: Mapping[str, int],
    before: Callable[[str], None] | None = None,
    of_turn: Callable[[list[float]], float] = min,
) -> Times:
    """Time tasks in rounds; in each, every task has its turn.

    Args:
        tasks: What to do, by name.
        rounds: How often each has its turn.
        repeats: Repetitions a turn, by name: fewer for what is slow. 1 where it is not named.
        before: Called with the name before each turn, outside its time.
        of_turn: Makes the figure of a turn from the seconds of its repetitions.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(rounds):
        # Every other round backwards, so that nothing always follows the same neighbour.
        for name in list(tasks) if turn % 2 == 0 else list(tasks)[::-1]:
            if before is not None:
                before(name)
            count = repeats.get(name, 1)
            taken = [timed(partial(tasks[name], turn * count + n)) for n in range(count)]
            seconds[name].append(of_turn(taken))
    return Times(seconds)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A figure and the bound it must keep."""

    what: str
    figure: float | None
    """None where it cannot be measured here."""
    bound: float
    least: bool
    """Whether the bound is the smallest value allowed, or the largest."""
    unit: str = ""
    note: str = ""
    """Why there is no figure."""

    @property
    def met(self) -> bool:
        """Whether the figure keeps the bound. What cannot be measured is not held against it."""
        if self.figure is None:
            return True
        return self.figure >= self.bound if self.least else self.figure <= self.bound

    @property
    def verdict(self) -> str:
        """``met``, ``NOT met``, or why it is not known."""
        if self.figure is None:
            return self.note or "not measured"
        return "met" if self.met else "NOT met"


def at_least(what: str, figure: float | None, bound: float, *, note: str = "") -> Requirement:
    """Return the requirement that a figure is no smaller than a bound."""
    return Requirement(what=what, figure=figure, bound=bound, least=True, note=note)


def at_most(
    what: str, figure: float | None, bound: float, *, unit: str = "", note: str = ""
) -> Requirement:
    """Return the requirement that a figure is no larger than a bound."""
    return Requirement(what=what, figure=figure, bound=bound, least=False, unit=unit, note=note)


def requirements_table(requirements: list[Requirement]) -> Table:
    """Return a table with a line for each requirement: its bound, the figure, met or not."""
    table = titled_table("Required", figures=("bound", "here"))
    table.add_column("")
    for each in requirements:
        sign = "≥" if each.least else "≤"
        here = "–" if each.figure is None else f"{each.figure:.3g}"
        table.add_row(each.what, f"{sign} {each.bound:g} {each.unit}".strip(), here, each.verdict)
    return table
