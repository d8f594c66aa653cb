"""RegionSpot: name any region of an image, in three stages on cached features.

``import regionspot as rs`` imports nothing heavy: each name below is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regionspot_core import __version__ as __version__
from regionspot_core.support.lazy import lazy_names

if TYPE_CHECKING:
    from regionspot.recognizer import Recognizer as Recognizer
    from regionspot.recognizer import Result as Result
    from regionspot.stages import evaluate as evaluate
    from regionspot.stages import extract as extract
    from regionspot.stages import train as train
    from regionspot_core.cache.read.reader import FeatureCache as FeatureCache
    from regionspot_core.errors import RegionSpotError as RegionSpotError
    from regionspot_core.heads.checkpoint import load_head as load_head
    from regionspot_evaluate.config import EvaluateConfig as EvaluateConfig
    from regionspot_extract.config import ExtractConfig as ExtractConfig
    from regionspot_train.config import TrainConfig as TrainConfig

_MODULES = {
    "EvaluateConfig": "regionspot_evaluate.config",
    "ExtractConfig": "regionspot_extract.config",
    "FeatureCache": "regionspot_core.cache.read.reader",
    "Recognizer": "regionspot.recognizer",
    "RegionSpotError": "regionspot_core.errors",
    "Result": "regionspot.recognizer",
    "TrainConfig": "regionspot_train.config",
    "evaluate": "regionspot.stages",
    "extract": "regionspot.stages",
    "load_head": "regionspot_core.heads.checkpoint",
    "train": "regionspot.stages",
}
__all__ = [
    "EvaluateConfig",
    "ExtractConfig",
    "FeatureCache",
    "Recognizer",
    "RegionSpotError",
    "Result",
    "TrainConfig",
    "__version__",
    "evaluate",
    "extract",
    "load_head",
    "train",
]
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
