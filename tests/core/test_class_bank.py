"""Class embeddings: the order of averaging, and a file that holds exactly what was saved."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from regionspot_core.class_bank import FORMAT, ClassBank, average_templates
from regionspot_core.class_text import ClassText
from regionspot_core.errors import InputError
from regionspot_core.testing import make_bank
from regionspot_core.vocabulary import Vocabulary


def bank() -> ClassBank:
    vocabulary = Vocabulary(
        names=("bat_(animal)", "naïve 人"),
        ids=(7, 3),
        frequencies=("r", ""),
        kinds=("", "unseen"),
        synonyms=(("naïve bat",), ()),
    )
    return replace(
        make_bank(vocabulary),
        logit_scale=99.99999237060547,
        text=ClassText(
            words=(("bat_(animal)", "naïve bat"), ("naïve 人",)),
            templates=("a photo of a {}.", "un {} là", "{}."),
            wording="raw",
            synonyms=True,
        ),
        clip={"name": "ViT-B-16", "mean": [0.48145466], "resize": "square"},
    )


def test_prompts_are_averaged_before_they_are_normalised() -> None:
    """Normalising first would weigh the long and the short prompt alike: (1, 1) / √2."""
    prompts = np.array([[[3.0, 0.0], [0.0, 4.0]], [[0.0, -2.0], [0.0, -6.0]]])
    averaged = average_templates(prompts)
    assert averaged.dtype == np.float32
    assert np.allclose(averaged, [[0.6, 0.8], [0.0, -1.0]], atol=1e-7)


def test_one_prompt_is_only_normalised() -> None:
    assert np.allclose(average_templates(np.array([[[0.0, 5e-3, 0.0]]])), [[0, 1, 0]])


def test_half_precision_prompts_are_averaged_in_full_precision() -> None:
    """81 × 1000 is beyond float16's 65504."""
    assert np.allclose(average_templates(np.full((1, 81, 4), 1000, dtype=np.float16)), 0.5)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    saved = bank()
    saved.save(tmp_path / "bank.h5")
    loaded = ClassBank.load(tmp_path / "bank.h5")
    assert loaded.embeddings.dtype == np.float32
    assert loaded.embeddings.tobytes() == saved.embeddings.tobytes()
    assert replace(loaded, embeddings=saved.embeddings) == saved


def test_a_vocabulary_of_many_thousand_names_fits(tmp_path: Path) -> None:
    """Its text is far beyond the 64 KiB that HDF5 keeps in an attribute's own place."""
    saved = make_bank(Vocabulary.from_names([f"a long class name {k}" for k in range(20_000)]))
    saved.save(tmp_path / "bank.h5")
    assert ClassBank.load(tmp_path / "bank.h5").vocabulary == saved.vocabulary


def test_equal_banks_are_equal_bytes(tmp_path: Path) -> None:
    bank().save(tmp_path / "one.h5")
    bank().save(tmp_path / "two.h5")
    replace(bank(), logit_scale=20.0).save(tmp_path / "other.h5")
    raw = (tmp_path / "one.h5").read_bytes()
    assert raw == (tmp_path / "two.h5").read_bytes()
    assert raw != (tmp_path / "other.h5").read_bytes()
    with h5py.File(tmp_path / "one.h5") as file:  # nor does the second it was written in tell
        assert {h5py.h5g.get_objinfo(file.id, name.encode()).mtime for name in file} == {0}


def test_saving_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "bank.h5"
    path.write_bytes(b"older")
    bank().save(path)
    assert ClassBank.load(path).text == bank().text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("shape", [(0,), (2,), (3, 12), (2, 12, 1)])
def test_an_embedding_for_every_class_is_required(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="its 2 classes, got an array of shape"):
        replace(bank(), embeddings=np.zeros(shape, dtype=np.float32))


def nothing(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def other_bytes(path: Path) -> None:
    path.write_text("not HDF5 at all\n" * 50)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def another_format(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["format"] = "regionspot class bank 99"


def a_plain_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["embeddings"] = np.zeros((2, 3))


def no_embeddings(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["embeddings"]


def embeddings_of_other_classes(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["embeddings"]
        file["embeddings"] = np.zeros((5, 3))


def vocabulary_cut_short(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["vocabulary"][0] = file["vocabulary"][0][:20]


def templates_as_numbers(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["templates"]
        file["templates"] = [1, 2]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nothing, "no such class bank"),
        (a_folder, "expected a class bank, .* got a folder"),
        (no_bytes, "expected a class bank, .* got another file"),
        (other_bytes, "expected a class bank, .* got another file"),
        (half, "not a readable class bank"),
        (another_format, f"expected a '{FORMAT}' file, got 'regionspot class bank 99'"),
        (a_plain_hdf5, "no format mark"),
        (no_embeddings, "not a readable class bank"),
        (embeddings_of_other_classes, r"its 2 classes, got an array of shape \(5, 3\)"),
        (vocabulary_cut_short, "not a readable class bank"),
        (templates_as_numbers, "not a readable class bank"),
    ],
)
def test_a_file_that_is_no_whole_bank_is_refused(
    spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bank.h5"
    bank().save(path)
    spoil(path)
    with pytest.raises(InputError, match=message) as caught:
        ClassBank.load(path)
    assert str(caught.value).startswith(f"{path}: ")
