"""An evaluation's folder: what is not ours stays, and what is damaged or hostile is refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lvis_runs import make_annotations, write_annotations

from regionspot_core.datasets.reading import read_annotations
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.distributed.journal import WHOLE, open_journal, read_journals
from regionspot_core.distributed.journal_folder import MARK
from regionspot_core.errors import FingerprintError, InputError
from regionspot_core.heads.checkpoint import WEIGHTS
from regionspot_core.testing import files_of
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.folder.detections import ScoredPairs
from regionspot_evaluate.folder.folder import RunFolder
from regionspot_evaluate.folder.gather import read_image_list
from regionspot_evaluate.folder.records import Answer, ImageRecord, RecordForm
from regionspot_evaluate.scoring.unknown import UnknownFigures

IMAGES = 5
MODELS = {"region_encoder": {"name": "any"}, "image_text_encoder": {"name": "any"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations, and two folders with weights that nothing loads."""
    folder = tmp_path_factory.mktemp("place")
    write_annotations(folder, make_annotations(np.random.default_rng(0), images=IMAGES))
    for name in ("first", "second"):
        (folder / name).mkdir()
        (folder / name / WEIGHTS).write_text(name)
    return folder


@pytest.fixture(scope="module")
def annotations(place: Path) -> AnnotationSet:
    return read_annotations(place / "val.json")


def config(place: Path, out: Path, **changes: Any) -> EvaluateConfig:
    values = {
        "images": place, "annotations": place / "val.json", "heads": [place / "first"], "out": out,
        "batch_images": 2, "baseline": ["clip-pool"],
    }  # fmt: skip
    return EvaluateConfig.parse({**values, **changes}, source="test")


def run_folder(asked: EvaluateConfig, annotations: AnnotationSet) -> RunFolder:
    return RunFolder(asked, [head.name for head in asked.heads], annotations)


def write(path: Path, text: str = "mine") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "name",
    [
        "parts", "parts/notes.txt", "parts/1-of-1.jsonl", "parts.kept/1-of-1.jsonl",
        "parts.kept/2024.txt", "detections.json.gz", "images.jsonl", "metrics.json",
        "predictions.png", "baseline_clip_pool.json.gz", "zarr.json",
    ],
)  # fmt: skip
def test_files_that_are_not_ours_are_left_and_named(
    place: Path, annotations: AnnotationSet, tmp_path: Path, name: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=rf"--out .*{name}.*[Cc]hoose another"):
        run_folder(config(place, tmp_path), annotations)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")} <= {
        name, "parts.kept"
    }  # fmt: skip
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["first/run.json", "second/detections.json.gz", "parts/x/y"])
def test_folders_of_several_heads_are_looked_into(
    place: Path, annotations: AnnotationSet, tmp_path: Path, name: str
) -> None:
    write(tmp_path / name)
    asked = config(place, tmp_path, heads=[place / "first", place / "second"])
    with pytest.raises(InputError, match=r"[Cc]hoose another"):
        run_folder(asked, annotations)


@pytest.mark.parametrize("name", ["parts", "parts.kept", "run.json", "baseline_clip_pool.json.gz"])
def test_heads_named_as_an_evaluations_files_are_refused(
    place: Path, annotations: AnnotationSet, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / WEIGHTS).write_text(name)
    asked = config(place, tmp_path / "out", heads=[place / "first", tmp_path / name])
    with pytest.raises(InputError, match=f"--head .*{name}: an evaluation has files named"):
        run_folder(asked, annotations)


def test_only_our_journals_are_removed(
    place: Path, annotations: AnnotationSet, tmp_path: Path
) -> None:
    write(tmp_path / "parts.gathered" / "thesis.tex")
    write(tmp_path / "parts.gathered-1234" / "1-of-1.jsonl")
    folder = run_folder(config(place, tmp_path), annotations)
    folder.claim()
    with open_journal(folder.journals, WHOLE) as journal:
        journal.start(MODELS)
    left = tmp_path / "parts.gathered-0a0b0c0d"  # by a process that was killed
    write(left / "1-of-1.jsonl")
    write(left / MARK)
    folder.clear()
    kept = {"run.json", "parts.gathered", "parts.gathered-1234"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    write(left / MARK)  # by one that was killed here, and then one that had only to remove this
    (tmp_path / "parts.gathered-0a0b0c0e").mkdir()
    folder.clear_left()
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_file_put_among_our_journals_is_left(
    place: Path, annotations: AnnotationSet, tmp_path: Path
) -> None:
    folder = run_folder(config(place, tmp_path), annotations)
    folder.claim()
    write(folder.journals / "notes.txt")
    with pytest.raises(InputError, match=r"there is parts/notes\.txt, which is not of one"):
        run_folder(config(place, tmp_path), annotations)
    folder.clear()
    (notes,) = tmp_path.glob("parts*/notes.txt")
    assert notes.read_text() == "mine"


def test_journals_of_earlier_versions_have_no_mark(
    place: Path, annotations: AnnotationSet, tmp_path: Path
) -> None:
    folder = run_folder(config(place, tmp_path), annotations)
    folder.claim()
    (folder.journals / MARK).unlink()
    with open_journal(folder.journals, WHOLE):
        again = run_folder(config(place, tmp_path), annotations)
    assert again.journals == folder.journals


@pytest.mark.parametrize(
    "changes",
    [
        {"shard": {"index": 2, "of": 3}},
        {"workers": 1, "retry_failed": True, "scorer": "reference"},
        {"engine": "ray", "ray": {"actors": 2}},
        {"backbones": {"device": "cpu"}},
    ],
)
def test_the_record_does_not_depend_on_how_the_work_is_split(
    place: Path, annotations: AnnotationSet, tmp_path: Path, changes: dict[str, Any]
) -> None:
    for name, asked in (
        ("alone", config(place, tmp_path / "alone")),
        ("split", config(place, tmp_path / "split", **changes)),
    ):
        folder = run_folder(asked, annotations)
        folder.claim()
        record = json.loads((tmp_path / name / "run.json").read_text())
        assert record["configuration"]["annotations"] == str(place / "val.json")
    one, other = ((tmp_path / name / "run.json").read_bytes() for name in ("alone", "split"))
    assert one == other


def test_paths_in_the_record_do_not_depend_on_the_folder_it_was_started_in(
    place: Path, annotations: AnnotationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    relative = {"images": Path(), "annotations": Path("val.json"), "heads": [Path("first")]}
    run_folder(config(place, tmp_path / "out", **relative), annotations).claim()
    recorded = json.loads((tmp_path / "out" / "run.json").read_text())["configuration"]
    assert recorded["images"] == str(place)
    assert recorded["annotations"] == str(place / "val.json")
    assert recorded["head"] == str(place / "first")


@pytest.mark.parametrize(
    "content",
    [
        "[]", "3", "{}", "{", '{"annotations": 1, "heads": []}', "[" * 100_000 + "]" * 100_000,
        '{"a": ' + "[" * 500 + "]" * 500 + "}", '{"pairs": ' + "9" * 5000 + "}", "\x00",
        '{"annotations": "a", "heads": {"first": 1}}',
    ],
)  # fmt: skip
def test_a_record_of_another_form_is_refused(
    place: Path, annotations: AnnotationSet, tmp_path: Path, content: str
) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json: (expected|cannot be read as JSON)") as caught:
        run_folder(config(place, tmp_path), annotations)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_a_record_that_is_no_file_is_refused_at_once(
    place: Path, annotations: AnnotationSet, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "run.json")
    with pytest.raises(InputError, match=r"run\.json: expected a file, found a (pipe|folder)"):
        run_folder(config(place, tmp_path), annotations)


def test_values_of_wrong_types_are_shown_short(
    place: Path, annotations: AnnotationSet, tmp_path: Path
) -> None:
    content = {"annotations": "a" * 10_000, "heads": {"first": "b"}, "pairs": 10**400}
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(FingerprintError, match="pairs: expected 900, found 1000") as caught:
        run_folder(config(place, tmp_path), annotations)
    assert len(str(caught.value)) < 2000


# Journals


def records(annotations: AnnotationSet, batch: range) -> list[ImageRecord]:
    """What a head might say of some images; the third could not be read."""
    made = []
    for position in batch:
        height, width = annotations.size(position)
        regions = len(annotations.box[annotations.regions(position)])
        pairs = ScoredPairs(
            list(range(regions)), [r % 3 for r in range(regions)], [0.1 * r for r in range(regions)]
        )
        one = Answer(pairs, [1] * regions, [0.5] * regions, [0] * regions, [1.5] * regions)
        made.append(
            ImageRecord(position, failed="no such image file")
            if position == 2
            else ImageRecord(
                position,
                boxes=annotations.box[annotations.regions(position)],
                true=[0] * regions,
                masks=[{"size": [height, width], "counts": _all_of(height * width)}] * regions,
                heads=[one],
                baselines={"clip-pool": one},
            )
        )
    return made


def _all_of(pixels: int) -> str:
    """Run lengths of a mask that is nowhere: one run, in COCO's code of five bits a character."""
    text = ""
    while True:
        bits, pixels = pixels & 31, pixels >> 5
        more = pixels > 0 or bits & 16
        text += chr((bits | 32 if more else bits) + 48)
        if not more:
            return text


@pytest.fixture(scope="module")
def form(place: Path, annotations: AnnotationSet) -> RecordForm:
    asked = config(place, place / "out")
    return RecordForm.create(asked, annotations)


@pytest.fixture(scope="module")
def lines(
    annotations: AnnotationSet, form: RecordForm, tmp_path_factory: pytest.TempPathFactory
) -> list[bytes]:
    """A journal's: the models, and three batches."""
    folder = tmp_path_factory.mktemp("journal")
    with open_journal(folder, WHOLE) as journal:
        journal.start(MODELS)
        for number, batch in enumerate(form.batches):
            journal.add(number, records(annotations, batch))
    return (folder / "1-of-1.jsonl").read_bytes().splitlines(keepends=True)


def read(folder: Path, content: bytes, form: RecordForm) -> list[ImageRecord]:
    """All that a journal with this content says."""
    folder.mkdir(exist_ok=True)
    (folder / "1-of-1.jsonl").write_bytes(content)
    done = read_journals(folder)
    return [record for n in sorted(done.batches) for record in done.batches[n].records(form)]


def same(found: list[ImageRecord], expected: list[ImageRecord]) -> bool:
    return [each.to_json() for each in found] == [each.to_json() for each in expected]


def test_a_journal_reads_back_to_the_last_bit(
    annotations: AnnotationSet, form: RecordForm, lines: list[bytes], tmp_path: Path
) -> None:
    assert same(read(tmp_path, b"".join(lines), form), records(annotations, range(IMAGES)))


def test_a_journal_of_an_earlier_version_has_no_sums(
    annotations: AnnotationSet, form: RecordForm, lines: list[bytes], tmp_path: Path
) -> None:
    bare = [line[: line.rindex(b', "crc32"')] + b"}\n" for line in lines]
    # It goes on in this version, whose lines have sums.
    found = read(tmp_path, b"".join([*bare[:3], lines[3]]), form)
    assert same(found, records(annotations, range(IMAGES)))
    with pytest.raises(InputError, match="line 3 is damaged"):
        read(tmp_path, b"".join([lines[0], lines[1], bare[2]]), form)


@example(where=0.03125, bit=1)  # in the key "crc32" of the first line
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_taken_for_a_result(
    annotations: AnnotationSet,
    form: RecordForm,
    lines: list[bytes],
    tmp_path_factory: pytest.TempPathFactory,
    where: float,
    bit: int,
) -> None:
    content = bytearray(b"".join(lines))
    content[int(where * len(content))] ^= 1 << bit
    expected = records(annotations, range(IMAGES))
    try:
        found = read(tmp_path_factory.mktemp("flip"), bytes(content), form)
    except (InputError, FingerprintError):
        return
    assert same(found, expected[: len(found)])  # a torn end is named again
    assert len(found) < IMAGES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"best": [1', b'"best": [99'),
        (b'"best": [1', b'"best": ["1"'),
        (b'"best": [1', b'"best": [null'),
        (b'"best": [1', b'"best": [' + b"9" * 400),
        (b'"ranks": [0', b'"ranks": [-2'),
        (b'"known": [1.5', b'"known": [1.5, 1.5'),
        (b'"known": [1.5', b'"known": [NaN'),
        (b'"confidence": [0.5', b'"confidence": [NaN'),
        (b'"confidence": [0.5', b'"confidence": [1e999'),
        (b'"true": [0', b'"true": [0, 0'),
        (b'"pairs": [[0', b'"pairs": [[77'),
        (b'"position": 0', b'"position": 1'),
        (b'"counts": "', b'"counts": "~'),
        (b'"counts": "', b'"counts": "oooooooo'),
        (b'"size": [80', b'"size": [81'),
        (b'"heads": [', b'"heads": [{"pairs": [[], []], "best": [], "confidence": []},'),
        (b'"clip-pool"', b'"clip-crop"'),
        (b'"boxes": [', b'"boxes": [' + b"[" * 100_000 + b"]" * 100_000 + b","),
    ],
)  # fmt: skip
def test_a_line_that_does_not_fit_is_refused(
    form: RecordForm, lines: list[bytes], tmp_path: Path, old: bytes, new: bytes
) -> None:
    bare = [line[: line.rindex(b', "crc32"')] + b"}\n" for line in lines]
    assert old in bare[1]
    with pytest.raises(InputError, match=r"1-of-1\.jsonl: line 2 is damaged .* delete the file"):
        read(tmp_path, b"".join([bare[0], bare[1].replace(old, new, 1), *bare[2:]]), form)


@pytest.mark.parametrize(
    "line", [b"[]\n", b"\n", b"{}\n", b'{"models": 3}\n', b'{"models": {}, "crc32": 5}\n',
             b'{"models": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}\n"],
)  # fmt: skip
def test_a_journal_of_another_kind_is_refused(
    form: RecordForm, tmp_path: Path, line: bytes
) -> None:
    with pytest.raises(InputError, match=r"line 1 is damaged \(expected the frozen models"):
        read(tmp_path, line, form)


@pytest.mark.parametrize(
    "line",
    [b'{"batch": 99, "failed": 0, "images": []}\n', b'{"batch": "a"}\n', b"notes\n",
     b'{"batch": 1, "failed": 1, "images": []}\n', b'{"batch": 0, "failed": 0, "images": [{}]}\n'],
)  # fmt: skip
def test_foreign_lines_are_refused(
    form: RecordForm, lines: list[bytes], tmp_path: Path, line: bytes
) -> None:
    bare = lines[0][: lines[0].rindex(b', "crc32"')] + b"}\n"
    with pytest.raises(InputError, match="line 2 is damaged"):
        read(tmp_path, bare + line, form)


# The list of images

GOOD = [
    {"image_id": n + 1, "regions": 2, "true": [0, 1], "ranks": [0, 4], "known": [n, n - 1.5],
     "baseline_ranks": {"clip-pool": [1, 1]}}
    for n in range(IMAGES)
]  # fmt: skip


def image_list(tmp_path: Path, entries: list[Any]) -> Path:
    path = tmp_path / "images.jsonl"
    path.write_text("".join(f"{e if isinstance(e, str) else json.dumps(e)}\n" for e in entries))
    return path


def test_the_list_of_images_is_summed_up(
    place: Path, annotations: AnnotationSet, tmp_path: Path
) -> None:
    entries = [*GOOD[:4], {"image_id": 5, "failed": "no such image file"}]
    asked = config(place, tmp_path)
    learnt = np.arange(len(annotations.vocabulary)) == 0
    found = read_image_list(asked, image_list(tmp_path, entries), annotations, learnt)
    assert (found.images, found.failed) == (5, ["no such image file"])
    assert found.naming.figures().top1["all"] == 0.5
    assert found.baselines["clip-pool"].figures().top1["all"] == 0
    assert found.unknown is not None
    of_pairs = [n > m - 1.5 for n in range(4) for m in range(4)]  # 0 to 3 against -1.5 to 1.5
    assert found.unknown.figures() == UnknownFigures(np.mean(of_pairs), 4, 4)


def test_a_list_of_an_earlier_version_has_no_scores_of_known_classes(
    place: Path, annotations: AnnotationSet, tmp_path: Path
) -> None:
    before = {name: value for name, value in GOOD[1].items() if name != "known"}
    learnt = np.arange(len(annotations.vocabulary)) == 0
    path = image_list(tmp_path, [GOOD[0], before, *GOOD[2:]])
    found = read_image_list(config(place, tmp_path), path, annotations, learnt)
    assert found.unknown is None
    assert found.naming.figures().top1["all"] == 0.5


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (GOOD[:4], "4 of 5 images"),
        ([*GOOD, GOOD[4]], "image 5 is not the next"),
        ([GOOD[1], *GOOD[1:]], "image 2 is not the next"),
        (["[]", *GOOD[1:]], "line 1"),
        (['{"image_id": 1, "regions"', *GOOD[1:]], "line 1"),
        (["[" * 100_000, *GOOD[1:]], "line 1"),
        ([{**GOOD[0], "true": [0, 99]}, *GOOD[1:]], "from 0 to 4"),
        ([{**GOOD[0], "ranks": [0]}, *GOOD[1:]], "a rank for each"),
        ([{**GOOD[0], "ranks": [0, -1]}, *GOOD[1:]], "from 0 to 4"),
        ([{**GOOD[0], "ranks": [0, 10**400]}, *GOOD[1:]], "line 1"),
        ([{**GOOD[0], "known": [1.0]}, *GOOD[1:]], "a score for each"),
        ([{**GOOD[0], "ranks": "01"}, *GOOD[1:]], "Expected `array`"),
        ([{**GOOD[0], "baseline_ranks": {}}, *GOOD[1:]], "a rank for each"),
        ([{**GOOD[0], "failed": 3}, *GOOD[1:]], "line 1"),
    ],
)
def test_a_damaged_list_of_images_is_refused(
    place: Path, annotations: AnnotationSet, tmp_path: Path, changed: list[Any], why: str
) -> None:
    path = image_list(tmp_path, changed)
    learnt = np.zeros(len(annotations.vocabulary), dtype=bool)
    with pytest.raises(InputError, match=rf"images\.jsonl: it is damaged \(.*{why}"):
        read_image_list(config(place, tmp_path), path, annotations, learnt)
    assert files_of(tmp_path)


# Settings


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_images": 10**6}, {"workers": 10**5}, {"pairs": 10**12}, {"detections": 2**62},
        {"gallery": 61}, {"propose": {"points_per_side": 10**4}}, {"proposals": ""},
        {"ray": {"actors": 10**9}}, {"ray": {"threads": 10**9}}, {"ray": {"gpus": 1e9}},
        {"shard": {"index": 1, "of": 10**9}}, {"baseline": [""]}, {"protocol": ""},
    ],
)  # fmt: skip
def test_settings_are_bounded(place: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    (key,) = changes
    with pytest.raises(InputError, match=key):
        config(place, tmp_path, **changes)
