"""A run's curves as SVG that takes its colours from the page it stands in."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regionspot_train.learning.validation import FREQUENCIES, Accuracy
from regionspot_train.record.meter import LogLine

POINTS = 800
"""Most points of a curve; those of a longer log are means, so that a page's size is bounded."""
COLOURS = ("--line-1", "--line-2", "--line-3", "--line-4", "--line-5")
# What matplotlib draws in, and which of the page's CSS variables takes its place. It knows no
# variables, so each is named by a colour that nothing else has.
_INK, _GRID = "#010203", "#010204"
_LINES = tuple(f"#01030{n}" for n in range(len(COLOURS)))
_VARIABLES = {_INK: "--soft", _GRID: "--rule", **dict(zip(_LINES, COLOURS, strict=True))}
_MARGINS = {"left": 0.13, "right": 0.975, "bottom": 0.18, "top": 0.93}
_INCHES = (4.6, 2.4)  # about as wide as a phone shows, so that letters keep their size there


@dataclass(frozen=True)
class Chart:
    """One picture of the page."""

    title: str
    svg: str
    names: tuple[tuple[str, str], ...] = ()
    """Names of its lines, each with the CSS variable of its colour; empty if there is one line."""


@dataclass(frozen=True)
class _Line:
    steps: Sequence[int]
    values: Sequence[float]
    name: str = ""


def charts(log: Sequence[LogLine], validations: Sequence[Accuracy]) -> list[Chart]:
    """Draw the charts that a run has figures for."""
    drawn = []
    if log:
        steps = [line.step for line in log]
        drawn = [
            _chart("Training loss", [_Line(steps, [line.loss for line in log])], smooth=True),
            *_accuracies(validations),
            _chart("Learning rate", [_Line(steps, [line.lr for line in log])]),
            _chart(
                "Gradient norm", [_Line(steps, [line.gradient_norm for line in log])], smooth=True
            ),
            _chart("Regions a second", [_Line(steps, [line.regions_per_second for line in log])]),
            _chart(
                "Share of time waiting for data",
                [_Line(steps, [line.waiting_share for line in log])],
                shares=True,
            ),
        ]
    return drawn


def _accuracies(validations: Sequence[Accuracy]) -> list[Chart]:
    accuracies = {"top-1": [each.top1 for each in validations]}
    accuracies["classes' mean"] = [each.class_mean for each in validations]
    for name in FREQUENCIES.values():
        accuracies[name] = [each.by_frequency.get(name, math.nan) for each in validations]
    precisions = {
        name: [math.nan if (ap := getattr(each, key)) is None else ap for each in validations]
        for name, key in (("all", "ap"), *((name, f"ap_{n}") for n, name in FREQUENCIES.items()))
    }
    drawn = []
    steps = [each.step for each in validations]
    for title, named in (
        ("Validation accuracy", accuracies),
        ("Validation AP, annotated boxes", precisions),
    ):
        lines = [
            _Line(steps, values, name)
            for name, values in named.items()
            if any(map(math.isfinite, values))
        ]
        if lines:
            drawn.append(_chart(title, lines, shares=True))
    return drawn


def _chart(
    title: str, lines: Sequence[_Line], *, smooth: bool = False, shares: bool = False
) -> Chart:
    """Draw lines over steps.

    Args:
        title: Title of the picture. Names in the SVG begin with it, so that many fit in one page.
        lines: The lines.
        smooth: Whether the line's running mean is drawn over it.
        shares: Whether values are shares of 1, shown in percent.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 10, "axes.linewidth": 0.8}
    ):
        # Fixed margins: to have them worked out would take most of the time.
        figure = Figure(figsize=_INCHES)
        axis = figure.subplots(gridspec_kw=_MARGINS)
        for line, colour in zip(lines, _LINES, strict=False):
            steps, values = _thinned(line.steps), _thinned(line.values)
            dot = "o" if len(steps) < 25 else None
            if smooth and len(steps) >= 20:
                axis.plot(steps, values, color=colour, linewidth=0.8, alpha=0.35)
                values, dot = _running_mean(values), None
            axis.plot(steps, values, color=colour, linewidth=1.8, marker=dot, markersize=3.5)
        if all(value >= 0 for line in lines for value in line.values if math.isfinite(value)):
            axis.set_ylim(bottom=0)
        if shares:
            axis.set_ylim(0, max(0.05, axis.get_ylim()[1]))
            axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.set_xlabel("step", color=_INK)
        axis.grid(axis="y", color=_GRID, linewidth=0.8)
        axis.tick_params(colors=_INK, length=0)
        axis.yaxis.get_offset_text().set_color(_INK)
        for side, spine in axis.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(_GRID)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    named = len(lines) > 1
    return Chart(
        title,
        _inline(file.getvalue(), title),
        tuple(zip((line.name for line in lines), COLOURS, strict=False)) if named else (),
    )


def _inline(svg: str, title: str) -> str:
    """Turn matplotlib's SVG file into a part of a page, with a title and the page's colours."""
    prefix = re.sub(r"\W+", "-", title.lower())
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    start = re.sub(r' (?:width|height)="[^"]*pt"', "", svg[: svg.index(">")])
    return f'{start} role="img" aria-label="{title}">{svg[svg.index(">") + 1 :]}'


def _thinned(values: Sequence[float]) -> NDArray[np.float64]:
    """Return at most :data:`POINTS` means of equally many values; NaN where one is not finite."""
    array = np.asarray(values, dtype=np.float64)
    array = np.where(np.isfinite(array), array, np.nan)
    size = -(-len(array) // POINTS)
    starts = np.arange(0, len(array), size)
    means: NDArray[np.float64] = np.add.reduceat(array, starts) / np.diff([*starts, len(array)])
    return means


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N,) the mean of the values around each, a fifteenth of all; of fewer at the ends."""
    half = max(1, len(values) // 30)
    at, finite = np.arange(len(values)), np.isfinite(values)
    first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))

    def around(each: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.concatenate([[0.0], np.cumsum(each)])
        total: NDArray[np.float64] = sums[last] - sums[first]
        return total

    counts = around(finite.astype(np.float64))
    return around(np.where(finite, values, 0.0)) / np.where(counts > 0, counts, np.nan)
