"""The order of events reads back as the text has it, whoever read the lines."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import AggregationTier, ParsedTrace, ParseRequest, TierConfig
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.layout import MANIFEST, segment_key
from dftindexd.index.tiers.chunk_contents import ChunkContents
from dftindexd.index.tiers.event_order import (
    ORDER_SUFFIX,
    ChunkOrder,
    EventOrderBuilder,
    decode_event_order,
)
from dftindexd.index.tiers.manifest import decode_manifest

from .records import Blocks, metadata, record

_READERS = pytest.mark.parametrize("use_kernel", [True, False], ids=["kernel", "reference"])
_GROUPED = TierConfig(aggregation=AggregationTier())
_AS_ROWS = TierConfig(postings=("dur",), aggregation=AggregationTier())


def _parse(path: Path, tiers: TierConfig, *, use_kernel: bool = True) -> ParsedTrace:
    request = ParseRequest(path=os.fsencode(path), segment_id=1, provisional_id=2, tiers=tiers)
    return parse_trace(request, use_kernel=use_kernel)


def _orders(parsed: ParsedTrace) -> list[ChunkOrder]:
    return [
        chunk
        for family, key, value in parsed.rows
        if (family, key[8:]) == (MANIFEST, ORDER_SUFFIX)
        for chunk in decode_event_order(value)
    ]


def _kinds(chunk: ChunkOrder) -> list[tuple[str, str] | str]:
    """Return what the codes stand for."""
    kinds = [*chunk.kinds, *chunk.metadata]
    return [kinds[code] for code in chunk.codes.tolist()]


@_READERS
@pytest.mark.parametrize("tiers", [_GROUPED, _AS_ROWS], ids=["grouped", "as rows"])
def test_codes_follow_the_text(tmp_path: Path, tiers: TierConfig, use_kernel: bool) -> None:
    path = tmp_path / "t.pfw"
    lines = [
        "[",
        metadata("HH", "node", "aa"),
        record("read", dur=7),
        "not JSON",
        record("open"),
        f"{record('read', dur=1)},{metadata('FH', '/a', 'bb')}{record('close')}",
        '{"name":"lost","cat":"c"}',
        "",
        record("read", cat="Posix", dur=9).replace('"hhash":"aa"', '"exec_hash":"5"'),
        metadata("HH", "node", "ab"),
        record("cpu", cat="sys").replace('"ph":"X"', '"ph":"C"'),
        "]",
    ]
    path.write_text("\n".join(lines))
    first, last = _orders(_parse(path, tiers, use_kernel=use_kernel))
    read, other = ("POSIX", "read"), ("Posix", "read")
    assert first.kinds == (read, ("POSIX", "open"), ("POSIX", "close"), other, ("sys", "cpu"))
    assert first.metadata == ("HH", "FH")
    assert first.codes.tolist() == [5, 0, 1, 0, 6, 2, 3, 5, 4]
    assert first.durations == {"read": (1, 9), "open": (2, 2), "close": (2, 2), "cpu": (2, 2)}
    assert first.hashes == {
        "hhash": {"aa": 5},
        "fhash": {"fread": 3, "fopen": 1, "fclose": 1, "fcpu": 1},
        "shash": {"5": 1},
    }
    assert first.newlines == 11
    assert (last.kinds, last.metadata, last.codes.tolist(), last.newlines) == ((), (), [], 0)
    assert (last.durations, last.hashes) == ({}, {"hhash": {}, "fhash": {}, "shash": {}})


@_READERS
def test_chunks_of_many_records_are_as_their_lines(tmp_path: Path, use_kernel: bool) -> None:
    path, numbers = tmp_path / "t.pfw", random.Random(5)
    names, lines = [f"call-{place}" for place in range(400)], []
    for place in range(3_000):
        name, kind = numbers.choice(names), numbers.random()
        line = record(name, cat=numbers.choice("ABC"), ts=place, dur=numbers.randrange(10**6))
        line = line.replace('"hhash"', f'"cmd_hash":"{place % 3}","hhash"')
        if kind < 0.05:
            line = metadata(name, "a", "b")
        elif kind < 0.1:
            line = line.replace('"ph":"X"', '"ph":"C"')
        elif kind < 0.15:
            line = line.replace('"pid"', '"odd":"\\u0041","pid"')
        lines.append(line)
    path.write_text("\n".join(lines) + "\n")
    tiers = TierConfig(chunk_bytes=1 << 17, aggregation=AggregationTier())
    parsed = _parse(path, tiers, use_kernel=use_kernel)
    found = _orders(parsed)
    assert len(found) > 2
    records = [msgspec.json.decode(line) for line in lines]
    rows = [one for one in records if one["ph"] != "M"]
    expected = [(one["cat"], one["name"]) if one["ph"] != "M" else one["name"] for one in records]
    assert [kind for chunk in found for kind in _kinds(chunk)] == expected
    assert sum(chunk.newlines for chunk in found) == len(lines)
    for name in ("fhash", "hhash"):
        counts = sum((Counter(chunk.hashes[name]) for chunk in found), Counter[str]())
        assert counts == Counter(one["args"][name] for one in rows)
    commands = sum((Counter(chunk.hashes["shash"]) for chunk in found), Counter[str]())
    assert commands == Counter(one["args"]["cmd_hash"] for one in rows)
    taken = 0
    for chunk in found:
        of_chunk = records[taken : (taken := taken + len(chunk.codes))]
        durations = {
            name: [
                one["dur"] for one in of_chunk if (one["name"], one["ph"] != "M") == (name, True)
            ]
            for name in chunk.durations
        }
        bounds = {name: (min(found), max(found)) for name, found in durations.items()}
        assert chunk.durations == bounds
        assert chunk.durations.keys() == {name for _, name in chunk.kinds}
        assert [kind for kind in dict.fromkeys(_kinds(chunk)) if kind in chunk.kinds] == [
            *chunk.kinds
        ]


def test_codes_are_as_wide_as_a_chunk_needs(tmp_path: Path) -> None:
    for count in (256, 257, 65_537):
        path = tmp_path / f"{count}.pfw"
        path.write_text("".join(record(f"n{place}") + "\n" for place in range(count)))
        (chunk,) = _orders(_parse(path, TierConfig(bloom=False)))
        assert chunk.codes.tolist() == list(range(count))
        assert chunk.kinds[-1] == ("POSIX", f"n{count - 1}")
        assert len(chunk.hashes["fhash"]) == count


def test_kinds_are_counted_as_in_the_manifest(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    lines = [record("a"), metadata("HH", "n", "v"), record("b"), record("a"), '{"name":"lost"}']
    path.write_text("\n".join(lines) + "\n")
    rows = {
        key[8:]: value for family, key, value in _parse(path, _GROUPED).rows if family == MANIFEST
    }
    (manifest,), (order,) = decode_manifest(rows[b""]), decode_event_order(rows[ORDER_SUFFIX])
    counts = Counter(_kinds(order))
    assert [((kind.cat, kind.name), kind.count) for kind in manifest.kinds] == [
        (kind, counts[kind]) for kind in order.kinds
    ]
    assert manifest.metadata == sum(counts[name] for name in order.metadata) == 1


def test_a_line_too_long_to_read_has_a_newline_and_no_code() -> None:
    blocks, builder, contents = Blocks(), EventOrderBuilder(), ChunkContents()
    block = blocks.decode(record("read"))
    builder.add(block)
    contents.add(block.columns, block.others)
    builder.end_chunk(contents, 2)
    ((family, key, value),) = builder.rows(9, blocks.texts.texts)
    assert (family, key) == (MANIFEST, segment_key(9, b"order"))
    (chunk,) = decode_event_order(value)
    assert (chunk.newlines, chunk.codes.tolist()) == (2, [0])


def test_what_is_held_goes_by_bytes() -> None:
    blocks, builder = Blocks(), EventOrderBuilder()
    for chunk in range(20):
        contents = ChunkContents()
        block = blocks.decode(*(record(f"call-{chunk}-{place}") for place in range(300)))
        builder.add(block)
        contents.add(block.columns, block.others)
        builder.end_chunk(contents, 300)
    ((_, _, value),) = builder.rows(9, blocks.texts.texts)
    assert 5 < builder.held < len(value) // 1000


def test_a_value_that_is_no_order_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_text("".join(record(f"name-{place % 7}") + "\n" for place in range(3_000)))
    ((_, _, value),) = (row for row in _parse(path, _GROUPED).rows if row[1].endswith(b"order"))
    texts, ((size, packed),) = msgspec.msgpack.decode(value, strict=False)
    assert size
    some = [0, msgspec.msgpack.encode({1: "one"})]
    for damaged in (
        b"",
        value[:-1],
        msgspec.msgpack.encode([some, [[size, packed]]]),
        msgspec.msgpack.encode([texts, [[size + 1, packed]]]),
        msgspec.msgpack.encode([texts, [[size, packed[:-20]]]]),
        msgspec.msgpack.encode([texts, [[0, packed]]]),
        msgspec.msgpack.encode([[9, b"not deflated"], [[size, packed]]]),
    ):
        with pytest.raises(StoreDamagedError, match="order of events does not decode"):
            decode_event_order(damaged)
    chunk = msgspec.msgpack.encode([[0], [1], b"\1", [1], [1], {}, {}, {}, 1])
    texts = [0, msgspec.msgpack.encode({0: "c", 1: "n"})]
    with pytest.raises(StoreDamagedError, match="a code of no kind"):
        decode_event_order(msgspec.msgpack.encode([texts, [[0, chunk]]]))
