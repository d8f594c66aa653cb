"""Results and proposals of any content: read, or refused in one sentence at once."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lvis_runs import make_annotations, read_detections, write_annotations

from regionspot_core.datasets.reading import read_annotations, read_table
from regionspot_core.errors import AnnotationError
from regionspot_evaluate.proposals.files import read_proposals
from regionspot_evaluate.scoring.results import read_results

Reader = Callable[[Path], Any]
GOOD = {"image_id": 1, "category_id": 10, "bbox": [0, 0, 5, 5], "score": 0.5}
DEEP = "[" * 100_000 + "]" * 100_000
LONG = "9" * 400
LONGER = "9" * 5_000


def entry(**changes: str) -> str:
    """A list of one detection, with some values as JSON's own text."""
    values = {key: json.dumps(value) for key, value in GOOD.items()} | changes
    return "[{" + ", ".join(f'"{key}": {value}' for key, value in values.items()) + "}]"


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    return write_annotations(folder, make_annotations(np.random.default_rng(0), images=3))


@pytest.fixture(scope="module")
def readers(truth: Path) -> dict[str, Reader]:
    annotations = read_annotations(truth)
    columns = read_table(truth, masks=True).truth(federated=True)

    return {
        "score boxes": lambda path: read_results(path, columns, ious=("bbox",)),
        "score masks": lambda path: read_results(path, columns, ious=("segm",)),
        "report": lambda path: read_detections(path, annotations),
        "proposals": lambda path: read_proposals(path, annotations),
    }


READERS = ("score boxes", "score masks", "report", "proposals")


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "content",
    [
        "", "3", "null", "{", DEEP, "[" * 100_000, LONGER, f"[{LONGER}]", "[NaN]", "[[]]", "[{}]",
        entry(bbox=DEEP), entry(score=LONG), entry(score=LONGER), entry(score="NaN"),
        entry(score="-1"), entry(score="1e999"), entry(score='"high"'), entry(score="null"),
        entry(image_id=LONG), entry(image_id="[1]"), entry(image_id="{}"), entry(image_id="1.5"),
        entry(bbox="3"), entry(bbox="[1, 2, 3]"), entry(bbox=f"[{LONG}, 0, 1, 1]"),
        entry(bbox="[NaN, 0, 1, 1]"), entry(bbox='["\\ud800", 0, 1, 1]'), entry(bbox="{}"),
        entry(segmentation=DEEP, score="7"), "\x00", "\ufeff[", "[1", '["\\u0000"]',
    ],
    ids=lambda content: content[:40] or "empty",
)  # fmt: skip
def test_what_is_no_result_is_refused_in_a_sentence(
    readers: dict[str, Reader], tmp_path: Path, name: str, content: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(AnnotationError, match=re.escape(str(path))) as caught:
        readers[name](path)
    assert len(str(caught.value)) < len(str(path)) + 600


@pytest.mark.parametrize(
    "mask",
    ["3", "[]", "[[1, 2]]", DEEP, f'{{"size": [80, 120], "counts": [{LONG}]}}',
     f'{{"size": [{LONG}, 1], "counts": "0"}}', '{"size": [80, 120], "counts": "~~~~"}',
     '{"size": [9000000000, 9000000000], "counts": [81000000000000000000]}',
     '{"size": [80, 120], "counts": "\\ud800"}', '[[NaN, 0, 1, 1, 2, 2]]',
     f"[[{LONG}, 0, 1, 1, 2, 2]]", '[["a", 0, 1, 1, 2, 2]]', '{"size": [], "counts": []}'],
    ids=lambda mask: mask[:40],
)  # fmt: skip
def test_what_is_no_mask_is_refused(readers: dict[str, Reader], tmp_path: Path, mask: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(entry(segmentation=mask), encoding="utf-8")
    with pytest.raises(AnnotationError, match=r"segmentation|mask|nests too deeply") as caught:
        readers["score masks"](path)
    assert len(str(caught.value)) < len(str(path)) + 600


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["a pipe", "a folder"])
def test_what_is_no_file_is_not_waited_for(
    readers: dict[str, Reader], tmp_path: Path, name: str, kind: str
) -> None:
    path = tmp_path / "results.json"
    (os.mkfifo if kind == "a pipe" else Path.mkdir)(path)
    with pytest.raises(AnnotationError, match=f"expected .* got {kind}"):
        readers[name](path)


@pytest.mark.parametrize("option", ["--detections", "--annotations"])
def test_the_command_does_not_wait_for_a_pipe(
    regionspot: Callable[..., Any], truth: Path, tmp_path: Path, option: str
) -> None:
    pipe, good = tmp_path / "pipe", tmp_path / "results.json"
    os.mkfifo(pipe)
    good.write_text(json.dumps([GOOD]))
    given = {"--detections": good, "--annotations": truth, option: pipe}
    words = [str(word) for pair in given.items() for word in pair]
    done = regionspot("evaluate", "score", *words)
    assert done.returncode == 2
    assert f"{option} {pipe}: expected a" in done.stderr
    assert "a pipe" in done.stderr
