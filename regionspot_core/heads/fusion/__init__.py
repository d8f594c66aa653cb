"""The fusion head: region tokens attend to image tokens and come out in CLIP's text space.

Names are imported when they are asked for: a head's configuration needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regionspot_core.support.lazy import lazy_names

if TYPE_CHECKING:
    from regionspot_core.heads.fusion.box_geometry import normalised_boxes as normalised_boxes
    from regionspot_core.heads.fusion.config import FusionConfig as FusionConfig
    from regionspot_core.heads.fusion.config import FusionOptions as FusionOptions
    from regionspot_core.heads.fusion.decoder import visible_regions as visible_regions
    from regionspot_core.heads.fusion.head import FusionHead as FusionHead

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "normalised_boxes": "box_geometry",
        "FusionConfig": "config",
        "FusionOptions": "config",
        "visible_regions": "decoder",
        "FusionHead": "head",
    },
)
