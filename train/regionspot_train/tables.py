"""What `regionspot train` prints before a run."""

from __future__ import annotations

from collections.abc import Sequence

from regionspot_core.cache.store import Location
from regionspot_core.tables import facts_table, format_bytes, show
from regionspot_train.config import TrainConfig
from regionspot_train.forecast import forecast, settings


def print_forecast(config: TrainConfig, stores: Sequence[Location]) -> None:
    """A run's size, and every setting as ``--set`` takes it."""
    expected = forecast(config, stores)
    head, epochs = expected.head, expected.epochs
    times = f"{epochs:,.0f}" if epochs >= 10 else f"{epochs:.2g}"
    facts = {
        "head": f"{head.layers} layers of {head.image_width}, {head.heads} heads, FFN "
        f"{head.ffn_width}",
        "parameters": f"{expected.parameters:,} ({expected.parameters / 1e6:.1f} M)",
        "classes": " and ".join(f"{count:,}" for count in expected.classes),
        "data": f"{expected.images:,} images with {expected.regions:,} regions, each seen "
        f"{times} times",
        "memory": f"{format_bytes(expected.state_bytes)} for weights, gradients and optimiser",
        "": f"{format_bytes(expected.batch_bytes)} for a batch's tokens; activations on top",
    }
    names = " and ".join(map(str, stores))
    show(facts_table(f"{names}: dry run, nothing is written", facts))
    show(facts_table("Settings", settings(config.to_json())))
