"""Postings say what a column has in each chunk, and predicates read only chunks that can match."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dftindexd.index.errors import QueryError, StoreDamagedError
from dftindexd.index.model import ParseRequest, TierConfig
from dftindexd.index.query.event_fields import event_field, is_row
from dftindexd.index.query.event_filter import satisfies, settled
from dftindexd.index.query.event_lines import events_of_line, lines_of_text
from dftindexd.index.query.normal_form import MOST_LITERALS, Predicates
from dftindexd.index.query.pruning import _posted_member, _posted_verdict
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.layout import POSTINGS, segment_key
from dftindexd.index.tiers.postings import ColumnValues, decode_postings, posting_suffix
from dftindexd.index.trace.facts import MICROSECONDS

from .event_traces import IndexedTraces, write_chunks

COLUMNS = ("args.level", "count", "dur", "fhash", "hhash", "offset", "ret", "shash", "ts")
TIERS = TierConfig(aggregation=None, chunk_bytes=1, postings=COLUMNS).normal()
OPERATORS = ("==", "!=", "<", "<=", ">", ">=")

_NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.5, 1.0, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 1e300, True, False]),
)
_VALUES = st.one_of(_NUMBERS, st.sampled_from(["", "a", "7", "é"]), st.none())


def line(name: str = "read", **fields: Any) -> bytes:
    """Return the line of an event."""
    record = {"name": name, "cat": "POSIX", "pid": 1, "tid": 2, "ts": 7, "dur": 5, "ph": "X"}
    return json.dumps({**record, **fields}, separators=(",", ":")).encode()


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """An event or metadata with arguments of all kinds."""
    args: dict[str, Any] = {}
    for key in draw(st.lists(st.sampled_from(["level", "ret", "offset", "fhash"]), unique=True)):
        args[key] = draw(_VALUES | st.sampled_from([[1], {"deep": 1}]))
    fields: dict[str, Any] = {"args": args}
    if draw(st.booleans()):
        fields["dur"] = draw(st.integers(0, 5))
    fields["ph"] = draw(st.sampled_from(["X", "X", 1, "C", "A", "M"]))
    return line(draw(st.sampled_from(["read", "open"])), **fields)


CHUNKS = st.lists(st.lists(lines(), min_size=1, max_size=3), min_size=1, max_size=4)


def postings(traces: IndexedTraces, column: str) -> list[ColumnValues]:
    """Return what the chunks of the first trace have of a column."""
    key = segment_key(traces.records[0].segments[0].segment_id, posting_suffix(column))
    return decode_postings(traces.source.rows[POSTINGS, key])


def counted(text: bytes, column: str) -> tuple[set[object], bool]:
    """Return the values that the events of a text have of a column, and whether one has none."""
    field = event_field(column)
    assert field is not None
    found = [
        field.read(event)
        for one in lines_of_text([text], 0, 0)
        for event in events_of_line(one, MICROSECONDS)
        if is_row(event)
    ]
    return {value for value in found if value is not None}, None in found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(chunks=CHUNKS, use_kernel=st.booleans())
def test_postings_are_what_a_recount_of_the_lines_finds(
    tmp_path: Path, chunks: list[list[bytes]], use_kernel: bool
) -> None:
    path = write_chunks(tmp_path / "t.pfw.gz", *chunks)
    traces = IndexedTraces(path, tiers=TIERS, use_kernel=use_kernel)
    for column in COLUMNS:
        for values, own in zip(postings(traces, column), chunks, strict=True):
            expected, null = counted(b"".join(one + b"\n" for one in own), column)
            assert values.null == null
            if values.exact:
                assert {*values.numbers, *values.texts} == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    chunks=CHUNKS,
    predicates=st.lists(
        st.lists(
            st.tuples(st.sampled_from(COLUMNS), st.sampled_from(OPERATORS), _NUMBERS)
            | st.tuples(st.sampled_from(COLUMNS), st.sampled_from(["==", "!="]), _VALUES)
            | st.tuples(st.sampled_from(COLUMNS), st.just("in"), st.lists(_VALUES, max_size=3)),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_predicates_find_what_reading_every_line_finds(
    tmp_path: Path, chunks: list[list[bytes]], predicates: Predicates
) -> None:
    traces = IndexedTraces(write_chunks(tmp_path / "t.pfw.gz", *chunks), tiers=TIERS)
    rows, explanation = traces.ask(predicates=predicates)
    assert rows == traces.brute_force(predicates=predicates)
    assert explanation.chunks == explanation.read + sum(explanation.skipped.values())


@pytest.fixture
def three(tmp_path: Path) -> IndexedTraces:
    """A trace of three chunks whose bounds all hold what is between their values."""
    path = write_chunks(
        tmp_path / "t.pfw.gz",
        [line(args={"ret": 0, "level": 1}), line(args={"ret": 100, "level": "high"})],
        [line("open", pid=9, args={"ret": 50}), line("open", args={"ret": 60})],
        [line("close", args={"level": 2.5})],
    )
    return IndexedTraces(path, tiers=TIERS)


@pytest.mark.parametrize(
    ("predicates", "query", "found", "skipped"),
    [
        ([[("ret", "==", 50)]], "ret == 50", [2], {"postings ret": 2}),
        ([[("ret", "in", [50, 99])]], "ret in [50, 99]", [2], None),
        ([[("ret", "!=", 100)]], "ret != 100", [0, 2, 3], None),
        ([[("args.level", ">", 2)]], "args.level > 2", [4], {"postings args.level": 2}),
        ([[("args.level", "==", "high")]], "args.level == 'high'", [1], {"postings args.level": 2}),
        ([[("args.level", "<", "i")]], "args.level < 'i'", [1], {"postings args.level": 2}),
        (
            [[("pid", "==", 9), ("cat", "in", ["posix"])], [("args.level", "==", 1)]],
            "(pid == 9 and cat in ['posix']) or args.level == 1",
            [0, 2],
            None,
        ),
    ],
)
def test_predicates_and_texts_pass_over_the_same_chunks(
    three: IndexedTraces,
    predicates: Predicates,
    query: str,
    found: list[int],
    skipped: dict[str, int] | None,
) -> None:
    rows, explanation = three.ask(predicates=predicates)
    assert [row[0] for row in rows] == found
    by_text, told = three.ask(query)
    assert (by_text, told.skipped, told.read) == (rows, explanation.skipped, explanation.read)
    if skipped is not None:
        assert explanation.skipped == skipped


@pytest.mark.parametrize(
    ("predicates", "found", "read"),
    [
        ([[("ret", "==", None)]], [4], 1),
        ([[("ret", "!=", None)]], [0, 1, 2, 3], 2),
        ([[("ret", "in", [None, 60])]], [3, 4], 2),
        ([[("args.level", "==", None)]], [2, 3], 1),
        ([[("name", "==", None)]], [], 0),
        ([[("ret", "==", float("nan"))]], [4], 1),
    ],
)
def test_null_is_what_an_event_lacks(
    three: IndexedTraces, predicates: Predicates, found: list[int], read: int
) -> None:
    rows, explanation = three.ask(predicates=predicates)
    assert ([row[0] for row in rows], explanation.read) == (found, read)


def test_without_postings_predicates_find_the_same(tmp_path: Path, three: IndexedTraces) -> None:
    plain = IndexedTraces(*three.paths.values())
    both: list[Predicates] = [
        [[("ret", "==", None)]],
        [[("ret", "==", 50)], [("name", "==", "close")]],
    ]
    for predicates in both:
        assert plain.ask(predicates=predicates)[0] == three.ask(predicates=predicates)[0]


@pytest.mark.parametrize(
    ("predicates", "reason"),
    [
        ([], "are empty"),
        ([[]], "are empty"),
        ([[("nme", "==", 1)]], "no field nme in the predicate"),
        ([[("name", "like", "x")]], "no operator like"),
        ([[("name", "in", "x")]], "in without a list"),
        ([[("name", "==", ["x"])]], "a list after =="),
        ([[("ret", "<", None)]], "null after <"),
        ([[("ret", "in", [1] * (MOST_LITERALS + 1))]], "literals and values, more than"),
    ],
)
def test_predicates_that_are_none_are_refused_with_the_reason(
    three: IndexedTraces, predicates: Predicates, reason: str
) -> None:
    with pytest.raises(QueryError, match=reason):
        three.ask(predicates=predicates)


@pytest.mark.parametrize(
    "value", [b"", b"\xc1", b"\x91\x05", b"\x92\x90\x91\x94\x90\x90\x91\x05\xc2"]
)
def test_postings_that_do_not_decode_are_damage(value: bytes) -> None:
    with pytest.raises(StoreDamagedError, match="postings do not decode"):
        decode_postings(value)


def test_a_segment_with_very_many_numbers_ends_early_and_nothing_is_lost(tmp_path: Path) -> None:
    chunks = [
        [line(args={"offset": number * 40 + one}) for one in range(40)] for number in range(9)
    ]
    path = write_chunks(tmp_path / "t.pfw.gz", *chunks)
    tiers = TierConfig(aggregation=None, chunk_bytes=1, postings=("offset",)).normal()
    request = ParseRequest(path=bytes(path), segment_id=10, provisional_id=40, run=20, tiers=tiers)
    parsed = parse_trace(request, most_held=20)
    assert len(parsed.segments) > 1
    rows = {key: value for family, key, value in parsed.rows if family == POSTINGS}
    found = [
        number
        for segment in parsed.segments
        for chunk in decode_postings(rows[segment_key(segment.segment_id, b"offset")])
        for number in chunk.numbers
    ]
    assert found == list(range(360))


@given(
    held=st.lists(_NUMBERS.filter(lambda one: abs(one) < 2**63), max_size=5),
    texts=st.lists(st.text(max_size=2), max_size=3),
    op=st.sampled_from(OPERATORS),
    value=_NUMBERS | st.text(max_size=2),
    null=st.booleans(),
)
def test_a_verdict_on_postings_is_that_of_trying_each_value(
    held: list[Any], texts: list[str], op: Any, value: Any, null: bool
) -> None:
    posted = ColumnValues(tuple(sorted(set(held))), tuple(sorted(set(texts))), null)
    values = [*posted.numbers, *posted.texts, *([None] if null else [])]
    field = event_field("args.x")
    assert field is not None
    kept = [satisfies(one, op, settled(field, value)) for one in values]
    verdict = _posted_verdict(posted, op, value, "why")
    assert (verdict.true, verdict.false) == (any(kept), not all(kept) or not values)
    among = [one is not None and satisfies(one, "==", value) for one in values]
    member = _posted_member(posted, [value], "why", negated=False)
    assert (member.true, member.false) == (any(among), not all(among))
