"""What other packages say: their warnings and errors, for messages of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Without open_clip's words on random weights, and the hub's on every attempt.

    What fails still raises.
    """
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def reason(error: Exception) -> str:
    """The first line of an error, or its kind where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
