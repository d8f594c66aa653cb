"""A trained head on disk: ``head.safetensors`` and, beside it, ``head.json`` that explains it.

``head.json`` is sealed by a checksum of its own and holds those of the other files, so that a
single changed bit of any of them is found before the head is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save

from regionspot_core.errors import CheckpointError, ConfigError
from regionspot_core.fingerprint import Fingerprint, require_equal
from regionspot_core.heads.head import Head
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.heads.registry import build_head, parse_shape, unallocated_head
from regionspot_core.heads.shape import HeadShape
from regionspot_core.heads.trained_on import Training
from regionspot_core.support.checksums import SEAL, FileSum, is_sealed, sealed
from regionspot_core.support.error_text import one_line
from regionspot_core.support.files import written_aside
from regionspot_core.support.progress import say
from regionspot_core.support.records import Record, json_object, read_small
from regionspot_core.support.weight_files import state_problems
from regionspot_core.text.class_text import name_as_read

FORMAT = "regionspot head 2"
UNSEALED_FORMAT = "regionspot head 1"
"""Format of heads that were written before they had checksums."""
BEST = "best"
"""Folder of the best head of a validated run, or of a sweep, inside the run's."""
WEIGHTS = "head.safetensors"
RECORD = "head.json"
STARTS = ("dropout", "initial_scale", "initial_bias")
"""Options of the built-in head that no weight's shape depends on."""
MOST_WEIGHT_BYTES = 2**36

Content: TypeAlias = bytes | memoryview


class _Backbone(Record, extra="allow"):
    """Fields of a frozen model's fingerprint that other commands read."""

    name: str | None = None
    input: int | None = Field(default=None, ge=1)


class _Backbones(Record, extra="allow"):
    region_encoder: _Backbone | None = None
    image_text_encoder: _Backbone | None = None


class _HeadFile(Record):
    """The content of ``head.json``."""

    format: Literal["regionspot head 1", "regionspot head 2"]
    config: dict[str, Any]
    backbones: _Backbones
    training: Training
    files: dict[Annotated[str, Field(pattern=r"^\w+\.\w+$")], FileSum] | None = None
    """Checksums of the head's other files, by name; None: the head is older than checksums."""


@dataclass(frozen=True)
class HeadRecord:
    """Record of a head: its shape, its frozen models and its training."""

    config: HeadShape
    backbones: Fingerprint
    """Fingerprint of the frozen models it was trained on; of an imported head, as its import named
    them."""
    training: dict[str, Any]
    """Step, configuration and data sets of its training, or the file it was imported from."""

    def training_counts(self) -> dict[str, int] | None:
        """Return the number of regions that the head learnt from, by the name of their class.

        None: the head is imported, or older than this record, or began with a head that is.
        """
        return Training.of(self.training).counts()

    def classes_learnt(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return (K,) whether the head learnt from a region of each class, by its name.

        Of a head whose record does not say, as of an imported one, no class is known to be.

        Args:
            names: K class names; they are compared as CLIP reads them.
        """
        counts = self.training_counts() or {}
        learnt = {name_as_read(name) for name, count in counts.items() if count}
        return np.array([name_as_read(name) in learnt for name in names], dtype=bool)

    @property
    def held_out_classes(self) -> HeldOutClasses | None:
        """Return the labelled classes that training held out; None: it held none out."""
        return Training.of(self.training).held_out_classes

    def images_learnt_from(
        self, annotations_sha256: str, image_ids: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return (I,) whether the head learnt from each of these images of an annotation file."""
        return Training.of(self.training).learnt_from(annotations_sha256, image_ids)

    @property
    def data_learnt_from(self) -> dict[str, Any]:
        """Part of the training's record that a head which begins with this one takes over."""
        kept = ("step", "caches", "imported", "started_from")
        return {key: self.training[key] for key in kept if key in self.training}

    def require_fit(self, backbones: Fingerprint, *, what: str) -> None:
        """Refuse frozen models that the head was not trained on.

        An imported head is compared only in the models that its import named.

        Raises:
            FingerprintError: If they differ; the message names the fields.
        """
        found = backbones
        if "imported" in self.training:
            found = {
                part: {key: backbones.get(part, {}).get(key) for key in fields}
                for part, fields in self.backbones.items()
            }
        require_equal(
            self.backbones,
            found,
            what=f"{what} was trained on other frozen models than these",
            advice="Give the --sam and --clip, with their weights, that it was trained with",
        )


@dataclass(frozen=True)
class _Described:
    """A head's record, and the checksums of its other files."""

    record: HeadRecord
    files: dict[str, FileSum] | None


def save_head(
    folder: Path,
    head: Head,
    record: HeadRecord,
    *,
    beside: Mapping[str, Content] | None = None,
) -> None:
    """Write a head into ``folder``, its record last.

    Args:
        folder: Folder to write; it is made.
        head: The head.
        record: The head's record.
        beside: Contents of other files that belong to it, by name; :func:`read_beside` reads them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Copies, for safetensors takes no weights that share memory, as a class of the user's may have.
    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in head.state_dict().items()
    }
    # A full disk is then the system's error, as everywhere, and not one of safetensors.
    contents: dict[str, Content] = {WEIGHTS: save(weights), **(beside or {})}
    for name, content in contents.items():
        _write(folder / name, content)
    values = {
        "format": FORMAT,
        "config": record.config.to_json(),
        "backbones": record.backbones,
        "training": record.training,
        "files": {name: asdict(FileSum.of([content])) for name, content in contents.items()},
    }
    _write(folder / RECORD, sealed(_encodable(values)))


def _write(path: Path, content: Content) -> None:
    with written_aside(path) as partial:
        partial.write_bytes(content)


def _encodable(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value with the bytes of paths that are not UTF-8 as ``\\xff``."""
    if isinstance(value, dict):
        return {key: _encodable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(each) for each in value]
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return value


def load_head(folder: Path | str) -> Head:
    """Return the head in ``folder``, in eval mode on the CPU.

    A head of a user's class imports that class's module.

    Raises:
        CheckpointError: If there is no head, its files are damaged or do not fit together, or its
            class cannot be imported.
    """
    weights, config = _weights(Path(folder))
    try:
        head = build_head(config)
    except ConfigError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    _require_weights(Path(folder) / WEIGHTS, weights, head)
    head.load_state_dict(weights)
    return head.eval()


def read_weights(folder: Path | str, head: Head) -> dict[str, torch.Tensor]:
    """Return the weights of the head in ``folder``, for another head of its shape.

    Raises:
        CheckpointError: If there is no head, its files are damaged, or it is of another shape.
    """
    found, expected = read_record(folder).config, head.config
    if found.kind_name != expected.kind_name:
        raise CheckpointError(
            f"{folder}: a head of another kind: {found.kind_name}, expected {expected.kind_name}; "
            f"set head.kind as it was trained, or start from another head"
        )
    values = found.to_json()
    differing = [
        f"{key} {values[key]}, expected {value}"
        for key, value in expected.to_json().items()
        if key not in STARTS and values[key] != value
    ]
    if differing:
        raise CheckpointError(
            f"{folder}: a head of another shape: {'; '.join(differing)}; set head.* as it was "
            f"trained, or start from another head"
        )
    weights, _ = _weights(Path(folder))
    _require_weights(Path(folder) / WEIGHTS, weights, head)
    return weights


def read_beside(folder: Path | str, name: str) -> bytes:
    """Return the content of a file that :func:`save_head` wrote ``beside`` a head.

    Raises:
        CheckpointError: If it is missing, or is not what was written.
    """
    return _content(Path(folder), name, _described(Path(folder)).files)


def weights_sum(folder: Path | str) -> FileSum:
    """Return size and checksum of the weights of the head in ``folder``, by which it is known.

    Raises:
        CheckpointError: If there is no readable head.
    """
    files = _described(Path(folder)).files
    if files is not None:
        return files[WEIGHTS]
    return FileSum.of([_content(Path(folder), WEIGHTS, None)])


def verify_head(folder: Path | str) -> bool:
    """Read every byte of the head in ``folder`` and of the files beside it.

    Returns:
        True if the files have checksums; False if they can be read, and nothing more is known.

    Raises:
        CheckpointError: If there is no head, or its files are damaged or do not fit together.
    """
    files = _described(Path(folder)).files
    _weights(Path(folder), quiet=True)
    for name in files or {}:
        _content(Path(folder), name, files)
    return files is not None


def _weights(folder: Path, *, quiet: bool = False) -> tuple[dict[str, torch.Tensor], HeadShape]:
    """Return the weights in a folder and the head's shape.

    Those of the built-in head are every one of the shape's and no other. What weights a user's
    class has is not known until its module is imported.
    """
    described = _described(folder)
    if described.files is None and not quiet:
        say(f"{folder}: written before heads had checksums; damage to it could not be told")
    path, config = folder / WEIGHTS, described.record.config
    content = _content(folder, WEIGHTS, described.files)
    try:
        weights = load(content)
    except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        # Beside its own error, safetensors lets through those of the types that it looks up.
        raise CheckpointError(
            f"{path}: damaged, not the weights of this head ({one_line(error)})"
        ) from None
    expected = unallocated_head(config)  # a shape that the file does not have takes no memory
    if expected is not None:
        _require_weights(path, weights, expected)
    return weights, config


def _require_weights(path: Path, weights: dict[str, torch.Tensor], head: Head) -> None:
    problems = state_problems(weights, head.state_dict())
    if problems:
        raise CheckpointError(f"{path}: not the weights of this head ({'; '.join(problems[:4])})")


def _content(folder: Path, name: str, files: dict[str, FileSum] | None) -> bytes:
    """Return the content of a file of a head, compared with its checksum if the record has one."""
    path = folder / name
    try:
        content = read_small(path, error=CheckpointError, most_bytes=MOST_WEIGHT_BYTES)
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: {name} is missing beside {RECORD}") from None
    if files is not None and files.get(name) != FileSum.of([content]):
        raise CheckpointError(
            f"{path}: damaged, it is not the file that {RECORD} was written with; take another "
            f"copy of the head, or train it again"
        )
    return content


def read_record(folder: Path | str) -> HeadRecord:
    """Return the record of the head in ``folder``, out of ``head.json``.

    Raises:
        CheckpointError: If there is none, or it is damaged or not one of ours.
    """
    return _described(Path(folder)).record


def _described(folder: Path) -> _Described:
    path = folder / RECORD
    try:
        content = read_small(path, error=CheckpointError)
    except (FileNotFoundError, NotADirectoryError) as error:
        found = "none" if isinstance(error, FileNotFoundError) else "a file"
        best = folder / BEST
        hint = f"; its best head so far is {best}" if (best / RECORD).is_file() else ""
        raise CheckpointError(
            f"{folder}: expected a trained head (a folder with {RECORD}, written by "
            f"`regionspot train fit` or `train import`), found {found}{hint}"
        ) from None
    values = json_object(content, str(path), error=CheckpointError)
    if values.get("format") not in (FORMAT, UNSEALED_FORMAT):
        raise CheckpointError(f"{path}: expected a {FORMAT!r} file")
    if values["format"] == FORMAT:
        seal = values.pop(SEAL, None)
        if seal is None or not is_sealed(values, content) or WEIGHTS not in values.get("files", ()):
            raise CheckpointError(
                f"{path}: damaged, it is not, byte for byte, what was written; take another copy "
                f"of the head, or train it again"
            )
    file = _HeadFile.parse(values, source=str(path), error=CheckpointError)
    config = parse_shape(file.config, source=str(path), error=CheckpointError)
    record = HeadRecord(config, values["backbones"], values["training"])
    return _Described(record, file.files)
