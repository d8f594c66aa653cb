"""The rules of the layout, read off the imports. Import-linter holds the floors (`make lint`)."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "regionspot": ROOT / "regionspot",
    "regionspot_core": ROOT / "regionspot_core",
    "regionspot_bench": ROOT / "benchmarks" / "regionspot_bench",
    **{
        f"regionspot_{stage}": ROOT / stage / f"regionspot_{stage}"
        for stage in ("extract", "train", "evaluate")
    },
    "regionspot_app": ROOT / "app" / "regionspot_app",
}
FILES = {name: sorted(folder.rglob("*.py")) for name, folder in PACKAGES.items()}


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


def circle(imports: dict[str, set[str]]) -> list[str] | None:
    """Modules that import each other in a circle; None where there are none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions and for type checkers count too."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    imports = {
        module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules
    }
    assert len(imports) > 200
    assert circle(imports) is None


def test_a_circle_of_three_is_found() -> None:
    found = circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert found is not None
    assert set(found) == {"a", "b", "c"}


def test_a_type_checker_sees_which_settings_have_a_default() -> None:
    """Without pydantic's plugin it knows those that are given by keyword."""
    unseen = [
        f"{path.relative_to(ROOT)}:{node.lineno}: write Field(default=…)"
        for paths in FILES.values()
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Field"
        and node.args
    ]
    assert not unseen


def test_every_package_has_files() -> None:
    assert all(FILES.values())


@pytest.mark.parametrize(
    "folder", ["extract", "train", "evaluate", "app", "benchmarks", "tests", "tests/evaluate"]
)
def test_no_package_shadows_another_distribution(folder: str) -> None:
    """An ``evaluate`` package would hide Hugging Face's."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_test_files_have_different_names() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "module",
    [
        "regionspot.cli",
        "regionspot_extract.cli",
        "regionspot_train.cli",
        "regionspot_evaluate.cli",
        "regionspot_app.cli",
        "regionspot_bench.cli",
    ],
)
def test_command_line_modules_import_nothing_heavy(module: str) -> None:
    program = (
        f"import sys, {module}; "
        "heavy = {'torch', 'numpy', 'zarr', 'tensorstore', 'matplotlib'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_only_wrappers_name_the_backbone_packages() -> None:
    """In core, they are the backbones, the tiny models, and CLIP's list of templates."""
    wrappers = {"backbones", "tiny", "templates.py"}
    for path in FILES["regionspot_core"]:
        if not wrappers & set(path.relative_to(ROOT).parts):
            assert not imported(path) & {"segment_anything", "open_clip"}, path


def test_what_contributing_says_where_to_find_is_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.partition("looks for first:")[2].partition("\n\nEach stage")[0]
    named = re.findall(r"`([a-z_/]+\.py)`: `(\w+)`(?: \(\w+\), `(\w+)`)?", table)
    assert len(named) == 6
    for path, *names in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        definitions = {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        assert definitions >= set(filter(None, names)), path
