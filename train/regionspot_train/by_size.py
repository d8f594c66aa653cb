"""The recipe of a run that names none: it follows from what there is to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from regionspot_core.cache.location import Location
from regionspot_core.datasets.split import held_out_count
from regionspot_core.heads.shape import BUILT_IN
from regionspot_core.support.progress import say
from regionspot_core.support.tables import counted
from regionspot_train.config import TrainConfig, load_settings, settings_from

if TYPE_CHECKING:  # numpy and zarr, which settings by name need not wait for
    from regionspot_core.cache.layout.keep import Keep

LARGE = 20_000
"""Images from which on a run that names no recipe has the paper's rates."""
STEPS_PER_IMAGE = 2
"""Steps of 16 images for each image: it is seen 32 times (benchmarks/LOG.md)."""
FEWEST_STEPS, MOST_STEPS = 200, 20_000
RATE, RATE_WIDTH = 1e-3, 128
"""Learning rate of a head of that width; of a wider one it is in inverse proportion (muP, arXiv
2203.03466): 1e-3 is too much for 768 (benchmarks/LOG.md)."""
VALIDATIONS = 20
"""Validations of a run."""
PATIENCE = 10
"""Validations without a better one after which it ends: of few images, each is much by chance."""
MANY_TIMES = 1_000
"""Times that each image is seen, from which on a run is told that this is too often."""


class DataSize(NamedTuple):
    """Size of what a run learns from, and what its head can take."""

    images: int
    """Number of images with regions, without those that ``data.split`` holds out."""
    width: int
    """Width of the head: of its own, or of the image tokens."""
    inputs: Mapping[str, Any] = MappingProxyType({})
    """Result of :func:`inputs_of`."""

    @classmethod
    def of(cls, stores: Location | Sequence[Location], config: TrainConfig) -> DataSize:
        """Measure the stores of a run.

        Raises:
            CacheError: If a store is missing or unfinished.
        """
        from regionspot_core.cache.read.reader import FeatureCache

        several = [stores] if isinstance(stores, Location) else stores
        caches = [FeatureCache(store) for store in several]
        images = sum(int((cache.region_counts > 0).sum()) for cache in caches)
        if images and config.data.split is not None:
            images -= held_out_count(images, config.data.split)
        width = config.head.width or caches[0].plan.shape.image_width
        built_in = config.head.kind == BUILT_IN
        inputs = inputs_of([cache.plan.keep for cache in caches]) if built_in else {}
        return cls(images, width, inputs)


def inputs_of(kept: Sequence[Keep]) -> dict[str, Any]:
    """Return options of a head that takes all that the stores keep of a region.

    With few images that is most of what can be gained (benchmarks/LOG.md, 2026-11-29): a head that
    adds to CLIP's own embedding begins with what CLIP knows.
    """
    inputs: dict[str, Any] = {"box_geometry": True}
    if all(keep.sam_tokens == "all" for keep in kept):
        inputs["region_tokens"] = "all"
    if all(keep.region_masks for keep in kept):
        inputs["mask_geometry"] = True
    if {keep.region_embedding for keep in kept} in ({"tokens"}, {"crop"}, {"masked-crop"}):
        inputs["region_embedding"] = "residual"
    return inputs


class ChosenSettings(NamedTuple):
    """Settings of a run, and how they were come by."""

    config: TrainConfig
    reason: str | None = None
    """One line; None where a recipe was named."""


def choose_settings(
    name: str | None, overrides: Sequence[str], stores: Location | Sequence[Location]
) -> ChosenSettings:
    """Return the settings called ``name``, or where none are, those that fit the data's size.

    Args:
        name: As for :func:`load_settings`.
        overrides: Values of ``--set``; the rest of a recipe by size follows from its ``steps``.
        stores: The caches to learn from.

    Raises:
        CacheError: If a store is missing or unfinished.
        ConfigError: If a setting is not allowed.
    """
    config = load_settings(name, overrides)  # what is wrong with it is said before data is read
    if name is not None:
        return ChosenSettings(config)
    size = DataSize.of(stores, config)
    if not size.images or size.images >= LARGE:
        return ChosenSettings(config, _reason(config, size, "the paper's rates"))
    asked = {override.partition("=")[0].strip() for override in overrides}
    values = recipe_for(size, config.steps if "steps" in asked else None)
    config = settings_from(values, overrides, source="")
    return ChosenSettings(config, _reason(config, size, "a recipe for few images"))


def recipe_for(size: DataSize, steps: int | None = None) -> dict[str, Any]:
    """Return the settings for few images, as plain values; ``steps`` None: chosen too."""
    if steps is None:
        fewest = min(FEWEST_STEPS, 60 * size.images)  # seen 960 times where there are two or three
        steps = min(max(fewest, STEPS_PER_IMAGE * size.images), MOST_STEPS)
    return {
        "steps": steps,
        "checkpoint_every": max(1, steps // 4),
        "log_every": max(1, min(50, steps // VALIDATIONS)),
        "head": {"logit_scale": "learned", "initial_scale": 14.0, **size.inputs},
        "loss": {"kind": "softmax", "reduction": "mean"},
        "optimiser": {
            "lr": float(f"{RATE * min(1, RATE_WIDTH / size.width):.1e}"),
            "weight_decay": 0.01,
            "warmup_steps": steps // VALIDATIONS,
            "schedule": "cosine",
        },
        "validation": {"every": max(1, steps // VALIDATIONS), "patience": PATIENCE},
    }


def times_seen(config: TrainConfig, images: int) -> float:
    """Return how often a run sees each image."""
    return config.steps * config.batch_images / images


def repetition_warning(config: TrainConfig, images: int) -> str | None:
    """Return one sentence if a run would see each region thousands of times."""
    times = times_seen(config, images)
    if times < MANY_TIMES:
        return None
    return (
        f"each region would be seen {times:,.0f} times: {config.steps:,} steps of "
        f"{counted(config.batch_images, 'image')} on {counted(images, 'image')}. The head learns "
        f"them by heart: set fewer steps, or leave out --config and steps, to have them chosen"
    )


def announce(line: str | None) -> None:
    """Print a line about a run, if there is one, from the first of its processes alone."""
    from regionspot_core.distributed.torchrun import own_share

    if line is not None and own_share().index == 1:
        say(f"train: {line}")


def _reason(config: TrainConfig, size: DataSize, what: str) -> str:
    batch, optimiser = config.batch_images, config.optimiser
    return (
        f"{what}, {size.images:,} to learn from: {config.steps:,} steps of {batch:,} at "
        f"{optimiser.lr:g}, warm-up {optimiser.warmup_steps:,} (--config names another)"
    )
