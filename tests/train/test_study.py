"""What a sweep tries: the same whatever interrupts it, nothing twice, in a file of its own."""

import errno
import fcntl
import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from regionspot_core.errors import InputError
from regionspot_train.sweep.space import Space
from regionspot_train.sweep.study import FILE, Study

WIDE = {
    "optimiser.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "optimiser.weight_decay": {"low": 0.0, "high": 0.1},
    "seed": {"low": 0, "high": 10**9},
    "loss.kind": ["focal", "softmax"],
}
SMALL = {
    "seed": {"low": 0, "high": 4, "step": 3},
    "head.dropout": {"low": 0.0, "high": 0.5, "step": 0.2},
    "loss.kind": ["focal", "softmax"],
}
"""2 × 3 × 2 settings."""


NO_TEXT = os.fsdecode(b"\xff")


def space_of(space: dict[str, Any], sampler: str = "random") -> Space:
    return Space.parse({"search": {"sampler": sampler}, "space": space}, source="test")


def value_of(setting: dict[str, Any]) -> float:
    """A figure that a head of this setting would have."""
    return hash(tuple(setting.values())) % 1_000 / 1_000


def tried(folder: Path, space: Space, total: int) -> list[tuple[Any, ...]]:
    """Go on with a sweep one head after another, and return all settings so far, by number."""
    folder.mkdir(exist_ok=True)
    study = Study(folder, space, total)
    while (trial := study.ask(first_batch=5)) is not None:
        study.report(trial.number, value_of(trial.values), 5)
        study.finish(trial.number, value_of(trial.values))
    heads = sorted(study.trials(), key=lambda each: each.number)
    assert [each.number for each in heads] == list(range(total))
    return [tuple(each.params[key] for key in space.space) for each in heads]


@pytest.mark.parametrize(
    ("sampler", "space"),
    [
        pytest.param("random", WIDE, id="random-wide"),
        pytest.param("tpe", SMALL, id="tpe-small"),
        pytest.param("random", SMALL, id="random-small", marks=pytest.mark.slow),
        pytest.param("tpe", WIDE, id="tpe-wide", marks=pytest.mark.slow),
    ],
)
def test_an_extended_sweep_is_the_longer_one(
    tmp_path: Path, sampler: str, space: dict[str, Any]
) -> None:
    """Two heads and then to four and twelve: as twelve from the start, and none twice."""
    for total in (2, 4, 12):
        extended = tried(tmp_path / "extended", space_of(space, sampler), total)
    assert extended == tried(tmp_path / "whole", space_of(space, sampler), 12)
    assert len(set(extended)) == 12


def test_other_seeds_try_other_settings(tmp_path: Path) -> None:
    found = set()
    for seed in range(3):
        space = Space.parse({"search": {"seed": seed}, "space": WIDE}, source="test")
        found |= set(tried(tmp_path / str(seed), space, 3))
    assert len(found) == 9


@pytest.mark.parametrize("sampler", [pytest.param("random", marks=pytest.mark.slow), "tpe"])
def test_nothing_is_tried_again_before_all_was_tried(tmp_path: Path, sampler: str) -> None:
    space = space_of(SMALL, sampler)
    assert space.size == 12
    found = tried(tmp_path / "sweep", space, 30)
    assert len(set(found[:12])) == len(set(found[12:24])) == 12
    assert max(Counter(found).values()) == 3


def test_a_kill_while_a_head_is_asked_for_changes_nothing(tmp_path: Path) -> None:
    """It has a number, and one or none of its values, and was not begun: it is taken up again."""
    whole = tried(tmp_path / "whole", space_of(WIDE), 6)
    folder, space = tmp_path / "killed", space_of(WIDE)
    for values in range(4):
        tried(folder, space, values + 1)
        trial = Study(folder, space, 6).optuna.ask()
        for key, distribution in list(space.distributions().items())[:values]:
            assert isinstance(
                distribution,
                optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution,
            )
            kind = trial.suggest_float if isinstance(distribution.low, float) else trial.suggest_int
            kind(key, distribution.low, distribution.high, log=distribution.log)
    assert tried(folder, space, 6) == whole


def test_heads_that_run_when_it_is_killed_are_begun(tmp_path: Path) -> None:
    study = Study(tmp_path, space_of(WIDE), 3)
    asked = [study.ask(0), study.ask(7)]
    again = Study(tmp_path, space_of(WIDE), 3)
    assert again.begun() == asked
    third = again.ask(9)
    assert third is not None
    assert third.number == 2
    assert again.ask(9) is None


SPANS = st.one_of(
    st.tuples(st.integers(-50, 50), st.integers(1, 60), st.integers(1, 7)).map(
        lambda n: {"low": n[0], "high": n[0] + n[1], "step": min(n[1], n[2])}
    ),
    st.tuples(st.integers(0, 40), st.integers(1, 60), st.integers(1, 30)).map(
        lambda n: {"low": n[0] / 10, "high": (n[0] + n[1]) / 10, "step": min(n[1], n[2]) / 10}
    ),
    st.lists(st.integers(0, 99), min_size=1, max_size=6, unique=True),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(SPANS, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_settings_have_numbers(spans: list[Any], random: Any) -> None:
    """Every number is a setting that Optuna may choose, and every setting has its number."""
    space = Space.parse({"space": {f"loss.{n}": s for n, s in enumerate(spans)}}, source="test")
    assert space.size is not None
    for number in {0, space.size - 1, random.randrange(space.size)}:
        setting = space.setting(number)
        assert space.number(setting) == number
        for key, distribution in space.distributions().items():
            assert distribution._contains(distribution.to_internal_repr(setting[key]))
    assert space.number(space.setting(0)) == 0
    study = optuna.create_study()
    assert 0 <= space.number(space.suggest(study.ask())) < space.size


@pytest.mark.parametrize(
    "name", ["a?b=c", "a#b", "100%", "a%20b", "%(x)s", "{SCHEMA_VERSION}", "d:e@f", NO_TEXT]
)
def test_the_study_is_in_its_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    tried(tmp_path / name, space_of(SMALL), 1)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert [path.name for path in (tmp_path / name).iterdir()] == [FILE]
    assert len(tried(tmp_path / name, space_of(SMALL), 2)) == 2


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite would wait for a lock in vain: here another connection has it for good."""
    space = space_of(SMALL)
    tried(tmp_path, space, 2)

    def lockf(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert len(tried(tmp_path, space, 3)) == 3


def test_it_is_a_study_of_optunas(tmp_path: Path) -> None:
    tried(tmp_path, space_of(SMALL), 3)
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{tmp_path / FILE}")
    assert [each.number for each in study.trials] == [0, 1, 2]


def older_study(folder: Path) -> optuna.Study:
    return optuna.create_study(
        study_name="sweep", storage=f"sqlite:///{folder / FILE}", direction="maximize"
    )


def test_an_older_study_is_gone_on_with(tmp_path: Path) -> None:
    """As versions before wrote it, with a trial that was given up because a kill half-asked it."""
    study, space = older_study(tmp_path), space_of(WIDE)
    for given_up in (False, True, False):
        trial = study.ask()
        space.suggest(trial)
        if given_up:
            trial.set_user_attr("reason", "killed before it began")
            study.tell(trial, state=TrialState.FAIL)
            continue
        trial.set_user_attr("group", 0)
        trial.set_user_attr("first_batch", 0)
        trial.report(0.5, 5)
        study.tell(trial, 0.5)
    now = Study(tmp_path, space, 3)
    assert [each.number for each in now.trials()] == [0, 2]
    asked = now.ask(0)
    assert asked is not None
    assert asked.number == 3


def junk(folder: Path) -> None:
    (folder / FILE).write_bytes(b"no database at all" * 99)


def truncated(folder: Path) -> None:
    tried(folder, space_of(SMALL), 3)
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(data[: len(data) // 2])


def other_program(folder: Path) -> None:
    with sqlite3.connect(folder / FILE) as file:
        file.execute("CREATE TABLE photographs (name TEXT)")
    file.close()


def other_study(folder: Path) -> None:
    optuna.create_study(study_name="mine", storage=f"sqlite:///{folder / FILE}")


def minimised(folder: Path) -> None:
    optuna.create_study(study_name="sweep", storage=f"sqlite:///{folder / FILE}")


def a_folder(folder: Path) -> None:
    (folder / FILE).mkdir()


def foreign(folder: Path, attributes: dict[str, Any], space: dict[str, Any] = SMALL) -> None:
    study = older_study(folder)
    trial = study.ask()
    space_of(space).suggest(trial)
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    study.tell(trial, 0.5)


def endless(folder: Path) -> None:
    foreign(folder, {"first_batch": 0, "group": 0})
    with sqlite3.connect(folder / FILE) as file:
        file.execute("UPDATE trial_values SET value_type = 'INF_POS', value = NULL")
    file.close()


def without_value(folder: Path) -> None:
    foreign(folder, {"first_batch": 0, "group": 0})
    with sqlite3.connect(folder / FILE) as file:
        file.execute("DELETE FROM trial_values")
    file.close()


def lacking(folder: Path) -> None:
    foreign(folder, {"first_batch": 0, "group": 0}, {"loss.kind": ["focal", "softmax"]})


def other_choices(folder: Path) -> None:
    foreign(folder, {"first_batch": 0, "group": 0}, SMALL | {"loss.kind": ["focal", "hinge"]})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (junk, "file is not a database"),
        (truncated, "malformed|damaged"),
        (other_program, "another program's database"),
        (other_study, "it holds no study 'sweep'"),
        (minimised, "does not look for one highest figure"),
        (a_folder, "not a file"),
        (lambda f: foreign(f, {}), "head 0: first_batch: field required"),
        (lambda f: foreign(f, {"first_batch": 3}), "head 0: group: field required"),
        (lambda f: foreign(f, {"first_batch": "3", "group": 0}), "head 0: first_batch: input"),
        (lambda f: foreign(f, {"first_batch": -3, "group": 0}), "head 0: first_batch: input"),
        (lambda f: foreign(f, {"first_batch": 3, "group": 0.5}), "head 0: group: input"),
        (lambda f: foreign(f, {"first_batch": 3, "group": 0, "reason": []}), "head 0: reason"),
        (endless, "head 0: value: input should be a finite number"),
        (without_value, "head 0 is finished and has no value"),
        (lacking, "head 0 lacks head.dropout"),
        (other_choices, "head 0 has loss.kind, which this space does not have so"),
    ],
)
def test_a_file_that_is_no_study_of_this_sweep(tmp_path: Path, damage: Any, message: str) -> None:
    damage(tmp_path)
    path = tmp_path / FILE
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(InputError, match=rf"study\.db: not a readable Optuna study.*({message})"):
        Study(tmp_path, space_of(SMALL), 3)
    assert before is None or path.read_bytes() == before


def test_attributes_that_others_add_do_no_harm(tmp_path: Path) -> None:
    """Optuna's dashboard keeps notes there."""
    foreign(tmp_path, {"first_batch": 0, "group": 0, "note": "a good one"})
    assert len(Study(tmp_path, space_of(SMALL), 3).trials()) == 1
