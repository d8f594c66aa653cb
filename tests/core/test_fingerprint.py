"""How two records of what something was made from differ, in words."""

import pytest

from regionspot_core.errors import FingerprintError
from regionspot_core.fingerprint import MOST_SHOWN, differences, require_equal

SHA = "0123456789abcdef" * 4
NAMES = [f"name {number}" for number in range(100)]


@pytest.mark.parametrize(
    ("expected", "found", "lines"),
    [
        ({}, {}, []),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b: expected 1, found 2"]),
        ({"a": 1}, {"b": 1}, ["a: expected 1, found nothing", "b: expected nothing, found 1"]),
        ({"a": SHA}, {"a": "x"}, [f"a: expected {SHA[:12]}…, found x"]),
        ({"a": "x" * 300}, {"a": 1}, [f"a: expected {'x' * 200}…, found 1"]),
        (
            {"data": {"annotations_sha256": SHA}},
            {"data": {"annotations_sha256": SHA[::-1]}},
            [
                f"data.annotations_sha256: expected {SHA[:12]}…, found {SHA[::-1][:12]}… (another "
                f"annotation file)"
            ],
        ),
        ({"a": ["b"]}, {"a": ["c"]}, ["a: expected ['b'], found ['c']"]),
        (
            {"names": NAMES},
            {"names": [*NAMES[:70], "cat", "dog"]},
            [
                "names: expected 100, found 72; number 71 is the first that differs: expected "
                "name 70, found cat"
            ],
        ),
        (
            {"names": NAMES},
            {"names": NAMES[:-1]},
            [
                "names: expected 100, found 99; number 100 is the first that differs: expected "
                "name 99, found nothing"
            ],
        ),
    ],
)
def test_each_field_that_differs_is_a_line(
    expected: dict[str, object], found: dict[str, object], lines: list[str]
) -> None:
    assert differences(expected, found) == lines


def test_of_many_fields_the_first_are_named() -> None:
    many = {f"field{number:03d}": number for number in range(100)}
    with pytest.raises(FingerprintError) as caught:
        require_equal(many, {}, what="a run", advice="Take another")
    text = str(caught.value)
    assert text.startswith("a run: field000: expected 0, found nothing; ")
    assert text.endswith(f"; and {100 - MOST_SHOWN} more fields. Take another")
    assert text.count("found nothing") == MOST_SHOWN
