"""`regionspot extract text`: one bank however often it was interrupted, and no mix of two."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import FingerprintError, InputError
from regionspot_core.support.fault_points import at_points
from regionspot_core.text.class_bank import ClassBank
from regionspot_extract.text import TextBankConfig, make_bank

BATCH = 292
"""Classes whose seven texts are embedded together: 2,044 texts."""
CLASSES = 6 * BATCH + 1
NAMES = Vocabulary.from_names([f"thing {k}" for k in range(CLASSES)])


class InterruptedRunError(Exception):
    """Stands for a kill."""


class FakeClip:
    """Embeds a text by its letters; may stop after so many calls."""

    name = "fake"
    text_width = 6
    logit_scale = 50.0

    def __init__(self, *, calls: int = 10**9, weights: str = "a") -> None:
        self.left = calls
        self.weights = weights
        self.texts = 0

    def fingerprint(self) -> dict[str, str]:
        return {"name": self.name, "weights": self.weights}

    def text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
        if not self.left:
            raise InterruptedRunError
        self.left -= 1
        self.texts += len(texts)
        letters = [[float(ord(letter)) for letter in text.rjust(6)[-6:]] for text in texts]
        return torch.tensor(letters)


def config(out: Path, *, backbones: dict[str, str] | None = None, **text: object) -> TextBankConfig:
    values = {"out": out, "text": {"templates": "simple"} | text, "backbones": backbones or {}}
    return TextBankConfig.parse(values, source="test")


@pytest.mark.parametrize("calls", range(7))
def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(calls: int, tmp_path: Path) -> None:
    make_bank(config(tmp_path / "whole.h5"), NAMES, FakeClip())
    with pytest.raises(InterruptedRunError):
        make_bank(config(tmp_path / "cut.h5"), NAMES, FakeClip(calls=calls))
    assert not (tmp_path / "cut.h5").exists()
    with (tmp_path / "cut.h5.unfinished" / "rows.f32").open("ab") as file:
        file.write(b"torn")  # a write that the kill cut through
    second = FakeClip()
    report = make_bank(config(tmp_path / "cut.h5"), NAMES, second)
    assert report.resumed == BATCH * calls
    assert second.texts == 7 * (CLASSES - BATCH * calls)  # nothing is embedded twice
    assert (tmp_path / "cut.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.h5", "whole.h5"]


def test_a_finished_bank_is_left_alone(tmp_path: Path) -> None:
    first = make_bank(config(tmp_path / "b.h5"), NAMES, FakeClip())
    again = make_bank(config(tmp_path / "b.h5"), NAMES, FakeClip(calls=0))
    assert (first.resumed, again.resumed) == (0, CLASSES)
    assert np.array_equal(first.bank.embeddings, again.bank.embeddings)
    assert np.array_equal(ClassBank.load(tmp_path / "b.h5").embeddings, first.bank.embeddings)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("names", "clip", "text", "message"),
    [
        (Vocabulary.from_names(["a"]), FakeClip(), {}, f"classes: expected 1, found {CLASSES}"),
        (NAMES, FakeClip(weights="b"), {}, "clip.weights: expected b, found a"),
        (NAMES, FakeClip(), {"wording": "cleaned"}, "text.wording: expected cleaned, found raw"),
        (NAMES, FakeClip(), {"templates": "openai"}, "text.templates: expected 80, found 7"),
    ],
)
def test_another_bank_at_the_same_place_is_refused(
    finished: bool,
    names: Vocabulary,
    clip: FakeClip,
    text: dict[str, object],
    message: str,
    tmp_path: Path,
) -> None:
    out = tmp_path / "b.h5"
    if finished:
        make_bank(config(out), NAMES, FakeClip())
    else:
        with pytest.raises(InterruptedRunError):
            make_bank(config(out), NAMES, FakeClip(calls=2))
    with pytest.raises(FingerprintError, match=message):
        make_bank(config(out, **text), names, clip)


def test_other_descriptions_are_not_mixed(tmp_path: Path) -> None:
    """A run goes on after an interruption with the same sentences, and with no others."""
    out, sentences = tmp_path / "b.h5", tmp_path / "sentences.json"
    sentences.write_text('{"thing 1": ["long and thin"], "thing 1700": ["{} is round"]}')
    with pytest.raises(InterruptedRunError):
        make_bank(config(out, descriptions=sentences), NAMES, FakeClip(calls=2))
    with pytest.raises(FingerprintError, match=r"text\.descriptions: expected nothing, found 2"):
        make_bank(config(out), NAMES, FakeClip())
    make_bank(config(out, descriptions=sentences), NAMES, FakeClip())
    other = tmp_path / "plain.h5"
    plain = make_bank(config(other), NAMES, FakeClip()).bank.embeddings
    differ = (ClassBank.load(out).embeddings != plain).any(axis=1)
    assert np.flatnonzero(differ).tolist() == [1, 1700]


def test_two_arithmetics_are_not_mixed(tmp_path: Path) -> None:
    out = tmp_path / "b.h5"
    half = {"precision": "bfloat16"}
    with pytest.raises(InterruptedRunError):
        make_bank(config(out), NAMES, FakeClip(calls=2))
    with pytest.raises(FingerprintError, match="precision: expected bfloat16, found float32"):
        make_bank(config(out, backbones=half), NAMES, FakeClip())
    made = make_bank(config(tmp_path / "half.h5", backbones=half), NAMES, FakeClip())
    assert ClassBank.load(tmp_path / "half.h5").precision == made.bank.precision == "bfloat16"


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        make_bank(config(tmp_path / "b.h5"), NAMES, FakeClip(calls=2))
    for damage in ("{", "[]"):
        (tmp_path / "b.h5.unfinished" / "plan.json").write_text(damage)
        with pytest.raises(InputError, match="expected the plan of an unfinished bank; delete"):
            make_bank(config(tmp_path / "b.h5"), NAMES, FakeClip())


def test_a_second_run_waits_for_the_first_and_takes_its_bank(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first run stands still in its third batch until the second has said that it waits."""
    held, waiting = threading.Event(), threading.Event()

    class SlowClip(FakeClip):
        def text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
            if self.texts == 2 * 7 * BATCH:
                held.set()
                assert waiting.wait(30)
            return super().text_embeddings(texts)

    def tell(point: str, _: int) -> None:
        if point == "wait for lock":
            waiting.set()

    out, second = tmp_path / "b.h5", FakeClip()
    with ThreadPoolExecutor(2) as pool, at_points(tell):
        first = pool.submit(make_bank, config(out), NAMES, SlowClip())
        assert held.wait(30)
        report = pool.submit(make_bank, config(out), NAMES, second).result(60)
        assert first.result(60).resumed == 0
    assert (report.resumed, second.texts) == (CLASSES, 0)
    assert np.array_equal(report.bank.embeddings, first.result().bank.embeddings)
    assert [path.name for path in tmp_path.iterdir()] == ["b.h5"]
    assert f"another run makes {out}" in " ".join(capsys.readouterr().err.split())


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected an existing folder"):
        make_bank(config(tmp_path / "absent" / "b.h5"), NAMES, FakeClip())
    (tmp_path / "text.h5").write_text("no bank")
    with pytest.raises(InputError, match=r"expected a class bank, .* got another file"):
        make_bank(config(tmp_path / "text.h5"), NAMES, FakeClip())
