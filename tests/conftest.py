"""How tests run here.

One thread a process: two test processes whose threads wait for each other take most of the time.
Processes keep what they compile, so that the next of them starts at once. No property test fails
for being slow, and every run draws the same cases. A test that hangs fails.

Photographs and annotations to try things on may lie in a folder ``shared`` beside the checkout, or
in the one that ``REGIONSPOT_SHARED`` names; tests that want them skip where there is none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first imported
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import numpy as np
import pytest
import s3_server
from hypothesis import settings
from PIL import Image

from regionspot import cli

if TYPE_CHECKING:
    from regionspot_core.backbones.loading import Backbones

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("REGIONSPOT_SHARED", ROOT.parent / "shared")) / "data"
PHOTOS = SHARED / "photos"

settings.register_profile("regionspot", deadline=None, derandomize=True)
settings.load_profile("regionspot")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `tests/campaign`."""
    group = parser.getgroup("campaign", "kills, damages, hostile files and arguments")
    group.addoption("--size", choices=("quick", "ci", "full"), default="quick", help="How many.")
    group.addoption("--campaign-seed", type=int, default=0, metavar="N", help="Of which cases.")


SLOW_SECONDS = 1_200
"""After which a slow test has hung. Others: ``timeout`` in pyproject.toml."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests their time, and begin with their files: no process ends on a long one."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    for item in slow:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
    first = {item.path for item in slow}
    items.sort(key=lambda item: item.path not in first)  # stable: the rest stays in order


@pytest.fixture(scope="session")
def lvis_sample() -> Path:
    """The LVIS API's own sample of 100 images; skips where it is not there."""
    path = SHARED / "lvis_val_100.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


@pytest.fixture(scope="session")
def photos() -> Path:
    """A folder of three photographs and their annotations; skips where it is not there."""
    if not (PHOTOS / "annotations.json").is_file():
        pytest.skip(f"{PHOTOS} is not there")
    return PHOTOS


@pytest.fixture(scope="session")
def read_photo() -> Callable[[str], np.ndarray]:
    """Reads a photograph by its file name as uint8 (H, W, 3), RGB; skips where it is not there."""

    def read(name: str) -> np.ndarray:
        if not (PHOTOS / name).is_file():
            pytest.skip(f"{PHOTOS / name} is not there")
        return np.asarray(Image.open(PHOTOS / name).convert("RGB"))

    return read


@pytest.fixture(scope="session")
def backbones() -> Backbones:
    """The tiny models on the processor, loaded once for all files of a worker."""
    from regionspot_core.backbones.loading import BackboneConfig, load_backbones

    return load_backbones(BackboneConfig(device="cpu"))


@pytest.fixture(scope="session")
def bank(backbones: Backbones, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every tiny world's classes by one template: the paper's 81 take longer than a small stage."""
    from regionspot_core.datasets.reading import read_vocabulary
    from regionspot_core.text.class_text import TextConfig
    from regionspot_core.text.embed import build_class_bank
    from regionspot_core.tiny.world import write_world

    folder = tmp_path_factory.mktemp("bank")
    world = write_world(folder / "world", train_scenes=1, val_scenes=1, seed=0)
    vocabulary = read_vocabulary(world.train_annotations)
    text = TextConfig(templates="simple")
    build_class_bank(backbones.image_text_encoder, vocabulary, text).save(folder / "bank.h5")
    return folder / "bank.h5"


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def regionspot(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """Runs the command in this process: the interpreter and torch start once, not fifty times."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: str, cwd: Path | None = None) -> Done:
        monkeypatch.setattr(sys, "argv", ["regionspot", *arguments])
        if cwd is not None:
            monkeypatch.chdir(cwd)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session", params=["swift", "moto"])
def s3_endpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """A server that speaks S3: its name and its endpoint; skips where it is not installed."""
    folder = tmp_path_factory.mktemp(request.param)
    try:
        s3_server.command(request.param, folder)
    except s3_server.NotInstalledError as why:
        pytest.skip(str(why))
    with s3_server.running(request.param, folder) as endpoint:
        yield request.param, endpoint


@pytest.fixture
def s3(s3_endpoint: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> s3_server.Bucket:
    """A fresh bucket, on each server in turn, that the environment's variables name."""
    server, endpoint = s3_endpoint
    for name, value in s3_server.environment(endpoint).items():
        monkeypatch.setenv(name, value)
    return s3_server.make_bucket(server, endpoint)
