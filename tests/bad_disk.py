"""Commands on a disk that fills up, or that turns read-only: a program of steps, run by `on_disk`.

The disk is a tmpfs that is mounted in a namespace of the program's own, so that it needs no rights
and ends with it. A step is a list: ``["sh", COMMAND]``, ``["regionspot", ARGUMENT, …]``, or
``["seteuid", USER]``, from where on commands have that user's permissions.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

NAMESPACE = ["unshare", "--map-root-user", "--mount"]
Step = list[str]


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """All that was printed, as one line."""
        return " ".join((self.stdout + self.stderr).split())


def can_mount(folder: Path) -> bool:
    """Whether a disk can be mounted at ``folder`` here."""
    command = [*NAMESPACE, "mount", "-t", "tmpfs", "none", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def run_steps(steps: list[Step], *, mounting: bool) -> list[Done]:
    """Take all steps in one process; what each `regionspot` ended with."""
    program = [sys.executable, __file__, json.dumps(steps)]
    done = subprocess.run(
        [*NAMESPACE, *program] if mounting else program, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [Done(*each) for each in json.loads(done.stdout.splitlines()[-1])]


def main(steps: list[Step]) -> None:
    ended = []
    for kind, *arguments in steps:
        if kind == "sh":
            subprocess.run(arguments[0], shell=True, check=True)
        elif kind == "seteuid":
            os.seteuid(int(arguments[0]))
        else:
            ended.append(regionspot(arguments))
    print(json.dumps(ended))


def regionspot(arguments: list[str]) -> Done:
    import regionspot.cli

    sys.argv = ["regionspot", *arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            regionspot.cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
