"""Results of a sweep: its table, its picture and its best head."""

from __future__ import annotations

import shutil
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from regionspot_core.heads.checkpoint import BEST
from regionspot_core.support.csv_cells import write_csv
from regionspot_core.support.files import written_aside
from regionspot_core.support.optional_picture import optional_picture
from regionspot_train.config import load_settings
from regionspot_train.learning.validation import Validator
from regionspot_train.record.log import CURVE, draw_curve, read_lines
from regionspot_train.record.report import Ending, write_report
from regionspot_train.sweep.slots import trial_folder
from regionspot_train.sweep.space import Space
from regionspot_train.sweep.study import Study
from regionspot_train.sweep.study_file import FIRST_BATCH, REASON

TABLE = "trials.csv"
PICTURE = "parallel.png"
SHOWN = 10
STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "begun",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class SweepReport:
    """Outcome of a sweep."""

    trials: list[FrozenTrial]
    """The best first."""
    settings: tuple[str, ...]
    """Names of the settings that they differ in."""
    seconds: float
    """Duration of this call."""
    waiting_share: float
    """Share of the time that all heads waited for data."""
    stopped: int | None
    """The exit code for a sweep that was asked to stop."""

    @property
    def best(self) -> FrozenTrial | None:
        """Best head; None if no head has a value."""
        first = next(iter(self.trials), None)
        return None if first is None or first.value is None else first

    @property
    def states(self) -> dict[str, int]:
        """Number of heads that finished, were pruned, failed, by these words."""
        counted = Counter(STATES[each.state] for each in self.trials)
        return {name: counted[name] for name in STATES.values() if counted[name]}

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 0 if every head of the sweep finished or was pruned."""
        if self.stopped is not None:
            return self.stopped
        return int(any(self.states.get(name) for name in ("failed", "begun")))

    def failures(self) -> dict[str, str]:
        """Return the reasons of heads that failed, in this call or one before, by their numbers."""
        numbers: dict[str, list[str]] = {}
        for each in sorted(self.trials, key=lambda each: each.number):
            if each.state == TrialState.FAIL:
                reason = str(each.user_attrs.get(REASON, "no reason was kept"))
                numbers.setdefault(reason, []).append(str(each.number))
        return {
            "head " + ", ".join(heads[:SHOWN]) + (", …" if len(heads) > SHOWN else ""): reason
            for reason, heads in list(numbers.items())[:SHOWN]
        }

    def table(self) -> Table:
        """Return a table of the best heads and their settings."""
        names = _short_names(self.settings)
        more = f" of {len(self.trials)}" if len(self.trials) > SHOWN else ""
        title = f"The best {min(SHOWN, len(self.trials))}{more}"
        table = Table(title=title, box=None)
        table.add_column("head", justify="right", style="cyan", no_wrap=True)
        table.add_column("best", justify="right", no_wrap=True)
        table.add_column("steps", justify="right", no_wrap=True)
        # In one column, which wraps: a space may have more settings than a terminal has room for.
        table.add_column("settings", overflow="fold")
        for each in self.trials[:SHOWN]:
            value = STATES[each.state] if each.value is None else f"{100 * each.value:.2f}"
            steps = max(each.intermediate_values, default=0)
            chosen = [f"{names[key]}={_number(each.params[key])}" for key in each.params]
            table.add_row(str(each.number), value, f"{steps:,}", "  ".join(chosen))
        return table


def write_results(
    study: Study,
    out: Path,
    space: Space,
    *,
    seconds: float,
    waiting_share: float,
    stopped: int | None,
    pictured: bool,
) -> SweepReport:
    """Write ``trials.csv``, ``best/`` and, if ``pictured``, pictures into the sweep's folder."""
    report = SweepReport(
        trials=study.trials(),
        settings=tuple(space.space),
        seconds=seconds,
        waiting_share=waiting_share,
        stopped=stopped,
    )
    _write_table(report, out / TABLE)
    if report.best is not None:
        folder = trial_folder(out, report.best.number)
        _copy_best(folder / BEST, out / BEST)
        if pictured:
            with optional_picture(out / PICTURE):
                _draw(study, report, out / PICTURE)
            _picture_best(folder, report.best.state == TrialState.COMPLETE)
    return report


def _write_table(report: SweepReport, path: Path) -> None:
    write_csv(
        path,
        ["head", "state", "best", "steps", FIRST_BATCH, *report.settings, REASON],
        (
            [
                each.number,
                STATES[each.state],
                "" if each.value is None else each.value,
                max(each.intermediate_values, default=0),
                each.user_attrs.get(FIRST_BATCH, ""),
                *(each.params.get(key, "") for key in report.settings),
                each.user_attrs.get(REASON, ""),
            ]
            for each in report.trials
        ),
    )


def _draw(study: Study, report: SweepReport, path: Path) -> None:
    """Draw a line for each head through its settings, coloured by how good it is."""
    from matplotlib.figure import Figure
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    from regionspot_core.support.lettering import Lettering

    words = [str(word) for each in report.trials for pair in each.params.items() for word in pair]
    with Lettering.of(words).in_matplotlib(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental, Optuna says of all its matplotlib pictures
        axes = plot_parallel_coordinate(
            study.optuna, params=list(report.settings), target_name="best validation"
        )
        figure = axes.figure
        assert isinstance(figure, Figure)
        figure.set_size_inches(3 + 2 * len(report.settings), 5)
        with written_aside(path) as partial:
            figure.savefig(partial, dpi=120, format="png", bbox_inches="tight")
    _close(figure)


def _close(figure: Any) -> None:  # noqa: ANN401 - Optuna makes it through pyplot, which keeps it
    from matplotlib import pyplot

    pyplot.close(figure)


def _copy_best(source: Path, best: Path) -> None:
    """Copy the best head to the place of the one before, weights first."""
    best.mkdir(exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.suffix == ".json"):
        with written_aside(best / path.name) as partial:
            shutil.copyfile(path, partial)


def _picture_best(folder: Path, finished: bool) -> None:
    """Draw the best head's curve and report, as `fit` does."""
    lines = read_lines(folder)
    if not lines:
        return
    with written_aside(folder / CURVE) as partial:
        draw_curve(lines, partial)
    validator = Validator(load_settings(str(folder), []).validation)
    validator.keep(folder, lines[-1].step)
    ending = Ending(lines[-1].step, finished, seconds=None, resumable=False)
    write_report(folder, ending, lines, validator)


def _short_names(settings: tuple[str, ...]) -> dict[str, str]:
    """Return a short name for each setting: its last word, where no other setting has the same."""
    last = Counter(key.rsplit(".", 1)[-1] for key in settings)
    return {
        key: key.rsplit(".", 1)[-1] if last[key.rsplit(".", 1)[-1]] == 1 else key
        for key in settings
    }


def _number(value: Any) -> str:  # noqa: ANN401 - any of a space's values
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)
