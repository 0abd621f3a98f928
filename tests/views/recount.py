"""A plain reading of traces, with nothing of ours: what each view set has to hold of them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.end_to_end.running import text_of

__all__ = ("Recount", "recount")

_PHASES = {1: "X", 2: "C", 3: "A", 4: "M"}
_READS = frozenset(("read", "pread", "pread64", "readv", "fread"))
_WRITES = frozenset(("write", "pwrite", "pwrite64", "writev", "fwrite"))
_HASHES = frozenset(("hhash", "fhash", "fhash_dst"))
_BIN_US = 5_000_000

Key = tuple[Any, ...]


@dataclass
class Recount:
    """Counts and sums of what traces hold. Times are microseconds. A process is its number, a
    thread that and its own."""

    #: Processes by number and start.
    processes: set[tuple[int, int]] = field(default_factory=set)
    #: Events of each thread; threads that have only metadata have none.
    streams: Counter[Key] = field(default_factory=Counter)
    #: Calls, counters and log entries by trace.
    blocks: dict[str, Counter[str]] = field(default_factory=dict)
    logs: Counter[str] = field(default_factory=Counter)
    bad_lines: int = 0
    #: Numbers of counters, by name: how many, and their sum.
    measures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    #: Calls of each thread, by name: how many, and their time.
    calls: Counter[Key] = field(default_factory=Counter)
    durations: Counter[Key] = field(default_factory=Counter)
    #: The begins and ends of calls.
    times: Counter[Key] = field(default_factory=Counter)
    failed: int = 0
    #: Bits that calls moved, by process, function and thread.
    bits: Counter[Key] = field(default_factory=Counter)
    transfers: Counter[Key] = field(default_factory=Counter)
    #: What the aggregation tier shows: events by function, samples by host, name and bucket.
    events: Counter[str] = field(default_factory=Counter)
    samples: set[Key] = field(default_factory=set)
    #: Calls that the tracer counted itself, and counters, by function.
    profiles: Counter[str] = field(default_factory=Counter)
    #: Lines, bad ones and complete events of each trace.
    files: dict[str, tuple[int, int, int]] = field(default_factory=dict)


def recount(traces: Iterable[Path]) -> Recount:
    """Read *traces*, whose times are microseconds and whose lines end."""
    found = Recount()
    for trace in traces:
        starts: dict[int, int] = {}
        own: Counter[str] = Counter()
        bad = lines = 0
        for line in _lines(trace):
            lines += 1
            if line.strip(b" \r,") in (b"", b"[", b"]"):
                continue
            try:
                event = json.loads(line.strip(b" \r,"))
            except ValueError:
                bad += 1
                continue
            _add(found, own, starts, event)
        found.processes.update(starts.items())
        found.blocks[str(trace)] = own
        found.bad_lines += bad
        found.files[str(trace)] = (lines, bad, own["calls"])
    return found


def _lines(trace: Path) -> Iterator[bytes]:
    """Yield whole lines; a closing bracket is one without its end."""
    *lines, last = text_of(trace).split(b"\n")
    return iter([*lines, last] if last == b"]" else lines)


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if value.lstrip("-").isdecimal() else None
    return int(value) if isinstance(value, int | float) else None


def _add(found: Recount, own: Counter[str], starts: dict[int, int], event: dict[str, Any]) -> None:
    phase = _PHASES.get(event["ph"], event["ph"])
    pid, tid = _whole(event["pid"]) or 0, _whole(event["tid"]) or 0
    args = event.get("args") or {}
    marks = event.get("cat") == "dftracer" and event["name"] in ("start", "end")
    if phase == "M" or marks:
        own["logs"] += 1
        found.logs[event["name"]] += 1
    found.streams[pid, tid] += phase != "M"
    if phase == "M":
        return
    ts, duration = _whole(event["ts"]) or 0, _whole(event.get("dur")) or 0
    is_start = event["name"] == "start" and marks
    if is_start or pid not in starts:
        starts[pid] = ts
    if phase == "C":
        _add_counter(found, own, event, args, ts)
    if phase == "A" or (phase == "C" and event["cat"] != "sys"):
        found.profiles[event["name"]] += args.get("dft_cnt", args.get("count", 1))
    if phase != "X":
        return
    own["calls"] += 1
    found.events[event["name"]] += 1
    found.calls[pid, tid, event["name"]] += 1
    found.durations[pid, tid, event["name"]] += duration
    found.times[pid, ts] += 1
    found.times[pid, ts + duration] += 1
    returned = _whole(args.get("ret"))
    found.failed += returned is not None and returned < 0
    moves = event["cat"] in ("POSIX", "STDIO") and event["name"] in _READS | _WRITES
    if moves and returned is not None and returned >= 0:
        key = pid, tid, event["name"], event["name"] in _WRITES
        found.bits[key] += 8 * returned
        found.transfers[key] += 1


def _add_counter(
    found: Recount, own: Counter[str], event: dict[str, Any], args: dict[str, Any], ts: int
) -> None:
    own["counters"] += 1
    for name, value in args.items():
        if name not in _HASHES and isinstance(value, int | float) and not isinstance(value, bool):
            found.measures[f"{event['name']}.{name}"].append(float(value))
    if event["cat"] == "sys":
        found.samples.add((args.get("hhash"), event["name"], ts // _BIN_US))
