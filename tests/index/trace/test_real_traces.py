"""Every real trace is read whole, and counted as an independent recount says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dftindexd.index.model import ParsedTrace
from dftindexd.index.tiers.checkpoints import decode_checkpoints
from dftindexd.index.tiers.hash_tables import decode_hash_tables

from .parsing import Decoded, complete_events, inflated, parse, total_lines

_COMPLETE = re.compile(rb'"ph":(1|"X")[,}]')


def _traces(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if ".pfw" in path.suffixes)
    assert found
    return found


@pytest.fixture(scope="module")
def parsed_traces(shared_traces: Path) -> dict[Path, ParsedTrace]:
    return {path: parse(path) for path in _traces(shared_traces)}


@pytest.mark.parametrize(
    ("folder", "events"), [("cm1-v1.0.5", 143_169), ("dlio-v1.0.8", 18_039), ("v0", 98_231)]
)
def test_a_folder_has_its_known_number_of_events(
    shared_traces: Path, parsed_traces: dict[Path, ParsedTrace], folder: str, events: int
) -> None:
    found = [parsed for path, parsed in parsed_traces.items() if path.parent.name == folder]
    assert sum(complete_events(parsed) for parsed in found) == events


def test_complete_events_are_the_lines_that_say_so(
    parsed_traces: dict[Path, ParsedTrace],
) -> None:
    for path, parsed in parsed_traces.items():
        lines = inflated(path.read_bytes()).split(b"\n")
        whole = [line for line in lines if line.endswith(b"}")]
        marked = [line for line in whole if _COMPLETE.search(line)]
        assert complete_events(parsed) == len(marked), path


def test_every_line_of_every_trace_is_counted_once(
    parsed_traces: dict[Path, ParsedTrace],
) -> None:
    for path, parsed in parsed_traces.items():
        counts = total_lines([parsed])
        *whole, last = inflated(path.read_bytes()).split(b"\n")
        records = [line for line in whole if line.strip() not in (b"", b"[", b"]")]
        unfinished = 1 if last == b"]" else 0
        assert counts.total == len(whole) + unfinished, path
        assert counts.ok == len(records), path
        assert counts.total == counts.ok + counts.skipped + counts.bad, path
        assert counts.bad == counts.repaired == 0, path


def test_num_events_of_end_is_what_was_counted(parsed_traces: dict[Path, ParsedTrace]) -> None:
    checked = 0
    for path, parsed in parsed_traces.items():
        facts = parsed.final_facts
        if facts.announced is None:
            continue
        records = sum(segment.records for segment in parsed.segments)
        counted = records if facts.generation == "v1.0" else complete_events(parsed)
        assert facts.announced == counted - 1, path
        checked += 1
    assert checked > 50


def test_generations_and_units_are_found_out(parsed_traces: dict[Path, ParsedTrace]) -> None:
    units = {"ns": "NS", "ms": "MS"}
    for path, parsed in parsed_traces.items():
        folder = path.parent.name
        facts = parsed.final_facts
        assert facts.time_metric == units.get(folder, "US"), path
        if not parsed.segments:
            assert facts.generation == ""
        elif folder.startswith(("v203", "v210", "live_v2")):
            assert facts.generation == "v1", path
        elif path.parent.parent.name == "v2":
            assert facts.generation == "v2", path
        else:
            known = {"cm1-v1.0.5": "v1.0", "dlio-v1.0.8": "v1.0", "v0": "v0"}
            assert facts.generation == known[folder], path


def test_tails_tell_killed_writers_from_finished_ones(
    parsed_traces: dict[Path, ParsedTrace],
) -> None:
    tails = {path.parent.name: parsed.tail for path, parsed in parsed_traces.items()}
    assert tails.pop("kill9_small") == tails.pop("term_bind") == "open"
    assert tails.pop("kill9_default") == "empty"
    assert tails.pop("v203_service") == tails.pop("v210_agg") == "empty"
    assert set(tails.values()) == {"complete"}


def test_chunks_cover_the_text_without_gap(shared_traces: Path) -> None:
    for path in (
        shared_traces / "v2" / "int_small" / "t-e8ab1986c59c3b00-app.pfw.gz",
        shared_traces / "v2" / "kill9_small" / "t-27a319d14f0b84e0-app.pfw.gz",
        shared_traces / "v0" / "test.pfw",
    ):
        parsed = parse(path, chunk_bytes=40_000)
        data = path.read_bytes()
        values = [value for family, _, value in parsed.rows if family == "checkpoints"]
        chunks = [chunk for value in values for chunk in decode_checkpoints(value)]
        assert len(chunks) > 3
        text = b""
        for chunk in chunks:
            assert chunk.uc_offset == len(text)
            read = inflated(data[chunk.c_offset : chunk.c_offset + chunk.c_size])
            piece = read[chunk.skip : chunk.skip + chunk.uc_size]
            assert chunk.first_line == text.count(b"\n")
            assert chunk.num_lines == piece.count(b"\n")
            text += piece
        whole, _, _ = inflated(data).rpartition(b"\n")
        assert text == whole + b"\n"


def test_the_short_and_the_long_way_read_a_line_alike(shared_traces: Path) -> None:
    for path in _traces(shared_traces):
        lines = [
            line for line in inflated(path.read_bytes()).split(b"\n")[:400] if line[-1:] == b"}"
        ]
        short = Decoded(b"".join(line + b"\n" for line in lines))
        long = Decoded(b"".join(line + b",\n" for line in lines))
        for name in short.block.columns.__dataclass_fields__:
            if name != "uc_offset":
                assert short.column(name) == long.column(name), (path, name)
        assert short.texts.texts == long.texts.texts
        assert short.block.others.tolist() == long.block.others.tolist()
        assert short.facts == long.facts
        assert short.names.tables == long.names.tables


def test_columns_are_what_json_says(shared_traces: Path) -> None:
    path = shared_traces / "v2" / "plain" / "t-b958674a3910757d-app.pfw"
    text = path.read_bytes()
    decoded = Decoded(text)
    records = [json.loads(line) for line in text.splitlines()]
    events = [record for record in records if record["ph"] != 4]
    assert decoded.column("ts") == [record["ts"] for record in events]
    assert decoded.column("dur") == [record["dur"] for record in events]
    assert decoded.text_column("name") == [record["name"] for record in events]
    assert decoded.text_column("cat") == [record["cat"] for record in events]
    assert decoded.text_column("fhash") == [record["args"].get("fhash", "") for record in events]
    assert decoded.column("ret") == [record["args"].get("ret", 0) for record in events]
    offsets = decoded.column("uc_offset")
    assert [json.loads(text[offset:].partition(b"\n")[0]) for offset in offsets] == events


def test_names_of_v0_are_interned_as_if_they_had_hashes(shared_traces: Path) -> None:
    parsed = parse(shared_traces / "v0" / "test.pfw")
    tables = decode_hash_tables(
        next(value for family, _, value in parsed.rows if family == "hash_tables")
    )
    assert list(tables.host.values()) == ["corona237"]
    assert "/p/lustre1/haridev/dftracer_data/file_0-40.bat" in tables.file.values()
    assert all(len(hashed) == 16 for hashed in tables.file)
