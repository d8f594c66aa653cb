"""`regionspot doctor`: what is here, and the command that gets what is not."""

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from regionspot_core.backbones.weights.official import sam_file

Run = Callable[..., SimpleNamespace]


def findings(regionspot: Run, folder: Path, *, code: int = 0) -> dict[str, dict[str, str]]:
    done = regionspot("doctor", "--dir", str(folder), "--json")
    assert done.returncode == code, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is (code == 0)
    return {each["what"]: each for group in report["findings"].values() for each in group}


def test_everything_is_said_and_nothing_is_left(regionspot: Run, tmp_path: Path) -> None:
    found = findings(regionspot, tmp_path)
    for name in ("torch", "zarr", "pycocotools", "segment-anything"):
        assert found[name]["found"] == metadata.version(name)
    assert found["writes"]["found"].endswith("/s, synced")
    assert "/s" in found["reads"]["found"]
    assert not list(tmp_path.iterdir())
    shown = regionspot("doctor", "--dir", str(tmp_path))
    assert shown.returncode == 0
    assert "everything that all commands need is here" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_what_is_missing_or_old_is_told_with_a_command(
    regionspot: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name in ("zarr", "starlette"):
            raise metadata.PackageNotFoundError(name)
        return "2.0.0" if name == "torch" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = findings(regionspot, tmp_path, code=1)
    assert found["zarr"]["state"] == "missing"
    assert found["zarr"]["mend"].startswith("pip install 'zarr")
    assert found["torch"]["found"].startswith("2.0.0, expected")
    assert found["[app]"]["found"] == "not installed: starlette"
    assert found["[app]"]["mend"] == "pip install 'regionspot[app]'"
    shown = regionspot("doctor", "--dir", str(tmp_path))
    assert shown.returncode == 1
    assert "pip install 'zarr" in shown.stdout


def test_weights_are_looked_for_where_the_other_commands_look(
    regionspot: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert findings(regionspot, tmp_path)["SAM vit_b"]["found"] == "not there"
    file = sam_file("vit_b")
    file.path.parent.mkdir(parents=True)
    file.path.write_bytes(b"half")
    cut = findings(regionspot, tmp_path)["SAM vit_b"]
    assert "4 bytes, expected 375,042,383" in cut["found"]
    assert cut["mend"] == "regionspot extract weights --sam vit_b"
    with file.path.open("wb") as whole:
        whole.truncate(file.size or 0)
    assert findings(regionspot, tmp_path)["SAM vit_b"]["found"] == str(file.path)
