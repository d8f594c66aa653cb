"""Checks of command-line arguments that need no heavy import, made before any command runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from regionspot_core.errors import InputError
from regionspot_core.support.files import require_folder_or_nothing
from regionspot_core.support.input_files import kind_of
from regionspot_core.support.patterns import is_pattern

INTEGER_LIMIT = 2**63
"""No library below takes larger whole numbers."""


def require_values(arguments: Sequence[str]) -> None:
    """Refuse an empty argument: as a path it would silently mean the current folder.

    Raises:
        InputError: If one is empty; the option before it is named.
    """
    for before, argument in pairwise(["regionspot", *arguments]):
        if argument == "" or re.fullmatch(r"--[\w-]+=", argument):
            option = argument.rstrip("=") or before
            raise InputError(
                f"{option}: expected a value, got an empty text (is a variable of the shell empty?)"
            )


def bound_integers(command: Any) -> None:  # noqa: ANN401 - typer keeps click's types to itself
    """Have every option of a command and its subcommands refuse numbers beyond 64 bits."""
    for option in _options(command):
        option.callback = _bounded(option.callback)


def _options(command: Any) -> Iterator[Any]:  # noqa: ANN401
    yield from command.params
    for subcommand in getattr(command, "commands", {}).values():
        yield from _options(subcommand)


def _bounded(then: Any) -> Any:  # noqa: ANN401
    def check(ctx: Any, option: Any, value: Any) -> Any:  # noqa: ANN401
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, int) and abs(each) >= INTEGER_LIMIT:
                digits = len(str(abs(each))) if abs(each) < 10**40 else "more than 40"
                raise typer.BadParameter(
                    f"expected a whole number of at most 64 bits, got one of {digits} digits",
                    ctx=ctx,
                    param=option,
                )
        return value if then is None else then(ctx, option, value)

    return check


def existing(
    what: str,
    *,
    folder: bool = False,
    file: bool = False,
    url: bool = False,
    pattern: bool = False,
) -> Any:  # noqa: ANN401
    """Return the callback of an option that refuses a path where nothing of that kind is.

    A pipe, a socket or a device is never of that kind: it could be waited for endlessly.

    Args:
        what: What is expected, for the message: ``a folder``.
        folder: Whether a folder will do.
        file: Whether a regular file will do.
        url: Whether a URL will do; nothing looks whether it is there.
        pattern: Whether a text with ``*``, ``?``, ``[…]`` or ``{…}`` will do; likewise.

    Raises:
        InputError: By the callback, if there is none; the option is named.
    """

    def check(param: typer.CallbackParam, value: Any) -> Any:  # noqa: ANN401 - a path, several, or None
        given = value if isinstance(value, list | tuple) else [value]
        for each in given:
            path = Path(each) if each is not None else None
            if path is None or (url and "://" in str(each)):
                continue
            if pattern and is_pattern(path):
                continue
            if not ((folder and path.is_dir()) or (file and path.is_file())):
                raise InputError(f"{_name(param)} {each}: expected {what}, found {kind_of(path)}")
        return value

    return check


existing_folder = existing("a folder", folder=True)
existing_file = existing("a file", file=True)
existing_images = existing(
    "a folder of images, or a zip or tar of them", folder=True, file=True, pattern=True
)
existing_path = existing("a file or a folder", file=True, folder=True)
existing_store = existing("a feature cache, the folder or URL of a store", folder=True, url=True)
existing_head = existing(
    "a trained head, a folder that `train fit` or `train import` wrote", folder=True
)


def writable_folder(param: typer.CallbackParam, value: Path | None) -> Path | None:
    """Refuse a folder to write to that cannot be one, as the callback of an option.

    Raises:
        InputError: If it is a file, or nothing can be written in it; the option is named.
    """
    if value is not None:
        require_folder_or_nothing(value)
    return value


def existing_pictures(param: typer.CallbackParam, value: Any) -> Any:  # noqa: ANN401 - as above
    """Refuse a place where no picture can be, as the callback of an argument.

    Raises:
        InputError: If nothing is there, or a pipe, a socket or a device; the argument is named.
    """
    for path in map(Path, value or ()):
        is_list = str(path).startswith("@") and not path.exists()
        place = Path(str(path)[1:]) if is_list else path
        if is_list and place.is_file():
            continue
        if is_list or not (is_pattern(path) or path.is_dir() or path.is_file()):
            what = "a list of pictures" if is_list else "a picture, or a folder or archive of them"
            raise InputError(f"{_name(param)} {path}: expected {what}, found {kind_of(place)}")
    return value


def _name(param: typer.CallbackParam) -> str:
    option: str = param.opts[0]
    return option if option.startswith("-") else str(param.metavar or option)
