"""``dftindexd install-service``: the units for systemd, written where they belong and explained."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.resources import files
from typing import Final, NamedTuple

from dftindexd.index.errors import CoreError
from dftindexd.index.store.identity import write_file_durably

__all__ = ("Installation", "UnitFile", "install", "installation", "own_command")

_PLACEHOLDER: Final = "/usr/bin/env dftindexd "


class UnitFile(NamedTuple):
    """A file to write: where, what, and what it is for."""

    path: str
    text: str
    purpose: str


class Installation(NamedTuple):
    """The files of a service, and the commands that put them to use."""

    files: tuple[UnitFile, ...]
    commands: tuple[str, ...]


def own_command() -> str:
    """Return the command ``dftindexd`` of this installation, quoted for a unit."""
    python = os.path.abspath(sys.executable)
    script = os.path.join(os.path.dirname(python), "dftindexd")
    words = [script] if os.path.exists(script) else [python, "-m", "dftindexd.daemon.cli"]
    return " ".join(map(_quoted, words))


def installation(command: str, environment: Mapping[str, str], *, user: bool) -> Installation:
    """Return what makes a service that runs *command*: that of a *user*, else of the node."""
    return _of_user(command, environment) if user else _of_node(command)


def install(service: Installation) -> list[str]:
    """Write the files of *service*; return for each whether it was written or there already.

    :raises CoreError: one cannot be written.
    """
    return [_write(file) for file in service.files]


def _of_node(command: str) -> Installation:
    parts = (
        (
            "/etc/systemd/system/dftindexd.service",
            "dftindexd.service",
            "the daemon, as the user dftindexd, who may read all files and write only its own",
        ),
        (
            "/etc/systemd/system/dftindexd.socket",
            "dftindexd.socket",
            "its socket, at which clients can wait while the daemon starts",
        ),
        ("/etc/sysusers.d/dftindexd.conf", "sysusers.conf", "the user dftindexd"),
        ("/etc/tmpfiles.d/dftindexd.conf", "tmpfiles.conf", "the directory of the socket"),
    )
    return Installation(
        tuple(UnitFile(path, _text(name, command), purpose) for path, name, purpose in parts),
        (
            "systemd-sysusers",
            "systemd-tmpfiles --create dftindexd.conf",
            "systemctl daemon-reload",
            "systemctl enable --now dftindexd.socket dftindexd.service",
        ),
    )


def _of_user(command: str, environment: Mapping[str, str]) -> Installation:
    home = environment.get("HOME") or os.path.expanduser("~")
    folder = environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    path = os.path.join(folder, "systemd", "user", "dftindexd.service")
    text = _text("dftindexd-user.service", command)
    return Installation(
        (UnitFile(path, text, "a daemon of your own, with your rights"),),
        (
            "systemctl --user daemon-reload",
            "systemctl --user enable --now dftindexd",
            "loginctl enable-linger  # if it is to run while you are not logged in",
        ),
    )


def _text(name: str, command: str) -> str:
    text = files("dftindexd.systemd").joinpath(name).read_text()
    return text.replace(_PLACEHOLDER, f"{command} ")


def _quoted(word: str) -> str:
    """Quote a word of a command line in a unit: systemd expands ``%`` and ``$``."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word


def _write(file: UnitFile) -> str:
    try:
        if _read(file.path) == file.text:
            return "there already"
        os.makedirs(os.path.dirname(file.path), exist_ok=True)
        write_file_durably(file.path, file.text.encode())
        os.chmod(file.path, 0o644)
    except OSError as error:
        raise CoreError(
            f"cannot write {file.path}: {error.strerror}",
            "run this as root, or with --user for a daemon of your own",
        ) from error
    return "written"


def _read(path: str) -> str | None:
    try:
        with open(path) as unit:
            return unit.read()
    except FileNotFoundError:
        return None
