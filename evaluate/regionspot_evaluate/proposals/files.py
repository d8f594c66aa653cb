"""Reading a detector's boxes as proposals."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import view
from regionspot_core.datasets.detections.box_reader import BoxBlock, BoxReader
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import AnnotationError
from regionspot_evaluate.config import AUTOMATIC, GROUND_TRUTH
from regionspot_evaluate.proposals.boxes import Proposals


def read_proposals(path: Path, annotations: AnnotationSet) -> list[Proposals]:
    """Return the proposals of every image of the annotation set, in its order.

    Boxes are clipped to their image, and those with no area inside it are left out.

    Args:
        path: COCO results, or boxes by image, as :class:`BoxReader` reads them.
        annotations: The images.

    Raises:
        AnnotationError: If the file is missing or malformed, or has a box that scoring would refuse
            too: of an unknown image, or with a negative side or a score outside 0 to 1.
    """
    if not path.exists():
        raise AnnotationError(
            f"--proposals {path}: neither {GROUND_TRUTH}, {AUTOMATIC} nor a file that exists"
        )
    images = annotations.image_id, annotations.image_file
    reader = ProposalReader(path, *images, annotations.path, size=annotations.image_size)
    reader.read()
    return reader.by_image()


class ProposalReader(BoxReader):
    """Boxes as they come: 24 bytes each, whatever their order.

    Args:
        path: See :class:`BoxReader`, as for ``ids``, ``files`` and ``source``.
        size: (I, 2) height, width of each image, to which boxes are clipped.
    """

    def __init__(
        self,
        path: Path,
        ids: NDArray[np.int64],
        files: Sequence[str],
        source: object,
        *,
        size: NDArray[np.int32],
    ) -> None:
        super().__init__(path, ids, files, source)
        self._size = size
        self._image, self._box, self._score = array("i"), array("f"), array("f")

    def take(self, block: BoxBlock) -> None:
        """Add boxes, clipped to their images."""
        far = np.tile(self._size[block.image][:, ::-1], 2)
        self._image.frombytes(block.image.astype(np.int32).tobytes())
        self._box.frombytes(np.clip(block.corners, 0, far).astype(np.float32).tobytes())
        self._score.frombytes(block.score.astype(np.float32).tobytes())

    def by_image(self) -> list[Proposals]:
        """Return the boxes that are not empty, an image after another, each in the file's order."""
        owner, score = view(self._image, np.int32), view(self._score, np.float32)
        box = view(self._box, np.float32).reshape(-1, 4)
        kept = np.flatnonzero((box[:, 2:] > box[:, :2]).all(axis=1))
        kept = kept[np.argsort(owner[kept], kind="stable")]
        owner, box, score = owner[kept], box[kept], score[kept]
        start = np.searchsorted(owner, np.arange(len(self._size) + 1))
        unknown = np.full(len(owner), -1, dtype=np.int64)
        places = [slice(*ends) for ends in pairwise(start)]
        return [Proposals(box[place], score[place], unknown[place]) for place in places]
