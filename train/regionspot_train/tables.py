"""What `regionspot train` prints before a run, and of one that is verified."""

from __future__ import annotations

import json
from collections.abc import Sequence

from regionspot_core.cache.store import Location
from regionspot_core.fusion import FusionConfig, token_grid
from regionspot_core.tables import counted, facts_table, format_bytes, show
from regionspot_train.config import TrainConfig
from regionspot_train.forecast import forecast, settings
from regionspot_train.record.folder import checkpoint_step
from regionspot_train.verify import Checked, RunVerification

SHOWN = 20


def print_forecast(config: TrainConfig, stores: Sequence[Location]) -> None:
    """A run's size, and every setting as ``--set`` takes it."""
    expected = forecast(config, stores)
    head, epochs = expected.head, expected.epochs
    times = f"{epochs:,.0f}" if epochs >= 10 else f"{epochs:.2g}"
    facts = {
        "head": f"{head.layers} layers of {head.inner_width}, {head.heads} heads, FFN "
        f"{head.ffn_width}",
        "sees": _seen(head, expected.image_tokens),
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


def _seen(head: FusionConfig, image_tokens: int) -> str:
    """What of a region and of an image the head sees."""
    region = counted(head.region_token_count, "token")
    box = " and the box" if head.box_geometry else ""
    p = head.image_pooling
    image = counted(image_tokens, "image token")
    if p > 1:
        image = f"{token_grid(image_tokens).pooled(p).tokens:,} of {image}, pooled {p} × {p}"
    positions = f", {head.image_positions} positions" if head.image_positions else ""
    keys = ", keys and values shared by all layers" if head.shared_keys else ""
    return f"{region}{box} of each region; {image}{positions}{keys}"


def print_verification(found: RunVerification, *, as_json: bool) -> None:
    """What every byte of a run's heads and checkpoints says."""
    if as_json:
        values = {
            "path": str(found.path),
            "whole": not found.damaged,
            "finished": found.finished,
            "checked": [
                {
                    "path": str(each.path),
                    "problem": each.problem,
                    "checksums": each.has_checksums,
                }
                for each in found.checked
            ],
        }
        print(json.dumps(values, indent=2))  # noqa: T201 - the output
        return
    checkpoints = [each for each in found.checked if checkpoint_step(each.path) is not None]
    heads = [each for each in found.checked if each not in checkpoints and each.path.is_dir()]
    facts = {
        "heads": _whole(heads),
        "checkpoints": _whole(checkpoints),
        "finished": "yes" if found.finished else "no: the run has no head yet",
        "damaged": f"{len(found.damaged)} of {len(found.checked)}" if found.damaged else "nothing",
    }
    show(facts_table(str(found.path), facts))
    _print_checked("damaged:", found.damaged)
    _print_checked("readable, but written before there were checksums:", found.unsealed)


def _whole(checked: Sequence[Checked]) -> str:
    whole = sum(each.problem is None for each in checked)
    return f"{whole:,} of {len(checked):,} whole" if checked else "none"


def _print_checked(title: str, checked: Sequence[Checked]) -> None:
    if not checked:
        return
    show(title)
    for each in checked[:SHOWN]:
        show(f"  {each.problem or each.path}")
    if len(checked) > SHOWN:
        show(f"  … {len(checked) - SHOWN:,} more (--json lists all)")
