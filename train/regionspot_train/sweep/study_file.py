"""A sweep's ``study.db``: Optuna's SQLite file, looked at closely before anything trusts it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from regionspot_core.errors import InputError
from regionspot_core.support.locks import has_record_locks
from regionspot_train.sweep.space import Space

NAME = "sweep"
FIRST_BATCH = "first_batch"
"""Attribute of a head: the batch of the stream that it began with."""
GROUP = "group"
"""Attribute of a head: the number of its group."""
REASON = "reason"
"""Attribute of a head: the reason that it failed for."""
LOCK_SECONDS = 60.0
"""Time to wait for another program that reads the file: Optuna's dashboard, say."""
TABLES = {"studies", "trials", "trial_params", "trial_user_attributes"}
"""Some that every file of Optuna's has."""


class _Recorded(BaseModel):
    """Attributes of a head. Others that Optuna's dashboard, say, adds are allowed."""

    model_config = ConfigDict(strict=True)

    first_batch: Annotated[int, Field(ge=0)]
    group: Annotated[int, Field(ge=0)]
    reason: str = ""
    value: FiniteFloat | None = None
    validations: dict[int, FiniteFloat] = {}


def open_study(
    path: Path, space: Space, *, sampler: BaseSampler, pruner: BasePruner
) -> optuna.Study:
    """Open a sweep's study, or make it.

    Raises:
        InputError: If the file is damaged, another program's, or holds heads of another sweep.
    """
    # Without locks SQLite would wait for one in vain; the sweep's folder is its process's alone.
    url = path.absolute().as_uri()
    options = "" if has_record_locks(path.parent) else "&vfs=unix-none"
    if path.exists():
        # Not mode=ro: what a kill left half-written is then taken back, as SQLite does.
        _require_optunas(path, f"{url}?mode=rw{options}")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{url}?mode=rwc{options}",
            uri=True,
            timeout=LOCK_SECONDS,
            check_same_thread=False,
        )

    try:
        study = optuna.create_study(
            study_name=NAME,
            storage=RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect}),
            direction="maximize",
            sampler=sampler,
            pruner=pruner,
            load_if_exists=True,
        )
        trials = study.get_trials(deepcopy=False)
    except Exception as error:  # SQLAlchemy's, Alembic's and Optuna's own, whatever is damaged
        raise _unreadable(path, reason_of(error)) from None
    if study.directions != [StudyDirection.MAXIMIZE]:
        raise _unreadable(path, "its study does not look for one highest figure, as sweeps do")
    for number, trial in enumerate(trials):
        _require_ours(path, space, number, trial)
    return study


def reason_of(error: BaseException) -> str:
    """Return why a database's request failed: the innermost reason, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__


def _require_optunas(path: Path, url: str) -> None:
    """Refuse a file that is damaged or another program's, before Optuna makes its tables in it."""
    if not path.is_file():
        raise _unreadable(path, "not a file")
    if not path.stat().st_size:
        return  # as a kill leaves it in the moment it is made
    try:
        with closing(sqlite3.connect(url, uri=True)) as file:
            (state,) = file.execute("PRAGMA quick_check(1)").fetchone()
            rows = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            tables = {name for (name,) in rows}
            if tables >= TABLES:
                studies = {name for (name,) in file.execute("SELECT study_name FROM studies")}
    except (sqlite3.Error, OSError) as error:
        raise _unreadable(path, str(error)) from None
    if state != "ok":
        raise _unreadable(path, f"damaged: {' '.join(str(state).split())[:100]}")
    if tables and not tables >= TABLES:
        raise _unreadable(path, "another program's database")
    if tables and studies and NAME not in studies:
        raise _unreadable(path, f"it holds no study {NAME!r}")


def _require_ours(path: Path, space: Space, number: int, trial: FrozenTrial) -> None:
    """Refuse a head that no sweep of this space can have written."""
    if trial.number != number:
        raise _unreadable(path, f"head {number} is missing")
    expected = space.distributions()
    for key, distribution in trial.distributions.items():
        if key not in expected or distribution != expected[key]:
            raise _unreadable(path, f"head {number} has {key}, which this space does not have so")
    attributes: dict[str, Any] = trial.user_attrs
    if FIRST_BATCH not in attributes and not trial.state.is_finished():
        return  # a killed call asked for it and did not begin it
    if FIRST_BATCH not in attributes and REASON in attributes:
        return  # the same, as older versions gave it up
    try:
        # Pruned ones have a value by their last validation, if they have any.
        _Recorded.model_validate(
            {key: attributes[key] for key in (FIRST_BATCH, GROUP, REASON) if key in attributes}
            | {"value": trial.value, "validations": trial.intermediate_values}
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unreadable(path, f"head {number}: {where}: {first['msg'].lower()}") from None
    if trial.state == TrialState.COMPLETE and trial.value is None:
        raise _unreadable(path, f"head {number} is finished and has no value")
    if missing := sorted(expected.keys() - trial.params.keys()):
        raise _unreadable(path, f"head {number} lacks {missing[0]}")


def _unreadable(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: not a readable Optuna study of this sweep ({reason}); put back the file as the "
        f"sweep wrote it, or choose another --out"
    )
