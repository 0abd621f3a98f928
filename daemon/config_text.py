"""The text of a configuration file, and on which line each key stands. Pure functions."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any, TypeAlias

__all__ = ("KeyPath", "key_lines", "path_text")

#: Where a value is in a document: names of keys, and numbers in an array of tables.
KeyPath: TypeAlias = tuple[str | int, ...]


def path_text(path: KeyPath) -> str:
    """Return the path as people write it: ``watch[0].path``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return on which line, from 1, each table and key of a document begins.

    The document has to be one that ``tomllib`` reads: then the least number of lines that it reads
    by themselves are one header or one key with its value.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    tables: dict[KeyPath, int] = {}
    for number, statement in _statements(text):
        if not statement.lstrip().startswith("["):
            for path in _paths(tomllib.loads(statement)):
                lines.setdefault(table + path, number)
            continue
        table = ()
        is_array = statement.lstrip().startswith("[[")
        names = _names(tomllib.loads(statement))
        for place, name in enumerate(names, 1):
            table += (name,)
            if is_array and place == len(names):
                tables[table] = tables.get(table, -1) + 1
            if table in tables:
                lines.setdefault(table, number)
                table += (tables[table],)
        lines.setdefault(table, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    pending, begun = "", 1
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not pending:
            begun = number
        pending += line
        try:
            found = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue  # an array or a text goes on in the next line
        if found:
            yield begun, pending
        pending = ""


def _paths(document: dict[str, Any]) -> Iterator[KeyPath]:
    for name, value in document.items():
        yield (name,)
        if isinstance(value, dict):
            yield from ((name, *path) for path in _paths(value))


def _names(document: dict[str, Any]) -> list[str]:
    names = []
    node: Any = document
    while node:
        (name,) = node
        names.append(name)
        node = node[name][0] if isinstance(node[name], list) else node[name]
    return names
