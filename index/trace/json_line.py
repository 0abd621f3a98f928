"""The lenient reading of one line, for lines that are not exactly one plain JSON object.

Accepted beyond JSON: NaN literals, text that is not UTF-8 (decoded with replacement), commas after
records, several objects on a line, a whole array or its brackets. Of duplicate keys the last one
counts in a record and the first one inside it, as in dftracer-utils.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = ("OddLine", "Record", "is_whole_line", "read_odd_line")

Record: TypeAlias = dict[str, Any]

#: What may stand before, between and after the records of a line.
_BETWEEN: Final = re.compile(r"[ \t\r\n,\[\]]*")
_BLANKS: Final = " \t\r\n,"

#: How deep objects lie in a record: ``args``, and the objects of an ``end`` event's.
_DEPTH: Final = 2


class OddLine(NamedTuple):
    """What a line holds: no records for a blank line or brackets. ``closes``: it has the ``]``."""

    records: list[Record]
    repaired: bool
    closes: bool


class _Pairs(list[tuple[str, Any]]):
    """An object's members in order, with the duplicates."""


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_Pairs)


def read_odd_line(line: bytes) -> OddLine | None:
    """Return what *line* holds, or ``None`` if it is bad: any part of it does not parse."""
    try:
        text = line.decode()
        repaired = False
    except UnicodeDecodeError:
        text = line.decode(errors="replace")
        repaired = True
    text = text.removeprefix("\ufeff")
    records: list[Record] = []
    between = ""
    position = 0
    while True:
        begin, position = position, _after_separators(text, position)
        between += text[begin:position].strip(_BLANKS)
        if position == len(text):
            break
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, _Pairs):
            return None
        record, clean = _record(value)
        repaired = repaired or not clean
        records.append(record)
    if between.count("[") > 1 or between.count("]") > 1:
        return None
    return OddLine(records, repaired, closes="]" in between)


def is_whole_line(line: bytes) -> bool:
    """Tell whether a line without newline is finished: it holds records, or the closing bracket."""
    odd = read_odd_line(line)
    return odd is not None and (bool(odd.records) or odd.closes)


def _after_separators(text: str, position: int) -> int:
    found = _BETWEEN.match(text, position)
    return found.end() if found else position


def _record(pairs: _Pairs) -> tuple[Record, bool]:
    """Return the record and whether all its text could be encoded (no lone surrogates).

    Lists, and what lies deeper than the objects of ``args``, are never used and left out.
    """
    clean = True

    def text(value: str) -> str:
        nonlocal clean
        encodable = value.encode(errors="replace").decode()
        clean = clean and encodable == value
        return encodable

    def settled(value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return text(value)
        if isinstance(value, _Pairs) and depth < _DEPTH:
            members: Record = {}
            for key, member in value:
                members.setdefault(text(key), settled(member, depth + 1))
            return members
        return None if isinstance(value, list) else value

    return {text(key): settled(value, 0) for key, value in pairs}, clean
