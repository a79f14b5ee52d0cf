"""The layout of the code: packages have a purpose, files a place, tests the place of what they test.

Imports between packages are the subject of the import contracts in pyproject.toml.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.support.places import ROOT

TOPS = ("pipelines", "actors", "models")
FACES = {"pipelines": {"__main__", "api"}, "models": set()}  # the modules that stand beside the packages
OUTSIDE = ("end_to_end", "support")  # folders of tests that mirror no folder
MAX_LINES = 350
MODULES = [path for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
SOURCES = [*MODULES, ROOT / "longtake" / "__init__.py", *sorted((ROOT / "tests").rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_package(folder: Path) -> bool:
    return (folder / "__init__.py").exists()


def test_every_folder_of_modules_is_a_package_with_a_purpose_in_one_line():
    packages = {path.parent for path in MODULES}
    assert {name_of(folder) for folder in packages if not is_package(folder)} == set()
    lines = {name_of(folder): ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) for folder in packages}
    assert {name: line for name, line in lines.items() if not line or not line.partition("\n")[0].endswith(".")} == {}


@pytest.mark.parametrize("top", FACES)
def test_a_module_is_in_a_package(top):
    assert {path.stem for path in (ROOT / top).glob("*.py")} - {"__init__"} == FACES[top]


def has_subject(path: Path) -> bool:
    """Whether tests/a/b/test_x.py is about a module a/b/x.py, an aspect x_y of it, or the package: a/b/x or b."""
    parts = path.relative_to(ROOT / "tests").parts
    folder, name = ROOT.joinpath(*parts[:-1]), path.stem.removeprefix("test_")
    modules = {module.stem for module in folder.glob("*.py")} | {folder.name}
    return is_package(folder / name) or any(name == module or name.startswith(f"{module}_") for module in modules)


def test_tests_mirror_the_packages():
    mirrors = [path for path in TESTS if path.relative_to(ROOT / "tests").parts[0] not in OUTSIDE]
    assert [name_of(path) for path in mirrors if not has_subject(path)] == ["tests/test_layout.py"]


def test_every_room_has_tests_of_its_own():
    rooms = {path.parent.relative_to(ROOT) for path in MODULES} - set(map(Path, TOPS[::2]))
    assert {str(room) for room in rooms if not any((ROOT / "tests" / room).glob("test_*.py"))} == set()


def test_the_one_package_is_imported_by_its_name():
    """`import models` would load a module a second time here, and another project's where Longtake is installed."""
    bare = re.compile(rf"^\s*(?:from|import) (?:{'|'.join((*TOPS, 'conf'))})\b", re.MULTILINE)
    found = {name_of(path): bare.findall(path.read_text()) for path in SOURCES}
    notebooks = {path.name: re.findall(rf'"(?:from|import) (?:{"|".join(TOPS)})\b', path.read_text())
                 for path in (ROOT / "notebooks").glob("*.ipynb")}  # fmt: skip
    assert {name: lines for name, lines in {**found, **notebooks}.items() if lines} == {}


def test_no_module_is_long():
    length = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in length.items() if lines > MAX_LINES} == {}


def test_every_fault_of_real_use_has_a_test_that_names_it():
    faults = re.findall(r"^\| ([ABC]\d+(?:, [ABC]\d+)*) \|", (ROOT / "docs" / "real-use.md").read_text(), re.MULTILINE)
    marks = (re.findall(r"mark\.report\(([^)]*)\)", path.read_text()) for path in TESTS)
    named = {name for calls in marks for call in calls for name in re.findall(r'"(\w+)"', call)}
    assert named == {name for row in faults for name in row.split(", ")}
