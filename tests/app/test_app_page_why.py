"""The page's switch for why a region has its names, in a real headless Chromium."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_in_chromium import DESKTOP, PHONE, Open, drag, in_chromium, names, pick, served

from regionspot_core.backbones.config import BackboneConfig
from regionspot_core.backbones.loading import Backbones
from regionspot_core.tiny.packaged_head import PACKAGED_HEAD

pytestmark = [pytest.mark.slow, in_chromium]

HTML = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, backbones: Backbones, bank: Path) -> Path:
    """Four pictures and a store of them; a file and a class have names that are HTML."""
    from regionspot_core.tiny.world import write_world
    from regionspot_extract.config import ExtractConfig
    from regionspot_extract.run import run_extraction

    folder = tmp_path_factory.mktemp("app-why")
    world = write_world(folder / "world", train_scenes=4, val_scenes=1, seed=11)
    labels = json.loads(world.train_annotations.read_bytes())
    (folder / "pictures").mkdir()
    for number, image in enumerate(labels["images"]):
        name = f"{HTML}.png" if number == 3 else f"scene {number}.png"
        shutil.copy(world.train_images / image["file_name"], folder / "pictures" / name)
        image["file_name"] = name
    for category in labels["categories"]:
        category["name"] = f"{HTML} {category['name']}"
    (folder / "labels.json").write_text(json.dumps(labels))
    run_extraction(
        ExtractConfig(
            images=folder / "pictures",
            annotations=folder / "labels.json",
            out=str(folder / "store.zarr"),
            backbones=BackboneConfig(device="cpu"),
        ),
        backbones=backbones,
    )
    shutil.copytree(PACKAGED_HEAD, folder / "other")
    return folder


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """The app with two heads and a store."""
    heads = ["--head", str(PACKAGED_HEAD), "--head", str(place / "other")]
    with served(place, *heads, "--cache", str(place / "store.zarr")) as address:
        yield address


def pixels(page: Any) -> np.ndarray:
    """Some pixels of the canvas as it is painted."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    values = page.evaluate(
        """() => {
          const canvas = document.getElementById('canvas');
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          return Array.from({ length: data.length / 44 | 0 }, (_, at) => data[44 * at + at % 3]);
        }"""
    )
    return np.array(values, dtype=np.int16)


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"]
)
def test_the_switch_shows_heat_and_neighbours(
    opened: Open, size: dict[str, int], scheme: str
) -> None:
    with opened(size, color_scheme=scheme) as page:
        pick(page, 0)
        drag(page, (0.35, 0.35), (0.65, 0.65))
        names(page, 1)
        before = pixels(page)
        page.click(".why > button")
        page.wait_for_selector(".nearest li")
        assert page.locator(".why > button").get_attribute("aria-pressed") == "true"
        assert "of the attention lies in the region's box" in page.text_content(".looks")
        assert "Layer 3 of 3" in page.text_content(".looks")
        assert page.locator(".nearest li").count() == 6
        hot = pixels(page)
        assert np.abs(hot - before).mean() > 5
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        names_of = page.locator(".nearest .what").all_text_contents()
        assert all(HTML in name for name in names_of)  # text, never an element
        assert page.locator("#regions img").count() == 0
        page.click(".why > button")
        assert page.locator(".looks, .nearest").count() == 0
        assert np.array_equal(pixels(page), before)


def test_by_keys_alone_it_follows_the_chosen_region(opened: Open) -> None:
    with opened() as page:
        pick(page, 1)
        page.keyboard.press("w")
        assert page.text_content("#status") == "Why: choose a region"
        drag(page, (0.2, 0.2), (0.5, 0.5))
        page.wait_for_selector(".nearest li")
        first = page.text_content(".looks p")
        drag(page, (0.5, 0.5), (0.9, 0.9))
        names(page, 2)
        page.wait_for_function(
            "first => { const now = document.querySelector('.looks p'); "
            "return now && now.textContent.includes('%') && now.textContent !== first; }",
            arg=first,
        )
        page.wait_for_selector(".nearest li")
        page.keyboard.press("[")
        page.wait_for_selector(".nearest li")
        page.locator(".why > button").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(".looks", state="detached")
        assert page.evaluate("document.activeElement.dataset.focus") == "why"
        assert page.text_content("#status") == "Why: off"


def test_each_head_has_a_map_and_a_region_of_the_store_is_nearest(
    opened: Open, place: Path
) -> None:
    labels = json.loads((place / "labels.json").read_bytes())
    picture = labels["images"][0]
    x, y, w, h = next(
        each["bbox"] for each in labels["annotations"] if each["image_id"] == picture["id"]
    )
    with opened() as page:
        pick(page, 1)  # the one whose name is HTML comes first
        canvas = page.locator("#canvas").bounding_box()
        sides = canvas["width"], canvas["height"]
        scale = (min(sides) - 24) / picture["width"]  # square, with a margin, in the middle
        start, end = (
            tuple((s - picture["width"] * scale) / 2 / s + at * scale / s
                  for s, at in zip(sides, corner, strict=True))
            for corner in ((x, y), (x + w, y + h))
        )  # fmt: skip
        drag(page, start, end)
        names(page, 1)
        page.keyboard.press("w")
        page.wait_for_selector(".nearest li")
        assert "in this picture" in page.locator(".nearest li").first.text_content()
        heads = page.locator(".looks .segments button")
        assert heads.count() == 2
        heads.nth(1).click()
        page.wait_for_selector(".looks .segments button:nth-child(2)[aria-pressed=true]")
        assert page.text_content("#status").startswith("Why: ")


def test_a_share_of_a_box_by_hand(opened: Open) -> None:
    with opened() as page:
        found = page.evaluate(
            """async () => {
              const { shareInside } = await import('/why.js');
              const grid = [[0.1, 0.2], [0.3, 0.4]];
              return [
                shareInside(grid, 1, [0, 0, 1, 1]), shareInside(grid, 1, [0.5, 0, 1, 0.5]),
                shareInside(grid, 1, [0, 0, 0.25, 1]), shareInside(grid, 0.8, [0.4, 0.4, 0.8, 0.8]),
              ];
            }"""
        )
        assert found == pytest.approx([1, 0.2, 0.2, 0.4])
