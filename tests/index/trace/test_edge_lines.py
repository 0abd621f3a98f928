"""Every odd line of the specification's table, and what becomes of it."""

from __future__ import annotations

import pytest

from dftindexd.index.model import LineCounts, TraceFacts
from dftindexd.index.trace.columns import (
    HAS_COUNT,
    HAS_OFFSET,
    HAS_RET,
    HAS_TS,
    PHASE_AGGREGATED,
    PHASE_COMPLETE,
    PHASE_COUNTER,
    PHASE_OTHER,
)
from dftindexd.index.trace.names import hash_of_name

from .parsing import Decoded, event, lines_of

_INT64_MAX = 2**63 - 1
_UINT64_MAX = 2**64 - 1
_GOOD = event()


def _record(fields: str) -> bytes:
    return b'{"name":"read","cat":"POSIX","pid":1,"tid":2,"ts":10,"dur":3,"ph":"X"' + (
        f",{fields}}}".encode()
    )


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"\0\0\0\0",
        b"\xff\xfe",
        b'{"name":"cut off',
        b"{}}",
        b"12",
        b'"text"',
        b"null",
        b"[1,2]",
        _GOOD + b" garbage",
        _GOOD.replace(b"POSIX", b"PO\nSIX".replace(b"\n", b"\x0b")),
        b'{"ph":1,"ts":18446744073709551616}',
        b"[" * 100_000,
        b'{"ph":' * 100_000,
        b'{"ph":1,"ts":' + b"9" * 10_000 + b"}",
    ],
)
def test_a_bad_line_costs_only_itself(line: bytes) -> None:
    decoded = Decoded(lines_of(_GOOD, line, _GOOD))
    assert decoded.block.lines == LineCounts(total=3, ok=2, bad=1)
    (bad,) = decoded.block.bad_lines
    assert (bad.uc_offset, bad.line, bad.sample) == (len(_GOOD) + 1, 1, line[:80])
    assert decoded.column("line") == [0, 2]


@pytest.mark.parametrize(
    "line", [b"", b"  ", b"\r", b"[", b"]", b"[]", b" [ \r", b",", b"{}", b'{"a":1}']
)
def test_lines_without_records_are_skipped(line: bytes) -> None:
    decoded = Decoded(lines_of(_GOOD, line, _GOOD))
    assert decoded.block.lines == LineCounts(total=3, ok=2, skipped=1)


@pytest.mark.parametrize(
    ("line", "records"),
    [
        (_GOOD + b",", 1),
        (_GOOD + b" ,\r", 1),
        (_GOOD + b"\r", 1),
        (b"   " + _GOOD, 1),
        (b"\xef\xbb\xbf" + _GOOD, 1),
        (b"[" + _GOOD + b",", 1),
        (_GOOD + b"]", 1),
        (b"[" + _GOOD + b"," + _GOOD + b"]", 2),
        (_GOOD + _GOOD, 2),
        (_GOOD + b'{"a":1}' + _GOOD, 2),
        (_GOOD.replace(b'"dur":5', b'"dur":NaN'), 1),
    ],
)
def test_lenient_forms_are_accepted(line: bytes, records: int) -> None:
    decoded = Decoded(lines_of(line))
    assert decoded.block.lines == LineCounts(total=1, ok=1)
    assert decoded.column("ts") == [1_000_000] * records
    assert decoded.facts.bracket_closed == line.endswith(b"]")


@pytest.mark.parametrize(
    ("name", "read_as"),
    [(b"caf\xe9", "caf\ufffd"), (b"\\ud800!", "?!"), (b"ok \\u00e9", None)],
)
def test_text_that_is_no_unicode_is_repaired_and_counted(name: bytes, read_as: str | None) -> None:
    decoded = Decoded(lines_of(_GOOD.replace(b"read", name)))
    assert decoded.block.lines == LineCounts(total=1, ok=1, repaired=int(read_as is not None))
    assert decoded.text_column("name") == [read_as or "ok é"]


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        ('"X"', PHASE_COMPLETE),
        ("1", PHASE_COMPLETE),
        ('"C"', PHASE_COUNTER),
        ("2", PHASE_COUNTER),
        ('"A"', PHASE_AGGREGATED),
        ("3", PHASE_AGGREGATED),
        *((other, PHASE_OTHER) for other in ('"B"', '"E"', '"i"', '""', "0", "9", "null", "1.0")),
        ('["X"]', PHASE_OTHER),
        ("true", PHASE_OTHER),
    ],
)
def test_phases_are_letters_or_numbers(phase: str, code: int) -> None:
    decoded = Decoded(lines_of(f'{{"name":"n","ph":{phase},"ts":1}}'.encode()))
    assert decoded.column("phase") == [code]


def test_a_record_without_ph_is_ignored_but_counted_and_findable() -> None:
    decoded = Decoded(lines_of(b'{"name":"lost","pid":3,"args":{"hhash":"ab"}}'))
    assert (decoded.block.without_phase, decoded.block.lines.skipped) == (1, 1)
    assert len(decoded.block.columns) == 0
    assert decoded.texts.texts[decoded.block.others["name"][0]] == "lost"
    assert decoded.block.others["pid"].tolist() == [3]


@pytest.mark.parametrize(
    ("ts", "read_as", "has"),
    [
        ("12.9", 12, HAS_TS),
        ('"77"', 77, HAS_TS),
        ("-5", 0, HAS_TS),
        (str(_UINT64_MAX), _INT64_MAX, HAS_TS),
        ("null", 0, 0),
        ('"soon"', 0, 0),
        ('"1_000"', 0, 0),
        ("[1]", 0, 0),
        ("NaN", 0, 0),
        ("1e999", 0, 0),
    ],
)
def test_odd_time_stamps_are_truncated_clamped_or_left_out(ts: str, read_as: int, has: int) -> None:
    decoded = Decoded(lines_of(f'{{"name":"n","ph":1,"ts":{ts}}}'.encode()))
    assert decoded.column("ts") == [read_as]
    assert decoded.column("has") == [has]
    assert not decoded.block.exact
    assert decoded.block.clamped == (ts in ("-5", str(_UINT64_MAX)))


def test_missing_fields_are_empty_or_zero_and_time_is_absent() -> None:
    decoded = Decoded(lines_of(b'{"ph":"X"}'))
    for name in ("pid", "tid", "ts", "dur", "ret", "offset", "count", "has"):
        assert decoded.column(name) == [0]
    for name in ("name", "cat", "hhash", "fhash", "shash"):
        assert decoded.text_column(name) == [""]


@pytest.mark.parametrize("args", ["null", "[]", '"text"', "5", '""', "{}"])
def test_args_that_are_no_object_hold_nothing(args: str) -> None:
    decoded = Decoded(lines_of(_record(f'"args":{args}')))
    assert decoded.block.lines.ok == 1
    assert decoded.text_column("hhash") == [""]


@pytest.mark.parametrize(
    ("field", "value", "read_as"),
    [
        ("dur", "-1", 0),
        ("dur", "2.7", 2),
        ("dur", str(2**63), _INT64_MAX),
        ("pid", "-1", 0),
        ("pid", str(_UINT64_MAX), _UINT64_MAX),
        ("pid", str(2**70), _UINT64_MAX),
        ("pid", '"123"', 123),
        ("tid", "null", 0),
    ],
)
def test_numbers_out_of_range_are_clamped(field: str, value: str, read_as: int) -> None:
    decoded = Decoded(lines_of(f'{{"ph":1,"ts":1,"{field}":{value}}}'.encode()))
    assert decoded.column(field) == [read_as]


@pytest.mark.parametrize(
    ("ret", "read_as", "has"),
    [
        ("512", 512, True),
        ("-1", -1, True),
        ("3.9", 3, True),
        ("true", 1, True),
        ('"4096"', 4096, True),
        ('"-1"', -1, True),
        (str(2**64), _INT64_MAX, True),
        ('"many"', 0, False),
        ("null", 0, False),
        ("{}", 0, False),
    ],
)
def test_ret_keeps_its_sign_and_counts_only_as_a_number(ret: str, read_as: int, has: bool) -> None:
    decoded = Decoded(lines_of(_record(f'"args":{{"ret":{ret}}}')))
    assert decoded.column("ret") == [read_as]
    assert decoded.column("has") == [HAS_TS | (HAS_RET if has else 0)]


def test_offset_and_count_have_their_own_bits() -> None:
    decoded = Decoded(lines_of(_record('"args":{"offset":-7,"count":"9"}')))
    assert decoded.column("offset") == [-7]
    assert decoded.column("count") == [9]
    assert decoded.column("has") == [HAS_TS | HAS_OFFSET | HAS_COUNT]


def test_of_duplicate_keys_the_last_counts_outside_and_the_first_inside_args() -> None:
    decoded = Decoded(lines_of(_record('"dur":8,"args":{"ret":1,"ret":2}')))
    assert decoded.column("dur") == [8]
    assert decoded.column("ret") == [1]


@pytest.mark.parametrize("hhash", ['"9509357668201227806"', "9509357668201227806"])
def test_numeric_hashes_become_decimal_text(hhash: str) -> None:
    decoded = Decoded(lines_of(_record(f'"args":{{"hhash":{hhash},"fhash":7}}')))
    assert decoded.text_column("hhash") == ["9509357668201227806"]
    assert decoded.text_column("fhash") == ["7"]


@pytest.mark.parametrize(
    ("args", "shash"),
    [
        ('"cmd_hash":"c","exec_hash":"e"', "c"),
        ('"exec_hash":"e"', "e"),
        ('"cmd_hash":5', "5"),
        ('"cmd_hash":""', ""),
    ],
)
def test_shash_is_the_command_else_the_executable(args: str, shash: str) -> None:
    assert Decoded(lines_of(_record(f'"args":{{{args}}}'))).text_column("shash") == [shash]


def test_names_of_v0_get_hashes_and_go_to_the_tables() -> None:
    line = (
        b'{"id":"0","name":"open","cat":"POSIX","pid":"4","tid":"5","ts":"9","dur":"2","ph":"X",'
        b'"args":{"hostname":"node1","fname":"/a/b","ret":"16"}}'
    )
    decoded = Decoded(lines_of(line))
    host, file = hash_of_name("node1"), hash_of_name("/a/b")
    assert decoded.text_column("hhash") == [host]
    assert decoded.text_column("fhash") == [file]
    assert decoded.names.tables.host == {host: "node1"}
    assert decoded.names.tables.file == {file: "/a/b"}
    assert [decoded.column(name) for name in ("pid", "tid", "ts", "dur", "ret")] == [
        [4],
        [5],
        [9],
        [2],
        [16],
    ]
    assert decoded.facts.generation == "v0"


def test_an_argument_called_fname_is_not_interned_in_later_generations() -> None:
    decoded = Decoded(lines_of(event(fname='"/a/b"')))
    assert decoded.text_column("fhash") == [""]
    assert decoded.names.tables.file == {}


def _metadata(kind: str, name: str, value: str, extra: str = "") -> bytes:
    return (
        f'{{"name":"{kind}","cat":"dftracer","pid":1,"tid":1,"ph":"M",'
        f'"args":{{{extra}"name":{name},"value":{value}}}}}'
    ).encode()


def test_metadata_goes_to_the_tables_and_the_first_name_wins() -> None:
    decoded = Decoded(
        lines_of(
            _metadata("FH", '"/first"', "33084"),
            _metadata("FH", '"/second"', "33084"),
            _metadata("HH", '"node1"', '"aa"', '"hhash":"aa",'),
            _metadata("SH", '"python;x"', '"bb"'),
            _metadata("PR", '"rank"', "3"),
            _metadata("PR", '"core_affinity"', "[0,1]"),
            _metadata("CM", '"app"', '"lammps"'),
            _metadata("thread_name", '"1"', '"thread_name"'),
            _metadata("FH", '""', '"cc"'),
        )
    )
    tables = decoded.names.tables
    assert tables.file == {"33084": "/first"}
    assert tables.host == {"aa": "node1"}
    assert tables.string == {"bb": "python;x"}
    assert tables.proc == {"3": "rank"}
    assert decoded.block.metadata == decoded.block.lines.ok == 9
    assert len(decoded.block.columns) == 0


@pytest.mark.parametrize(
    ("metric", "ts", "dur"),
    [("US", 1999, 3), ("NS", 1, 0), ("MS", 1_999_000, 3000), ("SEC", 1_999_000_000, 3_000_000)],
)
def test_time_is_in_microseconds_by_the_traces_own_unit(metric: str, ts: int, dur: int) -> None:
    decoded = Decoded(
        lines_of(_metadata("CM", '"time_metric"', f'"{metric}"'), b'{"ph":"X","ts":1999,"dur":3}')
    )
    assert (decoded.column("ts"), decoded.column("dur")) == ([ts], [dur])
    assert decoded.facts.time_metric == metric
    assert decoded.block.exact == (metric == "US")


def test_a_later_segment_keeps_the_unit_of_the_trace() -> None:
    decoded = Decoded(lines_of(b'{"ph":1,"ts":5000}'), facts=TraceFacts(time_metric="NS"))
    assert decoded.column("ts") == [5]


def test_counters_carry_all_their_arguments() -> None:
    line = (
        b'{"name":"cpu","cat":"sys","ph":"C","ts":5,"pid":0,"tid":0,"args":{"hhash":"aa",'
        b'"user_pct":7.5,"on":true,"mode":"fast","big":1e300,"nothing":null,"list":[1]}}'
    )
    decoded = Decoded(lines_of(line, line))
    one = [("user_pct", 7.5), ("on", 1.0), ("mode", "fast"), ("big", 1e300)]
    assert decoded.arguments() == [(row, *found) for row in (0, 1) for found in one]
    assert decoded.column("arg_int")[3] == _INT64_MAX


def test_events_carry_only_the_arguments_that_are_wanted() -> None:
    line = event(epoch='"3"', step=4, level=1, fhash='"f"')
    decoded = Decoded(lines_of(line), wanted=("epoch", "step", "fhash", "absent"))
    assert decoded.arguments() == [(0, "epoch", "3"), (0, "step", 4.0), (0, "fhash", "f")]


def test_a_counters_wanted_arguments_are_not_given_twice() -> None:
    line = b'{"name":"x","cat":"y","ph":"C","ts":5,"args":{"step":4,"fhash":"f"}}'
    decoded = Decoded(lines_of(line), wanted=("step", "fhash"))
    assert decoded.arguments() == [(0, "step", 4.0), (0, "fhash", "f")]


@pytest.mark.parametrize(
    ("lines", "announced"),
    [
        ([_record('"name":"end","cat":"dftracer","args":{"num_events":41}')], 41),
        ([_record('"name":"end","cat":"APP","args":{"num_events":41}')], None),
        ([_record('"name":"end","cat":"dftracer"')], None),
        (
            [
                _record('"name":"end","cat":"dftracer","args":{"num_events":41}'),
                b'{"ph":3,"ts":1,"args":{"dft_cnt":4}}',
            ],
            None,
        ),
        (
            [
                b'{"ph":"C","cat":"POSIX","ts":1,"args":{"dft_cnt":4}}',
                _record('"name":"end","cat":"dftracer","args":{"num_events":41}'),
            ],
            None,
        ),
        (
            [
                _record(
                    '"name":"end","cat":"dftracer",'
                    '"args":{"num_events":41,"cfg":{"aggregation_enable":1}}'
                )
            ],
            None,
        ),
    ],
)
def test_num_events_is_announced_only_where_it_can_be_checked(
    lines: list[bytes], announced: int | None
) -> None:
    assert Decoded(lines_of(*lines)).facts.announced == announced
