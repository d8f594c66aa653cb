"""Fenced blocks of Markdown, and a shell that goes through them and asks for each command.

A block that cannot be run has the reason before it, on a line of its own:

    <!-- not run: needs LVIS and weights -->

The shell still comes to its commands, so that they can be parsed.
"""

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

NOT_RUN = "<!-- not run: "
SHELL_SECONDS = 1_800
"""After which a shell is ended, whatever it waits for."""
_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?"
    r"(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a file."""

    place: str
    """``README.md:30``"""
    text: str
    not_run: str | None = None
    """Why it cannot be run here."""


def blocks(file: Path, language: str) -> list[Block]:
    """A file's fenced blocks of a language, in order.

    Blocks of ``sh`` are also the commands, behind ``$``, of blocks that show what they print.
    """
    text = file.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        content = match["text"]
        if language == "sh" and match["language"] == "" and content.startswith("$ "):
            content = "".join(re.findall(r"^\$ (.*\n)", content, re.MULTILINE))
        elif match["language"] != language:
            continue
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(f"{file.name}:{line}", content, match["reason"]))
    return found


@dataclass(frozen=True)
class Call:
    """A command that the shell came to, its words as the shell made them."""

    place: str
    to_run: bool
    """Whether its block is run; else the command need only be looked at."""
    folder: Path
    words: tuple[str, ...]


# Every command that is no builtin of bash asks for its exit status. A block that is not run gets a
# subshell and asks without waiting, so that nothing of it reaches the next block; there no program
# is found, neither by its name nor by its path.
_PRELUDE = r"""
set -e
ask() {
  printf '%s\0' "$place" "$to_run" "$PWD" "$#" "$@" >&3
  [ "$to_run" = 1 ] || return 0
  local status
  IFS= read -r status <&4
  return "$status"
}
regionspot() {
  if [ "$to_run" = 1 ] && ! type -P regionspot >/dev/null; then
    echo "$place: regionspot: command not found" >&2
    return 127
  fi
  ask regionspot "$@"
}
torchrun() {
  while [ "$1" != regionspot ]; do shift; done
  "$@"
}
for name in make git pip python3 curl unzip; do
  eval "$name() { ask $name \"\$@\"; }"
done
look_only() {
  set +e
  PATH=/nowhere
  shopt -s extdebug
  trap '[[ ${BASH_COMMAND%% *} != */* ]]' DEBUG
}
"""


def run_shell(
    script: Sequence[Block],
    *,
    folder: Path,
    environment: dict[str, str],
    answer: Callable[[Call], int],
) -> list[Call]:
    """Let one bash go through blocks in order, beginning in ``folder``.

    Args:
        script: The blocks.
        folder: Where the shell starts.
        environment: Its variables.
        answer: Does what a command of a block that is run asks for, and returns its exit status.

    Returns:
        Every command that the shell came to.

    Raises:
        AssertionError: A command failed, or bash ended with an error.
    """
    asked, told = os.pipe(), os.pipe()
    lines = [f"exec 3>&{asked[1]} 4<&{told[0]}", _PRELUDE]
    for block in script:
        lines.append(f"place={block.place} to_run={int(block.not_run is None)}")
        looked_at = f"(look_only\n{block.text}\n) || true"
        lines.append(block.text if block.not_run is None else looked_at)
    calls: list[Call] = []
    with tempfile.TemporaryFile() as errors:
        shell = subprocess.Popen(
            ["bash", "-c", "\n".join(lines)],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stderr=errors,
            pass_fds=(asked[1], told[0]),
        )  # fmt: skip
        os.close(asked[1])
        os.close(told[0])
        watchdog = threading.Timer(SHELL_SECONDS, shell.kill)
        watchdog.start()
        try:
            with os.fdopen(asked[0], "rb") as questions, os.fdopen(told[1], "wb") as answers:
                for call in _calls(questions):
                    calls.append(call)
                    if call.to_run:
                        status = answer(call)
                        assert status == 0, f"{call.place}: {' '.join(call.words)}: code {status}"
                        answers.write(b"0\n")
                        answers.flush()
            code = shell.wait(timeout=60)
        finally:
            watchdog.cancel()
            shell.kill()
            shell.wait()
        errors.seek(0)
        assert code == 0, errors.read().decode()
    return calls


def _calls(questions: BinaryIO) -> Iterator[Call]:
    fields = _fields(questions)
    for place in fields:
        to_run, folder, count = next(fields), next(fields), next(fields)
        words = tuple(next(fields) for _ in range(int(count)))
        yield Call(place, to_run == "1", Path(folder), words)


def _fields(questions: BinaryIO) -> Iterator[str]:
    """Texts that each end in a NUL, as they come."""
    rest = b""
    while more := os.read(questions.fileno(), 65536):
        *whole, rest = (rest + more).split(b"\0")
        yield from (field.decode() for field in whole)
