"""What papers say of detectors on LVIS, to stand beside what is measured here."""

from __future__ import annotations

from dataclasses import dataclass

from regionspot_core.datasets.truth import Truth
from regionspot_core.errors import InputError
from regionspot_evaluate.scoring.figures import PROTOCOL_TITLES, Iou, Protocol

IMAGES = {"LVIS v1 val": 19_809, "LVIS minival": 4_809}
CLASSES = 1_203


@dataclass(frozen=True)
class Published:
    """The figures of one detector in one paper; what it does not give is not there."""

    name: str
    source: str
    images: str
    """One of ``IMAGES``."""
    protocol: Protocol
    figures: dict[Iou, dict[str, float]]
    """Shares of 1."""


_OWN = "RegionSpot (arXiv 2311.01373), LVIS v1 val, zero-shot, GLIP-T boxes"
_TAP = "TAP: Tokenize-Anything v1.1 (arXiv 2312.09128), LVIS v1 val, annotated boxes"
_GLIP = "GLIP-L (arXiv 2112.03857), LVIS v1 val, as RegionSpot's paper quotes it"
_DINO = "GroundingDINO-L (arXiv 2303.05499), LVIS minival, as RegionSpot's paper quotes it"


def _own(name: str, box: tuple[float, float], mask: tuple[float, float]) -> Published:
    figures: dict[Iou, dict[str, float]] = {
        "bbox": dict(zip(("AP", "APr"), box, strict=True)),
        "segm": dict(zip(("AP", "APr"), mask, strict=True)),
    }
    return Published(name, _OWN, "LVIS v1 val", "lvis", figures)


def _tap(name: str, *figures: float) -> Published:
    named = dict(zip(("AP", "APr", "APc", "APf"), figures, strict=True))
    return Published(name, _TAP, "LVIS v1 val", "lvis", {"bbox": named})


PUBLISHED = (
    _own("RegionSpot-BB", (0.209, 0.191), (0.178, 0.175)),
    _own("RegionSpot-BL", (0.237, 0.260), (0.202, 0.228)),
    _own("RegionSpot-BL@336", (0.250, 0.263), (0.213, 0.234)),
    _tap("TAP-B", 0.574, 0.586, 0.568, 0.575),
    _tap("TAP-L", 0.591, 0.617, 0.589, 0.583),
    _tap("TAP-H", 0.596, 0.616, 0.600, 0.582),
    Published("GLIP-L", _GLIP, "LVIS v1 val", "lvis-fixed", {"bbox": {"AP": 0.269, "APr": 0.171}}),
    Published("GroundingDINO-L", _DINO, "LVIS minival", "lvis-fixed", {"bbox": {"APr": 0.222}}),
)


def published_beside(truth: Truth, protocol: Protocol) -> tuple[Published, ...]:
    """Return the published figures of the same images by the same protocol.

    Raises:
        InputError: If there are none; the message names those there are.
    """
    found = (len(truth.image_id), len(truth.class_id))
    names = [name for name, images in IMAGES.items() if found == (images, CLASSES)]
    rows = tuple(p for p in PUBLISHED if p.images in names and p.protocol == protocol)
    if not rows:
        pairs = sorted({(p.images, p.protocol) for p in PUBLISHED}, reverse=True)
        sets = ", ".join(f"{name} ({IMAGES[name]:,} images) by {way}" for name, way in pairs)
        raise InputError(
            f"--published: figures are known of {sets}; {truth.path} has {found[0]:,} images and "
            f"{found[1]:,} classes, and the protocol is {PROTOCOL_TITLES.get(protocol, protocol)}"
        )
    return rows
