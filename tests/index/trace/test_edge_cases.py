"""The edge cases of the specification, a row of its table each, read in both ways.

A case is a file's bytes; stated are how its lines count, how it ends, and the aggregated rows of
its odd records. Those are the ones whose pid is not that of the thousand plain events around them.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from dftindexd.index.model import AggregationTier, LineCounts, ParsedTrace, Tail
from dftindexd.index.store.layout import AGGREGATION, HASH_TABLES
from dftindexd.index.tiers.aggregation_schema import (
    KIND_EVENT,
    KIND_PROFILE,
    NO_BUCKET,
    row_schema,
)
from dftindexd.index.tiers.hash_tables import decode_hash_tables
from dftindexd.index.trace.names import hash_of_name
from tests.index.tiers.reading import frame_rows

from .comparing import assert_same, both_ways
from .parsing import event, gzip_member, inflated, lines_of

_INT64_MAX: Final = 2**63 - 1
_UINT64_MAX: Final = 2**64 - 1
_INTERVAL: Final = 5_000_000
_NO_SAMPLE: Final = {"size_count": 0, "size_total": 0, "size_min": _UINT64_MAX, "size_max": 0}

_PLAIN_PID: Final = 7
_EVENTS: Final = [event(ts=10_000_000 + number * number) for number in range(1000)]
_THOUSAND: Final = lines_of(*_EVENTS)
_MEMBER: Final = gzip_member(_THOUSAND)


class Case(NamedTuple):
    """A row of the table: a file, and what is to come of it.

    ``events`` are the calls that the rows stand for, as many as lines are ok if not stated.
    ``said`` is part of the reason. ``odd`` are the rows of odd records, in any order.
    """

    row: str
    data: bytes
    ok: int
    skipped: int = 0
    bad: int = 0
    repaired: int = 0
    events: int | None = None
    tail: Tail = "complete"
    said: str = ""
    odd: tuple[Mapping[str, object], ...] = ()
    warning: str = ""
    suffix: str = ".pfw.gz"


def _odd(fields: str = "", args: str | None = None, **replaced: str) -> bytes:
    """Return an odd event; *replaced* are the JSON of fields, or ``""`` to leave one out."""
    written = {"name": '"read"', "cat": '"POSIX"', "pid": "1", "tid": "2", "ts": "10", "dur": "3"}
    members = [f'"{key}":{value}' for key, value in (written | replaced).items() if value]
    members += [part for part in ('"ph":"X"' if "ph" not in replaced else "", fields) if part]
    members += [] if args is None else [f'"args":{args}']
    return ("{" + ",".join(members) + "}").encode()


def _with(*odd: bytes) -> bytes:
    """Return a gzip trace with *odd* lines amid the thousand."""
    return gzip_member(lines_of(*_EVENTS[:500], *odd, *_EVENTS[500:]))


def _stored(text: bytes) -> tuple[bytearray, int]:
    """Return a member of blocks that are not compressed, and the length of the first block."""
    member = bytearray(gzip.compress(text, 0, mtime=0))
    return member, int.from_bytes(member[11:13], "little")


def _half() -> Case:
    data = _MEMBER[: len(_MEMBER) // 2]
    whole = inflated(data).count(b"\n")
    return Case("truncated gz (half)", data, whole, tail="open", said="unfinished")


def _second_member_truncated() -> Case:
    data = _MEMBER + _MEMBER[: len(_MEMBER) // 2]
    whole = inflated(data).count(b"\n")
    assert 1000 < whole < 2000
    return Case("2 members, 2nd truncated", data, whole, tail="open", said="unfinished")


def _wrong_checksum() -> Case:
    member = bytearray(_MEMBER)
    member[-6] ^= 1
    return Case("wrong CRC", bytes(member), 1000, tail="corrupt", said="corrupt gzip member")


def _bit_flip() -> Case:
    text = b" " * 40 + _THOUSAND
    member, length = _stored(text)
    member[10 + 5 + length + 1] ^= 0x10  # the length of the second block
    whole = text[:length].count(b"\n")
    return Case(
        "bit flip in member 1 of 2",
        bytes(member) + _MEMBER,
        whole + 1000,
        bad=1,  # the line that the fault cut off
        warning="corrupt gzip member at byte 0",
    )


_ARRAY: Final = b"[" + b",".join(_EVENTS) + b"]\n"
_COMMAS: Final = b"[\n" + b",\n".join(_EVENTS) + b"\n]\n"
_PRETTY: Final = _odd().replace(b",", b",\n").replace(b"{", b"{\n").replace(b"}", b"\n}")
_V0: Final = (
    b'{"id":"0","name":"open","cat":"POSIX","pid":"4","tid":"5","ts":"9","dur":"2","ph":"X",'
    b'"args":{"hostname":"node1","fname":"/a/b","ret":"16"}}'
)

CONTAINERS: Final = (
    _half(),
    Case("missing trailer", _MEMBER[:-8], 1000, tail="open"),
    Case("missing 1 byte", _MEMBER[:-1], 1000, tail="open"),
    Case("header only (5 bytes)", _MEMBER[:5], 0, tail="empty"),
    _wrong_checksum(),
    _second_member_truncated(),
    Case("trailing junk", _MEMBER + b"some junk", 1000, said="9 bytes", warning="9 bytes"),
    Case("zero padding", _MEMBER + bytes(512), 1000, said="512 bytes", warning="512 bytes"),
    _bit_flip(),
    Case("0 bytes", b"", 0, tail="empty"),
    Case("plain .pfw", _THOUSAND, 1000, suffix=".pfw"),
    Case("gzip named .pfw", _MEMBER, 1000, suffix=".pfw"),
    Case("plain named .pfw.gz", _THOUSAND, 1000),
    Case("no newline at end", gzip_member(_THOUSAND[:-1]), 1000),
    Case("no newline at end (plain)", _THOUSAND[:-1], 1000, suffix=".pfw"),
)

LINES: Final = (
    Case("CRLF", gzip_member(_THOUSAND.replace(b"\n", b"\r\n")), 1000),
    Case("blank lines", _with(b"", b"   ", b"\t"), 1000, skipped=3),
    Case("leading spaces", gzip_member(b"  " + _THOUSAND), 1000),
    Case("one garbage line", _with(b"garbage"), 1000, bad=1),
    Case("garbage first line", gzip_member(b"gar{bage\n" + _THOUSAND), 1000, bad=1),
    Case("NUL or 0xff bytes", _with(bytes(40), b"\xff" * 40), 1000, bad=2),
    Case("commas after records", gzip_member(_COMMAS), 1000, skipped=2),
    Case("whole array on one line", gzip_member(_ARRAY), 1, events=1000),
    Case("two objects on one line", _with(_EVENTS[0] + _EVENTS[1]), 1001, events=1002),
    Case("pretty-printed object", _with(_PRETTY), 1000, bad=_PRETTY.count(b"\n") + 1),
    Case("5 MB line", _with(_odd(args='{"x":"%s"}' % ("y" * 5_000_000))), 1001, odd=({},)),
    Case("missing ph", _with(_odd(ph="")), 1000, skipped=1, warning="without ph ignored: 1"),
    Case("NaN literal", _with(_odd(dur="NaN")), 1001, odd=({"dur_total": 0},)),
    Case(
        "invalid UTF-8",
        _with(_odd(name='"caf~"').replace(b"~", b"\xe9")),
        1001,
        repaired=1,
        odd=({"name": "caf\ufffd"},),
    ),
    Case(
        "real edge_3 trace (bad UTF-8 FH)",
        _with(
            b'{"name":"FH","cat":"dftracer","pid":1,"tid":1,"ph":4,"type":1,'
            b'"args":{"hhash":"aa","name":"/d/\xff\xfe","value":"cc"}}',
            b'{"id":3,"name":"my "blk"',
            b'","cat":"C","pid":1,"tid":1,"ts":1,"dur":1,"ph":1,"type":6,"args":{}}',
        ),
        1001,
        bad=2,
        repaired=1,
        events=1000,
    ),
)

VALUES: Final = (
    Case(
        "missing name/cat/pid/tid/ts/dur",
        _with(b'{"ph":"X"}'),
        1001,
        odd=({"name": "", "cat": "", "pid": 0, "tid": 0, "bucket": NO_BUCKET, "dur_total": 0},),
    ),
    *(
        Case(
            f"args {args or 'missing'}",
            _with(_odd(args=args)),
            1001,
            odd=({"hhash": "", "fhash": "", "pid": 1, **_NO_SAMPLE},),
        )
        for args in (None, "null", "[]")
    ),
    Case(
        "float ts/dur",
        _with(_odd(ts="12000000.9", dur="7.9")),
        1001,
        odd=({"ts": 12_000_000, "te": 12_000_007, "dur_total": 7, "bucket": 10_000_000},),
    ),
    Case(
        "negative ts/dur/pid",
        _with(_odd(ts="-12", dur="-3", pid="-1")),
        1001,
        odd=({"ts": 0, "te": 0, "dur_total": 0, "pid": 0, "bucket": 0},),
        warning="clamped: 3",
    ),
    Case("ret negative", _with(_odd(args='{"ret":-1}')), 1001, odd=(_NO_SAMPLE,)),
    *(
        Case(
            f"ret {kind}",
            _with(_odd(args=f'{{"ret":{ret}}}')),
            1001,
            odd=({"size_count": 1, "size_total": size, "size_min": size},),
        )
        for kind, ret, size in (
            ("string", '"4096"', 4096),
            ("bool", "true", 1),
            ("float", "3.9", 3),
        )
    ),
    Case("ret string that is no number", _with(_odd(args='{"ret":"x"}')), 1001, odd=(_NO_SAMPLE,)),
    Case(
        "ts 2^64-1",
        _with(_odd(ts=str(_UINT64_MAX))),
        1001,
        odd=({"ts": _INT64_MAX, "te": _INT64_MAX},),
        warning="clamped: 1",
    ),
    Case("ts 2^64", _with(_odd(ts=str(2**64))), 1000, bad=1),
    Case(
        "dur 2^63",
        _with(_odd(dur=str(2**63))),
        1001,
        odd=(
            {
                "dur_total": _INT64_MAX,
                "te": _INT64_MAX,
                "bucket": (10 + _INT64_MAX // 2) // _INTERVAL * _INTERVAL,
            },
        ),
        warning="clamped: 1",
    ),
    Case(
        "size sum > 2^64",
        _with(*[_odd(args=f'{{"ret":{_INT64_MAX}}}')] * 3),
        1003,
        odd=({"count": 3, "size_count": 3, "size_total": _UINT64_MAX, "size_max": _INT64_MAX},),
    ),
    Case(
        "duplicate keys",
        _with(_odd(fields='"dur":8', args='{"ret":1,"ret":2}')),
        1001,
        odd=({"dur_total": 8, "size_total": 1},),
    ),
    Case(
        "unicode, escapes",
        _with(_odd(cat='"POSIX\u00c9"', name='"re\\u00e9\\"d\u20ac"')),
        1001,
        odd=({"cat": "posix\u00c9", "name": 're\u00e9"d\u20ac'},),
    ),
    Case(
        'ph "B","E","i","","A"',
        _with(*(_odd(ph=f'"{ph}"') for ph in ("B", "E", "i", "", "A"))),
        1005,
        odd=({"kind": KIND_EVENT, "count": 4}, {"kind": KIND_PROFILE, "count": 1}),
    ),
    Case("duplicate events", _with(_odd(), _odd()), 1002, odd=({"count": 2, "dur_total": 6},)),
    Case(
        "v0 quoted numbers",
        _with(_V0),
        1001,
        odd=(
            {
                "pid": 4,
                "tid": 5,
                "ts": 9,
                "te": 11,
                "dur_total": 2,
                "hhash": hash_of_name("node1"),
                "fhash": hash_of_name("/a/b"),
            },
        ),
    ),
    Case(
        "v1.0 integer hashes",
        _with(_odd(args='{"hhash":33084,"fhash":9509357668201227806}')),
        1001,
        odd=({"hhash": "33084", "fhash": "9509357668201227806"},),
    ),
)


def _parse(folder: Path, case: Case) -> ParsedTrace:
    """Return what the reference makes of a case, after the kernel made the same of it."""
    path = folder / f"t{case.suffix}"
    path.write_bytes(case.data)
    fast, slow = both_ways(path)
    assert_same(fast, slow)
    return slow


def _rows(parsed: ParsedTrace) -> list[dict[str, Any]]:
    values = (value for family, _, value in parsed.rows if family == AGGREGATION)
    return [row for value in values for row in frame_rows(row_schema(AggregationTier()), value)]


def _assert_rows(found: list[dict[str, Any]], expected: tuple[Mapping[str, object], ...]) -> None:
    assert len(found) == len(expected)
    for row in expected:
        assert any(row.items() <= other.items() for other in found), (row, found)


@pytest.mark.parametrize("case", [*CONTAINERS, *LINES, *VALUES], ids=lambda case: case.row)
def test_every_row_of_the_table_of_edge_cases_holds(tmp_path: Path, case: Case) -> None:
    parsed = _parse(tmp_path, case)
    counts = sum((segment.lines for segment in parsed.segments), LineCounts())
    assert counts.total == case.ok + case.skipped + case.bad
    assert (counts.ok, counts.skipped, counts.bad) == (case.ok, case.skipped, case.bad)
    assert counts.repaired == case.repaired
    assert parsed.tail == case.tail
    assert case.said in parsed.reason
    warnings = " ".join(text for segment in parsed.segments for text in segment.warnings)
    assert case.warning in warnings
    rows = _rows(parsed)
    assert sum(row["count"] for row in rows) == (case.ok if case.events is None else case.events)
    _assert_rows([row for row in rows if row["pid"] != _PLAIN_PID], case.odd)


def test_a_record_without_a_time_has_no_part_in_the_origin(tmp_path: Path) -> None:
    (row,) = (case for case in VALUES if case.row.startswith("missing name"))
    (segment,) = _parse(tmp_path, row).segments
    assert segment.min_bucket == 10_000_000


def test_of_two_names_for_a_file_hash_the_first_wins(tmp_path: Path) -> None:
    record = (
        '{{"name":"FH","cat":"dftracer","pid":1,"tid":1,"ph":4,"type":1,'
        '"args":{{"hhash":"aa","name":"{}","value":"cc"}}}}'
    )
    data = _with(*(record.format(name).encode() for name in ("/first", "/second")))
    parsed = _parse(tmp_path, Case("FH twice for a hash", data, 1002))
    (value,) = (value for family, _, value in parsed.rows if family == HASH_TABLES)
    assert decode_hash_tables(value).file == {"cc": "/first"}
