"""Lessons as the app sees them: one at a time, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from regionspot_app.corrections import Corrections
from regionspot_app.teaching.job import (
    ANNOTATIONS,
    FIGURES,
    HEAD,
    HELD_OUT,
    JOB,
    LEAST_PICTURES,
    Job,
)
from regionspot_core.errors import InputError
from regionspot_core.support.files import write_json
from regionspot_core.support.records import read_json_object

LESSONS, OUTPUT = "lessons", "output.txt"
METRICS, VALIDATION = "metrics.jsonl", "validation.jsonl"
RUNNING = ("extracting", "training", "scoring")


class Teacher:
    """The lessons in a folder, and the one that runs.

    Args:
        folder: Folder of the app's corrections, in which ``lessons`` is made.
        backbones: Settings of the frozen models.
        caches: Stores to learn from beside the corrections.
    """

    def __init__(
        self, folder: Path, *, backbones: dict[str, Any], caches: Sequence[str] = ()
    ) -> None:
        self._lessons = folder / LESSONS
        self._backbones = backbones
        self._caches = tuple(caches)
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._beginning = threading.Lock()
        self._closed = False

    def begin(self, corrections: Corrections, head: Path, names: Sequence[str], steps: int) -> None:
        """Begin a lesson with everything that is saved.

        Args:
            corrections: What is saved.
            head: The head to go on from.
            names: Class names to learn beside, which the regions are not.
            steps: Steps of training.

        Raises:
            InputError: If one is running, too little is saved, or the app ends.
        """
        with self._beginning:
            if self._closed:
                raise InputError("the app was asked to stop; start it, and teach again")
            if self.state in RUNNING:
                raise InputError("a lesson is running; wait for its end, or stop it")
            folder = self._prepared(corrections, head, names, steps)
            with (folder / OUTPUT).open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "regionspot_app.teaching.lesson", str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the app, which ends it
                )
            # Together: whoever asks meanwhile is told of the lesson before.
            self._folder, self._process = folder, process

    def _prepared(
        self, corrections: Corrections, head: Path, names: Sequence[str], steps: int
    ) -> Path:
        """Return a new lesson's folder, with its job and its annotations."""
        values = read_json_object(corrections.labels) if corrections.labels.exists() else {}
        with_regions = {each["image_id"] for each in values.get("annotations", [])}
        if len(with_regions) < LEAST_PICTURES:
            raise InputError(
                f"expected at least {LEAST_PICTURES} saved pictures with regions, got "
                f"{len(with_regions)}: one in {round(1 / HELD_OUT)} is held out to measure on"
            )
        values["images"] = [each for each in values["images"] if each["id"] in with_regions]
        known = {each["name"] for each in values["categories"]}
        unlearnt = [name for name in names if name not in known]
        first = len(values["categories"]) + 1
        values["categories"] += [{"id": i, "name": name} for i, name in enumerate(unlearnt, first)]
        folder = self._new_folder()
        job = Job(
            pictures=corrections.pictures.absolute(),
            start_from=head.absolute(),
            caches=self._caches,
            backbones=self._backbones,
            steps=steps,
        )
        write_json(folder / ANNOTATIONS, values)
        write_json(folder / JOB, job.model_dump(mode="json"))
        return folder

    @property
    def state(self) -> str:
        """Return ``idle``, ``extracting``, ``training``, ``scoring``, ``done`` or ``failed``."""
        if self._folder is None or self._process is None:
            return "idle"
        code = self._process.poll()
        if code is not None:
            return "done" if code == 0 and (self._folder / FIGURES).exists() else "failed"
        if (self._folder / HEAD / "head.json").exists():
            return "scoring"
        return "training" if (self._folder / HEAD).exists() else "extracting"

    @property
    def head(self) -> Path | None:
        """Return the head of the last lesson; None where it has none yet."""
        return None if self.state != "done" or self._folder is None else self._folder / HEAD

    def status(self) -> dict[str, Any]:
        """Return the last lesson's state, curve and figures, as plain values."""
        state = self.state
        if self._folder is None:
            return {"state": state, "loss": [], "top1": []}
        head = self._folder / HEAD
        values: dict[str, Any] = {
            "state": state,
            "steps": Job.parse(read_json_object(self._folder / JOB), source=JOB).steps,
            "loss": [[line["step"], line["loss"]] for line in _lines(head / METRICS)],
            "top1": [[line["step"], line["top1"]] for line in _lines(head / VALIDATION)],
            "folder": str(self._folder),
        }
        if state == "done":
            values["figures"] = read_json_object(self._folder / FIGURES)
        if state == "failed":
            output = (self._folder / OUTPUT).read_text(encoding="utf-8", errors="replace")
            values["error"] = (output.strip().splitlines() or ["it was stopped"])[-1][:500]
        return values

    def stop(self) -> None:
        """End the lesson that runs and all its processes, if one does; its folder stays."""
        process = self._process
        if process is not None and process.poll() is None:
            if hasattr(os, "killpg"):
                with suppress(ProcessLookupError):  # it ended just now
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the lesson that runs; none begins from now on."""
        with self._beginning:
            self._closed = True
            self.stop()

    def _new_folder(self) -> Path:
        self._lessons.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            folder = self._lessons / f"{number:03d}"
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                return folder.absolute()


def _lines(file: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file that somebody is writing."""
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
