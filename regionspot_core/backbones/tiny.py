"""The embedded tiny SAM and CLIP as backbones like the others."""

from __future__ import annotations

from regionspot_core.backbones.clip import ClipEncoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.backbones.sam import SamEncoder
from regionspot_core.backbones.sam_proposals import Thresholds
from regionspot_core.tiny.models import load_tiny_clip, load_tiny_sam, tiny_tokenizer


def load_sam(*, runtime: Runtime) -> SamEncoder:
    """The tiny SAM with its shipped weights."""
    # Its masks are less sure than a real SAM's: these thresholds find nearly every object.
    thresholds = Thresholds(iou=0.5, stability=0.7)
    return SamEncoder(load_tiny_sam(), name="tiny", runtime=runtime, thresholds=thresholds)


def load_clip(*, runtime: Runtime) -> ClipEncoder:
    """The tiny CLIP with its shipped weights."""
    return ClipEncoder(load_tiny_clip(), tiny_tokenizer(), name="tiny", runtime=runtime)
