"""Whatever the bytes are, reading ends, raises nothing, and counts every line once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dftindexd.index.model import AggregationTier, ParsedTrace

from .parsing import parse

pytestmark = pytest.mark.fuzz

_SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

_mutations = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["flip", "delete", "insert", "truncate", "repeat"]),
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=6,
)


def _mutate(data: bytes, mutations: list[tuple[float, str, bytes]]) -> bytes:
    for where, how, noise in mutations:
        at = int(where * len(data))
        match how:
            case "flip":
                data = data[:at] + noise + data[at + len(noise) :]
            case "delete":
                data = data[:at] + data[at + 50 * len(noise) :]
            case "insert":
                data = data[:at] + noise + data[at:]
            case "truncate":
                data = data[: max(at, 1)]
            case _:
                data = data[:at] + data[max(0, at - 400) :]
    return data


def _check(parsed: ParsedTrace, size: int) -> None:
    assert parsed.stamp.size == size
    for segment in parsed.segments:
        lines = segment.lines
        assert lines.total == lines.ok + lines.skipped + lines.bad > 0
        assert lines.repaired <= lines.ok
        assert len(segment.bad_lines) == min(lines.bad, 100)
        assert segment.complete_events + segment.metadata <= segment.records
        assert 0 <= segment.c_begin <= segment.c_end <= size
        assert segment.uc_begin < segment.uc_end
    if len(parsed.segments) == 2:
        closed, provisional = parsed.segments
        assert provisional.uc_begin == closed.uc_end
        assert provisional.first_line == closed.first_line + closed.lines.total
    if parsed.resume and parsed.segments and not parsed.segments[0].provisional:
        assert parsed.resume.line_offset == parsed.segments[0].uc_end


@pytest.mark.parametrize(
    "name",
    [
        "v2/kill9_small/t-27a319d14f0b84e0-app.pfw.gz",
        "v2/v203_agg/t.pfw.gz",
        "v2/service/trace_vm.pfw.gz",
        "v2/agg_plain/t-3110ccbfa4e55b7e-app.pfw",
    ],
)
@given(mutations=_mutations)
@_SETTINGS
def test_mutated_traces_are_read_to_their_end(
    shared_traces: Path, tmp_path: Path, name: str, mutations: list[tuple[float, str, bytes]]
) -> None:
    original = (shared_traces / name).read_bytes()
    path = tmp_path / "t"
    path.write_bytes(original[: len(original) // 2])
    before = parse(path)
    data = _mutate(original, mutations)
    path.write_bytes(data)
    config = AggregationTier(group_keys=("mode",), custom_metric_fields=("count_sum",))
    at_once = parse(path, chunk_bytes=5000, aggregation=config)
    _check(at_once, len(data))
    _check(parse(path, resume=before.resume, facts=before.facts), len(data))


@given(text=st.binary(max_size=300))
@_SETTINGS
def test_any_bytes_are_read_to_their_end(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "t"
    path.write_bytes(text)
    _check(parse(path), len(text))
