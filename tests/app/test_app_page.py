"""The page in a real headless Chromium, before a real server; skipped where there is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_in_chromium import DESKTOP, PHONE, Open, drag, in_chromium, names, pick
from pycocotools import mask as rle_codec

pytestmark = [pytest.mark.slow, in_chromium]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_box_is_named_and_words_change_the_names(
    opened: Open, size: dict[str, int], scheme: str
) -> None:
    with opened(size, color_scheme=scheme) as page:
        pick(page, 0)
        drag(page, (0.35, 0.35), (0.65, 0.65))
        (first,) = names(page, 1)
        assert first in page.evaluate("fetch('api/session').then(a => a.json()).then(a => a.names)")
        page.click("#edit-words")
        page.fill("#words-text", "a zebra\n<img src=x onerror=alert(1)>, a zebra")
        page.click("button[value=use]")
        page.wait_for_function("() => document.getElementById('word-count').textContent === '2'")
        (second,) = names(page, 1)
        assert second in ("a zebra", "<img src=x onerror=alert(1)>")  # text, never an element
        assert page.locator("#regions img").count() == 0


def test_points_add_to_a_region_and_undo_takes_them_back(opened: Open) -> None:
    with opened() as page:
        pick(page, 1)
        page.keyboard.press("p")
        box = page.locator("#canvas").bounding_box()
        middle = {"x": box["width"] / 2, "y": box["height"] / 2}
        page.click("#canvas", position=middle)
        names(page, 1)
        page.click("#canvas", position={**middle, "x": middle["x"] + 30}, modifiers=["Shift"])
        page.click("#canvas", position={**middle, "y": middle["y"] + 90}, modifiers=["Alt"])
        names(page, 1)
        for left in (1, 1, 0):
            page.keyboard.press("Control+z")
            names(page, left)
        assert page.locator("#undo").is_disabled()
        page.keyboard.press("Control+Shift+z")
        names(page, 1)
        page.locator("#regions .head").click()
        page.keyboard.press("Delete")
        names(page, 0)


def test_a_brush_a_threshold_and_another_mask(opened: Open) -> None:
    with opened() as page:
        pick(page, 2)
        page.keyboard.press("m")
        drag(page, (0.4, 0.5), (0.6, 0.5))
        names(page, 1)
        page.keyboard.press("b")
        drag(page, (0.3, 0.3), (0.6, 0.6))
        names(page, 2)
        page.wait_for_selector("#regions .segments button:has-text('2')")
        page.keyboard.press("2")
        page.wait_for_selector("#regions .segments button[aria-pressed=true]:has-text('2')")
        names(page, 2)
        page.fill("#threshold", "100")
        assert names(page, 2) == ["none of these"] * 2


def test_a_box_by_keys_alone(opened: Open) -> None:
    with opened() as page:
        page.locator("#pictures button").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#pictures button[aria-current=true]")
        page.wait_for_selector("#busy", state="hidden")
        page.locator("#canvas").focus()
        page.keyboard.press("b")
        page.keyboard.press("Enter")
        for _ in range(2):
            page.keyboard.press("Shift+ArrowRight")
            page.keyboard.press("Shift+ArrowDown")
        assert re.match(r"The cross is at \d+, \d+$", page.text_content("#status"))
        page.keyboard.press("Enter")
        names(page, 1)
        assert re.match(r"A: .+ %$", page.text_content("#status"))
        page.keyboard.press("m")
        page.keyboard.press("Enter")
        names(page, 2)


def test_everything_is_found_saved_and_there_again(opened: Open, place: Path) -> None:
    with opened() as page:
        pick(page, 3)  # the one whose name is HTML
        page.click("#everything")
        page.wait_for_selector("#regions .name")
        found = len(names(page, page.locator("#regions .name").count()))
        page.locator("#regions .head").first.click()
        page.fill("#regions input[type=text]", "my own <b>name</b>")
        page.keyboard.press("Enter")
        page.click("#save")
        page.wait_for_selector("#pictures button.done")
    files = [each for each in (place / "out").rglob("*.json") if "annotations" in each.read_text()]
    (kept,) = [json.loads(each.read_text()) for each in files]
    assert len(kept["annotations"]) == found
    assert "my own <b>name</b>" in {each["name"] for each in kept["categories"]}
    with opened() as page:
        pick(page, 3)
        assert "my own <b>name</b>" in names(page, found)


def numbers(page: Any) -> list[int]:
    """Numbers of the pictures in the queue, in its order."""
    found: list[int] = page.evaluate(
        "[...document.querySelectorAll('#pictures button')].map(b => Number(b.dataset.number))"
    )
    return found


def test_the_queue_is_looked_at_filtered_and_gone_through_by_keys(opened: Open) -> None:
    with opened() as page:
        page.click("#queue-filter summary")
        assert page.locator("#queue-only option[value=differing]").is_hidden()  # one head alone
        page.click("#queue-look")
        page.wait_for_function(
            """() => [...document.querySelectorAll('#pictures button')].every(
              (each) => each.ariaLabel.includes('least sure'))"""
        )
        page.select_option("#queue-order", "least_sure")
        expected = page.evaluate(
            """async () => {
              const { queue } = await import('/api.js');
              return (await queue({ order: 'least_sure' })).pictures.map((each) => each.number);
            }"""
        )
        page.wait_for_function(
            """expected => [...document.querySelectorAll('#pictures button')].map(
              (each) => Number(each.dataset.number)).join() === expected.join()""",
            arg=expected,
        )
        page.locator("#canvas").focus()
        for _ in range(2):
            page.keyboard.press(".")
            page.wait_for_selector("#busy", state="hidden")
        page.wait_for_selector(f"#pictures [aria-current=true][data-number='{expected[1]}']")
        page.fill("#queue-name", "a name that no picture has")
        page.keyboard.press("Enter")
        page.wait_for_function("() => !document.querySelector('#pictures button')")
        page.wait_for_function(
            "() => document.getElementById('queue-status').textContent === '0 pictures shown'"
        )
        page.fill("#queue-name", "")
        page.keyboard.press("Enter")
        page.wait_for_selector("#pictures button")
        assert sorted(numbers(page)) == [0, 1, 2, 3]


def test_what_is_done_is_counted_and_leaves_the_list_of_others(opened: Open) -> None:
    with opened() as page:
        page.click("#queue-filter summary")
        page.select_option("#queue-only", "open")
        page.wait_for_load_state("networkidle")
        before = numbers(page)
        done = page.get_attribute("#queue-progress", "value")
        page.locator("#pictures button").last.click()  # other tests draw in the first ones
        page.wait_for_selector("#pictures button[aria-current=true]")
        page.wait_for_selector("#busy", state="hidden")
        page.click("#save")
        page.wait_for_function(
            "left => document.querySelectorAll('#pictures button').length === left",
            arg=len(before) - 1,
        )
        assert numbers(page) == before[:-1]
        assert int(page.get_attribute("#queue-progress", "value")) == int(done) + 1
        assert page.text_content("#queue-text") == f"{int(done) + 1} of 4 done"
        page.wait_for_selector(f"#pictures [aria-current=true][data-number='{before[0]}']")


def test_words_that_the_head_learnt(opened: Open) -> None:
    with opened() as page:
        page.click("#edit-words")
        page.fill("#words-text", "")
        page.click("#words-learnt")
        assert len(page.input_value("#words-text").splitlines()) == 180
        page.click("button[value=use]")
        page.wait_for_function("() => document.getElementById('word-count').textContent === '180'")
        assert page.text_content("#scores") == "scores of the head alone"


def test_the_heads_own_threshold_is_where_the_slider_begins(opened: Open) -> None:
    with opened() as page:
        found = page.evaluate(
            """async () => {
              const { Threshold } = await import('/threshold.js');
              const slider = document.createElement('input');
              const output = document.createElement('output');
              Object.assign(slider, { type: 'range', min: 0, max: 100 });
              const threshold = new Threshold(slider, output, () => {});
              const names = [{ name: 'a', probability: 0.2 }];
              const refuses = (known_score) => threshold.refuses({ names, known_score });
              threshold.begin({ unknown_threshold: 12.5 });
              const found = [slider.ariaValueText, refuses(12.4), refuses(12.6)];
              slider.value = 0;
              slider.dispatchEvent(new Event('input'));
              found.push(output.textContent, refuses(-1000));
              threshold.begin({ unknown_threshold: null });
              return [...found, output.textContent, refuses(-1000)];
            }"""
        )
        assert found == ["12.5, the head's", True, False, "off", False, "0 %", False]


def test_masks_are_written_as_pycocotools_writes_them(opened: Open) -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random((h, w)) < share for h, w, share in ((1, 1, 1), (7, 5, 0.5), (40, 60, 0.9))]
    with opened() as page:
        for mask in masks:
            pixels, (height, width) = mask.astype(int).ravel().tolist(), mask.shape
            written, read = page.evaluate(
                """async ([pixels, width, height]) => {
                  const { encode, decode } = await import('/masks.js');
                  const written = encode(Uint8Array.from(pixels), width, height);
                  return [written, [...decode(written)]];
                }""",
                [pixels, width, height],
            )
            expected = rle_codec.encode(np.asfortranarray(mask.astype(np.uint8)))
            assert written["counts"] == expected["counts"].decode("ascii")
            assert read == pixels


def test_a_dropped_picture_and_one_that_is_none(opened: Open, place: Path) -> None:
    with opened() as page:
        page.set_input_files("#file", place / "pictures" / "scene 1.png")
        page.wait_for_function(
            "() => document.getElementById('status').textContent.startsWith('scene 1')"
        )
        drag(page, (0.4, 0.4), (0.6, 0.6))
        names(page, 1)
    with opened(expected="status of 400") as page:
        broken = place / "broken.png"
        broken.write_bytes((place / "pictures" / "scene 1.png").read_bytes()[:60])
        page.set_input_files("#file", broken)
        page.wait_for_selector("#toast:not([hidden])")
        assert "picture" in page.text_content("#toast").lower()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_is_wider_than_the_screen_and_everything_has_a_name(
    opened: Open, size: dict[str, int]
) -> None:
    with opened(size) as page:
        pick(page, 0)
        drag(page, (0.35, 0.35), (0.65, 0.65))
        names(page, 1)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, input, textarea, select, a')]
              .filter(each => each.checkVisibility() && !each.ariaLabel && !each.innerText?.trim()
                && !each.title && !each.labels?.length && !each.closest('[hidden]'))
              .map(each => each.outerHTML)"""
        )
        assert nameless == []
