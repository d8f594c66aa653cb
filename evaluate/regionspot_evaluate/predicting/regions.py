"""Where a picture's regions come from without a prompt: SAM, a detector, or the whole picture."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.config import ProposeConfig
from regionspot_core.backbones.loading import PreparedImage
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_evaluate.config import AUTOMATIC, WHOLE_PICTURE, PredictConfig
from regionspot_evaluate.predicting.listing import PictureList
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.proposals.by_name import read_picture_proposals
from regionspot_evaluate.recognition.image_regions import (
    EncodedImage,
    Recognition,
    SegmentedRegions,
)
from regionspot_evaluate.recognition.recognizer import Recognizer
from regionspot_evaluate.scoring.overlaps import without_overlaps


class FoundRegions(NamedTuple):
    """The regions of one picture that are to be named."""

    prompt: str
    """Word for what pointed at them."""
    segmented: SegmentedRegions
    overlapping: int = 0
    """Regions that were left out, for they overlapped a surer one."""
    detector_scores: NDArray[np.float32] | None = None
    """(R,)"""


class FindRegions(Protocol):
    """Function that segments the regions of the picture at a position."""

    @property
    def source(self) -> str:
        """Text that is another one where the regions may be others."""
        ...

    def __call__(self, sam: Recognizer, image: EncodedImage, position: int) -> FoundRegions:
        """Segment the regions."""
        ...


def find_regions(config: PredictConfig, listed: PictureList) -> FindRegions:
    """Return the function that finds the regions of the pictures of a list.

    Raises:
        AnnotationError: If a detector's file is missing, malformed, or of other pictures.
    """
    if config.proposals == AUTOMATIC:
        return AutomaticRegions(config.propose, config.overlap)
    if config.proposals == WHOLE_PICTURE:
        return WholePicture()
    return _Detected(read_picture_proposals(Path(config.proposals), listed.root, listed.names))


def recognise(
    recognizer: Recognizer,
    images: Sequence[PreparedImage],
    find: FindRegions,
    positions: Iterable[int] | None = None,
) -> list[tuple[FoundRegions, Recognition]]:
    """Find and classify the regions of pictures that the models take together.

    Args:
        recognizer: The models, a head and a vocabulary.
        images: The pictures.
        find: Function that finds a picture's regions.
        positions: Positions of the pictures in the list that ``find`` knows; None: from 0.
    """
    encoded = recognizer.encode_prepared(images)
    places = range(len(images)) if positions is None else positions
    found = [find(recognizer, image, place) for place, image in zip(places, encoded, strict=True)]
    recognitions = recognizer.classify(encoded, [each.segmented for each in found])
    return list(zip(found, recognitions, strict=True))


class AutomaticRegions:
    """The regions that SAM finds by itself, of those that overlap the surest one.

    Args:
        propose: Settings of SAM's search.
        overlap: Largest IoU of two regions' masks.
    """

    source = AUTOMATIC

    def __init__(self, propose: ProposeConfig, overlap: float) -> None:
        self._propose = propose
        self._overlap = overlap

    def __call__(self, sam: Recognizer, image: EncodedImage, position: int) -> FoundRegions:
        """Segment the regions that SAM finds."""
        segmented = sam.segment_everything(image, self._propose)
        distinct = without_overlaps(segmented, self._overlap)
        return FoundRegions("auto", distinct, len(segmented.masks) - len(distinct.masks))


class WholePicture:
    """One box around each picture."""

    source = WHOLE_PICTURE

    def __call__(self, sam: Recognizer, image: EncodedImage, position: int) -> FoundRegions:
        """Segment the box around the picture."""
        height, width = image.size
        box = BoxPrompts(np.array([[0.0, 0.0, width, height]]))
        return FoundRegions("whole", sam.segment(image, box))


class _Detected:
    """A detector's boxes, clipped to their pictures; those with no area inside are left out."""

    def __init__(self, proposals: list[Proposals]) -> None:
        self._proposals = proposals

    @property
    def source(self) -> str:
        digest = hashlib.sha256()
        for each in self._proposals:
            digest.update(len(each.boxes).to_bytes(8, "little"))
            digest.update(each.boxes.tobytes() + each.scores.tobytes())
        return digest.hexdigest()

    def __call__(self, sam: Recognizer, image: EncodedImage, position: int) -> FoundRegions:
        proposals = self._proposals[position]
        height, width = image.size
        clipped = np.clip(proposals.boxes, 0, np.array([width, height] * 2, dtype=np.float32))
        inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
        segmented = sam.segment(image, BoxPrompts(clipped[inside]))
        return FoundRegions("proposal", segmented, detector_scores=proposals.scores[inside])
