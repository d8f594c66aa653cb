"""Turns, ratios and requirements of the benchmarks, on tasks that tell what was asked of them."""

from pathlib import Path

import pytest

from regionspot_bench import page_cache
from regionspot_bench.measure import Requirement, Times, requirements_table, take_turns
from regionspot_core.support.tables import show


def test_every_task_has_its_turn_in_every_round() -> None:
    done: list[str] = []
    times = take_turns(
        {name: lambda n, name=name: done.append(f"{name}{n}") for name in "ab"},  # type: ignore[misc]
        rounds=3,
        repeats={"a": 2},
        before=lambda name: done.append(f"before {name}"),
    )
    first = ["before a", "a0", "a1", "before b", "b0"]
    second = ["before b", "b1", "before a", "a2", "a3"]
    third = ["before a", "a4", "a5", "before b", "b2"]
    assert done == first + second + third
    assert {name: len(each) for name, each in times.seconds.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """One round in which all was slow, and one in which one was, change nothing."""
    times = Times({"slow": [4.0, 40.0, 4.0], "fast": [2.0, 20.0, 8.0]})
    assert times.ratio("slow", "fast") == 2
    assert times.ratio("fast", "slow") == 0.5
    assert times.median("fast") == 8


@pytest.mark.parametrize(
    ("figure", "least", "verdict"),
    [
        (3.0, True, "met"),
        (2.99, True, "NOT met"),
        (3.0, False, "met"),
        (3.01, False, "NOT met"),
        (None, True, "no disk"),
    ],
)
def test_a_requirement(
    figure: float | None, least: bool, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Requirement(what="speed", figure=figure, bound=3, least=least, note="no disk")
    assert row.verdict == verdict
    assert row.met is (verdict != "NOT met")
    show(requirements_table([row]))
    assert f"{'≥' if least else '≤'} 3 " in capsys.readouterr().out


def test_a_file_just_written_is_in_memory_and_can_be_put_out(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    page_cache.put_on_disk(path)
    share = page_cache.resident_share(path)
    if share is None:
        pytest.skip("this system has no mincore")
    assert share == 1
    if not page_cache.can_be_cold([path]):
        pytest.skip("this system does not put files out of memory")
    assert page_cache.resident_share(path) == 0
    assert path.read_bytes() == bytes(1 << 20)
