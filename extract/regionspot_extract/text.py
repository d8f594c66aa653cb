"""The story of a class bank: embed a vocabulary in batches, and go on after an interruption."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError
from regionspot_core.fingerprint import require_equal
from regionspot_core.support.files import require_place_for_file, write_json
from regionspot_core.support.locks import wait_for_lock
from regionspot_core.support.progress import progress_line
from regionspot_core.support.records import read_json_object
from regionspot_core.text.alike import warn_of_alike
from regionspot_core.text.class_bank import ClassBank, Examples
from regionspot_core.text.class_text import ClassText
from regionspot_core.text.embed import class_batches, embed_classes, load_class_text
from regionspot_extract.config import TextBankConfig as TextBankConfig
from regionspot_extract.examples import ExampleRegions


@dataclass(frozen=True)
class TextReport:
    """Result of a run."""

    bank: ClassBank
    resumed: int
    """Classes that an earlier run had embedded."""


def make_bank(
    config: TextBankConfig,
    vocabulary: Vocabulary,
    encoder: ImageTextEncoder,
    examples: ExampleRegions | None = None,
) -> TextReport:
    """Embed the vocabulary into ``config.out``; run again after an interruption, it goes on.

    Raises:
        FingerprintError: The bank there, finished or not, was made otherwise than this one.
        ImageError: An image of the examples cannot be read.
        InputError: The templates, or what lies at ``config.out``, are not what they should be.
    """
    out = config.out
    text = load_class_text(vocabulary, config.text)
    facts = None if examples is None else examples.facts
    plan = _plan(vocabulary, text, encoder.fingerprint(), config.backbones.precision, facts)
    if out.exists():
        return _finished(out, plan)
    require_place_for_file(out, option="--out")
    path = out.with_name(f"{out.name}.lock")
    lock = wait_for_lock(path, waiting=lambda: f"embed: another run makes {out}; waiting for it")
    try:
        # A run that was waited for has finished the bank.
        if out.exists():
            return _finished(out, plan)
        report = _embed(config, vocabulary, text, encoder, examples, plan)
    finally:
        path.unlink(missing_ok=True)
        lock.release()
    warn_of_alike(report.bank)
    return report


def _finished(out: Path, plan: dict[str, Any]) -> TextReport:
    there = ClassBank.load(out)
    found = _plan(there.vocabulary, there.text, there.clip, there.precision, there.examples)
    _require_plan(found, plan, out)
    return TextReport(there, resumed=len(there.vocabulary))


def _embed(
    config: TextBankConfig,
    vocabulary: Vocabulary,
    text: ClassText,
    encoder: ImageTextEncoder,
    examples: ExampleRegions | None,
    plan: dict[str, Any],
) -> TextReport:
    out, precision = config.out, config.backbones.precision
    rows = RowsOnDisk.open_or_create(out, plan, width=encoder.text_width)
    batches = list(class_batches(text))
    resumed = rows.keep_whole(batches)
    with progress_line("embed", total=len(vocabulary), unit="classes", start=resumed) as advance:
        for classes in batches:
            if classes.start >= resumed:
                rows.append(embed_classes(encoder, text, classes))
                advance(len(classes))
    bank = ClassBank(
        vocabulary, rows.read(), encoder.logit_scale, text, encoder.fingerprint(), precision
    )
    if examples is not None:
        bank = examples.add_to(bank, encoder)
    bank.save(out)
    rows.remove()
    return TextReport(bank, resumed)


class RowsOnDisk:
    """An unfinished bank: a folder beside it with its plan and the embeddings so far.

    Rows are appended batch by batch, so a kill at any moment loses one batch at most.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self._folder = folder
        self._file = folder / "rows.f32"
        self._width = width

    @classmethod
    def open_or_create(cls, out: Path, plan: dict[str, Any], *, width: int) -> RowsOnDisk:
        """Return the unfinished bank of ``out``, begun now or before with the same plan.

        Raises:
            FingerprintError: It was begun with another plan.
        """
        folder = out.with_name(f"{out.name}.unfinished")
        folder.mkdir(exist_ok=True)
        if (folder / "plan.json").exists():
            _require_plan(_read_plan(folder / "plan.json"), plan, folder)
        else:
            write_json(folder / "plan.json", plan)
        return cls(folder, width)

    def keep_whole(self, batches: list[range]) -> int:
        """Cut the file behind its last whole batch; how many classes that keeps."""
        self._file.touch()
        found = self._file.stat().st_size // (4 * self._width)
        whole = max((classes.stop for classes in batches if classes.stop <= found), default=0)
        with self._file.open("rb+") as file:
            file.truncate(whole * 4 * self._width)
        return whole

    def append(self, rows: NDArray[np.float32]) -> None:
        """Add (n, D) rows behind those that are there."""
        try:
            with self._file.open("ab") as file:
                file.write(rows.astype("<f4").tobytes())
        except OSError as error:
            error.filename = str(self._file)  # a write that fails names none
            raise

    def read(self) -> NDArray[np.float32]:
        """Read all rows, (K, D)."""
        return np.fromfile(self._file, dtype="<f4").reshape(-1, self._width).astype(np.float32)

    def remove(self) -> None:
        """Delete the folder; the bank is written."""
        shutil.rmtree(self._folder)


def _plan(
    vocabulary: Vocabulary,
    text: ClassText,
    clip: dict[str, Any],
    precision: str,
    examples: Examples | None,
) -> dict[str, Any]:
    """Return everything that decides a bank's content, as plain values."""
    classes = json.dumps([vocabulary.to_json(), text.words]).encode()
    plan = {
        "classes": len(vocabulary),
        "names": list(vocabulary.names),
        "classes_sha256": hashlib.sha256(classes).hexdigest(),
        "text": text.recipe(),
        "clip": clip,
        "precision": precision,
    }
    if examples is not None:
        facts = examples.model_dump()
        plan |= {"examples_sha256": facts.pop("sha256"), "examples": facts}
    return plan


def _read_plan(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path)
    except InputError as error:
        raise InputError(
            f"{error}: expected the plan of an unfinished bank; delete {path.parent}"
        ) from None


def _require_plan(there: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    require_equal(
        wanted,
        there,
        what=f"{path} was made otherwise than this run would",
        advice="Choose another --out, or delete it",
    )
