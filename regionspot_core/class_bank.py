"""Class embeddings: one unit vector a class, kept with its vocabulary in an HDF5 file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.fingerprint import require_equal
from regionspot_core.class_text import ClassText
from regionspot_core.errors import FingerprintError, InputError
from regionspot_core.files import written_aside
from regionspot_core.vocabulary import Vocabulary

FORMAT = "regionspot class bank 2"
IMAGE_FIELDS = frozenset({"input", "resize", "mean", "std"})
"""Of a CLIP's fingerprint, what says how images reach it: texts do not depend on it."""


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
    """Of the text tower's arithmetic."""

    def __post_init__(self) -> None:
        shape = self.embeddings.shape
        if len(shape) != 2 or shape[0] != len(self.vocabulary):
            raise InputError(
                f"a class bank needs one embedding for each of its {len(self.vocabulary)} "
                f"classes, got an array of shape {shape}"
            )

    def save(self, path: Path) -> None:
        """Write the bank to ``path``, replacing it in one step."""
        # No timestamps: the same bank is the same bytes.
        with written_aside(path) as partial, h5py.File(partial, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["logit_scale"] = self.logit_scale
            file.attrs["wording"] = self.text.wording
            file.attrs["synonyms"] = self.text.synonyms
            file.attrs["precision"] = self.precision
            file.attrs["clip"] = json.dumps(self.clip, sort_keys=True)
            vocabulary = self.vocabulary.to_json()
            _write_texts(file, "names", vocabulary.pop("names"))
            _write_texts(file, "templates", self.text.templates)
            _write_texts(file, "words", [_dump(words) for words in self.text.words])
            _write_texts(file, "vocabulary", [_dump(vocabulary)])
            file.create_dataset("embeddings", data=self.embeddings, track_times=False)

    def require_clip(self, clip: dict[str, Any], *, what: str) -> None:
        """Refuse a CLIP other than the one that made the bank, whatever its image input.

        Raises:
            FingerprintError: They differ; the fields are named.
        """
        ours, theirs = (
            {key: value for key, value in fingerprint.items() if key not in IMAGE_FIELDS}
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
        if wanted != found:
            raise FingerprintError(
                f"{what}: expected the annotations' {len(vocabulary)} classes "
                f"({vocabulary.names[0]}, …), found {len(self.vocabulary)} "
                f"({self.vocabulary.names[0]}, …) or others in between; make it again with "
                f"`regionspot extract text --vocabulary` and this annotation file"
            )

    @classmethod
    def load(cls, file: Path | BinaryIO, *, name: str = "") -> ClassBank:
        """Read the bank that :meth:`save` wrote; ``name`` says in messages what is read.

        Raises:
            InputError: The file is missing or is not a class bank.
        """
        name = name or str(file)
        if isinstance(file, Path) and (
            file.is_dir() or (file.is_file() and not h5py.is_hdf5(file))
        ):
            found = "a folder" if file.is_dir() else "another file"
            raise InputError(
                f"{name}: expected a class bank, the HDF5 file that `regionspot extract text` "
                f"writes; got {found}"
            )
        try:
            with h5py.File(file, "r") as opened:
                if opened.attrs.get("format") != FORMAT:
                    found = opened.attrs.get("format", "no format mark")
                    raise InputError(f"expected a {FORMAT!r} file, got {found!r}")
                names = {"names": _read_texts(opened, "names")}
                (vocabulary,) = _read_texts(opened, "vocabulary")
                return cls(
                    vocabulary=Vocabulary.from_json(json.loads(vocabulary) | names),
                    embeddings=np.asarray(opened["embeddings"][...], dtype=np.float32),
                    logit_scale=float(opened.attrs["logit_scale"]),
                    text=ClassText(
                        words=tuple(tuple(json.loads(w)) for w in _read_texts(opened, "words")),
                        templates=tuple(_read_texts(opened, "templates")),
                        wording=str(opened.attrs["wording"]),
                        synonyms=bool(opened.attrs["synonyms"]),
                    ),
                    clip=json.loads(opened.attrs["clip"]),
                    precision=str(opened.attrs["precision"]),
                )
        except FileNotFoundError:
            raise InputError(
                f"{name}: no such class bank; `regionspot extract text` writes one"
            ) from None
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        except Exception as error:  # h5py raises whatever a damaged file leads it to
            raise InputError(f"{name}: not a readable class bank ({error})") from None


def average_templates(embeddings_KPD: NDArray[np.floating]) -> NDArray[np.float32]:
    """Class embeddings (K, D) from those of P prompts a class (K, P, D).

    The mean of the *unnormalised* prompt embeddings, then L2 normalised: the method's order,
    which weighs a prompt by its embedding's length (arXiv 2311.01373).
    """
    mean = np.asarray(embeddings_KPD, dtype=np.float64).mean(axis=1)
    unit = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    return np.asarray(unit, dtype=np.float32)


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    file.create_dataset(name, data=list(texts), dtype=h5py.string_dtype(), track_times=False)


def _read_texts(file: h5py.File, name: str) -> list[str]:
    return list(file[name].asstr()[...])
