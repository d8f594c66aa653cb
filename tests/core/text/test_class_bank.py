"""Class embeddings: the order of averaging, and a file that holds exactly what was saved."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xxhash

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError
from regionspot_core.testing import make_bank
from regionspot_core.text.class_bank import FORMAT, ClassBank, average_templates
from regionspot_core.text.class_text import ClassText


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


def sealed(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    """Change a bank's content as somebody would who can compute checksums."""

    def spoil(path: Path) -> None:
        content = io.BytesIO(path.read_bytes()[512:])
        with h5py.File(content, "a") as file:
            change(file)
        total = xxhash.xxh3_64_hexdigest(content.getvalue())
        header = f"{FORMAT}, HDF5 from byte 512: {len(content.getvalue())} bytes, XXH3 {total}\n"
        path.write_bytes(header.encode().ljust(512, b"\0") + content.getvalue())

    return spoil


def replaced(name: str, value: object = None, **options: Any) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None or options:
            file.create_dataset(name, data=value, **options)

    return sealed(change)


def attribute(name: str, value: object) -> Callable[[Path], None]:
    return sealed(lambda file: file.attrs.__setitem__(name, value))


def linked(name: str) -> Callable[[Path], None]:
    """An array that is another file's, which reading would open wherever it is."""

    def spoil(path: Path) -> None:
        other = path.with_name("other.h5")
        bank().save(other)

        def change(file: h5py.File) -> None:
            del file[name]
            file[name] = h5py.ExternalLink(str(other), name)

        sealed(change)(path)

    return spoil


def soft(file: h5py.File) -> None:
    file.move("names", "elsewhere")
    file["names"] = h5py.SoftLink("/elsewhere")


def virtual(file: h5py.File) -> None:
    del file["embeddings"]
    layout = h5py.VirtualLayout(shape=(2, 12), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "embeddings", shape=(2, 12))
    file.create_virtual_dataset("embeddings", layout)


def vocabulary(**changed: object) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        values = json.loads(file["vocabulary"][0]) | changed
        file["vocabulary"][0] = json.dumps(values)

    return sealed(change)


def texts(name: str, *values: str) -> Callable[[Path], None]:
    return replaced(name, list(values), dtype=h5py.string_dtype())


def described(*values: str) -> Callable[[Path], None]:
    """A bank that has descriptions, which :func:`bank` has none of."""
    kind = h5py.string_dtype()
    return sealed(lambda file: file.create_dataset("descriptions", data=list(values), dtype=kind))


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_one_changed_bit_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "bank.h5"
    bank().save(path)
    whole = path.read_bytes()
    step = len(whole) // 500
    for at in range(0, len(whole), step):
        content = bytearray(whole)
        content[at] ^= 1 << (at // step) % 8
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            ClassBank.load(path)
    for cut in (whole[:-1], whole + b"\0", whole[:512]):
        path.write_bytes(cut)
        with pytest.raises(InputError, match="damaged"):
            ClassBank.load(path)


def test_any_hdf5_reader_opens_a_bank(tmp_path: Path) -> None:
    bank().save(tmp_path / "bank.h5")
    with h5py.File(tmp_path / "bank.h5") as file:
        assert np.array_equal(file["embeddings"][...], bank().embeddings)
        assert file.attrs["wording"] == "raw"


def test_a_bank_from_before_checksums_loads_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was what lies behind the checksum now, byte for byte."""
    path = tmp_path / "bank.h5"
    path.write_bytes(bank().content()[512:])
    loaded, saved = ClassBank.load(path), bank()
    assert np.array_equal(loaded.embeddings, saved.embeddings)
    assert replace(loaded, embeddings=saved.embeddings) == saved
    assert "written before class banks had checksums" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nothing, "no such class bank"),
        (a_folder, "expected a file, found a folder"),
        (no_bytes, "expected a class bank, .* got another file"),
        (other_bytes, "expected a class bank, .* got another file"),
        (half, "the class bank is damaged"),
        (one_bit, "the class bank is damaged"),
        (
            attribute("format", "regionspot class bank 99"),
            f"expected a '{FORMAT}' file, got 'regionspot class bank 99'",
        ),
        (sealed(lambda file: file.attrs.__delitem__("format")), "no format mark"),
        (sealed(lambda file: file.attrs.__delitem__("clip")), "clip: required, but not given"),
        (attribute("logit_scale", np.nan), "logit_scale: "),
        (attribute("logit_scale", -1.0), "logit_scale: .* greater than 0"),
        (attribute("logit_scale", [1.0, 2.0]), "logit_scale: "),
        (attribute("synonyms", "perhaps"), "synonyms: "),
        (attribute("wording", 3), "wording: "),
        (attribute("clip", "[" * 60_000), "clip: "),
        (attribute("clip", "[]"), "clip: "),
        (replaced("embeddings"), "expected an array embeddings in the file itself, got none"),
        (
            replaced("embeddings", np.zeros((5, 3), dtype=np.float32)),
            r"its 2 classes, got an array of shape \(5, 3\)",
        ),
        (replaced("embeddings", np.zeros((2, 3), dtype=np.int32)), "floating-point embeddings"),
        (replaced("embeddings", np.zeros((2, 0), dtype=np.float32)), "embeddings of a width up to"),
        (replaced("embeddings", np.zeros(2, dtype=np.float32)), "embeddings of 2 axes"),
        (replaced("embeddings", np.full((2, 3), np.nan, dtype=np.float32)), "finite embeddings"),
        (replaced("embeddings", shape=(10**7, 10**6), dtype="f4"), "in the file itself, plain"),
        (replaced("embeddings", np.zeros((2, 3)), compression="gzip"), "in the file itself, plain"),
        (replaced("names", shape=(10**9,), dtype=h5py.string_dtype()), "in the file itself, plain"),
        (replaced("templates", [1, 2]), "expected texts as templates, got int"),
        (described('["a"]'), "expected the descriptions of 2 classes, got 1"),
        (described('["a"]', "[1]"), r"descriptions\.1\.0: "),
        (texts("words", '["a"]'), "expected the words of 2 classes and one vocabulary, got 1"),
        (texts("words", '["a"]', "[]"), r"words\.1: "),
        (texts("words", '["a"]', '["\\ud800"]'), r"words\.1: "),
        (texts("words", '["a"]', "[" * 100_000), r"words\.1: "),
        (texts("vocabulary", "{"), "vocabulary: "),
        (texts("vocabulary", "{}", "{}"), "one vocabulary, got 2 and 2"),
        (vocabulary(ids=["x", 3]), r"vocabulary\.ids\.0: "),
        (vocabulary(ids=[7]), "a vocabulary needs one of each for every class"),
        (vocabulary(ids=[7, 7]), "ids must differ"),
        (vocabulary(other=1), "unknown key"),
        (linked("embeddings"), "got none or a link"),
        (linked("names"), "got none or a link"),
        (sealed(soft), "got none or a link"),
        (sealed(virtual), "in the file itself, plain"),
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
    assert len(str(caught.value)) < 500
