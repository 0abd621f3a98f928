"""One value of the configuration: checked, and told of in words where it cannot be. Pure."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from dftindexd.daemon.amounts import bytes_of, duration_text, seconds_of, size_text
from dftindexd.daemon.config_keys import Key

__all__ = ("Given", "checked", "suggestion")

_TYPES: Final = {
    "array": "a list of texts",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
}


class Given(NamedTuple):
    """A value as it was found, and where. ``is_text``: numbers and lists are written as text."""

    value: Any
    origin: str
    is_text: bool = False


def checked(key: Key, given: Given) -> Any:
    """Return the value in the form that the tree holds.

    :raises ValueError: it cannot be a value of *key*; the text says what can.
    """
    value = given.value
    if given.is_text and isinstance(key.default, list) and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        value = msgspec.convert(value, key.type, strict=not given.is_text)
    except msgspec.ValidationError as error:
        raise ValueError(f"{_wanted(key)}, not {given.value!r}") from error
    if value is None:
        return None
    if key.note.kind == "path":
        value = _path(value)
    _require_least(key, value)
    return key.note.check(value) if key.note.check else value


def _wanted(key: Key) -> str:
    """Return in words what a value of *key* has to be."""
    if key.note.kind == "duration":
        return 'must be a duration such as "500ms", "30s", "12h" or "30d"'
    if key.note.kind == "size":
        return 'must be a size such as "512MiB" or "100GB"'
    if key.note.kind == "path":
        return "must be a path"
    schema = msgspec.json.schema(key.type)
    # What need not be set is of one type or null.
    one = next(each for each in schema.get("anyOf", [schema]) if each.get("type") != "null")
    if "enum" in one:
        return f"must be one of {', '.join(map(str, one['enum']))}"
    return f"must be {_TYPES[one['type']]}{_bounds(one)}"


def _bounds(schema: dict[str, Any]) -> str:
    match schema.get("minimum"), schema.get("maximum"):
        case None, None:
            return ""
        case least, None:
            return f" of at least {least}"
        case least, most:
            return f" from {least} to {most}"


def _path(text: str) -> str:
    path = os.path.expanduser(text)
    if not os.path.isabs(path) or "\0" in path:
        raise ValueError(f"must be an absolute path, or begin with ~/, not {text!r}")
    return os.path.normpath(path)


def _require_least(key: Key, value: Any) -> None:
    match key.note.kind:
        case "duration":
            amount, least = seconds_of(value), duration_text(key.note.least)
        case "size":
            amount, least = bytes_of(value), size_text(int(key.note.least))
        case _:
            return
    if amount < key.note.least:
        raise ValueError(f"must be at least {least}, not {value!r}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return what to add to an error about the unknown *name*: the nearest known, or all."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
