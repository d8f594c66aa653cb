"""A trained head, ready for pictures: `rs.Recognizer.load("run", names=[…])("photo.png")`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from pycocotools import mask as rle_codec

from regionspot_core.backbones.config import BackboneConfig, ProposeConfig
from regionspot_core.backbones.loading import Backbones, PreparedImage, load_backbones
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.datasets.vocabulary_files import load_vocabulary
from regionspot_core.errors import InputError
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.prompts import BoxPrompts, MaskPrompts, PointPrompts, Prompts
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.support.prefetch import in_batches, map_ahead
from regionspot_core.text.class_bank import ClassBank
from regionspot_core.text.embed import build_class_bank, load_class_bank
from regionspot_evaluate.predicting.regions import AutomaticRegions, WholePicture, recognise
from regionspot_evaluate.recognition.choose_backbones import backbones_of_head
from regionspot_evaluate.recognition.fuse_config import FuseConfig
from regionspot_evaluate.recognition.head_fusion import choose_fusion
from regionspot_evaluate.recognition.image_regions import Recognition
from regionspot_evaluate.recognition.recognizer import Recognizer as HeadAndModels
from regionspot_evaluate.recognition.unknown_threshold import choose_threshold

if TYPE_CHECKING:
    import supervision

Picture = Path | str | Image.Image | NDArray[np.uint8]
"""A file, Pillow's image, or RGB pixels (H, W, 3)."""


@dataclass(frozen=True)
class Result:
    """The R regions of one picture, each with a probability for each of K classes."""

    vocabulary: Vocabulary
    boxes: NDArray[np.float64]
    """(R, 4) xyxy, original pixels: the boxes given, or those around the masks."""
    probabilities: NDArray[np.float32]
    """(R, K) shares among the given names; each row adds up to 1."""
    predicted_iou: NDArray[np.float32]
    """(R,) SAM's own estimate of each mask's IoU."""
    encoded_masks: tuple[dict[str, Any], ...]
    """R masks as COCO run-length encodings, original pixels."""
    size: tuple[int, int]
    """(height, width) of the picture, in pixels."""
    known_scores: NDArray[np.float32]
    """(R,) the head's score that a region is one of the names: its largest logit."""
    unknown_threshold: float | None = None
    """Least such score of a region that has one of the names; None: all have one."""

    @property
    def none_of_these(self) -> NDArray[np.bool_]:
        """Return (R,) whether none of the names fits a region; :meth:`top` has the nearest."""
        least = -np.inf if self.unknown_threshold is None else self.unknown_threshold
        unknown: NDArray[np.bool_] = self.known_scores < least
        return unknown

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Return (R, H, W) masks, original pixels."""
        if not self.encoded_masks:
            return np.zeros((0, *self.size), dtype=bool)
        masks: NDArray[np.bool_] = np.stack(
            [rle_codec.decode(mask).astype(bool) for mask in self.encoded_masks]
        )
        return masks

    def top(self, k: int = 1) -> list[list[tuple[str, float]]]:
        """Return each region's ``k`` most probable names with their probabilities, best first."""
        best = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
        return [
            [(self.vocabulary.names[c], float(self.probabilities[r, c])) for c in classes]
            for r, classes in enumerate(best)
        ]

    def to_coco(self, image_id: int = 0) -> list[dict[str, Any]]:
        """Return a COCO results entry for each region, with its most probable class."""
        best = self.probabilities.argmax(axis=1) if len(self) else []
        return [
            {
                "image_id": image_id,
                "category_id": int(self.vocabulary.ids[c]),
                "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                "score": float(self.probabilities[r, c]),
                "segmentation": self.encoded_masks[r],
            }
            for r, (c, (x1, y1, x2, y2)) in enumerate(zip(best, self.boxes, strict=True))
        ]

    def to_supervision(self) -> supervision.Detections:
        """Return the regions as supervision's detections, each with its most probable class."""
        import supervision

        best = self.probabilities.argmax(axis=1) if len(self) else np.zeros(0, dtype=int)
        return supervision.Detections(
            xyxy=self.boxes.astype(np.float32).reshape(-1, 4),
            mask=self.masks,
            confidence=self.probabilities[np.arange(len(self)), best],
            class_id=best,
            data={"class_name": np.array([self.vocabulary.names[c] for c in best], dtype=str)},
        )


class Recognizer:
    """SAM, CLIP, a head and class names together."""

    def __init__(
        self,
        backbones: Backbones,
        models: HeadAndModels,
        *,
        unknown_threshold: float | None = None,
    ) -> None:
        self._backbones = backbones
        self._models = models
        self._unknown_threshold = unknown_threshold

    @classmethod
    def load(
        cls,
        head: Path | str,
        *,
        names: Sequence[str] | None = None,
        vocabulary: Path | str | None = None,
        bank: Path | str | None = None,
        device: str = "auto",
        precision: str = "auto",
        sam: str | None = None,
        clip: str | None = None,
        backbones: Backbones | None = None,
        fuse: str | FuseConfig | None = None,
        unknown_threshold: float | Literal["none"] | None = None,
    ) -> Recognizer:
        """Load a head with the frozen models that its record names.

        Args:
            head: The folder that training or `train import` wrote.
            names: Class names; these, ``vocabulary`` or ``bank``.
            vocabulary: A text file of class names, or an annotation file.
            bank: Class embeddings that `extract text` wrote.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
            precision: ``auto``, ``float32``, ``bfloat16`` or ``float16``, of the frozen models.
            sam: Another SAM than the record's, for a head that names none.
            clip: Another CLIP than the record's.
            backbones: Loaded models to use instead.
            fuse: What the head's scores are joined with, as `--fuse`: ``clip-crop``, ``none`` or
                settings with weights; None: what `evaluate tune` left in the head's folder, if
                anything.
            unknown_threshold: Least score of a region that has one of the names, as
                `--unknown-threshold`; None: what `evaluate tune` left in the head's folder, if
                anything; ``none``: every region has one.

        Raises:
            ConfigError: If there is no such opinion to fuse with.
            InputError: If class names are missing, or a model or device is.
            CheckpointError: If there is no readable head.
            FingerprintError: If the head or the bank belongs to other models.
        """
        head = Path(head)
        if sum(given is not None for given in (names, vocabulary, bank)) != 1:
            raise InputError("give the class names as one of names=[…], vocabulary= or bank=")
        known = None
        if bank is None:
            known = _vocabulary(names, vocabulary)
        asked = {"device": device, "precision": precision}
        config = BackboneConfig.parse(
            backbones_of_head(head, asked, sam=sam, clip=clip), source="regionspot.Recognizer"
        )
        if not isinstance(fuse, FuseConfig):
            fuse = FuseConfig.parse({"opinion": fuse}, source="fuse")
        fusion = choose_fusion(fuse, head)
        asked_threshold = None if unknown_threshold is None else str(unknown_threshold)
        threshold = choose_threshold(asked_threshold, head)
        backbones = backbones or load_backbones(config)
        models = HeadAndModels.load(
            head,
            backbones,
            _class_bank(backbones, known, bank),
            device=Runtime.create(config.device).device,
            fusion=fusion,
        )
        return cls(backbones, models, unknown_threshold=threshold)

    def with_names(self, names: Sequence[str]) -> Recognizer:
        """Return a recognizer of the same models and head with other class names."""
        bank = _class_bank(self._backbones, _vocabulary(names, None), None)
        return Recognizer(
            self._backbones,
            self._models.with_classes(bank),
            unknown_threshold=self._unknown_threshold,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Return the class names."""
        return self._models.vocabulary.names

    def __call__(
        self,
        picture: Picture,
        *,
        boxes: ArrayLike | None = None,
        points: ArrayLike | None = None,
        masks: ArrayLike | None = None,
        propose: ProposeConfig | None = None,
        overlap: float = 0.5,
    ) -> Result:
        """Segment and classify regions of one picture.

        Give one kind of prompt. Without any, SAM finds the regions by itself. Regions of one call
        are classified together, so a region's probabilities depend a little on the others.

        Args:
            picture: A file, Pillow's image, or RGB pixels (H, W, 3), uint8.
            boxes: (R, 4) xyxy in the picture's pixels.
            points: (R, 2) x and y in the picture's pixels, or (R, P, 2) for P points a region.
            masks: (R, H, W), nonzero on the region.
            propose: Settings of SAM's proposals.
            overlap: Largest IoU of two such regions; above it the surer one stays.

        Raises:
            InputError: If a prompt is malformed or outside the picture, or several kinds are given.
            ImageError: If the picture cannot be read.
        """
        image = _pixels(picture)
        size = (image.shape[0], image.shape[1])
        prompts = [
            kind.create(given, size)
            for kind, given in ((BoxPrompts, boxes), (PointPrompts, points), (MaskPrompts, masks))
            if given is not None
        ]
        if len(prompts) > 1:
            raise InputError("expected one of boxes=, points= and masks=, got several")
        return self._result(
            self._recognise(image, *prompts, propose=propose, overlap=overlap), size
        )

    def many(
        self,
        pictures: Iterable[Picture],
        *,
        whole: bool = False,
        propose: ProposeConfig | None = None,
        overlap: float = 0.5,
        batch: int = 8,
        workers: int = 4,
    ) -> Iterator[Result]:
        """Segment and classify regions of many pictures, in batches, decoded ahead in threads.

        SAM finds the regions by itself, as in a call for one picture.

        Args:
            pictures: As a call takes them.
            whole: Whether each picture is one region, which is then all of it.
            propose: Settings of SAM's proposals.
            overlap: Largest IoU of two such regions; above it the surer one stays.
            batch: Pictures that the models take together.
            workers: Threads that decode and resize.

        Yields:
            A result for each picture, in their order.

        Raises:
            ImageError: If a picture cannot be read.
        """
        find = WholePicture() if whole else AutomaticRegions(propose or ProposeConfig(), overlap)
        with closing(map_ahead(self._prepared, pictures, workers=workers)) as prepared:
            for images in in_batches(prepared, batch):
                for image, (_, found) in zip(
                    images, recognise(self._models, images, find), strict=True
                ):
                    yield self._result(found, image.size)

    def _prepared(self, picture: Picture) -> PreparedImage:
        return self._models.prepare(_pixels(picture))

    def _recognise(
        self,
        image: RGBImage,
        prompts: Prompts | None = None,
        *,
        propose: ProposeConfig | None,
        overlap: float,
    ) -> Recognition:
        (encoded,) = self._models.encode([image])
        if prompts is not None:
            return self._models.recognize(encoded, prompts)
        find = AutomaticRegions(propose or ProposeConfig(), overlap)
        return self._models.classify([encoded], [find(self._models, encoded, 0).segmented])[0]

    def _result(self, found: Recognition, size: tuple[int, int]) -> Result:
        return Result(
            self._models.vocabulary,
            np.asarray(found.boxes, dtype=np.float64),
            found.probabilities,
            found.predicted_iou,
            tuple(found.masks),
            size,
            found.known_scores,
            self._unknown_threshold,
        )


def _vocabulary(names: Sequence[str] | None, file: Path | str | None) -> Vocabulary:
    if names is None:
        return load_vocabulary(file=None if file is None else Path(file))
    if isinstance(names, str) or not names or len({*names}) < len(names):
        raise InputError(f"names: expected a list of different class names, got {names!r}")
    return Vocabulary.from_names(names)


def _class_bank(
    backbones: Backbones, vocabulary: Vocabulary | None, bank: Path | str | None
) -> ClassBank:
    encoder = backbones.image_text_encoder
    if vocabulary is None:
        return load_class_bank(Path(str(bank)), encoder)
    return build_class_bank(encoder, vocabulary)


def _pixels(picture: Picture) -> RGBImage:
    """Return uint8 (H, W, 3) RGB."""
    if isinstance(picture, Path | str):
        return read_image(Path(picture))
    pixels = np.asarray(picture.convert("RGB") if isinstance(picture, Image.Image) else picture)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(
            f"picture: expected RGB pixels (H, W, 3) of uint8, got {pixels.shape} {pixels.dtype}"
        )
    return pixels
