"""The folder of the predictions for several pictures: what was asked for, and how far it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from regionspot_core import __version__
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.distributed.journal_folder import JournalledFolder
from regionspot_core.support.files import file_sha256, write_json
from regionspot_evaluate.config import AUTOMATIC, PredictConfig
from regionspot_evaluate.folder.folder import RUN_RECORD, weights_sha256
from regionspot_evaluate.recognition.head_fusion import HeadFusion

PREDICT_RECORD = "predict.json"
PREDICTIONS = "predictions.json"
DRAWN = "predictions"
"""Folder of the drawn pictures."""


def drawn_before(out: Path) -> Path | None:
    """Return the folder of pictures that predictions in ``out`` drew; None where there are none."""
    return out / DRAWN if (out / PREDICT_RECORD).exists() else None


class PredictFolder(JournalledFolder):
    """A folder of predictions that is new, or was asked for the same.

    Args:
        config: Settings of the command.
        names: The pictures' names.
        classes: The classes.
        regions: Source of the regions.
        fusion: How the head's scores are joined with CLIP's; None: they are not.
        threshold: Least score of a region that has one of the names; None: all have one.

    Raises:
        FingerprintError: If the folder is of other pictures or settings; the fields are named.
        InputError: If its record cannot be read, or it is of something else.
        CheckpointError: If the head has no weights.
    """

    record = PREDICT_RECORD
    command = "`evaluate predict`"
    advice = "Give the same pictures, names, head and options again, or choose another --out"

    def __init__(
        self,
        config: PredictConfig,
        names: Sequence[str],
        classes: Vocabulary,
        regions: str,
        fusion: HeadFusion | None = None,
        threshold: float | None = None,
    ) -> None:
        fused = {} if fusion is None else {"fusion": fusion.settings.to_json()}
        unknown = {} if threshold is None else {"unknown_threshold": threshold}
        super().__init__(config.out, _asked(config, names, classes, regions) | fused | unknown)

    @property
    def results(self) -> Path:
        """Return the path of the predictions."""
        return self.path / PREDICTIONS

    @property
    def finished(self) -> bool:
        """Return whether all pictures are named and their file is written."""
        return self.recorded and not self.has_journals and self.results.exists()

    def _record_asked(self) -> None:
        write_json(self.path / PREDICT_RECORD, {"asked": self.asked, "version": __version__})

    def _files(self) -> Iterable[Path]:
        return map(Path, (PREDICTIONS, DRAWN, RUN_RECORD))


def _asked(
    config: PredictConfig, names: Sequence[str], classes: Vocabulary, regions: str
) -> dict[str, Any]:
    """Return the values that decide the predictions; paths and devices do not."""
    models = config.backbones.to_json()
    return {
        "pictures": {"count": len(names), "names": _digest(names)},
        "head": weights_sha256(config.head),
        "classes": list(classes.names),
        "bank": None if config.bank is None else file_sha256(config.bank),
        "proposals": regions,
        "propose": config.propose.to_json() if regions == AUTOMATIC else None,
        "overlap": config.overlap if regions == AUTOMATIC else None,
        "models": {
            name: models[name] for name in ("sam", "clip", "sam_input", "clip_input", "precision")
        },
        "batch_images": config.batch_images,
        "top": config.top,
        "least": config.least,
        "segmentation": config.segmentation,
        "drawn": config.draw,
    }


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
