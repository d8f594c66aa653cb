"""The command as a process: ready, asked, told to stop."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

SECONDS = 120
SECONDS_TO_END = 3


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from regionspot.cli import main; main()", "app", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    while True:
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        if found:
            return found[0]


def ask_about_many_names(address: str, answers: list[tuple[int, str]]) -> None:
    """Keep the models busy for minutes; note the status and the code of the answer."""
    body = json.dumps({"names": [f"name {n}" for n in range(20_000)]}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}api/vocabulary", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            answers.append((answer.status, ""))
    except urllib.error.HTTPError as error:
        answers.append((error.code, json.load(error)["error"]["code"]))


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_ends_within_a_second(tmp_path: Path, sent: signal.Signals) -> None:
    with start("--port", "0", "--out", str(tmp_path / "out")) as process:
        try:
            address = address_of(process)
            with urllib.request.urlopen(f"{address}healthz", timeout=SECONDS) as answer:
                assert json.load(answer)["status"] == "ok"
            began = time.monotonic()
            process.send_signal(sent)
            process.wait(SECONDS)
        finally:
            process.kill()
    # The bound is a second; three times it is for a machine that many tests share.
    assert time.monotonic() - began < SECONDS_TO_END
    assert process.returncode in (-sent, 128 + sent)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_it_ends_within_a_second_while_it_answers_and_tells_who_waits(tmp_path: Path) -> None:
    answers: list[tuple[int, str]] = []
    with start("--port", "0", "--out", str(tmp_path / "out")) as process:
        try:
            address = address_of(process)
            asker = threading.Thread(target=ask_about_many_names, args=(address, answers))
            asker.start()
            begun = False
            while not begun:  # the models are at it: a second question waits behind it
                with urllib.request.urlopen(f"{address}healthz", timeout=SECONDS) as answer:
                    begun = bool(json.load(answer)["answering"])
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(SECONDS)
        finally:
            process.kill()
        asker.join(SECONDS)
    assert time.monotonic() - began < SECONDS_TO_END
    assert process.returncode == -signal.SIGTERM
    assert answers == [(503, "ending")]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"vocabulary": "names.txt"}, "'a' twice"),
        ({"names": "b,b"}, "'b' twice"),
        ({"names": "x" * 201}, "200 characters"),
    ],
)
def test_wrong_names_are_said_before_the_port_is_taken(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    import socket

    from regionspot_app.config import AppConfig
    from regionspot_app.run import run_app
    from regionspot_core.errors import InputError

    (tmp_path / "names.txt").write_text("a\na\n")
    if "vocabulary" in settings:
        settings = {"vocabulary": str(tmp_path / settings["vocabulary"])}
    with socket.socket() as taken:  # else the port would be told of
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        asked = {"port": taken.getsockname()[1], "out": tmp_path / "out", **settings}
        with pytest.raises(InputError, match=says):
            run_app(AppConfig.parse(asked, source="test"))


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    import socket

    from regionspot_app.config import AppConfig
    from regionspot_app.run import run_app
    from regionspot_core.errors import InputError

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = AppConfig.parse({"port": port, "out": tmp_path / "out"}, source="test")
        with pytest.raises(InputError, match=rf"--port {port}: cannot listen"):
            run_app(config)


def request(address: str, path: str, body: Any = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{address}{path}", content, headers), timeout=SECONDS
    ) as answer:
        return json.load(answer)


def processes_of(folder: Path) -> list[str]:
    """Return the ids of the processes whose command names a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            if str(folder).encode() in file.read_bytes():
                found.append(file.parent.name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="it looks through /proc")
def test_a_lesson_ends_with_the_app(tmp_path: Path) -> None:
    lessons = (tmp_path / "out" / "lessons").absolute()
    with start("--port", "0", "--out", str(tmp_path / "out")) as process:
        try:
            address = address_of(process)
            prompt = {"box": [10, 10, 60, 60]}
            for n in range(3):
                image = request(address, f"api/pictures/{n}/encode", {})["image"]
                (found,) = request(address, f"api/images/{image}/regions", {"prompts": [prompt]})[
                    "regions"
                ]
                region = {"prompt": prompt, "name": "wug", "mask": found["mask"]}
                body = {
                    "picture": f"scene-{n + 1:02d}.png",
                    "image": image,
                    "regions": [region | {"box": found["box"]}],
                }
                request(address, "api/save", body)
            state = request(address, "api/teach", {"steps": 10_000})["state"]
            assert state == "extracting"
            assert processes_of(lessons)
            process.send_signal(signal.SIGTERM)
            process.wait(SECONDS)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGTERM
    assert not processes_of(lessons)
