"""Kills, damages, hostile files and senseless arguments, drawn from a seed.

Case n of a seed is the same in every size, so that one that failed is run again by its name:
``pytest tests/campaign --size ci --campaign-seed 0 -k damages-37``. What is promised, and how many
cases a size has: docs/reliability.md.
"""

import random
import shutil

import pytest
from campaign import arguments, damages, hostile, kills
from campaign.place import Place

FAMILIES = {"kills": kills, "damages": damages, "hostile": hostile, "arguments": arguments}
SIZES = {
    "quick": {"kills": 7, "damages": 12, "hostile": 20, "arguments": 24},
    "ci": {"kills": 28, "damages": 36, "hostile": 60, "arguments": 48},
    "full": {"kills": 700, "damages": 1_000, "hostile": 2_000, "arguments": 2_000},
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "family" not in metafunc.fixturenames:
        return
    size = SIZES[metafunc.config.getoption("size")]
    cases = [(family, number) for family, count in size.items() for number in range(count)]
    metafunc.parametrize(
        ("family", "number"), [pytest.param(*case, id="{}-{}".format(*case)) for case in cases]
    )


@pytest.mark.slow
def test_case(family: str, number: int, place: Place, request: pytest.FixtureRequest) -> None:
    seed, size = (request.config.getoption(name) for name in ("campaign_seed", "size"))
    rng = random.Random(f"{seed} {family} {number}")
    folder = place.folder.parent / f"case-{family}-{number}"
    folder.mkdir()
    problems = FAMILIES[family].run_case(rng, number, place, folder)
    if not problems:
        shutil.rmtree(folder)
        return
    again = f"pytest tests/campaign --size {size} --campaign-seed {seed} -k '{family}-{number}]'"
    story = "\n  ".join([f"seed {seed}", *problems, f"its files: {folder}", f"again: {again}"])
    (folder / "problems.txt").write_text(story, errors="backslashreplace")
    pytest.fail(story, pytrace=False)


def test_every_command_has_arguments() -> None:
    assert set(arguments.command_tree()) <= set(arguments.GOOD)
