"""A configuration as text, each value with its origin. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from dftindexd.daemon.config import KEYS, WATCH_KEYS
from dftindexd.daemon.config_load import DEFAULT, Loaded

__all__ = ("as_json", "as_toml")

_COMMENT_COLUMN = 40


class _Value(NamedTuple):
    table: str
    name: str
    path: str
    value: Any
    origin: str


def as_toml(loaded: Loaded) -> str:
    """Return the configuration as a file that says the same, with the origins as comments."""
    lines = [f"# {loaded.file or 'There is no configuration file.'}"]
    table = ""
    for one in _values(loaded):
        if one.table != table:
            table = one.table
            # The number is that of the root: each has a table of its own.
            lines += ["", table.partition("#")[0]]
        lines.append(_line(one))
    return "\n".join(lines) + "\n"


def as_json(loaded: Loaded) -> str:
    """Return the file, and the key, value and origin of each setting."""
    values = [
        {"key": one.path, "value": one.value, "origin": one.origin} for one in _values(loaded)
    ]
    return json.dumps({"file": loaded.file, "values": values}, indent=2)


def _line(one: _Value) -> str:
    text = f"# {one.name} is not set" if one.value is None else f"{one.name} = {_toml(one.value)}"
    return f"{text:<{_COMMENT_COLUMN}}  # {one.origin}"


def _toml(value: Any) -> str:
    # What JSON writes of texts, numbers, booleans and lists of them is TOML as well, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _values(loaded: Loaded) -> Iterator[_Value]:
    for key in KEYS:
        value = getattr(getattr(loaded.config, key.section), key.name)
        origin = loaded.origins[key.path]
        yield _Value(f"[{key.section}]", key.name, key.path, value, origin)
    for number, root in enumerate(loaded.config.watch):
        for key in WATCH_KEYS:
            path = f"watch[{number}].{key.name}"
            value = getattr(root, key.name)
            origin = loaded.origins.get(path, DEFAULT)
            yield _Value(f"[[watch]]#{number}", key.name, path, value, origin)
