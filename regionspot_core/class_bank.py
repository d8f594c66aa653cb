"""Class embeddings: one unit vector a class, kept with its vocabulary in a small HDF5 file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from regionspot_core.errors import InputError
from regionspot_core.files import written_aside
from regionspot_core.vocabulary import Vocabulary

FORMAT = "regionspot class bank 1"


@dataclass(frozen=True)
class ClassBank:
    """The text side of a vocabulary, as the frozen CLIP sees it."""

    vocabulary: Vocabulary
    embeddings: NDArray[np.float32]
    """(K, D), each row of length 1."""
    logit_scale: float
    """``exp`` of CLIP's learned logit scale: 100 for OpenAI's models."""
    templates: tuple[str, ...]
    """The prompts that were averaged, ``{}`` standing for the name."""
    clip: dict[str, Any]
    """Fingerprint of the CLIP that made it."""

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
            file.attrs["vocabulary"] = json.dumps(self.vocabulary.to_json(), ensure_ascii=False)
            file.attrs["clip"] = json.dumps(self.clip, sort_keys=True)
            file.create_dataset(
                "templates", data=list(self.templates), dtype=h5py.string_dtype(), track_times=False
            )
            file.create_dataset("embeddings", data=self.embeddings, track_times=False)

    @classmethod
    def load(cls, path: Path) -> ClassBank:
        """Read the bank that :meth:`save` wrote.

        Raises:
            InputError: The file is missing or is not a class bank.
        """
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT:
                    found = file.attrs.get("format", "no format mark")
                    raise InputError(f"expected a {FORMAT!r} file, got {found!r}")
                return cls(
                    vocabulary=Vocabulary.from_json(json.loads(file.attrs["vocabulary"])),
                    embeddings=np.asarray(file["embeddings"][...], dtype=np.float32),
                    logit_scale=float(file.attrs["logit_scale"]),
                    templates=tuple(file["templates"].asstr()[...]),
                    clip=json.loads(file.attrs["clip"]),
                )
        except FileNotFoundError:
            raise InputError(f"{path}: no such class bank; extraction writes one") from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except Exception as error:  # h5py raises whatever a damaged file leads it to
            raise InputError(f"{path}: not a readable class bank ({error})") from None


def average_templates(embeddings_KPD: NDArray[np.floating]) -> NDArray[np.float32]:
    """Class embeddings (K, D) from those of P prompts a class (K, P, D).

    The mean of the *unnormalised* prompt embeddings, then L2 normalised: the method's order,
    which weighs a prompt by its embedding's length (arXiv 2311.01373).
    """
    mean = np.asarray(embeddings_KPD, dtype=np.float64).mean(axis=1)
    unit = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    return np.asarray(unit, dtype=np.float32)


def fill_templates(names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """All prompts, class by class: ``len(names) × len(templates)`` strings."""
    return [template.replace("{}", name) for name in names for template in templates]
