"""A user's own object by the name of its module: ``my_package.module:NAME``."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from typing import TypeVar

from regionspot_core.support.error_text import one_line

Kind = TypeVar("Kind")
_NAME = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


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
    parts = _NAME.fullmatch(name)
    if parts is None or parts[1].partition(".")[0] in sys.stdlib_module_names:
        raise ValueError("expected MODULE:NAME, such as my_package.module:NAME")
    try:
        module = import_module(parts[1])
    except Exception as error:  # whatever the user's module raises
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ValueError(
            f"the module {parts[1]} cannot be imported ({reason}); install it, or put its folder "
            f"on PYTHONPATH"
        ) from None
    found = getattr(module, parts[2], None)
    if not isinstance(found, kind):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise ValueError(
            f"expected {parts[2]} of the module {parts[1]} to be of type {kind.__name__}, "
            f"got {what}"
        )
    return found
