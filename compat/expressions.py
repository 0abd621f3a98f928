"""Filters put together in Python: ``str((Field("cat") == "posix") & (Field("dur") > 10))``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

__all__ = ("Expr", "Field")

Value: TypeAlias = str | int | float | bool


class Expr:
    """A filter; ``str`` gives what the ``query`` arguments take."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __and__(self, other: Expr) -> Expr:
        return Expr(f"({self} and {other})")

    def __or__(self, other: Expr) -> Expr:
        return Expr(f"({self} or {other})")

    def __invert__(self) -> Expr:
        return Expr(f"not ({self})")

    def __str__(self) -> str:
        return self._text


class Field:
    """A column or field of the records, such as ``cat`` or ``args.level``."""

    __hash__ = None  # type: ignore[assignment] # comparing two gives a filter

    def __init__(self, name: str) -> None:
        self._name = name

    def _compared(self, operator: str, value: Value) -> Expr:
        return Expr(f"{self._name} {operator} {_literal(value)}")

    def __eq__(self, other: Value) -> Expr:  # type: ignore[override]
        return self._compared("==", other)

    def __ne__(self, other: Value) -> Expr:  # type: ignore[override]
        return self._compared("!=", other)

    def __gt__(self, other: Value) -> Expr:
        return self._compared(">", other)

    def __lt__(self, other: Value) -> Expr:
        return self._compared("<", other)

    def __ge__(self, other: Value) -> Expr:
        return self._compared(">=", other)

    def __le__(self, other: Value) -> Expr:
        return self._compared("<=", other)

    def is_in(self, values: Sequence[Value]) -> Expr:
        """Return the filter of those whose value is one of *values*."""
        return Expr(f"{self._name} in [{', '.join(map(_literal, values))}]")

    def not_in(self, values: Sequence[Value]) -> Expr:
        """Return the filter of those whose value is none of *values*."""
        return Expr(f"{self._name} not in [{', '.join(map(_literal, values))}]")


def _literal(value: Value) -> str:
    if isinstance(value, str):
        escaped = value.replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
