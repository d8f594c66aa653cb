"""A JSON file read in pieces gives what it gives read whole, or is refused where that is."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regionspot_core.datasets.json_stream import JsonStream
from regionspot_core.errors import AnnotationError

PATH = Path("some.json")


def stream(raw: bytes, block_bytes: int = 16) -> JsonStream:
    return JsonStream(io.BytesIO(raw), PATH, block_bytes=block_bytes)


def read_in_pieces(raw: bytes, block_bytes: int) -> Any:
    """The document, its outermost list or object gone through value by value."""
    source = stream(raw, block_bytes)
    value: Any
    if source.opening() == "[":
        value = list(source.elements())
    elif source.opening() == "{":
        value = {key: source.value() for key in source.members()}
    else:
        value = source.value()
    assert source.finish() == hashlib.sha256(raw).hexdigest()
    return value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda child: (
        st.lists(child, max_size=4) | st.dictionaries(st.text(max_size=5), child, max_size=4)
    ),
    max_leaves=20,
)


@given(value=json_values, block_bytes=st.integers(1, 40), ascii=st.booleans(), indent=st.booleans())
@example(value=[0.0, 1e-300, -2], block_bytes=1, ascii=True, indent=False)
def test_any_document_is_read_as_json_reads_it(
    value: object, block_bytes: int, ascii: bool, indent: bool
) -> None:
    text = json.dumps(value, ensure_ascii=ascii, indent=2 if indent else None)
    assert read_in_pieces(text.encode("utf-8", "surrogatepass"), block_bytes) == value


@given(value=json_values, block_bytes=st.integers(1, 40), data=st.data())
@example(value=[], block_bytes=1, data=None)
def test_any_damaged_document_is_read_as_json_reads_it_or_refused_as_well(
    value: object, block_bytes: int, data: st.DataObject | None
) -> None:
    raw = bytearray(json.dumps(value, ensure_ascii=False).encode())
    if data is not None and raw:
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        expected = json.loads(raw.decode("utf-8-sig"))
    except ValueError:
        with pytest.raises(AnnotationError, match=r"^some.json: expected JSON \("):
            read_in_pieces(bytes(raw), block_bytes)
    else:
        assert str(read_in_pieces(bytes(raw), block_bytes)) == str(expected)  # NaN is not itself


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 7, 1000])
def test_a_byte_order_mark_is_passed_over(block_bytes: int) -> None:
    raw = b"\xef\xbb\xbf" + '{"図": [1, -2.5e3, "é"]}'.encode()
    assert read_in_pieces(raw, block_bytes) == {"図": [1, -2500.0, "é"]}


@pytest.mark.parametrize("block_bytes", [1, 8, 64])
def test_a_value_of_many_blocks(block_bytes: int) -> None:
    value = [{"counts": list(range(500)), "text": "x" * 3000}, 12345678901234567890]
    assert read_in_pieces(json.dumps(value).encode(), block_bytes) == value


def test_elements_are_read_when_asked_for() -> None:
    source = stream(b"[1, 2, 3" + b" " * 100 + b"oops", block_bytes=4)
    elements = source.elements()
    assert [next(elements), next(elements), next(elements)] == [1, 2, 3]
    with pytest.raises(AnnotationError, match="expecting ',' or ']', at character 108"):
        next(elements)


def test_values_are_skipped() -> None:
    source = stream(b'{"a": [1, [2]], "b": {"c": 1}, "d": "]", "e": 5}')
    found = {}
    for key in source.members():
        if key == "e":
            found[key] = source.value()
        else:
            source.skip()
    assert found == {"e": 5}
    assert len(source.finish()) == 64


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "Expecting value, at its end"),
        (b"[1, 2", "at its end"),
        (b"[1,]", "Expecting value, at character 3"),
        (b'{"a" 1}', "expecting ':', at character 5"),
        (b"{1: 2}", "expecting a key in double quotes"),
        (b'{"a": 1,}', "expecting a key in double quotes"),
        (b"[] []", "extra data, at character 3"),
        (b"[\xff]", "not UTF-8"),
        (b'["\xe5\x9b', "not UTF-8"),
        ("[]".encode("utf-16"), "not UTF-8"),
        (b"[" + b"[" * 100_000, "nests too deeply"),
        (b"[" + b"1" * 5000 + b"]", "too many digits"),
    ],
)
def test_what_is_no_json_is_refused_in_one_line(raw: bytes, message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as caught:
        read_in_pieces(raw, 1000)
    assert "\n" not in str(caught.value)


def test_a_fault_early_in_a_large_file_is_found_without_reading_on() -> None:
    raw = b'[{"a": oops}' + b" " * 100_000
    file = io.BytesIO(raw)
    with pytest.raises(AnnotationError, match="Expecting value, at character 7"):
        list(JsonStream(file, PATH, block_bytes=100).elements())
    assert file.tell() <= 200
