"""The campaign's place, made once, and what a failing case leaves."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign.confined import can_confine
from campaign.forks import fork_server
from campaign.place import Place, make_place


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """Good things of every kind, and the server that runs commands on them."""
    if not can_confine():
        pytest.skip("a campaign runs where Landlock keeps it in its folder: Linux 5.13 or newer")
    folder = Path(tempfile.mkdtemp(prefix="regionspot-campaign-")).resolve()
    with fork_server(folder) as forks:
        yield make_place(folder / "place", forks)
    if not any(path.name.startswith("case-") for path in folder.iterdir()):
        shutil.rmtree(folder)  # else a case that failed can be looked at
