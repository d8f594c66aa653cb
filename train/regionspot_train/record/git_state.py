"""The commit that a run was started from, for its record."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

SECONDS = 10.0
"""Most time for git to answer: a repository on a slow disk must not hold up a run."""


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit that ``folder`` is at, and whether tracked files there differ from it.

    None without git, a repository or a commit, or if git fails: a run is never refused for that.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return {"commit": commit.strip(), "uncommitted_changes": bool(changes.strip())}


def _git(folder: Path, *arguments: str) -> str | None:
    # Without optional locks `status` does not rewrite the index of a repository others work in.
    surroundings = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
