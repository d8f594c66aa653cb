"""Python begins with this where its folder is on PYTHONPATH, in the processes of a run too.

Each waits at the first batch that it is to encode, and leaves a file with its number in the folder
that ``REACHED`` names.
"""

import os
import time
from pathlib import Path

from regionspot_core.support.fault_points import at_points

SECONDS = 200
"""After which it goes on, if nobody has ended it."""


def wait(point: str, number: int) -> None:
    if point == "encode batch":
        (Path(os.environ["REACHED"]) / str(os.getpid())).touch()
        time.sleep(SECONDS)


waiting = at_points(wait)
waiting.__enter__()
