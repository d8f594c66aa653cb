"""Processes that start at once: forks of a server that has all modules loaded.

A new interpreter takes seconds to import PyTorch and the models' packages; a fork takes none.
"""

import multiprocessing
from multiprocessing.process import BaseProcess

SECONDS = 300
"""That a process may take on a busy machine."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([
    "open_clip", "segment_anything", "regionspot.cli", "regionspot_extract.run",
    "regionspot_train.run", "regionspot_train.sweep.run", "regionspot_evaluate.run",
])  # fmt: skip


def wait(process: BaseProcess) -> None:
    """Wait for a process to end, and end it if it does not."""
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"a process took more than {SECONDS} s")
