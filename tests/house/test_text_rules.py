"""Rules that a look at the text can hold: `make lint` runs this file too."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from .checkout import ROOT, committed_files, python_files

LONGEST_MODULE = 450
#: A file of tests is a list, not one thought.
LONGEST_TESTS = 600

#: Only these may touch rocksdict: its iterators end silently at a corrupt block. The last one only
#: writes, with options of its own.
MAY_USE_ROCKSDICT = {
    Path("index/store/rocks.py"),
    Path("index/store/sst.py"),
    Path("index/publish/database.py"),
}

#: Absolute paths of somebody's machine; `/home/user` and the like in prose are none.
MACHINE_PATH = re.compile(rb"(?<![\w.~$}-])/(?:work|root|home/[a-z]\w*|Users/\w+|tmp/v)/[\w.]")

ROOMS = (
    *("src/dftindexd", "actors", "client", "cluster", "compat", "daemon", "index", "protocol"),
    *("systemd", "views"),
)


def _parsed() -> Iterator[tuple[Path, ast.Module]]:
    for file in python_files():
        yield file, ast.parse((ROOT / file).read_bytes(), str(file))


def _imports(module: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno


def _is_room(file: Path) -> bool:
    return any(file.is_relative_to(room) for room in ROOMS)


def test_every_module_has_a_docstring_and_postponed_annotations() -> None:
    lacking = []
    for file, module in _parsed():
        if not module.body:
            continue
        if ast.get_docstring(module) is None:
            lacking.append(f"{file}: no docstring")
        if len(module.body) > 1 and ("__future__", "annotations") not in {
            (node.module, name.name)
            for node in module.body
            if isinstance(node, ast.ImportFrom)
            for name in node.names
        }:
            lacking.append(f"{file}: no `from __future__ import annotations`")
    assert lacking == []


def test_no_module_is_longer_than_one_concept_needs() -> None:
    long = {
        str(file): lines
        for file in python_files()
        if (lines := (ROOT / file).read_bytes().count(b"\n"))
        > (LONGEST_TESTS if file.parts[0] == "tests" else LONGEST_MODULE)
    }
    assert long == {}


def test_no_committed_file_names_a_path_of_a_machine() -> None:
    found = [
        f"{file}:{number}: {line.strip().decode(errors='replace')[:120]}"
        for file in committed_files()
        for number, line in enumerate((ROOT / file).read_bytes().splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("open('{}root/x')", True),
        ("see {}home/somebody/traces", True),
        ("cd {}work/main", True),
        ("~{}root/x", False),
        (".{}home/x and src{}work/x", False),
        ("{}root is the home of root", False),
    ],
)
def test_a_path_of_a_machine_is_told_from_others(text: str, is_one: bool) -> None:
    line = text.replace("{}", "/").encode()
    assert (MACHINE_PATH.search(line) is not None) is is_one


def test_rocksdict_is_used_where_its_traps_are_handled_and_nowhere_else() -> None:
    users = {
        file
        for file, module in _parsed()
        if _is_room(file) and any(name.split(".")[0] == "rocksdict" for name, _ in _imports(module))
    }
    assert users == MAY_USE_ROCKSDICT


def test_rows_are_iterated_only_where_the_iterator_s_status_is_asked() -> None:
    iterating = {
        file
        for file in MAY_USE_ROCKSDICT
        for node in ast.walk(ast.parse((ROOT / file).read_bytes()))
        if isinstance(node, ast.Attribute) and node.attr == "iter"
    }
    assert iterating == {Path("index/store/rocks.py")}
    text = (ROOT / "index/store/rocks.py").read_text()
    assert text.count(".iter()") == text.count(".status()")
    assert not re.search(r"_(?:db|families\[\w+\])\.(?:items|keys|values)\(", text)


def test_the_packages_of_the_wheel_are_the_folders_of_the_rooms() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        setuptools = tomllib.load(file)["tool"]["setuptools"]
    folders = {
        f"dftindexd.{'.'.join(init.parent.parts)}"
        for init in python_files()
        if init.name == "__init__.py" and _is_room(init) and init.parts[0] != "src"
    }
    assert set(setuptools["packages"]) == folders | {"dftindexd"}
    rooms = {folder for folder in folders if folder.count(".") == 1}
    assert setuptools["package-dir"] == {
        "dftindexd": "src/dftindexd",
        **{room: room.removeprefix("dftindexd.") for room in rooms},
    }


def test_no_room_bears_the_name_of_a_package_that_we_depend_on() -> None:
    """A folder at the top shadows a package of its name for `python -c` in the checkout."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    every = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[\[<>=~! ]", requirement)[0].replace("-", "_") for requirement in every}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    assert folders & (names - {"dftindexd"}) == set()


def test_an_exception_is_never_passed_over_in_silence() -> None:
    silent = []
    for file, module in _parsed():
        for node in ast.walk(module):
            if not isinstance(node, ast.ExceptHandler) or len(node.body) != 1:
                continue
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            if broad and isinstance(node.body[0], ast.Pass):
                silent.append(f"{file}:{node.lineno}")
    assert silent == []
