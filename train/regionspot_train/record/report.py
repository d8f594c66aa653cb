"""``report.html``: a run's curves, settings and data on one page that loads nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import model_validator

from regionspot_core.errors import CheckpointError
from regionspot_core.support.html_page.page import packaged_text, write_page
from regionspot_core.support.records import Record, read_json_object
from regionspot_core.support.tables import format_bytes, format_seconds
from regionspot_train.config import RUN_RECORD, RunRecord, TrainConfig
from regionspot_train.forecast import settings
from regionspot_train.learning.validation import Accuracy, Validator
from regionspot_train.record.curves import charts
from regionspot_train.record.meter import LogLine

REPORT = "report.html"
_PACKAGE = "regionspot_train.record"


@dataclass(frozen=True)
class Ending:
    """End of a run, for its report."""

    step: int
    finished: bool
    """Whether it has a finished head, after all steps or because ``patience`` ran out."""
    seconds: float | None
    """Duration of the last call; None for a head of a sweep, which shares its time."""
    error: BaseException | None = None
    resumable: bool = True
    """Whether its last step has a checkpoint; a head that a sweep gives up has none."""

    def words(self, steps: int) -> tuple[str, str]:
        """Return a word and a sentence for the end of a run that was to take ``steps``."""
        after = f"after step {self.step:,} of {steps:,}"
        if self.error is not None:
            reason = " ".join(str(self.error).split()) or type(self.error).__name__
            return "failed", f"An error ended it {after}: {reason}"
        if not self.finished and not self.resumable:
            return "given up", f"Given up {after}."
        if not self.finished:
            return "stopped", f"Asked to stop {after}. The same command with --resume goes on."
        if self.step < steps:
            return "ended early", f"Ended {after}: validation had not got better for long enough."
        return "finished", f"All {steps:,} steps taken."


def write_report(
    folder: Path,
    ending: Ending,
    log: Sequence[LogLine],
    validator: Validator | None = None,
) -> None:
    """Write ``report.html`` into a run's folder, whole or not at all.

    Args:
        folder: The run's folder; its ``run.json`` is read.
        ending: The run's end.
        log: The lines of ``metrics.jsonl``.
        validator: The run's validations, if there were any.
    """
    run = read_run(folder)
    config = TrainConfig.parse(run["config"], source=str(folder / RUN_RECORD))
    validations = validator.history if validator else []
    state, sentence = ending.words(config.steps)
    name = folder.resolve().name
    write_page(
        folder / REPORT,
        packaged_text(_PACKAGE, "report.html.jinja"),
        title=f"{name} – training run",
        style=packaged_text(_PACKAGE, "report.css"),
        name=name,
        state=state,
        sentence=sentence,
        tiles=_tiles(config, ending, log, validator.best if validator else None),
        charts=charts(log, validations),
        tables={
            "Head": _head(run),
            **_data(run),
            "Made with": _made_with(run),
            **_frozen(run),
        },
        settings=_settings(config),
        seconds=None if ending.seconds is None else format_seconds(ending.seconds),
    )


class _Dataset(Record, extra="allow"):
    annotations_sha256: str


class _ValidationDataset(_Dataset):
    images: int
    regions: int


class _Validation(Record, extra="allow"):
    dataset: _ValidationDataset


class _Cache(Record, extra="allow"):
    store: str
    images: int
    regions: int
    classes: int


class _Data(Record, extra="allow"):
    backbones: dict[str, dict[str, Any]]
    datasets: dict[str, _Dataset]


class _Head(Record, extra="allow"):
    config: dict[str, Any]
    parameters: int


class _Git(Record, extra="allow"):
    commit: str
    uncommitted_changes: bool


class _RunFile(RunRecord):
    """Content of ``run.json`` that the report shows."""

    head: _Head
    data: _Data
    caches: list[_Cache]
    versions: dict[str, str]
    device: str
    git: _Git | None
    start_from: str | None
    validation: _Validation | None

    @model_validator(mode="after")
    def _a_data_set_each(self) -> _RunFile:
        expected = [str(number) for number in range(len(self.caches))]
        if sorted(self.data.datasets) != sorted(expected):
            raise ValueError(f"expected the data sets of {len(expected)} caches")
        return self


def read_run(folder: Path) -> dict[str, Any]:
    """Read a run's ``run.json``.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    path = folder / RUN_RECORD
    try:
        values = read_json_object(path, error=CheckpointError)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing; it says what the run was asked for") from None
    _RunFile.parse(values, source=str(path), error=CheckpointError)
    return values


class _Tile(NamedTuple):
    """Figure at the top of the page."""

    name: str
    figure: str
    note: str
    """Words below the figure."""


def _tiles(
    config: TrainConfig, ending: Ending, log: Sequence[LogLine], best: Accuracy | None
) -> list[_Tile]:
    """Return the most important figures."""
    tiles = [_Tile("steps", f"{ending.step:,}", f"of {config.batch_images:,} images")]
    if log:
        tiles.append(_Tile("loss", f"{log[-1].loss:.3g}", "of the last steps"))
    if best is not None:
        at = f"best: step {best.step:,}"
        tiles.append(_Tile("top-1", f"{best.top1:.1%}", at))
        tiles.append(_Tile("classes’ mean", f"{best.class_mean:.1%}", at))
        if best.held_out is not None:
            tiles.append(_Tile("held-out classes", f"{best.held_out:.1%}", at))
        if best.ap is not None:
            tiles.append(_Tile("AP", f"{best.ap:.1%}", at))
    if log:
        rate = statistics.median(line.regions_per_second for line in log)
        waiting = statistics.mean(line.waiting_share for line in log)
        tiles.append(_Tile("regions/s", f"{rate:,.0f}", "median"))
        tiles.append(_Tile("waiting for data", f"{waiting:.1%}", "mean share"))
        memory = format_bytes(max(line.memory_bytes for line in log))
        tiles.append(_Tile("memory", memory, "at most"))
    return tiles


def _head(run: dict[str, Any]) -> dict[str, str]:
    head = run["head"]
    count = head["parameters"]
    return {"parameters": f"{count:,} ({count / 1e6:.1f} M)", **settings(head["config"])}


def _frozen(run: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return a table for each of the frozen models' fingerprints."""
    backbones = run["data"]["backbones"]
    return {
        name.replace("_", " ").capitalize(): {
            key: f"sha256 {value[:16]}…" if key == "weights" else value
            for key, value in settings(fields).items()
        }
        for name, fields in backbones.items()
    }


def _data(run: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return a table for each cache, and one for the validation's."""
    tables = {}
    several = len(run["caches"]) > 1
    for number, cache in enumerate(run["caches"]):
        counts = {key: f"{cache[key]:,}" for key in ("images", "regions", "classes")}
        dataset = run["data"]["datasets"][str(number)]
        title = f"Cache {number + 1}" if several else "Cache"
        tables[title] = {"store": cache["store"], **counts, **_annotations(dataset)}
    if run["start_from"]:
        tables["Began with"] = {"head": run["start_from"]}
    if run["validation"]:
        dataset = run["validation"]["dataset"]
        counts = {key: f"{dataset[key]:,}" for key in ("images", "regions")}
        tables["Validated on"] = {**counts, **_annotations(dataset)}
    return tables


def _annotations(dataset: dict[str, Any]) -> dict[str, str]:
    return {"annotations": f"sha256 {dataset['annotations_sha256'][:16]}…"}


def _made_with(run: dict[str, Any]) -> dict[str, str]:
    facts = {**run["versions"], "device": run["device"]}
    if run["git"]:
        changed = ", with uncommitted changes" if run["git"]["uncommitted_changes"] else ""
        facts["commit"] = run["git"]["commit"][:12] + changed
    return facts


class _Setting(NamedTuple):
    """Line of the page's table of settings."""

    key: str
    value: str
    default: str | None
    """Default, if the value is another."""


def _settings(config: TrainConfig) -> list[_Setting]:
    """Return each key with its value, and the default's where it is another."""
    defaults = settings(TrainConfig().to_json())
    return [
        _Setting(key, value, None if value == defaults.get(key, value) else defaults[key])
        for key, value in settings(config.to_json()).items()
    ]
