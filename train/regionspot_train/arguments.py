"""Options that `train fit` and `train sweep` share."""

from __future__ import annotations

from typing import Annotated

import typer

from regionspot_core.errors import InputError
from regionspot_core.support.arguments import existing_store
from regionspot_train.config import RECIPES


def share_of_images(value: float | None) -> float | None:
    """Refuse a share that is none, as the callback of ``--split``.

    Raises:
        InputError: If it is not between 0 and 1; a number of per cent is told what to write.
    """
    if value is None or 0 < value < 1:
        return value
    hint = f" ({value:g} % is {value / 100:g})" if 1 <= value < 100 else ""
    raise InputError(
        f"--split {value:g}: expected a share of the images above 0 and below 1{hint}, such as "
        f"0.2; leave it out to learn from all of them"
    )


Cache = Annotated[
    list[str],
    typer.Option(
        "--cache",
        callback=existing_store,
        metavar="STORE",
        help="What `extract run` wrote: a folder or a URL. Several, each with its own classes, "
        "are mixed, one a batch.",
    ),
]
SettingsFrom = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="NAME|FILE|RUN",
        help=f"A recipe ({', '.join(RECIPES)}), a TOML file, or the folder of a run to take "
        "them from. Without it, they follow from the number of images.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=VALUE",
        help="Change one setting (docs/settings.md has all); may be repeated.",
    ),
]
ValidationStore = Annotated[
    str | None,
    typer.Option(
        "--val",
        callback=existing_store,
        metavar="STORE",
        help="Validate on this store: it says how good a head is, and the best one is kept.",
    ),
]
SplitShare = Annotated[
    float | None,
    typer.Option(
        "--split",
        callback=share_of_images,
        metavar="SHARE",
        help="In place of --val: hold this share of the images out of training (0.2, say), and "
        "validate on them.",
    ),
]
HoldOutClasses = Annotated[
    float | None,
    typer.Option(
        "--hold-out-classes",
        metavar="SHARE",
        help="Hold this share of the labelled classes out of training (0.1, say), regions and "
        "names, to tune on them what is for unseen classes.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with what is in --out, if anything is, where it stopped."),
]


def overrides_with(
    overrides: list[str] | None, split: float | None, hold_out_classes: float | None
) -> list[str]:
    """Return the values of ``--set``, and those of options that are settings among them."""
    options = {"data.split": split, "data.hold_out_classes": hold_out_classes}
    asked = [f"{key}={value}" for key, value in options.items() if value is not None]
    return [*(overrides or []), *asked]
