"""All that the page is for, in one go, in Chromium; nothing on the way shuts anybody out.

With ``REGIONSPOT_PICTURES`` set to a folder, the pictures of docs/app.md are written into it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from page_in_chromium import DESKTOP, PHONE, Open, drag, in_chromium, names, pick

from regionspot_core.tiny.world import write_world

pytestmark = [pytest.mark.slow, in_chromium]
PICTURES = os.environ.get("REGIONSPOT_PICTURES")
SCENE = 0
"""Place of the picture with the regions that the docs show."""
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures."""
    folder = tmp_path_factory.mktemp("app-path")
    world = write_world(folder / "world", train_scenes=1, val_scenes=6, seed=3)
    (folder / "pictures").mkdir()
    for number, file in enumerate(sorted(world.val_images.iterdir()), start=1):
        shutil.copy(file, folder / "pictures" / f"scene {number}.png")
    return folder


def boxes_of(
    content: dict[str, Any], scene: int
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Corners of the things of a scene, left above and right below, as shares of the picture."""
    image = content["images"][scene]
    sides = (image["width"], image["height"])
    boxes = [each["bbox"] for each in content["annotations"] if each["image_id"] == image["id"]]
    return [
        ((x / sides[0], y / sides[1]), ((x + width) / sides[0], (y + height) / sides[1]))
        for x, y, width, height in boxes
    ]


def change_words(page: Any, words: list[str]) -> None:
    """Give other words to choose among."""
    page.click("#edit-words")
    page.fill("#words-text", "\n".join(words))
    page.click("button[value=use]")
    page.wait_for_function(
        "count => document.getElementById('word-count').textContent === String(count)",
        arg=len(words),
    )


def drop(page: Any, file: Path) -> None:
    """Drop a file on the page, and wait until it is open."""
    dropped = page.evaluate_handle(
        """bytes => {
          const dropped = new DataTransfer();
          const file = new File([Uint8Array.from(bytes)], "dropped.png", { type: "image/png" });
          dropped.items.add(file);
          return dropped;
        }""",
        list(file.read_bytes()),
    )
    page.dispatch_event("#stage", "drop", {"dataTransfer": dropped})
    page.wait_for_function(
        "() => document.getElementById('status').textContent.startsWith('dropped')"
    )


def picture(page: Any, name: str) -> None:
    """Keep what is seen for the docs, where they are asked for."""
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def check(page: Any) -> None:
    """Require that axe-core finds nothing serious."""
    axe = pytest.importorskip("axe_playwright_python.base")
    page.evaluate(axe.AXE_SCRIPT)
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    serious = [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]
    assert serious == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nobody_is_shut_out(opened: Open, place: Path, size: dict[str, int], scheme: str) -> None:
    with opened(size, color_scheme=scheme) as page:
        check(page)
        content = json.loads((place / "world" / "val.json").read_text())
        change_words(page, [each["name"] for each in content["categories"]])
        pick(page, SCENE)
        for number, (start, end) in enumerate(boxes_of(content, SCENE), start=1):
            drag(page, start, end)
            names(page, number)
        page.locator("#regions .head").first.click()
        check(page)
        picture(
            page, "app" if (size, scheme) == (DESKTOP, "light") else f"app-{scheme}-{size['width']}"
        )
        for dialog, opener in (("words", "#edit-words"), ("teach", "#teach"), ("help", "#help")):
            page.click(opener)
            page.wait_for_selector(f"#{dialog}-dialog[open]")
            check(page)
            page.keyboard.press("Escape")


def test_what_shuts_people_out_is_found(opened: Open) -> None:
    with opened() as page:
        page.evaluate("() => document.body.append(document.createElement('button'))")
        with pytest.raises(AssertionError, match="button-name"):
            check(page)


def test_from_a_picture_to_a_head_that_has_learnt(opened: Open, place: Path) -> None:
    """Drop, box, names, words, point, everything, correct, save, teach, compare."""
    with opened() as page:
        drop(page, place / "pictures" / "scene 6.png")
        drag(page, (0.35, 0.35), (0.65, 0.65))
        (first,) = names(page, 1)
        change_words(page, ["a wug", "a blicket"])
        (second,) = names(page, 1)
        assert first != second
        page.keyboard.press("p")
        page.click("#canvas")
        names(page, 2)
        for number in range(5):
            pick(page, number)
            page.click("#everything")
            page.wait_for_selector("#regions .name")
            names(page, page.locator("#regions .name").count())
            page.locator("#regions .head").first.click()
            page.fill("#regions input[type=text]", "a wug")
            page.keyboard.press("Enter")
            page.click("#save")
            page.wait_for_function(
                "n => document.querySelectorAll('#pictures button.done').length === n + 1",
                arg=number,
            )
        page.click("#teach")
        page.fill("#teach-steps", "20")
        page.click("#teach-begin")
        page.wait_for_selector("#teach-compare", state="visible")
        assert page.locator("#teach-curve polyline, #teach-curve path").count()
        rows = page.locator("#teach-figures tr").all_inner_texts()
        assert len(rows) >= 3, rows
        check(page)
        picture(page, "app-teach")
        page.click("#teach-compare")
        page.keyboard.press("Escape")
        pick(page, 0)
        names(page, page.locator("#regions .name").count())
        page.locator("#regions .head").first.click()
        assert "·" in page.text_content("#serving")  # two names
        picture(page, "app-two-heads")
