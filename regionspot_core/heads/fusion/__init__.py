"""The fusion head: region tokens attend to image tokens and come out in CLIP's text space."""

from __future__ import annotations

from regionspot_core.heads.fusion.box_geometry import normalised_boxes as normalised_boxes
from regionspot_core.heads.fusion.config import FusionConfig as FusionConfig
from regionspot_core.heads.fusion.config import FusionOptions as FusionOptions
from regionspot_core.heads.fusion.decoder import visible_regions as visible_regions
from regionspot_core.heads.fusion.head import FusionHead as FusionHead
from regionspot_core.heads.fusion.image_tokens import token_grid as token_grid
