"""The folder of an evaluation: what it was asked for, and how far it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from regionspot_core import __version__
from regionspot_core.cache.fingerprint import require_equal
from regionspot_core.checkpoint import WEIGHTS
from regionspot_core.datasets import AnnotationSet
from regionspot_core.errors import CheckpointError, InputError
from regionspot_core.files import file_sha256, write_json
from regionspot_evaluate.config import AUTOMATIC, GROUND_TRUTH, EvaluateConfig
from regionspot_evaluate.detections import DETECTIONS

RUN_RECORD = "run.json"
METRICS = "metrics.json"
IMAGES = "images.jsonl"
"""Image by image, how regions were named. It is written last: where it is, so is the rest."""
JOURNALS = "parts"
_KEPT = "parts.kept"
_GATHERED = "parts.gathered"
_OTHERS = ("zarr.json", DETECTIONS, METRICS, IMAGES)
"""What a folder without our record has of a store, or of someone's results."""


class RunFolder:
    """The folder of an evaluation that is new, or was asked for the same.

    Nothing is written before :meth:`claim`.

    Args:
        config: What is asked.
        names: The heads'.
        annotations: The images and boxes.

    Raises:
        FingerprintError: The folder is of another evaluation; the fields are named.
        InputError: Its record cannot be read, or it is of something else.
        CheckpointError: A head has no weights.
    """

    def __init__(
        self, config: EvaluateConfig, names: list[str], annotations: AnnotationSet
    ) -> None:
        self.path = config.out
        self.journals = config.out / JOURNALS
        self._config = config
        self._names = names
        self._asked = _asked(config, names, annotations)
        if (self.path / RUN_RECORD).exists():
            self._require_asked()
        else:
            self._require_free()

    @property
    def finished(self) -> bool:
        """Whether all images are named and their files written."""
        return (
            (self.path / RUN_RECORD).exists()
            and not any(path.stat().st_size for path in self.journals.glob("*.jsonl"))
            and all((self.of_head(name) / IMAGES).exists() for name in self._names)
        )

    def of_head(self, name: str) -> Path:
        """Where a head's files go: a folder of its own where there are several heads."""
        return self.path if len(self._names) == 1 else self.path / name

    def claim(self) -> None:
        """Make the folder, and record what it is for; processes may do so at once."""
        self.journals.mkdir(parents=True, exist_ok=True)
        with FileLock(self.journals / "claim.lock"):
            if (self.path / RUN_RECORD).exists():
                self._require_asked()
            else:
                self._record(self.path, self._names)

    def set_aside(self) -> None:
        """Keep the journals of a finished evaluation, of which some images could not be read."""
        self.journals.rename(self.path / _KEPT)

    def take_up(self) -> None:
        """Go on with what was set aside, if something was; processes may do so at once.

        Raises:
            InputError: Another process has begun something here.
        """
        try:
            (self.path / _KEPT).rename(self.journals)
        except FileNotFoundError:
            pass
        except OSError:
            raise InputError(
                f"{self.path}: another process is at work on it; wait for it"
            ) from None

    def leave(self) -> None:
        """Remove what :meth:`claim` made, where another process had finished meanwhile."""
        shutil.rmtree(self.journals, ignore_errors=True)

    def clear(self) -> None:
        """Remove the journals, in one step: never do only some of them remain."""
        gathered = self.path / _GATHERED
        shutil.rmtree(gathered, ignore_errors=True)
        self.journals.rename(gathered)
        shutil.rmtree(gathered, ignore_errors=True)

    def record_heads(self) -> None:
        """Have each head's folder say what it is of, as if it had been evaluated alone."""
        if len(self._names) > 1:
            for name in self._names:
                self._record(self.of_head(name), [name])

    def _record(self, folder: Path, names: list[str]) -> None:
        heads = {name: self._asked["heads"][name] for name in names}
        # What it is scored by may change, and metrics.json says it.
        configuration = self._config.model_dump(mode="json", exclude={"protocol", "scorer"})
        facts = {"configuration": configuration, "version": __version__}
        write_json(folder / RUN_RECORD, {**self._asked, "heads": heads, **facts})

    def _require_free(self) -> None:
        """Refuse to write among the files of something else."""
        found = next((name for name in _OTHERS if (self.path / name).exists()), None)
        if found is not None:
            raise InputError(
                f"--out {self.path}: expected a new folder, or one of `evaluate run`; this one has "
                f"{found} and no {RUN_RECORD}. Choose another"
            )

    def _require_asked(self) -> None:
        path = self.path / RUN_RECORD
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error}); choose another --out") from None
        if not isinstance(before, dict):
            raise InputError(f"{path}: expected what an evaluation was asked; choose another --out")
        require_equal(
            self._asked,
            {key: before.get(key) for key in self._asked},
            what=f"{self.path} was asked for another evaluation than this",
            advice="Go on with what it was asked for, or choose another --out",
        )


def _asked(config: EvaluateConfig, names: list[str], annotations: AnnotationSet) -> dict[str, Any]:
    """What decides the detections, to the last bit; folders may move, and devices differ."""
    models = config.backbones.to_json()
    proposals = config.proposals
    if proposals not in (GROUND_TRUTH, AUTOMATIC):
        proposals = file_sha256(Path(proposals))
    return {
        "annotations": annotations.sha256,
        "heads": {
            name: _weights_sha256(head) for name, head in zip(names, config.heads, strict=True)
        },
        "proposals": proposals,
        "propose": config.propose.to_json() if proposals == AUTOMATIC else None,
        "bank": None if config.bank is None else file_sha256(config.bank),
        "models": {
            name: models[name] for name in ("sam", "clip", "sam_input", "clip_input", "precision")
        },
        "batch_images": config.batch_images,
        "pairs": config.pairs,
        "detections": config.detections,
        "baselines": list(config.baselines),
    }


def _weights_sha256(head: Path) -> str:
    try:
        return file_sha256(head / WEIGHTS)
    except OSError as error:
        raise CheckpointError(f"{head}: cannot read {WEIGHTS} ({error.strerror})") from None
