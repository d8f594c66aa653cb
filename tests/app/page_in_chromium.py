"""The page in a real headless Chromium, before a real server: fixtures, and what a hand does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
"""Mark of a test that opens the page."""
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
PATIENCE_MS = 120_000
"""For machines that do other work too; nothing here waits for a time to pass."""
Open = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, one of them with a name that is HTML."""
    from regionspot_core.tiny.world import write_world

    folder = tmp_path_factory.mktemp("app-page")
    world = write_world(folder / "world", train_scenes=1, val_scenes=4, seed=11)
    (folder / "pictures").mkdir()
    for number, file in enumerate(sorted(world.val_images.iterdir())):
        name = "<img src=x onerror=alert(1)>.png" if number == 3 else f"scene {number}.png"
        shutil.copy(file, folder / "pictures" / name)
    return folder


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """The app with the head of the package, on the folder."""
    with served(place) as address:
        yield address


@contextmanager
def served(place: Path, *more: str) -> Iterator[str]:
    """Start the app on the pictures of a folder; end it by SIGTERM."""
    pytest.importorskip("starlette")
    program = "from regionspot.cli import main; main()"
    words = ["app", "--images", str(place / "pictures"), "--out", str(place / "out"), "--port", "0"]
    words += more
    with (place / "output.txt").open("w") as output:
        started = subprocess.Popen(
            [sys.executable, "-c", program, *words],
            stdout=output,
            stderr=output,
            cwd=place,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield _address(started, place / "output.txt")
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(timeout=30)


def _address(started: subprocess.Popen[bytes], output: Path) -> str:
    for _ in range(240):
        found = re.search(r"http://\S+", output.read_text())
        if found:
            return found[0]
        try:
            started.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(output.read_text())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, address: str) -> Open:
    """Opens the page; whatever the browser complains of fails the test, unless it is expected.

    Chromium writes a line for each answer that is a refusal, and each that does not come.
    """

    @contextmanager
    def open_page(
        size: dict[str, int] = DESKTOP, *, expected: str = "\n", **options: Any
    ) -> Iterator[Any]:
        context = browser.new_context(viewport=size, **options)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda line: problems.append(line.text) if line.type == "error" else None
        )
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        yield page
        context.close()
        assert [each for each in problems if expected not in each] == []

    return open_page


def pick(page: Any, number: int) -> None:
    page.locator("#pictures button").nth(number).click()
    page.wait_for_function(
        "n => document.querySelectorAll('#pictures button')[n].ariaCurrent === 'true'", arg=number
    )
    page.wait_for_selector("#busy", state="hidden")


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag on the canvas, between places given as shares of it."""
    box = page.locator("#canvas").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


def names(page: Any, count: int) -> list[str]:
    """Names of the regions, once all are named."""
    page.wait_for_function(
        """count => {
          const found = [...document.querySelectorAll('#regions .name')];
          return found.length === count && found.every(each => !each.textContent.startsWith('…'));
        }""",
        arg=count,
    )
    texts: list[str] = page.evaluate(
        "[...document.querySelectorAll('#regions .name')].map(each => each.firstChild.textContent)"
    )
    return texts
