"""The configuration that holds: command line before environment before file before defaults.

Everything that is wrong is found at once and told with its place. Only :func:`read_config` touches
the disk.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from dftindexd.actors.state_dir import default_state_dir
from dftindexd.daemon.config import KEYS, WATCH_KEYS, Config, WatchConfig
from dftindexd.daemon.config_keys import Key
from dftindexd.daemon.config_text import KeyPath, key_lines, path_text
from dftindexd.daemon.config_values import Given, checked, suggestion
from dftindexd.daemon.run_options import default_workers
from dftindexd.index.errors import CoreError
from dftindexd.protocol.paths import default_socket_path

__all__ = ("DEFAULT", "ConfigError", "Loaded", "default_file", "read_config", "resolve")

#: The origin of a value that nobody set.
DEFAULT: Final = "default"

_BY_PATH: Final = {key.path: key for key in KEYS}
_SECTIONS: Final = {key.section for key in KEYS} | {"watch"}


class ConfigError(CoreError):
    """The configuration cannot be used; ``problems`` has a line for each thing that is wrong."""

    code = "invalid-argument"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration, where each value came from, and the file, if there is one."""

    config: Config
    origins: dict[str, str]
    file: str | None


def default_file(environment: Mapping[str, str], uid: int) -> str:
    """Return where the configuration file lies unless ``--config`` says."""
    directory = environment.get("CONFIGURATION_DIRECTORY", "").split(":")[0]
    if not directory and uid == 0:
        directory = "/etc/dftindexd"
    if not directory:
        home = environment.get("HOME") or os.path.expanduser("~")
        user = environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        directory = os.path.join(user, "dftindexd")
    return os.path.join(directory, "config.toml")


def read_config(
    named: str | None,
    options: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    uid: int | None = None,
) -> Loaded:
    """Read the file *named*, else the default one if it is there, and resolve the configuration.

    :raises ConfigError: the file cannot be read, or something in it or elsewhere is wrong.
    """
    user = os.getuid() if uid is None else uid
    path = os.path.abspath(named or default_file(environment, user))
    try:
        with open(path, encoding="utf-8") as file:
            text: str | None = file.read()
    except FileNotFoundError as error:
        if named is not None:
            raise ConfigError((f"{path}: there is no such file; name another",)) from error
        text = None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError((f"{path}: cannot be read: {reason}",)) from error
    return resolve(text, path, options, environment, user)


def resolve(
    text: str | None,
    path: str,
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    uid: int,
) -> Loaded:
    """Return the configuration of a file's *text* (``None``: there is no file), of the *options* of
    the command line by their key, and of the *environment*.

    :raises ConfigError: something is wrong.
    """
    reading = _Reading(path)
    document, lines = reading.parse(text)
    given = dict(_derived(environment, uid))
    given |= reading.of_file(document, lines)
    given |= reading.of_environment(environment)
    given |= {
        name: Given(value, _BY_PATH[name].note.option, is_text=True)
        for name, value in options.items()
    }
    values = {name: reading.check(_BY_PATH[name], one) for name, one in given.items()}
    watch = reading.roots(document.get("watch", []), lines)
    if reading.problems:
        raise ConfigError(tuple(reading.problems))
    origins = {key.path: DEFAULT for key in KEYS}
    origins |= {name: one.origin for name, one in given.items()} | reading.root_origins
    return Loaded(config=_tree(values, watch), origins=origins, file=None if text is None else path)


def _tree(values: Mapping[str, Any], watch: tuple[WatchConfig, ...]) -> Config:
    sections = {}
    for field in msgspec.structs.fields(Config):
        if field.name == "watch":
            continue
        prefix = f"{field.name}."
        own = {
            name.removeprefix(prefix): value
            for name, value in values.items()
            if name.startswith(prefix)
        }
        sections[field.name] = field.type(**own)
    return Config(**sections, watch=watch)


def _derived(environment: Mapping[str, str], uid: int) -> Iterator[tuple[str, Given]]:
    """Give what has no default of its own: it depends on user, machine and service manager."""
    state = "STATE_DIRECTORY" if environment.get("STATE_DIRECTORY") else DEFAULT
    runtime = next(
        (name for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR") if environment.get(name)),
        DEFAULT,
    )
    ours = ("DFTINDEXD_STATE_DIR", "DFTINDEXD_SOCKET")
    rest = {name: value for name, value in environment.items() if name not in ours}
    yield "daemon.state_dir", Given(default_state_dir(rest, uid), state)
    yield "ipc.socket", Given(default_socket_path(rest, uid), runtime)
    yield "parser.workers", Given(default_workers(), DEFAULT)


class _Reading:
    """Collects what is wrong with all the sources of one configuration."""

    def __init__(self, path: str) -> None:
        self.problems: list[str] = []
        self.root_origins: dict[str, str] = {}
        self._path = path

    def parse(self, text: str | None) -> tuple[dict[str, Any], dict[KeyPath, int]]:
        if text is None:
            return {}, {}
        try:
            return tomllib.loads(text), key_lines(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError((f"{self._path}: not TOML: {error}",)) from error

    def check(self, key: Key, given: Given, name: str = "") -> Any:
        try:
            return checked(key, given)
        except ValueError as error:
            where = "" if given.origin == name else f"{given.origin}: "
            self.problems.append(f"{where}{name or key.path}: {error}")
            return key.default

    def of_file(
        self, document: Mapping[str, Any], lines: Mapping[KeyPath, int]
    ) -> dict[str, Given]:
        given = {}
        for section, table in document.items():
            if section not in _SECTIONS:
                self._unknown((section,), _SECTIONS, lines)
            elif section != "watch":
                known = [key.name for key in KEYS if key.section == section]
                for path, value in self._entries((section,), table, known, lines):
                    given[path_text(path)] = Given(value, self._place(path, lines))
        return given

    def of_environment(self, environment: Mapping[str, str]) -> dict[str, Given]:
        keys = {key.variable: key for key in KEYS}
        aliases = {key.note.variable: key for key in KEYS if key.note.variable}
        given = {}
        for name, value in sorted(environment.items()):
            if name in aliases and value:
                given[aliases[name].path] = Given(os.path.abspath(value), name, is_text=True)
        for name, value in sorted(environment.items()):
            if name in keys:
                given[keys[name].path] = Given(value, name, is_text=True)
            elif name.startswith("DFTINDEXD_") and "__" in name:
                self.problems.append(f"{name}: no such key; {suggestion(name, keys)}")
        return given

    def roots(self, tables: Any, lines: Mapping[KeyPath, int]) -> tuple[WatchConfig, ...]:
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            place = self._place(("watch",), lines)
            self.problems.append(f"{place}: watch: must be tables, each under [[watch]]")
            return ()
        roots = [self._root(number, table, lines) for number, table in enumerate(tables)]
        paths = [root.path for root in roots if root is not None]
        for number, path in enumerate(paths):
            if path in paths[:number]:
                place = self._place(("watch", number), lines)
                self.problems.append(f"{place}: {path} is watched twice")
        return tuple(root for root in roots if root is not None)

    def _root(
        self, number: int, table: dict[str, Any], lines: Mapping[KeyPath, int]
    ) -> WatchConfig | None:
        keys = {key.name: key for key in WATCH_KEYS}
        values = {}
        before = len(self.problems)
        for path, value in self._entries(("watch", number), table, list(keys), lines):
            name = path_text(path)
            origin = self.root_origins[name] = self._place(path, lines)
            values[path[-1]] = self.check(keys[str(path[-1])], Given(value, origin), name)
        if "path" not in values:
            place = self._place(("watch", number), lines)
            self.problems.append(f"{place}: watch[{number}]: path is missing")
        if len(self.problems) > before:
            return None
        return msgspec.convert(values, WatchConfig)

    def _entries(
        self, above: KeyPath, table: Any, known: list[str], lines: Mapping[KeyPath, int]
    ) -> Iterator[tuple[KeyPath, Any]]:
        if not isinstance(table, dict):
            place = self._place(above, lines)
            self.problems.append(
                f"{place}: {path_text(above)}: must be a table, under [{path_text(above)}]"
            )
            return
        for name, value in table.items():
            path = (*above, name)
            if name in known:
                yield path, value
            else:
                self._unknown(path, known, lines)

    def _unknown(self, path: KeyPath, known: Any, lines: Mapping[KeyPath, int]) -> None:
        place, name = self._place(path, lines), str(path[-1])
        self.problems.append(f"{place}: {path_text(path)}: no such key; {suggestion(name, known)}")

    def _place(self, path: KeyPath, lines: Mapping[KeyPath, int]) -> str:
        number = lines.get(path) or lines.get(path[:1])
        return f"{self._path}:{number}" if number else self._path
