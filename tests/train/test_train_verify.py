"""`train verify` names what is damaged of a run, and its exit code says whether anything is."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from regionspot_core.errors import InputError
from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_train.cli import app

SHAPE = FusionConfig(region_width=8, image_width=16, text_width=12, ffn_width=8, layers=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep's folder: its best head, and two trials, one of which ended."""
    sweep = tmp_path_factory.mktemp("made") / "sweep"
    for folder in ("best", "trials/0000", "trials/0000/best", "trials/0001/best"):
        save_head(sweep / folder, FusionHead(SHAPE), HeadRecord(SHAPE, {}, {"step": 3}))
    for folder in (".", "trials/0000", "trials/0001"):
        (sweep / folder / "run.json").write_text("{}")
    return sweep


@pytest.fixture
def sweep(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "sweep")
    return tmp_path / "sweep"


def verify(folder: Path, *options: str) -> Result:
    result = CliRunner().invoke(app, ["verify", str(folder), *options])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    # In JSON a letter of the first key: what is left can be read, and is not what was sealed.
    content[content.index(b'"') + 1 if path.suffix == ".json" else len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_whole_sweep(sweep: Path) -> None:
    result = verify(sweep)
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    assert "heads 4 of 4 whole checkpoints none" in words
    assert "damaged nothing" in words


@pytest.mark.parametrize(
    "file",
    ["best/head.safetensors", "trials/0000/head.json", "trials/0001/best/head.safetensors"],
)
def test_a_damaged_head_is_named(sweep: Path, file: str) -> None:
    flip(sweep / file)
    result = verify(sweep)
    assert result.exit_code == 1
    assert f"{sweep}/{file}: damaged" in "".join(result.stdout.split("\n"))
    values = json.loads(verify(sweep, "--json").stdout)
    assert not values["whole"]
    assert [each["path"] for each in values["checked"] if each["problem"]] == [
        str((sweep / file).parent)
    ]
    assert verify(sweep / "trials" / "0000" / "best").exit_code == 0


def test_a_record_that_cannot_be_read_and_half_a_head_are_damage(sweep: Path) -> None:
    (sweep / "run.json").write_text("[]")
    (sweep / "best" / "head.json").unlink()
    values = json.loads(verify(sweep, "--json").stdout)
    problems = [each["problem"] for each in values["checked"] if each["problem"]]
    assert len(problems) == 2
    assert "expected a JSON object, got a list" in problems[0]
    assert "expected a trained head" in problems[1]


def test_a_head_without_checksums_is_listed(sweep: Path) -> None:
    path = sweep / "best" / "head.json"
    values = json.loads(path.read_text())
    del values["crc32c"], values["files"]
    path.write_text(json.dumps(values | {"format": "regionspot head 1"}))
    result = verify(sweep)
    assert result.exit_code == 0
    assert "readable, but written before there were checksums:" in result.stdout
    assert f"{sweep}/best" in "".join(result.stdout.split("\n"))


def test_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="expected the folder of a training run, a sweep or a"):
            verify(folder)
