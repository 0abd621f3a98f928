"""Options of commands, made from the keys of the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import click

from dftindexd.daemon.config import KEYS
from dftindexd.daemon.config_keys import Key
from dftindexd.daemon.config_values import Given, checked

__all__ = ("given_options", "key_options")

F = TypeVar("F", bound=Callable[..., Any])

_KEYS: Final = {key.path: key for key in KEYS if key.note.option}


class _KeyType(click.ParamType[Any]):
    """A value of one key; a number without a unit has that of the option."""

    def __init__(self, key: Key) -> None:
        self.name = key.name
        self._key = key

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        key = self._key
        text = str(value)
        if key.note.bare and text.replace(".", "", 1).isdecimal():
            text += key.note.bare
        if key.note.kind == "path":
            text = os.path.abspath(text)
        try:
            if _is_list(key):
                checked(key, Given([text], key.note.option))
                return text
            return checked(key, Given(text, key.note.option, is_text=True))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def key_options(*paths: str) -> Callable[[F], F]:
    """Give a command the options of the keys *paths*, all that have one if none is named."""
    keys = [_KEYS[path] for path in paths or _KEYS]

    def decorate(function: F) -> F:
        for key in reversed(keys):
            function = _option(key)(function)
        return function

    return decorate


def given_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return by key what was given on the command line, of the *values* that click found."""
    given = {}
    for path in _KEYS:
        value = values.get(_parameter(path))
        if value is not None and value != ():
            given[path] = list(value) if isinstance(value, tuple) else value
    return given


def _option(key: Key) -> Callable[[F], F]:
    inner = get_args(key.type)[0]
    choices = get_args(inner) if get_origin(inner) is Literal else ()
    has_default = key.default is not None and not _is_list(key)
    return click.option(
        key.note.option,
        _parameter(key.path),
        type=click.Choice(choices) if choices else _KeyType(key),
        metavar=key.note.metavar,
        multiple=_is_list(key),
        show_default=str(key.default) if has_default else False,
        help=key.help,
    )


def _parameter(path: str) -> str:
    return path.replace(".", "__")


def _is_list(key: Key) -> bool:
    return isinstance(key.default, list)
