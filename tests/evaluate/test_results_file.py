"""Results files: read in blocks; what cannot be scored is counted and refused."""

import gzip
import json
from array import array
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lvis_sets import SIDE, Json, LvisSet, rectangle_rle

from regionspot_core.datasets.detections.detections_file import DetectionsFile
from regionspot_core.datasets.detections.json_blocks import BLOCK_BYTES, list_blocks
from regionspot_core.datasets.detections.packed_file import FREE_BYTES
from regionspot_core.datasets.masks import decode_runs, encode_runs
from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.truth import Truth
from regionspot_core.errors import AnnotationError
from regionspot_evaluate.scoring.figures import Iou
from regionspot_evaluate.scoring.results import Results, read_entries, read_results
from regionspot_evaluate.scoring.run_lengths import TOGETHER, are_run_lengths

COUNT = 20
BOTH: tuple[Iou, ...] = ("bbox", "segm")
HUGE = 10**30


@pytest.fixture(scope="module")
def made() -> LvisSet:
    made = LvisSet.empty(2, 3)
    made.annotate(0, 0, [0, 0, 20, 20])
    made.images[1]["neg_category_ids"] = [made.categories[1]["id"]]
    for n in range(COUNT):
        made.detect(n % 2, n % 3, [float(n), 1.5, 10, 10], n / COUNT)
    return made


@pytest.fixture(scope="module")
def truth(made: LvisSet, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    path, _ = made.write(tmp_path_factory.mktemp("truth"))
    return read_table(path, masks=True).truth(federated=True)


def refused(truth: Truth, path: Path, *ious: Iou) -> str:
    with pytest.raises(AnnotationError) as error:
        read_results(path, truth, ious=ious or ("bbox",))
    return str(error.value)


def test_columns(made: LvisSet, truth: Truth, tmp_path: Path) -> None:
    _, path = made.write(tmp_path)
    results = read_results(path, truth, ious=BOTH)
    assert truth.image_id[results.image].tolist() == [d["image_id"] for d in made.detections]
    ids = truth.class_id[results.class_index]
    assert ids.tolist() == [d["category_id"] for d in made.detections]
    assert results.score.tolist() == [d["score"] for d in made.detections]
    # class 0 is annotated in image 0, class 1 is absent from image 1
    judged = [n for n in range(COUNT) if n % 2 == n % 3 and n % 3 < 2]
    assert results.judged.tolist() == judged
    assert results.box is not None
    assert results.box.tolist() == [made.detections[n]["bbox"] for n in judged]
    masks = [results.rle(row, (SIDE, SIDE)) for row in range(len(judged))]
    assert masks == [made.detections[n]["segmentation"] for n in judged]


def test_a_score_may_be_a_float32_s_rounding_above_one(
    made: LvisSet, truth: Truth, tmp_path: Path
) -> None:
    _, path = made.write(tmp_path)
    path.write_text(json.dumps([made.detections[0] | {"score": float(np.float32(1.0000001))}]))
    assert read_results(path, truth, ious=("bbox",)).score[0] > 1


def test_a_side_may_be_a_rounding_below_zero(made: LvisSet, truth: Truth, tmp_path: Path) -> None:
    """Scorers get zero for it, the reference as well."""
    path = tmp_path / "results.json"
    path.write_text(json.dumps([made.detections[0] | {"bbox": [50, 60, -1e-6, 4]}]))
    results = read_results(path, truth, ious=("bbox",))
    assert results.box is not None
    assert results.box.tolist() == [[50, 60, 0, 4]]
    (entry,) = read_entries(path, truth, ious=("bbox",))
    assert entry["bbox"] == [50, 60, 0, 4]


def test_images_may_be_named_by_their_files(
    made: LvisSet, truth: Truth, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = made.write(tmp_path)
    expected = read_results(path, truth, ious=BOTH)
    assert capsys.readouterr().err == ""
    names = {image["id"]: image["file_name"].removesuffix(".png") for image in made.images}
    entries = [entry | {"image_id": names[entry["image_id"]]} for entry in made.detections]
    path.write_text(json.dumps(entries))
    assert same(read_results(path, truth, ious=BOTH), expected)
    assert "found by those names" in capsys.readouterr().err
    assert read_entries(path, truth, ious=("bbox",))[0]["image_id"] == truth.image_id[1]


def same(one: Results, other: Results) -> bool:
    return all(
        np.array_equal(value, getattr(other, name), equal_nan=False)
        for name, value in vars(one).items()
    )


@pytest.mark.parametrize("ious", [("bbox",), BOTH])
def test_one_by_one_is_the_same_as_in_blocks(
    ious: tuple[Iou, ...],
    made: LvisSet,
    truth: Truth,
    tmp_path: Path,
) -> None:
    """A form that only the slow reader takes, in the middle: what was read stays read."""
    _, path = made.write(tmp_path)
    expected = read_results(path, truth, ious=ious)
    entries = [dict(entry) for entry in made.detections]
    entries[12]["image_id"] = float(entries[12]["image_id"])
    path.write_text("\ufeff" + json.dumps(entries, indent=1))
    with DetectionsFile(path, block_bytes=700, block_rows=3) as file:
        assert same(Results.read(file, truth, ious=ious), expected)


@given(
    entries=st.lists(
        st.dictionaries(
            st.text(max_size=3),
            st.recursive(
                st.one_of(st.integers(-9, 9), st.text('}, {"[]\\', max_size=6)),
                lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("}{,"), inner),
                max_leaves=4,
            ),
            max_size=3,
        ),
        max_size=12,
    ),
    block_bytes=st.integers(1, 80),
    indent=st.sampled_from([None, 1]),
)
def test_blocks_are_the_list_or_are_no_json(
    entries: list[Json],
    block_bytes: int,
    indent: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("blocks") / "list.json"
    path.write_text(json.dumps(entries, indent=indent))
    found: list[Json] = []
    try:
        with path.open("rb") as file:
            for block in list_blocks(file, block_bytes=block_bytes):
                found += msgspec.json.decode(block.text, type=list[dict])
    except ValueError:  # it then goes the slow way, from what was read on
        assert found == entries[: len(found)]
    else:
        assert found == entries


MISTAKES: list[tuple[Json, str, str]] = [
    ({"image_id": 5}, "whose image is not in the annotations", "image 5 is not in the ann"),
    ({"image_id": HUGE}, "whose image_id is no whole number", "got 1000"),
    ({"image_id": "100"}, "whose image_id is no whole number", "images; got '100'"),
    ({"image_id": True}, "whose image_id is no whole number", "as image_id, got True"),
    ({"category_id": 8}, "whose class is not in the annotations", "class 8 is not in the ann"),
    ({"category_id": None}, "whose category_id is no whole", "as category_id, got None"),
    ({"category_id": 7.5}, "whose category_id is no whole", "as category_id, got 7.5"),
    ({"score": 1.25}, "with a score outside 0 to 1", "from 0 to 1, got 1.25"),
    ({"score": -0.25}, "with a score outside 0 to 1", "from 0 to 1, got -0.25"),
    ({"score": float("nan")}, "with NaN or infinity", "a score: a finite number, got nan"),
    ({"score": HUGE**30}, "with NaN or infinity", "a score: a finite number, got inf"),
    ({"score": "0.5"}, "with something else for a number", "a score: a number, got '0.5'"),
    ({"bbox": [1, 2, 3]}, "whose bbox is not four numbers", "height as bbox, got [1, 2, 3]"),
    ({"bbox": {}}, "whose bbox is not four numbers", "height as bbox, got {}"),
    ({"bbox": [1, 2, 3, "4"]}, "with something else for a number", "of bbox: a number, got '4'"),
    ({"bbox": [1, 2, 3, float("inf")]}, "with NaN or infinity", "a finite number, got inf"),
    ({"bbox": [1, 2, -3, 4]}, "with a negative width or height", "got (1.0, 2.0, -3.0, 4.0)"),
]  # fmt: skip
MASK_MISTAKES: list[tuple[object, str, str]] = [
    (rectangle_rle([0, 0, 5, 5], SIDE, SIDE + 1), "whose mask is of another size", "got (64, 65)"),
    ({"size": [SIDE, SIDE], "counts": "0"}, "whose run lengths do not make a mask", "that fill"),
    ({"size": [SIDE, SIDE], "counts": ""}, "whose run lengths do not make a mask", "that fill"),
    ({"size": [SIDE, SIDE], "counts": "é"}, "whose run lengths do not make a mask", "that fill"),
    ({"size": [SIDE, SIDE], "counts": [3, 4]}, "whose segmentation is no mask", "got {'counts'"),
    ({"size": [SIDE, SIDE]}, "whose segmentation is no mask", "got {'size'"),
    ({"size": SIDE, "counts": "0"}, "whose segmentation is no mask", "got {'counts'"),
    ([], "whose segmentation is no mask", "polygons as segmentation, got []"),
    ([[1, 2, 3, 4]], "whose segmentation is no mask", "got [[1, 2, 3, 4]]"),
    ([[1, 2, 3, 4, 5, "6"]], "whose segmentation is no mask", "got [[1, 2, 3, 4, 5, '6']]"),
    (None, "whose segmentation is no mask", "got None"),
    ("text", "whose segmentation is no mask", "got 'text'"),
]


@pytest.mark.parametrize(("changes", "kind", "detail"), MISTAKES)
def test_mistakes_are_counted_and_shown(
    changes: Json, kind: str, detail: str, made: LvisSet, truth: Truth, tmp_path: Path
) -> None:
    _, path = made.write(tmp_path)
    entries = [
        entry | (changes if n in (3, 5, 6, 8) else {}) for n, entry in enumerate(made.detections)
    ]
    path.write_text(json.dumps(entries))
    for ious in (("bbox",), BOTH):
        message = refused(truth, path, *ious)
        assert message.startswith(f"{path}: 4 of 20 detections cannot be scored, and none is left")
        assert f"4 {kind}" in message
        assert [message.count(f"entry {n}: ") for n in (3, 5, 6, 8)] == [1, 1, 1, 0]
        assert detail in message
        assert message.endswith("; and 1 more")


@pytest.mark.parametrize(("segmentation", "kind", "detail"), MASK_MISTAKES)
def test_mistakes_in_masks(
    segmentation: object, kind: str, detail: str, made: LvisSet, truth: Truth, tmp_path: Path
) -> None:
    _, path = made.write(tmp_path)
    entries = [dict(entry) for entry in made.detections]
    entries[1]["segmentation"] = segmentation
    path.write_text(json.dumps(entries))
    read_results(path, truth, ious=("bbox",))  # nobody asked for masks
    message = refused(truth, path, *BOTH)
    assert "1 of 20 detections cannot be scored" in message
    assert f"1 {kind}" in message
    assert detail in message


def test_different_mistakes_in_one_message(made: LvisSet, truth: Truth, tmp_path: Path) -> None:
    _, path = made.write(tmp_path)
    entries = [dict(entry) for entry in made.detections]
    entries[4] |= {"image_id": 5, "score": 3}  # counted once
    entries[2]["score"] = "high"
    entries[9]["image_id"] = 6
    del entries[11]["bbox"]
    path.write_text(json.dumps(entries))
    assert refused(truth, path) == (
        f"{path}: 4 of 20 detections cannot be scored, and none is left out: 2 whose image is not "
        f"in the annotations, 1 with something else for a number, 1 without a key. entry 2: "
        f"expected a score: a number, got 'high'; entry 4: image 5 is not in the annotations; "
        f"entry 9: image 6 is not in the annotations; and 1 more"
    )


@pytest.mark.parametrize("first_has_a_box", [True, False])
def test_boxes_for_some(first_has_a_box: bool, made: LvisSet, truth: Truth, tmp_path: Path) -> None:
    """LVIS's API takes the areas from boxes or from masks by what the first has."""
    _, path = made.write(tmp_path)
    bare = {key: value for key, value in made.detections[0].items() if key != "bbox"}
    entries = [*made.detections[:3], bare] if first_has_a_box else [bare, *made.detections[:3]]
    path.write_text(json.dumps(entries))
    count = 1 if first_has_a_box else 3
    message = refused(truth, path, "segm")
    assert f"{count} with a bbox where the first has none, or the other way round" in message


def cut(text: str) -> str:
    return text[:-30]


def trailed(text: str) -> str:
    return text + ", 3"


def wrapped(text: str) -> str:
    return '{"annotations": ' + text + "}"


def predicted(text: str) -> str:
    return '{"images": [], "annotations": ' + text + "}"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "expected LVIS results JSON"),
        (trailed, "expected LVIS results JSON (extra data"),
        (wrapped, "expected a list of detections (COCO results), got JSON of another kind"),
        (predicted, "got a data set in COCO's layout, such as `evaluate predict` writes"),
        (lambda text: "", "expected LVIS results JSON"),
        (lambda text: "\x00\x01", "expected LVIS results JSON"),
    ],
)
def test_files_that_are_no_list_of_detections(
    spoil: Callable[[str], str], message: str, made: LvisSet, truth: Truth, tmp_path: Path
) -> None:
    _, path = made.write(tmp_path)
    path.write_text(spoil(path.read_text()))
    assert message in refused(truth, path)


def test_no_file(truth: Truth, tmp_path: Path) -> None:
    assert "no such results file" in refused(truth, tmp_path / "none.json")
    assert "got a folder" in refused(truth, tmp_path)


@st.composite
def strings_of_runs(draw: st.DrawFn) -> tuple[list[bytes], list[int]]:
    """Strings that are run lengths, or nearly, or noise; and numbers of pixels."""
    strings, pixels = [], []
    for _ in range(draw(st.integers(0, 6))):
        runs = draw(st.lists(st.integers(0, 3000), min_size=1, max_size=9))
        text = encode_runs(sum(runs), 1, array("q", runs)) if sum(runs) else b"0"
        noise = draw(st.binary(max_size=9))
        strings.append(draw(st.sampled_from([text, text, text[:-1], text + b"1", noise])))
        pixels.append(draw(st.sampled_from([sum(runs), sum(runs), sum(runs) + 1])))
    return strings, pixels


@given(strings_of_runs())
def test_run_lengths_are_told_from_noise(drawn: tuple[list[bytes], list[int]]) -> None:
    strings, pixels = drawn

    def good(text: bytes, count: int) -> bool:
        try:
            runs = decode_runs(text.decode("ascii"))
        except ValueError:
            return False
        return bool(runs) and min(runs) >= 0 and sum(runs) == count

    start = np.cumsum([0, *map(len, strings)])
    joined = np.frombuffer(b"".join(strings) or b"", dtype=np.uint8)
    found = are_run_lengths(joined, start, np.array(pixels, dtype=np.int64))
    assert found.tolist() == [good(*pair) for pair in zip(strings, pixels, strict=True)]


def test_many_run_lengths_are_told_one_by_one() -> None:
    """More than are worked on at a time, of which each third one is wrong."""
    count = 2 * TOGETHER + 5
    runs = [encode_runs(4, n + 1, array("q", [1, 2, 4 * n + 1])) for n in range(count)]
    pixels = np.array([4 * (n + 1) + (n % 3 == 1) for n in range(count)], dtype=np.int64)
    start = np.cumsum([0, *map(len, runs)])
    found = are_run_lengths(np.frombuffer(b"".join(runs), dtype=np.uint8), start, pixels)
    assert found.tolist() == [n % 3 != 1 for n in range(count)]


@pytest.mark.parametrize("block_bytes", [700, BLOCK_BYTES])
def test_masks_beside_texts_that_look_like_cuts(
    block_bytes: int, made: LvisSet, truth: Truth, tmp_path: Path
) -> None:
    made.detections[3]["note"] = made.detections[-1]["note"] = "]}, {["
    _, path = made.write(tmp_path)
    with DetectionsFile(path, block_bytes=block_bytes) as file:
        Results.read(file, truth, ious=BOTH)
        wanted = {n: made.detections[n]["segmentation"] for n in (0, 3, 4, COUNT - 1)}
        assert file.segmentations(wanted) == wanted


def test_a_packed_file_is_read_as_it_was(made: LvisSet, truth: Truth, tmp_path: Path) -> None:
    """By its bytes, whatever its name; in several members too, as other tools may write it."""
    _, path = made.write(tmp_path)
    expected = read_results(path, truth, ious=BOTH)
    content = path.read_bytes()
    path.write_bytes(gzip.compress(content[:500]) + gzip.compress(content[500:]))
    with DetectionsFile(path, block_bytes=700) as file:
        assert file.has_masks()
        assert same(Results.read(file, truth, ious=BOTH), expected)
        wanted = {n: made.detections[n]["segmentation"] for n in (0, 7, COUNT - 1)}
        assert file.segmentations(wanted) == wanted


@pytest.mark.parametrize("spoil", [lambda raw: raw[:-20], lambda raw: raw[:90] + b"?" + raw[91:]])
def test_damaged_packed_files_are_refused(
    spoil: Callable[[bytes], bytes], made: LvisSet, truth: Truth, tmp_path: Path
) -> None:
    _, path = made.write(tmp_path)
    path.write_bytes(spoil(gzip.compress(path.read_bytes())))
    assert "expected whole gzip data" in refused(truth, path)


def test_a_packed_file_that_fills_the_memory_is_refused(truth: Truth, tmp_path: Path) -> None:
    path = tmp_path / "zeros.json.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(FREE_BYTES // 2**20 + 1):
            file.write(b" " * 2**20)
    assert "is more than 200 times as large" in refused(truth, path)
