"""The wheel: it holds every room, and the client works from it with the base dependencies."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from .checkout import ROOT, committed_files

pytestmark = pytest.mark.slow

NEEDED_SETUPTOOLS = (77,)
#: Compiled packages that must have wheels for the Python after the newest that tests run on.
COMPILED = (*("isal", "msgspec", "numba", "numpy", "pyarrow", "rocksdict", "rpds-py", "uvloop"),)

#: What the base dependencies do not do, and what each begins with.
_OF_THE_DAEMON = {
    "error: dftindexd.index needs rocksdict": "from dftindexd.daemon.command import main; main()",
    "ImportError: dftindexd.index needs rocksdict": (
        "from dftindexd.compat import Indexer; Indexer('.', index_dir='i').ensure_indexed()"
    ),
    "dftindexd.views needs numpy": "import dftindexd.views.indices",
    "dftindexd.compat.dask needs dask.distributed": "import dftindexd.compat.dask",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of what is committed, with the setuptools that is here."""
    if tuple(map(int, metadata.version("setuptools").split(".")[:1])) < NEEDED_SETUPTOOLS:
        pytest.skip("this environment's setuptools is too old to build the wheel: make install")
    source = tmp_path_factory.mktemp("source")
    for file in committed_files():
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, source / file)
    target = tmp_path_factory.mktemp("wheel")
    _run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", str(target), str(source)),
        cwd=target,
    )
    (built,) = target.glob("*.whl")
    return built


def _run(*command: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_every_module_and_the_type_marker(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    with (ROOT / "pyproject.toml").open("rb") as file:
        rooms = tomllib.load(file)["tool"]["setuptools"]["package-dir"]
    folders = {folder: package.replace(".", "/") for package, folder in rooms.items()}
    expected = {
        f"{package}/{file.relative_to(folder)}"
        for file in committed_files()
        for folder, package in folders.items()
        if file.suffix == ".py" and file.is_relative_to(folder)
    }
    data = {
        f"dftindexd/{file}"
        for file in committed_files()
        if file.suffix != ".py"
        and (file.parts[0] == "systemd" or file.is_relative_to("client/exports"))
    }
    assert {"dftindexd/client/exports/flame.js"} < data
    assert expected | data <= names
    assert "dftindexd/py.typed" in names
    code = {name for name in names if ".dist-info/" not in name}
    assert code == expected | data | {"dftindexd/py.typed"}


def test_the_client_works_from_it_with_the_base_dependencies_alone(
    wheel: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    _run(sys.executable, "-m", "venv", "--without-pip", str(environment), cwd=tmp_path)
    python = str(environment / "bin" / "python")
    site = _run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path
    )
    packages = Path(site.strip())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    for name in _base_modules():
        (packages / name.name).symlink_to(name)
    code = (
        "import dftindexd.client as client, dftindexd.compat as compat, sys; "
        "from dftindexd.client.cli import main; print(client.__file__); "
        "sys.argv = ['dftindexd-client', 'version']; main()"
    )
    where, version, _ = _run(python, "-c", code, cwd=tmp_path).splitlines()
    assert Path(where).is_relative_to(environment)
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert version == f"client {tomllib.load(file)['project']['version']}"
    for part, code in _OF_THE_DAEMON.items():
        done = subprocess.run(
            (python, "-c", code), cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        extra = "dask" if "dask" in part else "daemon"
        assert done.stderr.splitlines()[-1].endswith(f"{part}: install dftindexd[{extra}]")


def _base_modules() -> set[Path]:
    """Return what the base dependencies and theirs have put into this environment."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        pending = [_name(line) for line in tomllib.load(file)["project"]["dependencies"]]
    seen: set[str] = set()
    found: set[Path] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # a dependency of other Pythons or systems
        pending += [_name(line) for line in distribution.requires or () if "extra ==" not in line]
        for installed in distribution.files or ():
            top = Path(installed.parts[0])
            if installed.suffix in (".py", ".so") and top.name not in ("..", "__pycache__"):
                found.add(Path(str(distribution.locate_file(top))).resolve())
    return found


def _name(requirement: str) -> str:
    for position, character in enumerate(requirement):
        if not (character.isalnum() or character in "-_."):
            return requirement[:position]
    return requirement


def test_the_wheels_of_the_next_python_are_there(tmp_path: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not in this environment")
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["daemon"]]
    compiled = [line for line in required if _name(line) in COMPILED]
    assert {_name(line) for line in compiled} == set(COMPILED)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"),
            *("--no-deps", "--only-binary=:all:", "--python-version", "3.14"),
            *("--target", str(tmp_path / "target"), "--retries", "0", *compiled),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    unreachable = ("NewConnectionError", "Temporary failure", "ConnectTimeoutError", "ProxyError")
    if done.returncode and any(sign in done.stderr for sign in unreachable):
        pytest.skip("no package index answers")
    assert done.returncode == 0, done.stderr
    assert "Would install" in done.stdout
