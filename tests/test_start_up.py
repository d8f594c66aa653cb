"""What needs no PyTorch answers without it: help, and a wrong argument to any command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
import regionspot.cli as cli

def run(words):
    sys.argv = ["regionspot", *words]
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code

results = []
for words in json.loads(sys.stdin.read()):
    results.append((" ".join(words), run(words), "torch" in sys.modules))
print(json.dumps(results), file=sys.__stdout__)
"""
DATA = ["--images", "folder", "--annotations", "a.json"]
WRONG = [
    ["demo", "--out", "full"],
    ["demo", "--out", "new", "--seed", str(2**70)],
    ["doctor", "--dir", "absent"],
    ["app", "--head", "absent"],
    ["app", "--port", "70000"],
    ["app", "--host", "example.org"],
    ["extract", "weights"],
    ["extract", "weights", "--sam", "tiny"],
    ["extract", "plan", "--images", "absent", "--annotations", "a.json"],
    ["extract", "plan", *DATA, "--batch", "0"],
    ["extract", "run", *DATA, "--out", "s", "--dtype", "int4"],
    ["extract", "run", *DATA, "--out", "s", "--shard", "3/2"],
    ["extract", "run", *DATA, "--out", "s", "--sam", "vit_b", "--batch", "0"],
    ["extract", "text", "--out", "b.h5"],
    ["extract", "text", "--out", "b.h5", "--names", "a,a"],
    ["extract", "check", "--images", "absent", "--annotations", "a.json"],
    ["extract", "propose", "--images", "absent", "--out", "p.json"],
    ["extract", "info", "absent"],
    ["extract", "verify", "absent"],
    ["extract", "verify", "full", "--repair"],
    ["extract", "export", "absent", "--out", "f.h5"],
    ["extract", "import", "absent.zip", "--out", "s"],
    ["extract", "merge", "absent", "--out", "s"],
    ["train", "fit", "--cache", "absent", "--out", "run"],
    ["train", "fit", "--cache", "full"],
    ["train", "fit", "--cache", "full", "--out", "a.json"],
    ["train", "fit", "--cache", "full", "--out", "run", "--set", "stepps=3"],
    ["train", "fit", "--cache", "full", "--out", "run", "--set", "head.layers=0"],
    ["train", "fit", "--cache", "full", "--out", "run", "--config", "absent"],
    ["train", "sweep", "--cache", "full", "--val", "full", "--space", "absent", "--out", "s",
     "--trials", "2"],
    ["train", "sweep", "--cache", "full", "--val", "full", "--space", "space.toml", "--out", "s",
     "--trials", "2"],
    ["train", "verify"],
    ["train", "import", "absent", "--out", "head"],
    ["train", "export", "absent", "--out", "f.pth"],
    ["evaluate", "run", *DATA, "--out", "o", "--head", "absent"],
    ["evaluate", "run", *DATA, "--out", "o", "--head", "full", "--pairs", "0"],
    ["evaluate", "run", *DATA, "--out", "o", "--head", "full", "--protocol", "best"],
    ["evaluate", "cached", "--cache", "full", "--head", "full", "--batch", "0"],
    ["evaluate", "odinw", "--root", "absent", "--out", "o", "--head", "full"],
    ["evaluate", "predict", "a.json", "--head", "full", "--top", "0"],
    ["evaluate", "report", "absent"],
    ["evaluate", "report", "full", "--gallery", "61"],
    ["evaluate", "score", "--annotations", "a.json", "--detections", "a.json", "--iou", "mask"],
    ["evaluate", "tune", "--cache", "full", "--head", "absent"],
    ["evaluate", "compare", "full", "--annotations", "a.json", "--bootstrap", "-1"],
    ["bench", "cache", "--regions", "0"],
    ["bench", "cache", "--dir", "absent"],
    ["bench", "extract", "--precision", "int4"],
    ["bench", "train", "--json", "folder"],
    ["bench", "score", "--dir", "absent"],
    ["bench", "app", "--dir", "absent"],
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "folder").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    (folder / "a.json").write_text("{}")
    (folder / "space.toml").write_text('[space]\n"head.nothing" = [1, 2]\n')
    return folder


def answers(words: list[list[str]], place: Path) -> list[tuple[str, int, bool]]:
    """Run commands one after another in a new process: words, exit code, torch imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(words), cwd=place, check=True,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found: list[tuple[str, int, bool]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_wrong_argument_is_refused_before_torch_is_imported(place: Path) -> None:
    found = answers(WRONG, place)
    assert [words for words, code, _ in found if code != 2] == []
    late = next((words for words, _, torch in found if torch), None)  # those after it prove nothing
    assert late is None


def test_every_command_has_a_wrong_argument_above() -> None:
    import typer

    from regionspot.cli import app

    def walk(command: object, path: tuple[str, ...]) -> set[str]:
        below = getattr(command, "commands", {})
        found = {each for name, one in below.items() for each in walk(one, (*path, name))}
        return found or {" ".join(path)}

    tried = {
        " ".join(words[: 1 if words[0] in ("demo", "doctor", "app") else 2]) for words in WRONG
    }
    assert walk(typer.main.get_command(app), ()) == tried


def test_help_imports_no_stage(place: Path) -> None:
    program = "import sys, regionspot.cli as cli\nsys.argv = ['regionspot', '--help']\ntry:\n    cli.main()\nexcept SystemExit:\n    print([m for m in ('numpy', 'torch', 'pydantic', 'regionspot_train') if m in sys.modules])"  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["regionspot", "ev"], "evaluate"), (["regionspot", "train", "fit", "--re"], "--resume")],
)
def test_a_shell_completes(words: list[str], expected: str) -> None:
    environment = {
        "_REGIONSPOT_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "PATH": str(Path(sys.executable).parent),
    }
    done = subprocess.run(
        [Path(sys.executable).parent / "regionspot"], env=environment, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert expected in done.stdout.split()
