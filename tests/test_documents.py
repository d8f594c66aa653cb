"""Every command of README, docs, recipes and the demo's own advice, run as it is written.

README begins in a fresh folder with `make demo`, which makes a small world here; each page of docs
in a copy of what README left, but the page on one's own data beside its example. bash goes through
the commands, and those of `regionspot` run in this process, where torch is loaded already; heads
are trained for fewer steps than the page says. Commands that need data, weights, GPUs or a cluster
are marked in the page, and are parsed alone.
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer
from documents import NOT_RUN, Block, Call, blocks, run_shell

from regionspot import cli, demo

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
OWN_DATA = ROOT / "docs" / "your-data.md"
EXAMPLE = OWN_DATA.with_suffix("")
RECIPES = sorted((ROOT / "train" / "regionspot_train" / "recipes").glob("*.toml"))
SCRIPTS = Path(sys.prefix) / "bin"
MAKE_DEMO = ("make", "demo")
SIZE = demo.DemoSize(train_scenes=96, val_scenes=20, steps=20, paper_steps=20)
"""That `make demo` has here: the whole takes minutes."""
MOST_STEPS = 20
TYPES_SECONDS = 900


@dataclass
class Session:
    """Commands that run in this process, and what they printed."""

    outputs: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, call: Call) -> int:
        """Run a command of a block."""
        words = tuple(re.sub(r"^steps=(\d+)$", fewer_steps, word) for word in call.words)
        printed = io.StringIO()
        code: object = None
        with (
            contextlib.chdir(call.folder),
            contextlib.redirect_stdout(printed),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "argv", list(words))
            patch.setenv("PATH", environment()["PATH"])  # that of the user's first shell
            if words == MAKE_DEMO:
                demo.run_demo(Path("demo-out"), size=SIZE)
                code = 0
            else:
                assert words[0] == "regionspot", f"{call.place}: {words} cannot be run here"
                try:
                    cli.main()
                except SystemExit as ended:
                    code = ended.code
        self.outputs.append((" ".join(words), printed.getvalue()))
        assert isinstance(code, int)
        return code


def fewer_steps(steps: re.Match[str]) -> str:
    return f"steps={min(int(steps[1]), MOST_STEPS)}"


def parse(words: Sequence[str]) -> None:
    """Hold a command line against the options there are, without running it."""
    command: Any = typer.main.get_command(cli.app)
    rest = list(words[1:])
    while hasattr(command, "commands"):
        assert rest, f"{' '.join(words)}: no command"
        assert rest[0] in command.commands, f"{' '.join(words)}: no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    for option in command.params:
        option.callback = None  # it would look for files that are not here
    try:
        command.make_context(" ".join(words), rest)
    except cli.UsageError as error:
        pytest.fail(f"{' '.join(words)}: {error}")


def environment(*path: Path) -> dict[str, str]:
    """A user's: `regionspot` is found only where ``path`` has it."""
    places = [*map(str, path), "/usr/local/bin", "/usr/bin", "/bin"]
    return {"PATH": os.pathsep.join(places), "HOME": os.environ.get("HOME", "/")}


def follow(script: Sequence[Block], folder: Path, *path: Path) -> Session:
    """Run the blocks that are to be run, and parse the rest."""
    session = Session()
    calls = run_shell(script, folder=folder, environment=environment(*path), answer=session.answer)
    for call in calls:
        if not call.to_run and call.words[0] == "regionspot":
            parse(call.words)
    for block in script:  # none was lost in a loop that never ran, say
        written = len(re.findall(r"^[^#\n]*\bregionspot (?=extract|train|evaluate|bench|demo)",
                                 block.text, re.MULTILINE))  # fmt: skip
        reached = sum(call.place == block.place and call.words[0] == "regionspot" for call in calls)
        assert reached >= written, f"{block.place}: {reached} of {written} commands reached"
    return session


@dataclass(frozen=True)
class Readme:
    """README's commands, done."""

    folder: Path
    """Where they began."""
    session: Session

    @property
    def demo(self) -> Path:
        return self.folder / "demo-out"


@pytest.fixture(scope="module")
def readme(tmp_path_factory: pytest.TempPathFactory) -> Readme:
    folder = tmp_path_factory.mktemp("readme")
    (folder / ".venv").symlink_to(sys.prefix)
    return Readme(folder, follow(blocks(README, "sh"), folder))


def copied(readme: Readme, folder: Path) -> Path:
    return Path(shutil.copytree(readme.demo, folder / "demo-out"))


def test_readme(readme: Readme) -> None:
    done = [words for words, _ in readme.session.outputs]
    assert done[0] == "make demo"
    for stage in ("extract run", "train fit", "evaluate run", "evaluate predict"):
        assert any(words.startswith(f"regionspot {stage} ") for words in done), stage


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "sh") or blocks(p, "python")], ids=lambda p: p.stem
)
def test_docs(page: Path, readme: Readme, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's Python reads what its commands wrote."""
    if page == OWN_DATA:
        shutil.copytree(EXAMPLE, tmp_path / EXAMPLE.relative_to(ROOT))
        folder = tmp_path
    else:
        folder = copied(readme, tmp_path)
    for block in blocks(page, "toml"):  # a file that the page's commands take
        (folder / re.match(r"# (\S+\.toml)\n", block.text)[1]).write_text(block.text)
    follow(blocks(page, "sh"), folder, SCRIPTS)
    monkeypatch.chdir(folder)
    for block in blocks(page, "python"):
        execute(block)


def execute(block: Block) -> None:
    if block.not_run is None:
        exec(compile(block.text, block.place, "exec"), {})


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_commands_of_a_recipe(recipe: Path, tmp_path: Path) -> None:
    """They want data that is not here, but for the demo's, which README has."""
    lines = recipe.read_text(encoding="utf-8").splitlines()
    shell = ("regionspot", "data=", "models=", "  --")
    commands = [line[4:] for line in lines if line[:4] == "#   " and line[4:].startswith(shell)]
    assert all(len(line) <= 80 for line in commands)
    text = "\n".join(commands)
    assert "regionspot train fit" in text
    follow([Block(recipe.name, text, "needs data")], tmp_path)


@pytest.mark.parametrize("activated", [False, True])
def test_the_demo_says_how_to_find_the_command_where_it_is_not_found(
    activated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", environment(*[SCRIPTS][:activated])["PATH"])
    advice = demo.next_steps(Path("my demo"), quick=False)
    assert (f"\n  . {SCRIPTS / 'activate'}\n" in advice) is not activated
    assert "--out 'my demo/head2'" in advice
    assert all(len(line) <= 80 for line in advice.splitlines())


def test_what_the_demo_says_to_do_next(readme: Readme) -> None:
    """Pasted into a new shell, from the folder that the demo was run in."""
    printed = readme.session.outputs[0][1]
    advice = printed[printed.index("Look at demo-out") :]
    commands = "\n".join(line[2:] for line in advice.splitlines() if line.startswith("  "))
    session = follow([Block("demo", commands)], readme.folder)
    assert [words.split()[1:3] for words, _ in session.outputs] == [
        ["train", "fit"],
        ["evaluate", "run"],
        ["evaluate", "predict"],
    ]


@pytest.mark.parametrize("block", blocks(README, "python"), ids=lambda b: b.place)
def test_python(block: Block, readme: Readme, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(readme.demo)
    execute(block)


def test_python_passes_a_strict_type_checker(tmp_path: Path) -> None:
    """A user's, who has no plugin of pydantic's. torch's own types would take it minutes."""
    settings = tmp_path / "mypy.ini"
    settings.write_text(
        "[mypy]\nstrict = true\n[mypy-torch.*,numpy.*,zarr.*]\nfollow_imports = skip\n"
    )
    shown = blocks(README, "python")
    files = [tmp_path / f"block_{number}.py" for number in range(len(shown))]
    for file, block in zip(files, shown, strict=True):
        file.write_text(block.text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", settings,
         "--cache-dir", tmp_path / "cache", *files],
        cwd=tmp_path, capture_output=True, text=True, timeout=TYPES_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_a_page_can_be_pasted(page: Path) -> None:
    """No command is wider than a terminal, and no mark stands apart from its block."""
    shell, python = blocks(page, "sh"), blocks(page, "python")
    for block in shell:
        wide = [line for line in block.text.splitlines() if len(line) > 80]
        assert not wide, f"{block.place}: {wide}"
        assert "…" not in block.text, block.place
    marked = sum(block.not_run is not None for block in shell + python)
    assert marked == page.read_text(encoding="utf-8").count(NOT_RUN)
