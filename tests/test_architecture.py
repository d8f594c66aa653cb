"""The rules of the layout, read off the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {
    "regionspot_cli": 3,
    "regionspot_demo": 2,
    "regionspot_extract": 1,
    "regionspot_train": 1,
    "regionspot_evaluate": 1,
    "regionspot_core": 0,
}
SOURCES = {
    "regionspot_cli": [ROOT / "regionspot_cli.py"],
    "regionspot_demo": [ROOT / "regionspot_demo.py"],
    "regionspot_core": sorted((ROOT / "regionspot_core").rglob("*.py")),
    **{
        f"regionspot_{stage}": sorted((ROOT / stage / f"regionspot_{stage}").rglob("*.py"))
        for stage in ("extract", "train", "evaluate")
    },
}
FILES = [(package, path) for package, paths in SOURCES.items() for path in paths]


def imported(path: Path) -> set[str]:
    """Top-level names of all packages a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


def name_of(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


@pytest.mark.parametrize(("package", "path"), FILES, ids=name_of)
def test_imports_point_down_the_layers(package: str, path: Path) -> None:
    ours = imported(path) & LAYERS.keys()
    upward = [name for name in ours - {package} if LAYERS[name] >= LAYERS[package]]
    assert not upward, f"{path} imports {upward}"


@pytest.mark.parametrize(("package", "path"), FILES, ids=name_of)
def test_a_type_checker_sees_which_settings_have_a_default(package: str, path: Path) -> None:
    """Without pydantic's plugin it knows those that are given by keyword."""
    fields = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Field"
    ]
    unseen = [node.lineno for node in fields if node.args]
    assert not unseen, f"{path}: lines {unseen}: write Field(default=…)"


def test_every_package_was_looked_at() -> None:
    assert all(paths for paths in SOURCES.values())
    assert len(FILES) > 40


@pytest.mark.parametrize("folder", ["extract", "train", "evaluate", "tests", "tests/evaluate"])
def test_no_package_shadows_another_distribution(folder: str) -> None:
    """An ``evaluate`` package would hide Hugging Face's."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_test_files_have_different_names() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "package",
    [
        "regionspot_extract",
        "regionspot_train",
        "regionspot_evaluate",
        "regionspot_core.bench",
        "regionspot_train.bench",
    ],
)
def test_command_line_modules_import_nothing_heavy(package: str) -> None:
    program = (
        f"import sys, {package}.cli; "
        "heavy = {'torch', 'numpy', 'zarr', 'tensorstore', 'pydantic', 'matplotlib'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_only_wrappers_name_the_backbone_packages() -> None:
    """In core, they are the backbones' folder and the tiny models."""
    folders = {"backbones", "tiny"}
    for path in SOURCES["regionspot_core"]:
        if not folders & set(path.relative_to(ROOT).parts):
            assert not imported(path) & {"segment_anything", "open_clip"}, path
