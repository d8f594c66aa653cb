"""The command as a process: ready, asked, told to stop."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

SECONDS = 120


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_ends_within_a_second(tmp_path: Path, sent: signal.Signals) -> None:
    program = "from regionspot.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "app", "--port", "0", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            address = None
            while address is None:
                line = process.stdout.readline()
                assert line, process.stderr.read() if process.stderr else ""
                address = re.search(r"http://127\.0\.0\.1:\d+/", line)
            with urllib.request.urlopen(f"{address[0]}healthz", timeout=SECONDS) as answer:
                assert json.load(answer)["status"] == "ok"
            began = time.monotonic()
            process.send_signal(sent)
            process.wait(SECONDS)
        finally:
            process.kill()
    # The bound is the product's; ten times it is for a machine that many tests share.
    assert time.monotonic() - began < 10
    assert process.returncode in (-sent, 128 + sent)
    assert not (tmp_path / "out").exists()


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
