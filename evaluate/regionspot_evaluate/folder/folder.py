"""The folder of an evaluation: what it was asked for, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from regionspot_core import __version__
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.distributed.journal_folder import JOURNALS, JournalledFolder
from regionspot_core.errors import CheckpointError, InputError
from regionspot_core.heads.checkpoint import WEIGHTS
from regionspot_core.support.files import file_sha256, write_json
from regionspot_evaluate.config import AUTOMATIC, GROUND_TRUTH, EvaluateConfig
from regionspot_evaluate.folder.detections import results_names
from regionspot_evaluate.recognition.baselines.names import results_file

if TYPE_CHECKING:
    from regionspot_core.heads.score_fusion import ScoreFusion

RUN_RECORD = "run.json"
CACHED_RECORD = "cached.json"
"""Record that `evaluate cached` writes."""
METRICS = "metrics.json"
IMAGES = "images.jsonl"
"""Image by image, how regions were named. It is written last: where it is, so is the rest."""
GALLERY = "predictions.png"
_NOT_RECORDED = frozenset(
    {"heads", "out", "shard", "retry_failed", "strict", "engine", "ray", "workers"}
    | {"max_pixels", "protocol", "scorer", "all_images"}
)
"""Settings that decide no detection: how the work was split, how large an image may be, and what
it is scored by, which may change and stands in metrics.json."""


class RunFolder(JournalledFolder):
    """The folder of an evaluation that is new, or was asked for the same.

    Nothing is written before :meth:`claim`.

    Args:
        config: Settings of the command.
        names: Names of the heads.
        annotations: The images and boxes.
        scored: Ids of these images, where the file has others too; None where they are all.
        fusions: How scores are joined with CLIP's, by the names of the heads whose scores are.

    Raises:
        FingerprintError: If the folder is of another evaluation; the fields are named.
        InputError: If its record cannot be read, or it is of something else.
        CheckpointError: If a head has no weights.
    """

    record = RUN_RECORD
    command = "`evaluate run`"

    def __init__(
        self,
        config: EvaluateConfig,
        names: list[str],
        annotations: AnnotationSet,
        scored: NDArray[np.int64] | None = None,
        fusions: Mapping[str, ScoreFusion] | None = None,
    ) -> None:
        self._config = config
        self._names = names
        self._require_names()
        asked = _asked(config, names, annotations)
        asked["fusions"] = {name: each.to_json() for name, each in (fusions or {}).items()} or None
        asked["scored_images"] = None if scored is None else scored.tolist()
        super().__init__(config.out, asked)

    @property
    def finished(self) -> bool:
        """Return whether all images are classified and their files written."""
        return (
            self.recorded
            and not self.has_journals
            and all((self.of_head(name) / IMAGES).exists() for name in self._names)
        )

    def of_head(self, name: str) -> Path:
        """Return the folder of a head's files: its own where there are several heads."""
        return self.path / self._below(name)

    def record_heads(self) -> None:
        """Have each head's folder say what it is of, as if it had been evaluated alone."""
        if len(self._names) > 1:
            for name in self._names:
                self._record(self.of_head(name), [name])

    def _record_asked(self) -> None:
        self._record(self.path, self._names)

    def _record(self, folder: Path, names: list[str]) -> None:
        facts = {"configuration": self._configuration(names), "version": __version__}
        of_heads = {
            key: {name: each for name, each in self.asked[key].items() if name in names} or None
            for key in ("heads", "fusions")
            if self.asked[key] is not None
        }
        write_json(folder / RUN_RECORD, {**self.asked, **of_heads, **facts})

    def _configuration(self, names: list[str]) -> dict[str, Any]:
        """Return the settings of the heads' evaluation, the same however the work was split."""
        config = self._config.with_absolute_paths()
        paths = dict(zip(self._names, config.heads, strict=True))
        first, *further = (paths[name] for name in names)
        models = config.backbones.model_dump(exclude={"device"})  # shares may have several
        settings = config.model_dump(exclude={*_NOT_RECORDED, "backbones"})
        chosen = {"head": first, "more_heads": further, **settings, "backbones": models}
        return {key: _plain(value) for key, value in chosen.items()}

    def _below(self, name: str) -> Path:
        return Path() if len(self._names) == 1 else Path(name)

    def _files(self) -> Iterator[Path]:
        for name in self._names:
            own = self._below(name)
            yield from (own / file for file in (*results_names(), METRICS, IMAGES, GALLERY))
            if len(self._names) > 1:
                yield own / RUN_RECORD
        for name in self._config.baselines:
            yield from map(Path, results_names(results_file(name)))

    def _require_names(self) -> None:
        """Refuse heads whose folders would have the name of something else of an evaluation's."""
        taken = {RUN_RECORD, *(str(file) for file in self._files() if file.parent == Path())}
        for name, head in zip(self._names, self._config.heads, strict=True):
            if len(self._names) > 1 and (name.startswith(JOURNALS) or name in taken):
                raise InputError(
                    f"--head {head}: an evaluation has files named {name} of its own; give the "
                    f"head's folder another name"
                )

    def _asked_before(self, record: dict[str, Any]) -> object:
        heads = record.get("heads")
        texts = [record.get("annotations"), *heads.values()] if isinstance(heads, dict) else [None]
        is_ours = all(isinstance(text, str) for text in texts)
        return {key: record.get(key) for key in self.asked} if is_ours else None


def _plain(value: Any) -> Any:  # noqa: ANN401 - any setting
    """Return settings as JSON values."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _asked(config: EvaluateConfig, names: list[str], annotations: AnnotationSet) -> dict[str, Any]:
    """Return the values that decide the detections to the last bit; paths and devices do not."""
    models = config.backbones.to_json()
    proposals = config.proposals
    if proposals not in (GROUND_TRUTH, AUTOMATIC):
        proposals = file_sha256(Path(proposals))
    return {
        "annotations": annotations.sha256,
        "heads": {
            name: weights_sha256(head) for name, head in zip(names, config.heads, strict=True)
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


def weights_sha256(head: Path) -> str:
    """Return the SHA-256 of a head's weight file.

    Raises:
        CheckpointError: If it cannot be read.
    """
    try:
        return file_sha256(head / WEIGHTS)
    except OSError as error:
        raise CheckpointError(f"{head}: cannot read {WEIGHTS} ({error.strerror})") from None
