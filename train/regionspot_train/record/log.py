"""The record of a run: one JSON line every few steps, and the loss curve as a picture."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from pydantic import TypeAdapter, ValidationError

from regionspot_core.support.files import written_aside
from regionspot_train.record.disk import explained_disk_errors
from regionspot_train.record.meter import LogLine

METRICS = "metrics.jsonl"
CURVE = "loss.png"
_LINE = TypeAdapter(LogLine)


class RunLog:
    """Appends lines to ``metrics.jsonl``; each is on disk before the next step.

    Args:
        folder: The run's folder.
        drawn: Whether the curve is drawn at the end.
    """

    def __init__(self, folder: Path, *, drawn: bool = True) -> None:
        self._folder = folder
        self._drawn = drawn
        self.lines: list[LogLine] = []
        self._file: IO[str] | None = None

    def keep(self, step: int) -> None:
        """Take over the lines up to a step that an interrupted run left, and drop the rest."""
        self.lines = [line for line in read_lines(self._folder) if line.step <= step]
        path = self._folder / METRICS
        with explained_disk_errors(self._folder), written_aside(path) as partial:
            partial.write_text("".join(map(_written, self.lines)), encoding="utf-8")

    def write(self, line: LogLine) -> None:
        """Add a line."""
        assert self._file is not None
        self.lines.append(line)
        with explained_disk_errors(self._folder):
            self._file.write(_written(line))
            self._file.flush()

    def __enter__(self) -> Self:
        self._file = (self._folder / METRICS).open("a", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file, and draw the curve of an interrupted run too."""
        assert self._file is not None
        self._file.close()
        if self.lines and self._drawn:
            with written_aside(self._folder / CURVE) as partial:
                draw_curve(self.lines, partial)


def read_lines(folder: Path) -> list[LogLine]:
    """Read the lines that a run has written into its folder so far."""
    path = folder / METRICS
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [line for line in map(_parsed, lines) if line]


def _written(line: LogLine) -> str:
    return json.dumps(asdict(line)) + "\n"


def _parsed(line: bytes) -> LogLine | None:
    """Parse a line of the log; None if a killed run did not write it to its end."""
    try:
        return _LINE.validate_json(line)
    except ValidationError:
        return None


def draw_curve(lines: list[LogLine], path: Path) -> None:
    """Draw the loss over steps, with the learning rate behind it, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    loss_axis = figure.subplots()
    steps = [line.step for line in lines]
    rate_axis = loss_axis.twinx()
    rate_axis.fill_between(steps, [line.lr for line in lines], color="0.92", linewidth=0)
    rate_axis.set_ylabel("learning rate", color="0.5")
    rate_axis.set_ylim(bottom=0)
    rate_axis.tick_params(colors="0.5")
    loss_axis.set_zorder(rate_axis.get_zorder() + 1)
    loss_axis.patch.set_visible(False)
    loss_axis.plot(steps, [line.loss for line in lines], color="#1f5fa8", linewidth=1.5)
    loss_axis.set_xlabel("step")
    loss_axis.set_ylabel("training loss")
    loss_axis.set_ylim(bottom=0)
    for axis in (loss_axis, rate_axis):
        axis.spines["top"].set_visible(False)
    figure.savefig(path, format="png", dpi=120)
