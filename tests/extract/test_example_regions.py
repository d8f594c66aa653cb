"""`extract text --examples`: class embeddings from regions that show the classes."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import FingerprintError, InputError
from regionspot_core.text.class_bank import ClassBank
from regionspot_extract.config import ExamplesConfig
from regionspot_extract.examples import read_examples
from regionspot_extract.text import TextBankConfig, make_bank

NAMES = Vocabulary.from_names(["part 7", "part 8"])
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
ROWS = [
    ("a.png", 0, 0, 10, 10, "part 8"),
    ("a.png", 30, 30, 40, 40, "part 7"),
    ("b.png", 0, 0, 10, 10, "part 7"),
]
"""Boxes on a red, a green and a blue square."""


class ColourClip:
    """Embeds a picture by its mean colour, of any length, and every text as (1, 1, 1) / √3."""

    text_width = 3
    logit_scale = 50.0

    def fingerprint(self) -> dict[str, object]:
        return {"name": "colour", "input": 8}

    def text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.full((len(texts), 3), 3**-0.5)

    def prepare(self, image: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(image.mean((0, 1)))

    def image_embeddings(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack(list(images)).float()


def write_examples(folder: Path, rows: Sequence[Sequence[object]] = ROWS) -> Path:
    folder.mkdir(exist_ok=True)
    for name, squares in {"a.png": {0: RED, 25: GREEN}, "b.png": {0: BLUE}}.items():
        pixels = np.zeros((50, 50, 3), dtype=np.uint8)
        for corner, colour in squares.items():
            # Larger than the box by more than its surroundings that a crop takes in.
            pixels[corner : corner + 20, corner : corner + 20] = colour
        Image.fromarray(pixels).save(folder / name)
    file = folder / "examples.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("file", "x1", "y1", "x2", "y2", "name"), *rows])
    return file


def config(out: Path, file: Path | None = None, **examples: object) -> TextBankConfig:
    values = {"out": out, "text": {"templates": "simple"}, "examples": {"file": file} | examples}
    return TextBankConfig.parse(values, source="test")


def build(config: TextBankConfig, names: Vocabulary = NAMES) -> ClassBank:
    return make_bank(config, names, ColourClip(), read_examples(config.examples, names)).bank  # type: ignore[arg-type] # what a bank asks of it


def unit(*values: float) -> NDArray[np.float64]:
    return np.asarray(np.array(values) / np.linalg.norm(values))


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_regions_are_averaged_by_class_and_mixed_with_the_texts(
    share: float, tmp_path: Path
) -> None:
    file = write_examples(tmp_path / "shown")
    bank = build(config(tmp_path / "bank.h5", file, share=share))
    text = unit(1, 1, 1)
    # part 7 is green and blue, part 8 is red
    expected = [
        unit(*((1 - share) * text + share * shown)) for shown in (unit(0, 1, 1), unit(1, 0, 0))
    ]
    np.testing.assert_allclose(bank.embeddings, expected, atol=1e-6)
    read = ClassBank.load(tmp_path / "bank.h5")
    assert read.examples == bank.examples
    assert read.examples is not None
    assert (read.examples.regions, read.examples.share) == (3, share)
    np.testing.assert_array_equal(read.embeddings, bank.embeddings)


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    file = write_examples(tmp_path / "shown")
    beside = build(config(tmp_path / "beside.h5", file))
    moved = file.rename(tmp_path / "moved.csv")
    with pytest.raises(InputError, match="the folder that the file names start from"):
        build(config(tmp_path / "bank.h5", moved))
    elsewhere = build(config(tmp_path / "bank.h5", moved, images=tmp_path / "shown"))
    np.testing.assert_array_equal(elsewhere.embeddings, beside.embeddings)


def test_a_finished_bank_is_left_alone_and_other_examples_are_refused(tmp_path: Path) -> None:
    file = write_examples(tmp_path / "shown")
    out = tmp_path / "bank.h5"
    build(config(out, file))
    written = out.read_bytes()
    build(config(out, file))
    assert out.read_bytes() == written
    for other in (config(out, file, share=0.4), config(out)):
        with pytest.raises(FingerprintError, match="was made otherwise"):
            build(other)
    Image.fromarray(np.full((50, 50, 3), 9, dtype=np.uint8)).save(tmp_path / "shown" / "b.png")
    with pytest.raises(FingerprintError, match="other examples"):
        build(config(out, file))


def test_a_bank_of_examples_is_of_one_image_input(tmp_path: Path) -> None:
    bank = build(config(tmp_path / "bank.h5", write_examples(tmp_path / "shown")))
    other = {"name": "colour", "input": 9}
    replace(bank, examples=None).require_clip(other, what="bank")
    with pytest.raises(FingerprintError, match="input"):
        bank.require_clip(other, what="bank")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:1], r"expected a region of each of 2 classes, got none of 'part 7'; .* add regions"),
        ([*ROWS, ("b.png", 0, 0, 5, 5, "part 9")], "expected names of the vocabulary alone"),
        ([*ROWS, ("c.png", 0, 0, 5, 5, "part 7")], r"1 image cannot be found or read .*--images"),
    ],
)
def test_unusable_examples_are_refused(
    rows: Sequence[Sequence[object]], message: str, tmp_path: Path
) -> None:
    file = write_examples(tmp_path / "shown", rows)
    with pytest.raises(InputError, match=message):
        build(config(tmp_path / "bank.h5", file))
    assert not (tmp_path / "bank.h5").exists()


def test_images_without_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="--examples FILE, which is not given"):
        ExamplesConfig(images=tmp_path)
