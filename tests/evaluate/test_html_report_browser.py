"""The page in a real headless Chromium; skipped where there is none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lvis_runs import make_annotations, make_detections, write_annotations, write_images, write_run

from regionspot_evaluate.reports.html.config import ReportConfig
from regionspot_evaluate.reports.html.write import write_html_report

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
Open = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report on one run, and one on two; more classes than a table shows at first."""
    folder = tmp_path_factory.mktemp("reports")
    rng = np.random.default_rng(11)
    made = make_annotations(rng, images=80, classes=60)
    for each in made["categories"][:3]:
        each["name"] = f"a_very_long_name_of_a_class_that_has_no_room_{each['id']}"
    annotations = write_annotations(folder, made)
    images = write_images(folder / "images", made, rng)
    first = write_run(folder / "first", make_detections(rng, made, masks=True), proposals="gt")
    second = write_run(folder / "second", make_detections(rng, made, right=0.3))

    def report(name: str, *runs: Path) -> Path:
        config = {"runs": runs, "annotations": annotations, "images": images}
        config |= {"out": folder / f"{name}.html", "gallery": 6}
        return write_html_report(ReportConfig.parse(config, source="test"))[0]

    return {"one": report("one", first), "two": report("two", first, second)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Open:
    """Opens a page offline; at the end its console must have been silent, and nothing asked for."""

    @contextmanager
    def opening(name: str, *, size: dict[str, int] = DESKTOP, scheme: str = "light") -> Iterator:
        context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(pages[name].as_uri())
        page.wait_for_selector("#chart-frequency svg")
        yield page
        context.close()
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]

    return opening


def column(page: Any, number: int) -> list[str]:
    cells = page.locator(f"#class-table tr.row td:nth-child({number})").all_inner_texts()
    return [cell.strip() for cell in cells]


def sort_by(page: Any, name: str) -> str:
    head = page.locator("#class-table th", has_text=re.compile(f"^{name}$"))
    head.locator("button").click()
    return str(head.get_attribute("aria-sort"))


@pytest.mark.parametrize("name", ["one", "two"])
def test_every_chart_is_drawn(opened: Open, name: str) -> None:
    with opened(name) as page:
        for chart in ("frequency", "size", "curve", "calibration", "counts", "tide", "matrix"):
            page.wait_for_selector(f"#chart-{chart} svg")
        assert page.locator("#chart-tide svg text", has_text="wrong name").count() == 1
        before = page.locator("#chart-curve svg").inner_html()
        page.select_option("#curve", "IoU 0.75")
        assert page.locator("#chart-curve svg").inner_html() != before


def test_classes_are_sorted_both_ways(opened: Open) -> None:
    with opened("one") as page:
        page.click("#more")
        assert sort_by(page, "class") == "ascending"
        names = column(page, 1)
        assert len(names) > 40
        assert names[0] == "a_very_long_name_of_a_class_that_has_no_room_10"
        assert sort_by(page, "class") == "descending"
        assert column(page, 1)[-1] == names[0]
        for name, number in (("boxes", 4), ("AP", 5), ("mask AP", 6), ("named right", 7)):
            assert sort_by(page, name) == "descending"
            values = [float(text) for text in column(page, number)]
            assert values == sorted(values, reverse=True)
            assert sort_by(page, name) == "ascending"
            assert [float(text) for text in column(page, number)] == sorted(values)


def test_classes_are_searched_and_filtered(opened: Open) -> None:
    with opened("one") as page:
        page.fill("#search", "Class 5")
        found = column(page, 1)
        assert found
        assert all("5" in name for name in found)
        assert page.inner_text("#found").startswith(f"{len(found)} of ")
        page.fill("#search", "")
        page.select_option("#frequency", "rare")
        assert set(column(page, 2)) == {"rare"}
        page.fill("#search", "no such class")
        assert column(page, 1) == []


def test_a_class_opens_to_its_curve_and_other_names(opened: Open) -> None:
    with opened("two") as page:
        button = page.locator("#class-table tr.row button").first
        button.press("Enter")
        assert button.get_attribute("aria-expanded") == "true"
        page.wait_for_selector(".detail .chart svg")
        assert page.locator(".detail h4").all_inner_texts()[1:] == ["A first", "B second"]
        button.click()
        assert page.locator(".detail").count() == 0


def test_the_gallery_shows_what_is_chosen(opened: Open) -> None:
    with opened("one") as page:
        cards = page.locator("#gallery .picture")
        assert cards.count() == 6
        loaded = "pictures => pictures.every(each => each.complete && each.naturalWidth === 120)"
        page.wait_for_function(
            "() => [...document.querySelectorAll('#gallery img')].every(each => each.complete)"
        )
        assert page.eval_on_selector_all("#gallery img", loaded)
        assert page.locator("#gallery svg path").count()
        page.uncheck("#masks")
        assert page.locator("#gallery svg path").count() == 0
        boxes = page.locator("#gallery svg g").count()
        assert boxes == page.locator("#gallery .said .letter").count() > 0
        page.click("#layers button:has-text('picture only')")
        assert page.locator("#gallery svg g").count() == 0
        page.click("#layers button:has-text('true')")
        assert page.locator("#gallery .said .score").count() == 0
        worst = page.locator("#gallery .name").all_inner_texts()
        page.click("#parts button:has-text('Best')")
        assert page.locator("#gallery .name").all_inner_texts() != worst
        page.locator("#gallery .scene").first.click()
        assert page.locator("#large[open] svg g").count()
        page.click("#close")
        assert page.locator("#large[open]").count() == 0


def test_a_cell_and_a_class_open_their_pictures(opened: Open) -> None:
    with opened("two") as page:
        page.locator("#pairs button").first.click()
        assert "called" in page.inner_text("#part-note")
        assert page.locator("#gallery .picture").count() >= 1
        page.locator("#part-note button").click()
        assert "called" not in page.inner_text("#part-note")
        cell = page.locator("#chart-matrix g[aria-label=cell] rect").first
        cell.scroll_into_view_if_needed()
        box = cell.bounding_box()
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        page.mouse.click(box["x"] + 5, box["y"] + 5)
        assert "of this page" in page.inner_text("#part-note")


def test_two_runs_stand_side_by_side(opened: Open) -> None:
    with opened("two") as page:
        card = page.locator("#gallery .picture").first
        left, right = (card.locator(".half").nth(n).bounding_box() for n in (0, 1))
        assert left["y"] == right["y"]
        assert left["x"] < right["x"]
        assert card.locator(".file .run").all_inner_texts() == ["A", "B"]
        first = page.locator("#pairs").inner_text()
        page.click("[data-pairs='1']")
        assert page.locator("#pairs").inner_text() != first
        matrix = page.locator("#chart-matrix svg").inner_html()
        page.click("[data-matrix='1']")
        assert page.locator("#chart-matrix svg").inner_html() != matrix


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_phone_needs_no_sideways_scroll(opened: Open, name: str) -> None:
    with opened(name, size=PHONE) as page:
        for chart in ("tide", "matrix", "curve"):
            page.wait_for_selector(f"#chart-{chart} svg")
        page.locator("#class-table tr.row button").first.click()
        page.wait_for_selector(".detail .chart svg")
        page.click("#more")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        beyond = """elements => elements.filter(each => each.getBoundingClientRect().right > 391)
            .map(each => each.outerHTML.slice(0, 80))"""
        assert page.eval_on_selector_all(".tile dd > *, .card, td, th, button, p", beyond) == []


def luminance(colour: str) -> float:
    """Of WCAG 2.2, from ``rgb(r, g, b)``."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_stand_out_in_both_schemes(opened: Open, scheme: str) -> None:
    with opened("two", scheme=scheme) as page:
        of = "(element, name) => getComputedStyle(element)[name]"
        card = luminance(page.eval_on_selector(".card", of, "backgroundColor"))
        assert (card < 0.2) == (scheme == "dark")
        places = [
            "td",
            ".note",
            ".up, .down",
            "#chart-tide svg text",
            ".said .wrong",
            ".said .right",
        ]
        for place in places:
            kind = "fill" if "svg" in place else "color"
            ink = luminance(page.eval_on_selector(place, of, kind))
            contrast = (max(ink, card) + 0.05) / (min(ink, card) + 0.05)
            assert contrast >= 4.5, place
