"""Reading what the scan leaves of a canonical line (``kernel_line``), as the reference does it."""

from __future__ import annotations

from typing import Final

import msgspec

from dftindexd.index.trace.json_line import Record, read_odd_line

__all__ = ("canonical_number", "canonical_record")

_decode_json: Final = msgspec.json.Decoder().decode


def canonical_record(line: bytes) -> tuple[Record, Record]:
    """Return the record of a canonical line and its arguments, as the reference reads them."""
    record = _decode_line(line)
    if record is None:
        odd = read_odd_line(line)
        if odd is None:
            raise AssertionError("the scan took a line that does not parse")
        (record,) = odd.records
    args = record.get("args")
    return record, args if isinstance(args, dict) else {}


def _decode_line(line: bytes) -> Record | None:
    """Return the record of a line that has no duplicate keys, at any depth."""
    try:
        record: Record = _decode_json(line)
    except ValueError:
        return None
    return record if _keys(record) == line.count(b'":') else None


def _keys(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(_keys(member) for member in value.values())
    return sum(_keys(member) for member in value) if isinstance(value, list) else 0


def canonical_number(text: bytes) -> object:
    """Return a number of such a line."""
    try:
        return _decode_json(text)
    except ValueError:
        odd = read_odd_line(b'{"":%b}' % text)
        return odd.records[0][""] if odd else None
