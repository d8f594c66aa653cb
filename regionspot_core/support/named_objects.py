"""A user's own object by the name of its module: ``my_package.module:NAME``."""

from __future__ import annotations

import re
import sys
import traceback
from importlib import import_module
from typing import TypeVar

from regionspot_core.support.error_text import one_line

Kind = TypeVar("Kind")
LONGEST = 200
_NAME = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


def is_object_name(name: str) -> bool:
    """Return whether a name has the form ``module:NAME``; nothing is imported."""
    return len(name) <= LONGEST and _NAME.fullmatch(name) is not None


def load_object(name: str, kind: type[Kind]) -> Kind:
    """Import a module and return an object of it.

    A store and a head name the objects they were made with, and may come from anybody: only what is
    installed here, or lies on PYTHONPATH, is imported, and never a module of Python itself.

    Args:
        name: ``module:NAME``.
        kind: The type that the object must have.

    Raises:
        ValueError: If the name is not of that form, the module cannot be imported, or it has no
            such object.
    """
    value = _imported(name)
    if not isinstance(value, kind):
        raise ValueError(_unexpected(name, f"an object of type {kind.__name__}", value))
    return value


def load_class(name: str, base: type[Kind]) -> type[Kind]:
    """Import a module and return a class of it, as :func:`load_object` does an object.

    Args:
        name: ``module:Class``.
        base: The class that it must be a subclass of.

    Raises:
        ValueError: If the name is not of that form, the module cannot be imported, or it has no
            such class.
    """
    value = _imported(name)
    if not (isinstance(value, type) and issubclass(value, base)):
        raise ValueError(_unexpected(name, f"a subclass of {base.__name__}", value))
    return value


def place_of(error: Exception) -> str:
    """Return an error's type, text and line, for one who wrote the code that raised it."""
    text = f"{type(error).__name__}: {one_line(error)}"
    if isinstance(error, SyntaxError):
        return text  # which names the line
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{text} ({last.filename}, line {last.lineno})"


def _imported(name: str) -> object:
    """Return the named object, or None if its module has none of that name."""
    parts = _NAME.fullmatch(name)
    if parts is None or parts[1].partition(".")[0] in sys.stdlib_module_names:
        raise ValueError("expected MODULE:NAME, such as my_package.module:NAME")
    module = parts[1]
    try:
        return getattr(import_module(module), parts[2], None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"the module {module} cannot be imported: {place_of(error)}") from None
        raise ValueError(
            f"the module {module} cannot be imported: there is no {error.name} on Python's path; "
            f"install it, or put its folder on PYTHONPATH"
        ) from None
    except Exception as error:  # whatever the user's module raises
        raise ValueError(f"the module {module} cannot be imported: {place_of(error)}") from None


def _unexpected(name: str, expected: str, value: object) -> str:
    module, _, of = name.partition(":")
    got = "nothing of that name" if value is None else f"{value!r:.80}"
    return f"expected {of} of the module {module} to be {expected}, got {got}"
