"""The scan's arrays are used again, and what one segment left in them is never seen by another."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dftindexd.index.model import AggregationTier, ParsedTrace, ParseRequest, TierConfig
from dftindexd.index.segment import parse_trace
from dftindexd.index.trace import kernel_cache, scan_arrays
from dftindexd.index.trace import kernel_layout as at

from .parsing import event, gzip_member, lines_of

_PLAIN = TierConfig()
_WANTED = TierConfig(arguments=("level",), aggregation=AggregationTier(group_keys=("level",)))


@pytest.fixture(autouse=True)
def _no_arrays_before() -> None:
    kernel_cache.load()
    scan_arrays._free.clear()


def _parse(path: Path, tiers: TierConfig = _PLAIN) -> ParsedTrace:
    return parse_trace(
        ParseRequest(path=os.fsencode(path), segment_id=1, provisional_id=2, tiers=tiers)
    )


def _trace(path: Path, first: int, count: int) -> Path:
    lines = [
        event(
            f"call-{number % 97}-{first}",
            number * 60_000,
            dur=number * 7,
            pid=first + number % 5,
            args={"hhash": f"h{number % 3}", "ret": number, "offset": number, "level": number % 2},
        )
        for number in range(first, first + count)
    ]
    counter = event("cpu", first, ph="C", args={"user_pct": 1.5, f"other-{first}": first})
    path.write_bytes(gzip_member(lines_of(*lines, counter)))
    return path


@pytest.mark.parametrize("tiers", [_PLAIN, _WANTED], ids=["plain", "wanted"])
def test_a_trace_reads_alike_in_new_arrays_and_in_used_ones(
    tmp_path: Path, tiers: TierConfig
) -> None:
    small, large = _trace(tmp_path / "s.pfw.gz", 5, 40), _trace(tmp_path / "l.pfw.gz", 900, 3000)
    new = _parse(small, tiers)
    for before in (small, large):
        for used_for in (_PLAIN, _WANTED):
            _parse(before, used_for)
            assert scan_arrays._free
            assert _parse(small, tiers) == new


def test_arrays_lent_at_one_time_share_nothing() -> None:
    one, other = scan_arrays.borrow(), scan_arrays.borrow()
    assert one.enter(("first",)) == other.enter(("second",)) == [len(at.KNOWN_TEXTS) + 1]
    assert [text for text, _ in one.texts_from(len(at.KNOWN_TEXTS) + 1)] == ["first"]
    scan_arrays.give_back(one)
    again = scan_arrays.borrow()
    assert again is one
    assert again.enter(("third",)) == [len(at.KNOWN_TEXTS) + 1]
    assert [text for text, _ in other.texts_from(len(at.KNOWN_TEXTS) + 1)] == ["second"]


def test_arrays_that_became_large_are_not_kept() -> None:
    tables = scan_arrays.borrow()
    while tables.nbytes() <= 4 << 20:
        tables.grow(at.FULL_GROUPS)
    scan_arrays.give_back(tables)
    assert scan_arrays.borrow() is not tables


def test_arrays_are_kept_for_a_few_only() -> None:
    lent = [scan_arrays.borrow() for _ in range(5)]
    for tables in lent:
        scan_arrays.give_back(tables)
    assert len(scan_arrays._free) < len(lent)


def test_threads_that_scan_at_once_get_each_their_own_result() -> None:
    def codes_of(text: str) -> set[int]:
        tables = scan_arrays.borrow()
        return {code for _ in range(3000) for code in tables.enter((text,))}

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(codes_of, at.KNOWN_TEXTS[:4]))
    finally:
        sys.setswitchinterval(interval)
    assert found == [{1}, {2}, {3}, {4}]
