"""Traces that are indexed and asked for views without a daemon, and a plain reading of them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from dftindexd.index.model import ParseRequest, TierConfig, TraceRecord
from dftindexd.index.query.hash_names import hash_tables
from dftindexd.index.segment import parse_trace
from dftindexd.views.materialise import Views
from dftindexd.views.session import Session, TimeRange
from dftindexd.views.sets import VIEW_SETS
from dftindexd.views.source import (
    HashRef,
    Made,
    ResolvedName,
    SegmentChunks,
    Selection,
    names_of_hashes,
    segment_chunks,
    selected,
)
from tests.end_to_end.running import text_of
from tests.index.query.event_traces import Rows

__all__ = ("MadeRoot", "RootOf", "call", "lines_in", "metadata")

_TIERS = TierConfig(aggregation=None, chunk_bytes=1)


def call(name: str, ts: int, dur: int, **fields: Any) -> bytes:
    """Return the line of a call of thread 8 of process 7; *fields* go to the event or its args."""
    event: dict[str, Any] = {"name": name, "cat": "POSIX", "type": 3, "pid": 7, "tid": 8}
    event |= {"ts": ts, "dur": dur, "ph": 1}
    args = {"hhash": "aa"} | fields.pop("args", {})
    return json.dumps(event | fields | {"args": args}, separators=(",", ":")).encode()


def metadata(name: str, key: str, value: str, pid: int = 7, tid: int = 8) -> bytes:
    """Return the line of a metadata record."""
    args = {"hhash": "aa", "name": key, "value": value}
    event = {"name": name, "cat": "dftracer", "type": 1, "pid": pid, "tid": tid, "ph": 4}
    return json.dumps(event | {"args": args}, separators=(",", ":")).encode()


def lines_in(trace: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a trace, read with nothing of ours."""
    found: list[dict[str, Any]] = []
    for line in text_of(trace).split(b"\n"):
        text = line.strip().rstrip(b",")
        if text and text not in (b"[", b"]"):
            try:
                found.append(json.loads(text))
            except ValueError:
                continue
    return found


@dataclass
class MadeRoot:
    """A directory of traces, the rows of their index, and how often chunks were asked for."""

    path: Path
    folder: Path
    rows: Rows = field(default_factory=Rows)
    records: dict[bytes, TraceRecord] = field(default_factory=dict)
    scanned: list[int] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    next_id: int = 1

    @property
    def name(self) -> str:
        """The root's path for people."""
        return str(self.path)

    def index(self, *names: str) -> None:
        """Index traces, or what they grew by since they were indexed."""
        for name in names:
            self._index(os.fsencode(name))

    def _index(self, name: bytes) -> None:
        before = self.records.get(name)
        path = os.path.join(os.fsencode(self.path), name)
        request = ParseRequest(
            path=path, segment_id=self.next_id, provisional_id=self.next_id + 1, tiers=_TIERS
        )
        if before is not None:
            request = msgspec.structs.replace(request, resume=before.resume, facts=before.facts)
        self.next_id += 2
        parsed = parse_trace(request, use_kernel=False)
        self.rows.rows |= {(family, key): value for family, key, value in parsed.rows}
        kept = before.segments if before is not None and parsed.resumed else ()
        closed = tuple(one for one in kept if not one.provisional)
        self.records[name] = TraceRecord(
            file_id=len(self.records) + 1 if before is None else before.file_id,
            path=name,
            version=1,
            generation=1,
            stamp=parsed.stamp,
            tiers=_TIERS,
            segments=(*closed, *parsed.segments),
            resume=parsed.resume,
            facts=parsed.facts,
            final_facts=parsed.final_facts,
            tail=parsed.tail,
        )

    def forget(self, name: str) -> None:
        """Take a trace out of the index."""
        del self.records[os.fsencode(name)]

    def views(self, *names: str) -> Views:
        """Return the views of the traces *names*, or of all."""
        chosen = [self.records[os.fsencode(name)] for name in names] or self._all()
        selection = Selection(
            root=os.fsencode(self.path),
            folder=str(self.folder),
            whole=not names,
            traces=tuple(selected(chosen, str(self.path))),
        )
        return Views(selection, _Source(self, chosen))

    def _all(self) -> list[TraceRecord]:
        return [self.records[name] for name in sorted(self.records)]

    def ask(
        self, text: str, *, begin: int | None = None, end: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the rows of a statement."""
        schema, batches = Session([RootOf(self)], TimeRange(begin, end)).run(text)
        return pa.Table.from_batches(list(batches), schema).to_pylist()

    def files(self) -> dict[str, int]:
        """Return every file of the views, with when it was written."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.stat().st_mtime_ns for path in found}


class _Source:
    def __init__(self, root: MadeRoot, records: Sequence[TraceRecord]) -> None:
        self._root = root
        self._records = records

    def chunks(self, segments: Sequence[int]) -> list[SegmentChunks]:
        self._root.scanned += segments
        return segment_chunks(self._root.rows, self._records, segments)

    def names(self, hashes: Sequence[HashRef]) -> list[ResolvedName]:
        return names_of_hashes(hash_tables(self._root.rows, self._records), hashes)

    def aggregated_key(self, name: str) -> str:
        return "0" * 16

    def table(self, name: str) -> pa.Table:
        return VIEW_SETS[name].arrow.empty_table()

    def note(self, made: Made) -> None:
        self._root.made.append(made)


class RootOf:
    """A root for a session: its other tables have no rows."""

    def __init__(self, root: MadeRoot) -> None:
        self.name = root.name
        self.views = root.views()

    def table(self, name: str) -> pa.Table:
        return VIEW_SETS[name].arrow.empty_table()
