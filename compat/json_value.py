"""One event of a trace, as the ``JsonDictValue`` of dftracer-utils."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ("JsonDictValue",)


class JsonDictValue:
    """A JSON object that is read like a ``dict``: ``event["name"]``, ``event["args"]["ret"]``.

    Objects in it come as :class:`JsonDictValue`, too. As in dftracer-utils it is not iterable, and
    equal only to itself; :meth:`to_dict` gives what is both.
    """

    __slots__ = ("_members",)
    __iter__ = None

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def __getitem__(self, key: str) -> Any:
        return _wrapped(self._members[key])

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, key: object) -> bool:
        return key in self._members

    def keys(self) -> list[str]:
        """Return the keys in the order of the line."""
        return list(self._members)

    def values(self) -> list[Any]:
        """Return the values in the order of the keys."""
        return [_wrapped(value) for value in self._members.values()]

    def items(self) -> list[tuple[str, Any]]:
        """Return keys and values."""
        return [(key, _wrapped(value)) for key, value in self._members.items()]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of *key*, *default* where there is none."""
        return _wrapped(self._members.get(key, default))

    def to_dict(self) -> dict[str, Any]:
        """Return the object, and all in it, as plain Python values."""
        return dict(self._members)


def _wrapped(value: Any) -> Any:
    return JsonDictValue(value) if isinstance(value, dict) else value
