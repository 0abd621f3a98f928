"""A trace read in steps while it grows gives what one read of the whole gives."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dftindexd.index.model import LineCounts, ParsedTrace
from dftindexd.index.trace.resume import still_matches
from dftindexd.index.trace.trace_file import open_trace

from .parsing import event, gzip_member, inflated, lines_of, parse

_SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def _many_members(text: bytes) -> bytes:
    pieces = [text[begin : begin + 7_001] for begin in range(0, len(text), 7_001)]
    return b"".join(gzip_member(piece) for piece in pieces)


_CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "one member": gzip_member,
    "many members": _many_members,
}


@pytest.fixture(scope="module")
def text(shared_traces: Path) -> bytes:
    path = shared_traces / "v2" / "v203_norm" / "t.pfw"
    return path.read_bytes()


def _sum(segments: list[ParsedTrace], last: ParsedTrace) -> tuple[LineCounts, int, int, int]:
    """Add up what stays: the closed segments of all steps and the last provisional one."""
    kept = [segment for step in segments for segment in step.segments if not segment.provisional]
    kept += [segment for segment in last.segments if segment.provisional]
    return (
        sum((segment.lines for segment in kept), LineCounts()),
        sum(segment.records for segment in kept),
        sum(segment.complete_events for segment in kept),
        sum(segment.metadata for segment in kept),
    )


def _read_in_steps(path: Path, data: bytes, cuts: list[int]) -> list[ParsedTrace]:
    steps: list[ParsedTrace] = []
    for cut in [*sorted(cuts), len(data)]:
        path.write_bytes(data[:cut])
        last = steps[-1] if steps else None
        step = parse(
            path,
            resume=last.resume if last else None,
            facts=last.facts if last else None,
            chunk_bytes=10_000,
        )
        if last and last.resume:
            assert step.resumed
        _check_ranges(steps, step)
        steps.append(step)
    return steps


def _check_ranges(steps: list[ParsedTrace], step: ParsedTrace) -> None:
    """Closed segments follow each other without gap; the provisional one follows them."""
    closed = [s for found in [*steps, step] for s in found.segments if not s.provisional]
    chain = [*closed, *(s for s in step.segments if s.provisional)]
    for before, after in pairwise(chain):
        assert after.uc_begin == before.uc_end
        assert after.first_line == before.first_line + before.lines.total


@pytest.mark.parametrize("container", list(_CONTAINERS))
@given(data=st.data())
@pytest.mark.fuzz
@_SETTINGS
def test_reading_in_steps_gives_the_same_as_reading_at_once(
    tmp_path: Path, text: bytes, container: str, data: st.DataObject
) -> None:
    file = _CONTAINERS[container](text)
    cuts = data.draw(st.lists(st.integers(0, len(file)), min_size=1, max_size=3))
    steps = _read_in_steps(tmp_path / "t.pfw", file, cuts)
    (tmp_path / "whole.pfw").write_bytes(file)
    at_once = parse(tmp_path / "whole.pfw")
    assert _sum(steps, steps[-1]) == _sum([at_once], at_once)
    assert steps[-1].final_facts == at_once.final_facts
    assert steps[-1].tail == at_once.tail == "complete"


@given(data=st.data())
@pytest.mark.fuzz
@_SETTINGS
def test_a_cut_trace_gives_all_its_whole_lines(
    tmp_path: Path, text: bytes, data: st.DataObject
) -> None:
    file = _many_members(text)
    cut = data.draw(st.integers(0, len(file)))
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(file[:cut])
    parsed = parse(path)
    seen = inflated(file[:cut])
    *whole, last = seen.split(b"\n")
    finished = last == b"]" or (last.endswith(b"}}") and last.startswith(b"{"))
    total = sum(segment.lines.total for segment in parsed.segments)
    assert total == len(whole) + finished
    assert all(segment.lines.bad == 0 for segment in parsed.segments)


def test_a_line_that_straddles_into_the_open_member_is_provisional(tmp_path: Path) -> None:
    first, second = event("open"), event("read")
    closed = gzip_member(lines_of(first) + second[:50])
    rest = gzip_member(second[50:] + b"\n" + lines_of(event("close")))
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(closed + rest[:-9])
    parsed = parse(path)
    assert [segment.lines.ok for segment in parsed.segments] == [1, 2]
    assert parsed.resume is not None
    assert parsed.resume.c_offset == 0
    assert parsed.resume.line_offset == len(first) + 1
    path.write_bytes(closed + rest)
    grown = parse(path, resume=parsed.resume, facts=parsed.facts)
    assert grown.resumed
    assert [(s.provisional, s.lines.ok, s.first_line) for s in grown.segments] == [(False, 2, 1)]
    assert grown.resume is not None
    assert grown.resume.c_offset == len(closed + rest)


def test_a_last_record_without_newline_is_provisional_even_in_a_complete_member(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(gzip_member(lines_of(event(), event()) + event()))
    parsed = parse(path)
    assert [(s.provisional, s.lines.ok) for s in parsed.segments] == [(False, 2), (True, 1)]
    assert parsed.tail == "complete"


def test_nothing_new_gives_nothing_new(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(gzip_member(lines_of(event(), event())))
    parsed = parse(path)
    again = parse(path, resume=parsed.resume, facts=parsed.facts)
    assert again.resumed
    assert again.segments == ()
    assert again.resume == parsed.resume
    assert again.tail == "complete"


@pytest.mark.parametrize("suffix", ["pfw", "pfw.gz"])
def test_a_replaced_trace_is_read_from_its_beginning(tmp_path: Path, suffix: str) -> None:
    make = gzip_member if suffix == "pfw.gz" else bytes
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(make(lines_of(*(event(ts=ts) for ts in range(1000)))))
    first = parse(path)
    path.write_bytes(make(lines_of(*(event(ts=ts) for ts in range(5000, 7000)))))
    second = parse(path, resume=first.resume, facts=first.facts)
    assert not second.resumed
    assert second.segments[0].lines.ok == 2000


def test_a_truncated_trace_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    text = lines_of(*(event(ts=ts) for ts in range(100)))
    path.write_bytes(text)
    first = parse(path)
    path.write_bytes(text[: len(text) // 2])
    second = parse(path, resume=first.resume, facts=first.facts)
    assert not second.resumed
    assert second.segments[0].first_line == 0


def test_a_replacement_within_the_same_first_bytes_is_detected(tmp_path: Path) -> None:
    """The tracer's members begin alike; the text itself shows that lines do not go on."""
    path = tmp_path / "t.pfw.gz"
    lines = [event(ts=ts) for ts in range(100, 200)]
    path.write_bytes(_flushed(lines_of(*lines[:60]), lines_of(*lines[60:]) + b"]"))
    first = parse(path)
    other = lines_of(event("another name"), *lines[62:]) + b"]"
    path.write_bytes(_flushed(lines_of(*lines[:60]), other))
    assert first.resume is not None
    with open_trace(os.fsencode(path)) as file:
        assert still_matches(file, first.resume)
    second = parse(path, resume=first.resume, facts=first.facts)
    assert not second.resumed
    assert second.segments[0].lines.ok == 99


def _flushed(*parts: bytes) -> bytes:
    """Return one member in which each part of the text has its own bytes."""
    packer = zlib.compressobj(0, wbits=31)
    data = b"".join(packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH) for part in parts)
    return data + packer.flush()


def test_facts_of_closed_text_do_not_know_the_provisional(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(lines_of(b"[", event()) + b"]")
    parsed = parse(path)
    assert not parsed.facts.bracket_closed
    assert parsed.final_facts.bracket_closed
