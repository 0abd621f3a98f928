"""The kernel gives what the reference gives, for every line there can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dftindexd.index.model import AggregationTier, TierConfig
from dftindexd.index.tiers.aggregation_schema import row_schema
from tests.index.tiers.reading import frame_rows

from .comparing import assert_same, both_ways, fast_lines
from .parsing import event, gzip_member, lines_of

_SETTINGS = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

_CONFIGURATIONS = (
    TierConfig(),
    TierConfig(aggregation=None, chunk_bytes=20_000),
    TierConfig(chunk_bytes=60_000, aggregation=AggregationTier(bucket_by="start", interval_us=0)),
    TierConfig(
        chunk_bytes=50_000,
        arguments=("epoch", "mode", "count", "hhash"),
        aggregation=AggregationTier(
            group_keys=("mode", "fname", "ret", "hhash"),
            custom_metric_fields=("count", "count_sum", "dur_sum", "fhash", "user_pct"),
        ),
    ),
)


def _traces(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if ".pfw" in path.suffixes)


@pytest.mark.parametrize("tiers", _CONFIGURATIONS, ids=["default", "bare", "fine", "wanted"])
def test_every_shared_trace_is_read_alike(shared_traces: Path, tiers: TierConfig) -> None:
    for path in _traces(shared_traces):
        fast, slow = both_ways(path, tiers)
        assert_same(fast, slow)
        lines = fast_lines([fast])
        assert lines.fast >= 0.99 * lines.ok, path
        assert fast_lines([slow]).fast == 0


def test_traces_that_grow_are_read_alike(shared_traces: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    text = (shared_traces / "v2" / "agg_sel" / "t-03096295623d2d38-app.pfw").read_bytes()
    path.write_bytes(text[: len(text) // 2])
    before, _ = both_ways(path)
    path.write_bytes(text)
    assert_same(*both_ways(path, resume=before.resume, facts=before.facts))


# --- Lines made up -----------------------------------------------------------------------------

_numbers = st.one_of(
    st.integers(0, 50),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), 10**18, 10**19]),
)
_odd = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.floats(0, 100).map(lambda number: round(number, 4)),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.text("ab", max_size=2), st.integers(0, 3), max_size=2),
    st.text(max_size=4),
    _numbers.map(str),
)
_words = st.one_of(
    st.sampled_from(["read", "write", "POSIX", "posix", "Stdio", "sys", "io", "end", "start"]),
    st.sampled_from(["HH", "FH", "SH", "PR", "CM", "dftracer", "time_metric", "NS", "MS", "US"]),
    st.text("ab\u00e9\U0001f600", max_size=20),
)
_values = st.one_of(_numbers, _numbers, _words, _words, _odd)
_phases = st.one_of(st.sampled_from([1, 2, 3, 4, "X", "C", "A", "M", 0, 7, "B", "XX"]), _odd)
_arguments = st.dictionaries(
    st.one_of(
        st.sampled_from(["hhash", "fhash", "cmd_hash", "exec_hash", "hostname", "fname"]),
        st.sampled_from(["ret", "offset", "count", "name", "value", "dft_cnt", "mode", "user_pct"]),
        st.sampled_from(["dur", "dur_sum", "dur_min", "ret_sum", "offset_min", "num_events"]),
        st.text(max_size=3),
    ),
    _values,
    max_size=7,
)
_records = st.fixed_dictionaries(
    {"name": _words, "cat": _words},
    optional={
        "id": _values,
        "type": st.integers(0, 14),
        "pid": st.one_of(st.integers(0, 9), _values),
        "tid": st.one_of(st.integers(0, 9), _values),
        "ts": st.one_of(st.integers(0, 10**7), _numbers.map(str), _values),
        "dur": st.one_of(st.integers(0, 10**7), _values),
        "ph": _phases,
        "args": st.one_of(_arguments, _arguments, _arguments, _odd),
    },
)


@st.composite
def _canonical(draw: st.DrawFn) -> dict[str, Any]:
    """A record that the kernel is to read, most of the time."""
    hashes = st.one_of(st.sampled_from(["aa", "bb", ""]), st.integers(0, 2**64 - 1))
    quoted = draw(st.booleans())
    times = st.integers(0, 10**8)
    number = times.map(str) if quoted else times
    record: dict[str, Any] = {
        "name": draw(_words),
        "cat": draw(_words),
        "pid": draw(number),
        "tid": draw(number),
        "ts": draw(number),
        "dur": draw(number),
        "ph": draw(st.sampled_from(["X", "X", "C", "A", "M", 1, 1, 2, 3, 4, 5])),
    }
    known = {"hostname": _words, "fname": _words} if quoted else {"hhash": hashes, "fhash": hashes}
    record["args"] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                **known,
                "cmd_hash": hashes,
                "ret": st.integers(-1, 2**62),
                "offset": st.integers(0, 2**63 - 1),
                "count": st.integers(0, 9),
                "name": _words,
                "value": st.one_of(_words, hashes),
                "dft_cnt": st.integers(0, 9),
                "dur_sum": st.integers(0, 2**62),
                "ret_max": st.integers(0, 9),
                "user_pct": st.floats(0, 100),
                "x": _odd,
            },
        )
    )
    return record


def _spelt(record: object, style: int) -> bytes:
    separators = (",", ":") if style < 8 else (", ", ": ")
    text = json.dumps(record, separators=separators, ensure_ascii=style % 2 == 0)
    return text.encode(errors="surrogatepass")


_lines = st.one_of(
    st.builds(_spelt, _records, st.integers(0, 9)),
    st.builds(_spelt, _canonical(), st.integers(0, 7)),
    st.builds(_spelt, _canonical(), st.integers(0, 7)),
    st.sampled_from([b"", b"[", b"]", b" ", b"[]", b"\r", b"{}", b"null", b"{", b'{"']),
)
_mangles = st.tuples(st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3))


def _mangled(line: bytes, mangle: tuple[int, bytes, int] | None) -> bytes:
    if mangle is None:
        return line
    place, noise, cut = mangle
    return line[:place] + noise + line[place + cut :]


_texts = st.lists(
    st.builds(_mangled, _lines, st.one_of(st.none(), st.none(), st.none(), _mangles)), max_size=12
)


@given(lines=_texts, configuration=st.integers(0, len(_CONFIGURATIONS) - 1), end=st.booleans())
@_SETTINGS
def test_any_lines_are_read_alike(
    tmp_path: Path, lines: list[bytes], configuration: int, end: bool
) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(b"\n".join(lines) + (b"\n" if end else b""))
    assert_same(*both_ways(path, _CONFIGURATIONS[configuration]))


@pytest.mark.parametrize(
    "name",
    [
        "v2/agg_plain/t-3110ccbfa4e55b7e-app.pfw",
        "v2/plain/t-b958674a3910757d-app.pfw",
        "v0/test.pfw",
        "dlio-v1.0.8/trace-0-of-8.pfw",
    ],
)
@given(
    mangles=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4), st.integers(0, 60)),
        min_size=1,
        max_size=30,
    )
)
@settings(_SETTINGS, max_examples=40)
def test_mutated_traces_are_read_alike(
    shared_traces: Path, tmp_path: Path, name: str, mangles: list[tuple[float, bytes, int]]
) -> None:
    data = (shared_traces / name).read_bytes()[:60_000]
    for where, noise, cut in mangles:
        place = int(where * len(data))
        data = data[:place] + noise + data[place + cut :]
    path = tmp_path / "t.pfw"
    path.write_bytes(data)
    for tiers in _CONFIGURATIONS[2:]:
        assert_same(*both_ways(path, tiers))


# --- Single things -----------------------------------------------------------------------------


def _counts(tmp_path: Path, *lines: bytes) -> tuple[int, int]:
    path = tmp_path / "t.pfw"
    path.write_bytes(lines_of(*lines))
    fast, slow = both_ways(path)
    assert_same(fast, slow)
    lines_read = fast_lines([fast])
    return lines_read.ok, lines_read.fast


@pytest.mark.parametrize(
    "line",
    [
        event(),
        b" " + event() + b",",
        event() + b"\r",
        event(mode=-5, level=2, x="null", y="[1,{}]", z="1e-5", ret=-1),
        (
            b'{"name":"\xc3\xa9","cat":"c","pid":"1","tid":"2","ts":"5","dur":"6","ph":"X",'
            b'"args":{"hostname":"h","fname":"/f","ret":"-1"}}'
        ),
        (
            b'{"id":1,"name":"FH","cat":"dftracer","pid":1,"tid":2,"ph":"M","args":{"name":"/f",'
            b'"value":18446744073709551615}}'
        ),
        b'{"name":"cpu","cat":"sys","ts":5,"ph":2,"pid":0,"tid":0,"args":{"a":1.5e-7,"b":90.4983}}',
        (
            b'{"name":"read","cat":"POSIX","ts":5,"ph":3,"pid":0,"tid":0,"args":{"dft_cnt":3,'
            b'"dur_sum":9,"ret_min":1}}'
        ),
    ],
)
def test_canonical_lines_of_every_kind_are_fast(tmp_path: Path, line: bytes) -> None:
    assert _counts(tmp_path, line) == (1, 1)


@pytest.mark.parametrize(
    "line",
    [
        event().replace(b'"ts":', b'"ts": '),
        event("a\\n"),
        event(ts=2**63),
        event(ts=-1),
        event(ret=1.5),
        event(hhash='"twice"'),
        event("a\xff"),
        b'{"name":"x","ph":1,"args":{}}',
        b'{"args":{},"name":"x","ph":1,"ts":1}',
    ],
)
def test_odd_lines_are_left_to_the_reference(tmp_path: Path, line: bytes) -> None:
    ok, fast = _counts(tmp_path, line.replace("\xff".encode(), b"\xff"))
    assert (ok, fast) == (1, 0)


def test_a_unit_named_by_an_odd_line_holds_for_the_next_lines(tmp_path: Path) -> None:
    unit = (
        b'{"name":"CM","cat":"dftracer","ph":4,"pid":1,"tid":1,"args":{"hhash":"a",'
        b'"name":"time_metric", "value":"NS"}}'
    )
    hidden = unit.replace(b"time_metric", b"time\\u005fmetric").replace(b"NS", b"MS")
    for line in (unit, hidden, unit.replace(b', "value"', b',"value"')):
        ok, fast = _counts(tmp_path, event(ts=1_234_567), line, event(ts=7_000_000))
        assert (ok, fast) == (3, 3 if b', "' not in line and b"\\" not in line else 2)


def test_durations_of_aggregated_records_are_in_microseconds(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(
        lines_of(
            b'{"name":"CM","cat":"dftracer","ph":4,"pid":1,"tid":1,"args":{"hhash":"a",'
            b'"name":"time_metric","value":"NS"}}',
            b'{"name":"read","cat":"POSIX","ts":5000,"ph":3,"pid":1,"tid":1,"args":{"hhash":"a",'
            b'"dft_cnt":2,"dur_sum":9999,"dur_min":1500,"dur_max":8499,"ret_sum":7000}}',
        )
    )
    fast, slow = both_ways(path)
    assert_same(fast, slow)
    value = next(value for family, _, value in fast.rows if family == "aggregation")
    (row,) = frame_rows(row_schema(AggregationTier()), value)
    assert [row[f"dur_{what}"] for what in ("total", "min", "max")] == [9, 1, 8]
    assert (row["ts"], row["size_total"]) == (5, 7000)


def test_tables_grow_with_distinct_texts_and_keys(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw.gz"
    lines = [event(f"f{n % 700}", ts=n * 10_000, fhash=f'"{n:016x}"') for n in range(6000)]
    lines += [
        b'{"name":"FH","cat":"dftracer","ph":4,"pid":1,"tid":1,"args":{"name":"/%d","value":"%016x"}}'
        % (n, n)
        for n in range(6000)
    ]
    lines += [event("wide", text='"' + "x" * 100_000 + '"'), event("y" * 100_000)]
    path.write_bytes(gzip_member(lines_of(*lines)))
    fast, slow = both_ways(path, TierConfig(chunk_bytes=300_000))
    assert_same(fast, slow)
    assert fast_lines([fast]).fast == len(lines)
