"""Class embeddings from a text tower: which texts, in what order averaged, and in what batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.registry import load_image_text_encoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import FingerprintError, InputError
from regionspot_core.support.progress import say_once
from regionspot_core.text.alike import alike
from regionspot_core.text.class_text import ClassText, TextConfig
from regionspot_core.text.embed import build_class_bank, class_batches, load_class_bank
from regionspot_core.text.templates import load_templates


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return load_image_text_encoder("tiny", runtime=Runtime(torch.device("cpu")))


VOCABULARY = Vocabulary(
    names=("solid_red_star", "ring"), ids=(1, 2), synonyms=((), ("ring", "striped blue ring"))
)


def test_the_named_sets() -> None:
    paper, openai, simple = (load_templates(name) for name in ("paper", "openai", "simple"))
    assert [len(paper), len(openai), len(simple)] == [81, 80, 7]
    assert paper == (*openai, "{}.")
    assert "a bad photo of a {}." in openai
    assert set(simple) < set(openai)
    assert len(set(paper)) == 81
    assert all(template.count("{}") == 1 for template in paper)


def test_templates_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a {} here\n")
    assert load_templates(str(tmp_path / "mine.txt")) == ("a {} here",)
    with pytest.raises(InputError, match="neither a file nor one of paper, openai, simple"):
        load_templates("papr")


@pytest.mark.parametrize("synonyms", [False, True])
def test_a_bank_is_the_mean_of_unnormalised_texts(encoder: ClipEncoder, synonyms: bool) -> None:
    config = TextConfig(templates="simple", wording="cleaned", synonyms=synonyms)
    bank = build_class_bank(encoder, VOCABULARY, config)
    words = [["solid red star"], ["ring", "striped blue ring"] if synonyms else ["ring"]]
    for row, said in zip(bank.embeddings, words, strict=True):
        filled = [t.replace("{}", w) for w in said for t in load_templates("simple")]
        mean = encoder.text_embeddings(filled).mean(0)
        np.testing.assert_allclose(row, (mean / mean.norm()).numpy(), atol=1e-6)
    assert bank.logit_scale == encoder.logit_scale
    assert bank.clip == encoder.fingerprint()


def test_by_default_it_is_the_papers(encoder: ClipEncoder) -> None:
    text = build_class_bank(encoder, VOCABULARY).text
    assert (len(text.templates), text.wording, text.synonyms) == (81, "raw", False)


@pytest.mark.parametrize(
    ("templates", "together"), [(7, 292), (1024, 2), (1025, 1), (2048, 1), (2049, 1)]
)
def test_batches_have_about_two_thousand_texts(templates: int, together: int) -> None:
    names = Vocabulary.from_names([f"star {k}" for k in range(2 * together + 1)])
    text = ClassText.create(names, [f"{{}} {n}" for n in range(templates)], TextConfig())
    batches = list(class_batches(text))
    assert [index for batch in batches for index in batch] == list(range(2 * together + 1))
    assert [len(batch) for batch in batches] == [together, together, 1]


def test_batches_change_nothing(encoder: ClipEncoder) -> None:
    """Of 300 classes 292 are embedded together, and eight after them."""
    names = [f"star {k}" for k in range(300)]
    bank = build_class_bank(encoder, Vocabulary.from_names(names), TextConfig(templates="simple"))
    for k in (0, 291, 292, 299):
        filled = [template.replace("{}", names[k]) for template in load_templates("simple")]
        mean = encoder.text_embeddings(filled).mean(0)
        np.testing.assert_allclose(bank.embeddings[k], (mean / mean.norm()).numpy(), atol=1e-6)


def test_a_bank_is_held_against_clip_and_classes(encoder: ClipEncoder, tmp_path: Path) -> None:
    bank = build_class_bank(encoder, VOCABULARY, TextConfig(templates="simple"))
    bank.save(tmp_path / "own.h5")
    replace(bank, clip=bank.clip | {"weights": "0" * 64}).save(tmp_path / "foreign.h5")
    replace(bank, clip=bank.clip | {"input": 448, "mean": [0.5] * 3}).save(tmp_path / "larger.h5")
    for name in ("own.h5", "larger.h5"):
        assert load_class_bank(tmp_path / name, encoder, VOCABULARY).text == bank.text
    with pytest.raises(
        FingerprintError, match=r"another CLIP than this: weights: expected \w+…, found 0000"
    ):
        load_class_bank(tmp_path / "foreign.h5", encoder)
    others = Vocabulary(names=VOCABULARY.names[::-1], ids=VOCABULARY.ids)
    with pytest.raises(FingerprintError, match=r"than the annotations: names: expected \["):
        load_class_bank(tmp_path / "own.h5", encoder, others)


def test_classes_that_clip_cannot_tell_apart_are_named(
    encoder: ClipEncoder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    long = " ".join(["a dotted lime ring beside a solid red star"] * 10)
    names = ["ring", f"{long} left", "star", f"{long} right", "Star"]
    text = TextConfig(templates="simple")
    bank = build_class_bank(encoder, Vocabulary.from_names(names), text)
    assert np.array_equal(bank.embeddings[1], bank.embeddings[3])
    left, right = (f"'{long[:57]}...{f'{long} {end}'[-58:]}'" for end in ("left", "right"))
    expected = (
        f"CLIP cannot tell apart {left} and {right}; 'star' and 'Star': it reads only a text's "
        f"beginning, in lower case. Give them names that differ there\n"
    )
    assert capsys.readouterr().err == expected
    bank.save(tmp_path / "bank.h5")
    say_once.cache_clear()
    load_class_bank(tmp_path / "bank.h5", encoder)
    assert capsys.readouterr().err == expected
    build_class_bank(encoder, Vocabulary.from_names(["ring", "star"]), text)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("seed", range(4))
def test_equal_rows_are_found_whatever_their_order(seed: int) -> None:
    """Against comparing every pair; equal but for the rounding of another batch."""
    rng = np.random.default_rng(seed)
    distinct = rng.standard_normal((30, 8)).astype(np.float32)
    owner = rng.integers(0, 30, 40)
    rows = distinct[owner] + rng.uniform(-1e-7, 1e-7, (40, 8)).astype(np.float32)
    expected = [np.flatnonzero(owner == k).tolist() for k in range(30)]
    assert alike(rows) == sorted(group for group in expected if len(group) > 1)
    assert alike(rows[:1]) == alike(rows[:0]) == []
