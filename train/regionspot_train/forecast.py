"""Size of a training run, before it begins. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regionspot_core.cache.location import Location
from regionspot_core.heads.fusion import FusionConfig
from regionspot_core.heads.fusion.token_grid import token_grid
from regionspot_core.heads.registry import build_head, unallocated_head
from regionspot_core.heads.shape import HeadShape
from regionspot_core.support.tables import counted, facts_table, format_bytes, show
from regionspot_train.by_size import repetition_warning, times_seen
from regionspot_train.config import TrainConfig
from regionspot_train.data.sources import Source, open_sources, require_labels
from regionspot_train.learning.learner import head_shape
from regionspot_train.learning.losses import loss_of

STATE_BYTES = 16
"""Bytes of a parameter: float32 weight, gradient and AdamW's two means."""


@dataclass(frozen=True)
class Forecast:
    """A run's size."""

    head: HeadShape
    parameters: int
    classes: tuple[int, ...]
    """Number of classes of each cache that are learnt."""
    held_out_classes: int
    """Number of labelled classes that ``data.hold_out_classes`` holds out."""
    images: int
    """Number of images with regions that are learnt from; others are never read."""
    held_out: int
    """Number of images with regions that ``data.split`` holds out."""
    regions: int
    epochs: float
    """Number of times that each image is seen."""
    image_tokens: int
    """Tokens of an image in the cache."""
    state_bytes: int
    """Weights, gradients and the optimiser's state, on the training device."""
    batch_bytes: int
    """Input of the head for a batch with the cache's mean number of regions, in float32, on the
    training device. Activations come on top."""


def forecast(config: TrainConfig, store: Location | Sequence[Location]) -> Forecast:
    """Size up a run.

    Raises:
        CacheError: If a cache is missing, unfinished or without regions.
        ConfigError: If the settings do not fit the caches.
        FingerprintError: If the caches are of different backbones.
    """
    sources = open_sources(store, config.data)
    require_labels(sources, config.loss)
    loss_of(config.loss)  # a function that is not there is told before anything is made
    first = sources[0]
    shape = head_shape(config, first.cache, first.bank)
    head = unallocated_head(shape) or build_head(shape)
    parameters = sum(each.numel() for each in head.parameters())
    images = sum(len(each.images) for each in sources)
    regions = sum(int(each.class_regions.sum()) for each in sources)
    image_tokens = first.cache.plan.shape.image_tokens
    region = shape.region_token_count * shape.region_width + (4 if shape.needs.boxes else 0)
    seen = image_tokens * shape.image_width + regions / images * region
    return Forecast(
        head=shape,
        parameters=parameters,
        classes=tuple(int(each.learnt_classes.sum()) for each in sources),
        held_out_classes=len(first.held_out_classes.names) if first.held_out_classes else 0,
        images=images,
        held_out=sum(_held_out_images(each) for each in sources),
        regions=regions,
        epochs=times_seen(config, images),
        image_tokens=image_tokens,
        state_bytes=parameters * STATE_BYTES,
        batch_bytes=int(config.batch_images * 4 * seen),
    )


def _held_out_images(source: Source) -> int:
    """Return the number of images with regions that a split holds out."""
    if source.split is None:
        return 0
    return int(source.split.held_out(source.cache.image_ids[source.cache.region_counts > 0]).sum())


def settings(values: dict[str, Any], above: str = "") -> dict[str, str]:
    """Return a configuration as ``a.b`` → value, each as ``--set`` takes it."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= settings(value, f"{above}{key}.")
        else:
            plain = value is None or isinstance(value, bool)
            flat[f"{above}{key}"] = str(value).lower() if plain else str(value)
    return flat


def print_forecast(
    config: TrainConfig, stores: Sequence[Location], reason: str | None = None
) -> None:
    """Print a run's size, and every setting as ``--set`` takes it.

    Args:
        config: The run's settings.
        stores: The caches to learn from.
        reason: One line that says how the settings were chosen; None where they were named.
    """
    expected = forecast(config, stores)
    head, epochs = expected.head, expected.epochs
    times = f"{epochs:,.0f}" if epochs >= 10 else f"{epochs:.2g}"
    facts = {"recipe": reason} if reason is not None else {}
    facts |= {
        "head": head.summary,
        "sees": _inputs(head, expected.image_tokens),
        "parameters": f"{expected.parameters:,} ({expected.parameters / 1e6:.1f} M)",
        "classes": " and ".join(f"{count:,}" for count in expected.classes)
        + (f"; {expected.held_out_classes:,} held out" if expected.held_out_classes else ""),
        "data": f"{expected.images:,} images with {expected.regions:,} regions, each seen "
        f"{times} times"
        + (f"; {counted(expected.held_out, 'image')} held out" if expected.held_out else ""),
        "memory": f"{format_bytes(expected.state_bytes)} for weights, gradients and optimiser",
        "": f"{format_bytes(expected.batch_bytes)} for a batch's tokens; activations on top",
    }
    warning = repetition_warning(config, expected.images)
    if warning is not None:
        facts["warning"] = warning
    names = " and ".join(map(str, stores))
    show(facts_table(f"{names}: dry run, nothing is written", facts))
    show(facts_table("Settings", settings(config.to_json())))


def _inputs(head: HeadShape, image_tokens: int) -> str:
    """Return the head's inputs of a region and of an image, in words."""
    region = counted(head.region_token_count, "token")
    box = " and the box" if head.needs.boxes else ""
    image = counted(image_tokens, "image token")
    if not isinstance(head, FusionConfig):
        return f"{region}{box} of each region; {image}"
    p = head.image_pooling
    if p > 1:
        image = f"{token_grid(image_tokens).pooled(p).tokens:,} of {image}, pooled {p} × {p}"
    positions = f", {head.image_positions} positions" if head.image_positions else ""
    keys = ", keys and values shared by all layers" if head.shared_keys else ""
    return f"{region}{box} of each region; {image}{positions}{keys}"
