"""What somebody did on the page is kept, whatever comes between, in a real headless Chromium."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from page_in_chromium import Open, drag, in_chromium, names, pick

pytestmark = [pytest.mark.slow, in_chromium]
FIRST, SECOND, THIRD = (
    ((0.1, 0.1), (0.4, 0.4)),
    ((0.5, 0.5), (0.9, 0.9)),
    ((0.1, 0.5), (0.4, 0.9)),
)

# The offered pictures: "<img …>", scene 0, scene 1, scene 2.


def kept(place: Path, picture: str) -> list[str]:
    """Names of the saved regions of a picture."""
    file = place / "out" / "labels.json"
    labels = json.loads(file.read_text()) if file.exists() else {"images": []}
    ids = [each["id"] for each in labels["images"] if each["file_name"].startswith(picture)]
    classes = {each["id"]: each["name"] for each in labels.get("categories", [])}
    return sorted(
        classes[each["category_id"]]
        for each in labels.get("annotations", [])
        if each["image_id"] in ids
    )


def wait_for(place: Path, picture: str, expected: int, word: str) -> list[str]:
    end = time.monotonic() + 60
    while len(found := kept(place, picture)) != expected or word not in found:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def call(page: Any, word: str) -> None:
    """Correct the chosen region, or else the first."""
    if not page.locator("#regions input[type=text]").count():
        page.locator("#regions .head").first.click()
    page.fill("#regions input[type=text]", word)
    page.keyboard.press("Enter")


def test_saved_at_once_after_a_correction_all_regions_are_there(opened: Open, place: Path) -> None:
    with opened() as page:
        pick(page, 0)
        drag(page, *FIRST)
        names(page, 1)
        drag(page, *SECOND)
        names(page, 2)
        page.locator("#regions .head").first.click()
        call(page, "mine")
        page.click("#save")
        wait_for(place, "<img", 2, "mine")


def test_what_was_done_without_the_server_stays(opened: Open, place: Path) -> None:
    with opened(expected="ERR_INTERNET_DISCONNECTED") as page:
        pick(page, 1)
        drag(page, *FIRST)
        names(page, 1)
        call(page, "first")
        wait_for(place, "scene 0", 1, "first")
        page.context.set_offline(True)
        drag(page, *SECOND)
        page.wait_for_selector("#toast:not([hidden])")
        assert page.locator("#regions .name").count() == 2
        call(page, "second")
        page.wait_for_timeout(1_500)  # an attempt to save fails meanwhile
        assert kept(place, "scene 0") == ["first"]
        page.context.set_offline(False)
        drag(page, *THIRD)
        names(page, 3)
        found = wait_for(place, "scene 0", 3, "second")
        assert {"first", "second"} < set(found)


def test_another_picture_waits_for_what_is_unsaved(opened: Open, place: Path) -> None:
    with opened() as page:
        pick(page, 2)
        drag(page, *FIRST)
        names(page, 1)
        call(page, "one")
        page.locator("#pictures button").nth(2).click()  # the same again, at once
        page.wait_for_selector("#busy", state="hidden")
        assert names(page, 1) == ["one"]
        call(page, "two")
        pick(page, 0)
        assert kept(place, "scene 1") == ["two"]


def test_a_word_that_is_typed_while_names_come_is_whole(opened: Open, place: Path) -> None:
    with opened() as page:
        pick(page, 2)
        page.keyboard.press("Escape")
        drag(page, *THIRD)
        page.wait_for_selector("#regions input[type=text]")
        page.locator("#regions input[type=text]").press_sequentially("a long word", delay=60)
        page.evaluate(
            "() => document.getElementById('threshold').dispatchEvent(new Event('input'))"
        )
        assert page.input_value("#regions input[type=text]") == "a long word"
        page.keyboard.press("Enter")
        assert "a long word" in names(page, 2)
        assert page.input_value("#regions input[type=text]") == "a long word"
        wait_for(place, "scene 1", 2, "a long word")


def test_a_file_of_ones_own_goes_on_where_it_stopped(opened: Open, place: Path) -> None:
    """And it is not taken for the offered picture of its name."""
    own = place / "own" / "scene 0.png"
    own.parent.mkdir()
    own.write_bytes((place / "world" / "train" / "000001.png").read_bytes())
    before = kept(place, "scene 0")
    for expected, word in ((0, "early"), (1, "late")):
        with opened() as page:
            page.set_input_files("#file", own)
            page.wait_for_function(
                "() => document.getElementById('status').textContent.startsWith('scene 0')"
            )
            names(page, expected)
            drag(page, *(FIRST if word == "early" else SECOND))
            names(page, expected + 1)
            call(page, word)
            wait_for(place, "dropped/", expected + 1, word)
    assert kept(place, "dropped/") == ["early", "late"]
    assert kept(place, "scene 0") == before


def test_two_tabs_do_not_write_over_each_other(opened: Open, place: Path) -> None:
    with opened() as first, opened(expected="status of 409") as second:
        for page in (first, second):
            pick(page, 3)
            drag(page, *FIRST)
            names(page, 1)
        call(first, "of the first")
        wait_for(place, "scene 2", 1, "of the first")
        call(second, "of the second")
        second.wait_for_selector("#toast:not([hidden])")
        assert kept(place, "scene 2") == ["of the first"]
        pick(second, 3)
        assert names(second, 1) == ["of the first"]
