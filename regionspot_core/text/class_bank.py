"""Class embeddings: one unit vector a class, kept with its vocabulary in an HDF5 file.

The file's first 512 bytes are what HDF5 calls a user block, which its readers pass over. Ours holds
a checksum of the rest, so that a changed bit is found before HDF5 reads any of it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, Json

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError
from regionspot_core.fingerprint import require_equal
from regionspot_core.support.checksums import FileSum
from regionspot_core.support.files import written_aside
from regionspot_core.support.progress import say
from regionspot_core.support.records import Record, read_small
from regionspot_core.text.class_text import ClassText

FORMAT = "regionspot class bank 2"
HEADER_BYTES = 512
HDF5 = b"\x89HDF\r\n\x1a\n"
"""First bytes of every HDF5 file, behind its user block."""
MOST_BYTES = 2**35
MOST_CLASSES = 10**7
WIDEST = 65_536
IMAGE_FIELDS = frozenset({"input", "resize", "mean", "std"})
"""Keys of a CLIP's fingerprint about images, on which texts do not depend."""


class Examples(Record):
    """Regions whose embeddings are a part of each class's."""

    regions: int = Field(ge=1)
    share: float = Field(gt=0, le=1)
    """Their share of a class's embedding; the texts have the rest."""
    sha256: str
    """Checksum of the regions, their names and the pixels of their images."""


@dataclass(frozen=True)
class ClassBank:
    """The text side of a vocabulary, as the frozen CLIP sees it."""

    vocabulary: Vocabulary
    embeddings: NDArray[np.float32]
    """(K, D), each row of length 1."""
    logit_scale: float
    """``exp`` of CLIP's learned logit scale: 100 for OpenAI's models."""
    text: ClassText
    """The texts that were averaged for each class."""
    clip: dict[str, Any]
    """Fingerprint of the CLIP that made it."""
    precision: str = "float32"
    """Precision of the towers' arithmetic."""
    examples: Examples | None = None
    """Regions that were averaged beside the texts, if any."""

    def __post_init__(self) -> None:
        shape = self.embeddings.shape
        if len(shape) != 2 or shape[0] != len(self.vocabulary):
            raise InputError(
                f"a class bank needs one embedding for each of its {len(self.vocabulary)} "
                f"classes, got an array of shape {shape}"
            )

    def content(self) -> bytes:
        """Return the bytes of the bank's file: the same bank gives the same bytes."""
        vocabulary = self.vocabulary.to_json()
        with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
            file.attrs["format"] = FORMAT
            file.attrs["logit_scale"] = self.logit_scale
            file.attrs["wording"] = self.text.wording
            file.attrs["synonyms"] = self.text.synonyms
            file.attrs["precision"] = self.precision
            file.attrs["clip"] = json.dumps(self.clip, sort_keys=True)
            _write_texts(file, "names", vocabulary.pop("names"))
            _write_texts(file, "templates", self.text.templates)
            _write_texts(file, "words", [_dump(words) for words in self.text.words])
            _write_texts(file, "vocabulary", [_dump(vocabulary)])
            if self.text.descriptions:
                file.attrs["description_share"] = self.text.description_share
                _write_texts(file, "descriptions", [_dump(each) for each in self.text.descriptions])
            if self.examples is not None:
                file.attrs["examples"] = self.examples.model_dump_json()
            file.create_dataset("embeddings", data=self.embeddings, track_times=False)
            file.flush()
            image = bytes(file.id.get_file_image())
        return _header(image) + image

    def save(self, path: Path) -> None:
        """Write the bank to ``path``, replacing it in one step."""
        # Written by HDF5 itself, a full disk would be an error without a name.
        content = self.content()
        with written_aside(path) as partial:
            partial.write_bytes(content)

    def require_clip(self, clip: dict[str, Any], *, what: str) -> None:
        """Refuse a CLIP other than the one that made the bank.

        Of a bank of texts alone, whatever the image input is.

        Raises:
            FingerprintError: They differ; the fields are named.
        """
        left_out = IMAGE_FIELDS if self.examples is None else frozenset()
        ours, theirs = (
            {key: value for key, value in fingerprint.items() if key not in left_out}
            for fingerprint in (self.clip, clip)
        )
        require_equal(
            theirs,
            ours,
            what=f"{what} was made by another CLIP than this",
            advice="Make it again with `regionspot extract text` and this --clip",
        )

    def require_vocabulary(self, vocabulary: Vocabulary, *, what: str) -> None:
        """Refuse a data set whose classes are not the bank's, in the bank's order.

        Raises:
            FingerprintError: Names, ids or their order differ.
        """
        wanted, found = (
            {"names": list(v.names), "ids": list(v.ids)} for v in (vocabulary, self.vocabulary)
        )
        require_equal(
            wanted,
            found,
            what=f"{what} is of other classes than the annotations",
            advice="Make it again with `regionspot extract text --vocabulary` and this annotation "
            "file",
        )

    @classmethod
    def load(cls, file: Path | BinaryIO, *, name: str = "") -> ClassBank:
        """Read the bank that :meth:`save` wrote; ``name`` says in messages what is read.

        Raises:
            InputError: The file is missing or is not a class bank.
        """
        name = name or str(file)
        if isinstance(file, Path):
            try:
                content = read_small(file, most_bytes=MOST_BYTES)
            except (FileNotFoundError, NotADirectoryError):
                raise InputError(
                    f"{name}: no such class bank; `regionspot extract text` writes one"
                ) from None
        else:
            content = file.read()
        image = _image(content, name)
        if image is content and isinstance(file, Path):
            say(f"{name}: written before class banks had checksums; damage could not be told")
        try:
            with h5py.File(io.BytesIO(image), "r") as opened:
                values, embeddings = _read(opened)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        except Exception as error:  # h5py raises whatever a damaged file leads it to
            raise InputError(f"{name}: not a readable class bank ({error})") from None
        found = _BankFile.parse(values, source=name)
        try:
            return cls(
                vocabulary=found.vocabulary.named(found.names),
                embeddings=embeddings,
                logit_scale=found.logit_scale,
                text=found.text(),
                clip=found.clip,
                precision=found.precision,
                examples=found.examples,
            )
        except InputError as error:
            raise InputError(f"{name}: {error}") from None


class _VocabularyRecord(Record):
    """The vocabulary in a bank, but for the names."""

    ids: list[int]
    frequencies: list[str]
    kinds: list[str]
    synonyms: list[list[str]] = Field(default_factory=list)

    def named(self, names: Sequence[str]) -> Vocabulary:
        return Vocabulary.from_json({**self.model_dump(), "names": names})


class _BankFile(Record):
    """The content of a bank's file, but for the embeddings."""

    logit_scale: float = Field(gt=0, le=1e6)
    wording: str
    synonyms: bool
    precision: str
    clip: Json[dict[str, Any]]
    names: list[str]
    templates: list[str]
    words: list[Json[Annotated[list[str], Field(min_length=1)]]]
    descriptions: list[Json[list[str]]] = Field(default_factory=list)
    description_share: float = Field(default=1.0, gt=0, le=1)
    examples: Json[Examples] | None = None
    vocabulary: Json[_VocabularyRecord]

    def text(self) -> ClassText:
        """Return the texts that were averaged."""
        return ClassText(
            tuple(map(tuple, self.words)),
            tuple(self.templates),
            self.wording,
            self.synonyms,
            tuple(map(tuple, self.descriptions)),
            self.description_share,
        )


def _header(image: bytes) -> bytes:
    """Return the user block before an HDF5 file's bytes."""
    total = FileSum.of([image])
    text = f"{FORMAT}, HDF5 from byte {HEADER_BYTES}: {total.size} bytes, XXH3 {total.xxh3}\n"
    return text.encode().ljust(HEADER_BYTES, b"\0")


def _image(content: bytes, name: str) -> bytes:
    """Return the HDF5 file in a bank's content; all of it if it has no checksum.

    Raises:
        InputError: It is damaged, or another file.
    """
    if content.startswith(HDF5):
        return content
    image = content[HEADER_BYTES:]
    if content[:HEADER_BYTES] == _header(image):
        return image
    if image.startswith(HDF5) or content.startswith(FORMAT.encode()):
        raise InputError(
            f"{name}: the class bank is damaged; take another copy, or delete it and make it again "
            f"with `regionspot extract text`"
        )
    raise InputError(
        f"{name}: expected a class bank, the HDF5 file that `regionspot extract text` writes; got "
        f"another file"
    )


def _read(file: h5py.File) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Read all values, checked for their shapes alone, and the embeddings.

    Raises:
        InputError: The file has another format, or arrays that it does not hold itself.
    """
    if file.attrs.get("format") != FORMAT:
        found = file.attrs.get("format", "no format mark")
        raise InputError(f"expected a {FORMAT!r} file, got {found!r}")
    texts = {name: _read_texts(file, name) for name in ("names", "templates", "words")}
    vocabulary = _read_texts(file, "vocabulary")
    if len(vocabulary) != 1 or len(texts["words"]) != len(texts["names"]):
        raise InputError(
            f"expected the words of {len(texts['names'])} classes and one vocabulary, got "
            f"{len(texts['words'])} and {len(vocabulary)}"
        )
    if "descriptions" in file:
        texts["descriptions"] = _read_texts(file, "descriptions")
        if len(texts["descriptions"]) != len(texts["names"]):
            raise InputError(
                f"expected the descriptions of {len(texts['names'])} classes, got "
                f"{len(texts['descriptions'])}"
            )
    names = (
        "logit_scale", "wording", "synonyms", "precision", "clip", "description_share", "examples",
    )  # fmt: skip
    attributes = {name: file.attrs[name] for name in names if name in file.attrs}
    plain = {n: v.item() if isinstance(v, np.generic) else v for n, v in attributes.items()}
    embeddings = _dataset(file, "embeddings", ndim=2)
    if embeddings.dtype.kind != "f" or not 1 <= embeddings.shape[1] <= WIDEST:
        raise InputError(
            f"expected floating-point embeddings of a width up to {WIDEST:,}, got "
            f"{embeddings.dtype} {embeddings.shape}"
        )
    values_KD = np.asarray(embeddings[...], dtype=np.float32)
    if not np.isfinite(values_KD).all():
        raise InputError("expected finite embeddings, got some that are not (NaN or infinite)")
    return {**plain, **texts, "vocabulary": vocabulary[0]}, values_KD


def average_templates(embeddings_KPD: NDArray[np.floating]) -> NDArray[np.float32]:
    """Class embeddings (K, D) from those of P prompts a class (K, P, D).

    The mean of the *unnormalised* prompt embeddings, then L2 normalised: the method's order,
    which weighs a prompt by its embedding's length (arXiv 2311.01373).
    """
    mean = np.asarray(embeddings_KPD, dtype=np.float64).mean(axis=1)
    unit = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    return np.asarray(unit, dtype=np.float32)


def unit_mean(embeddings_ND: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the embedding (D,) of a class from N of sentences or regions: their mean, of length 1.

    Each is brought to length 1 first: they say or show different things, and none weighs more.
    """
    exact = np.asarray(embeddings_ND, dtype=np.float64)
    mean = (exact / np.linalg.norm(exact, axis=-1, keepdims=True)).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


def mix(
    texts: NDArray[np.floating], others: NDArray[np.floating], *, share: float
) -> NDArray[np.float32]:
    """Return unit vectors (…, D) between texts and sentences or examples, all of length 1.

    Args:
        texts: (…, D), embeddings of classes from their texts.
        others: (…, D), those of what stands beside the texts.
        share: Weight of the latter, 0 to 1; the texts have the rest.
    """
    mean = (1 - share) * np.asarray(texts, dtype=np.float64) + share * others
    return np.asarray(mean / np.linalg.norm(mean, axis=-1, keepdims=True), dtype=np.float32)


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    file.create_dataset(name, data=list(texts), dtype=h5py.string_dtype(), track_times=False)


def _read_texts(file: h5py.File, name: str) -> list[str]:
    texts = _dataset(file, name, ndim=1)
    if h5py.check_string_dtype(texts.dtype) is None:
        raise InputError(f"expected texts as {name}, got {texts.dtype}")
    return list(texts.asstr()[...])


def _dataset(file: h5py.File, name: str, *, ndim: int) -> h5py.Dataset:
    """Return an array whose every value is in the file itself, so that it is no larger.

    Raises:
        InputError: There is none, or it is of another shape; it is a link, kept in another file,
            or packed.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"expected an array {name} in the file itself, got none or a link")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or len(found.shape or ()) != ndim:
        raise InputError(f"expected an array {name} of {ndim} axes, got {found}")
    elsewhere = found.external or found.is_virtual or found.chunks
    if elsewhere or found.id.get_storage_size() < found.size * found.dtype.itemsize:
        raise InputError(f"expected the values of {name} in the file itself, plain")
    if found.shape[0] > MOST_CLASSES:
        raise InputError(f"expected at most {MOST_CLASSES:,} {name}, got {found.shape[0]:,}")
    return found
