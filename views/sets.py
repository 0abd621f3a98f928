"""The view sets: what can be asked in SQL, and the columns of each.

``docs/views.md`` is written from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from dftindexd.views.schema import TIME, Column, ViewSchema

__all__ = (
    "ASYNC_EVENTS",
    "BLOCKS",
    "EVENTS",
    "FILES",
    "LOG_ENTRIES",
    "LOG_STATS",
    "MEASURES",
    "NET_SPANS",
    "OTEL_SPANS",
    "PROCESSES",
    "PROFILES",
    "STREAMS",
    "SYSTEM",
    "THREAD_SPANS",
    "VIEW_SETS",
)

_TEXT: Final = pa.utf8()
_INT: Final = pa.int64()
_UINT: Final = pa.uint64()
_REAL: Final = pa.float64()

_PROCESS_FACTS: Final = (
    Column("exe", _TEXT, "the program, as the tracer names it"),
    Column("cmd", _TEXT, "the command line, its words joined by `;`"),
    Column("username", _TEXT, "empty: traces do not say"),
    Column("computer", _TEXT, "the host's name, else its hash"),
    Column("start_time", TIME, "when the process started, else its first event"),
    Column("start_ticks", _INT, "the same in microseconds, as the trace has it"),
    Column("tsc_frequency", _INT, "ticks in a second: 1,000,000"),
    Column("parent_process_id", _TEXT, "the process that started it, empty where not known"),
    Column("insert_time", TIME, "when the newest text of its traces was written"),
    Column("properties", _TEXT, "what the trace says of it, a JSON object of texts"),
    Column("pid", _UINT, "its number on its host"),
    Column("version", _TEXT, "of the tracer"),
    Column("date", _TEXT, "the tracer's own date of its start"),
)

_STREAM_FACTS: Final = (
    Column("tid", _UINT, "the thread's number"),
    Column("tags", pa.list_(_TEXT), "`cpu`: has calls; `metrics`: counters; `log`: metadata"),
    Column("thread_name", _TEXT, "the thread's name, empty where the trace has none"),
)


def _denormalised(prefix: str, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    return tuple(
        Column(f"{prefix}.{column.name}", column.type, column.doc)
        for column in columns
        if column.name != "insert_time"
    )


PROCESSES: Final = ViewSchema(
    "processes",
    1,
    "One row a process: a host, a number and a start.",
    (Column("process_id", _TEXT, "`host:pid:start`"), *_PROCESS_FACTS),
    begin="start_time",
    end="insert_time",
)

STREAMS: Final = ViewSchema(
    "streams",
    1,
    "One row a thread of a process.",
    (
        Column("stream_id", _TEXT, "`process_id:tid`"),
        Column("process_id", _TEXT, "its process"),
        *_STREAM_FACTS,
        Column("insert_time", TIME, "when the newest text of its traces was written"),
        Column("begin_time", TIME, "when its first event begins"),
        Column("end_time", TIME, "when its last event ends"),
        Column("nb_objects", _INT, "how many events it has"),
    ),
    begin="begin_time",
    end="end_time",
)

BLOCKS: Final = ViewSchema(
    "blocks",
    1,
    "One row a stream and chunk of a trace's text, which is the unit of pruning.",
    (
        Column("block_id", _TEXT, "`file_id:chunk:pid:tid`"),
        Column("stream_id", _TEXT, "its stream"),
        Column("process_id", _TEXT, "its process"),
        Column("begin_time", TIME, "when its first event begins, null where it has none"),
        Column("begin_ticks", _INT, "the same in microseconds"),
        Column("end_time", TIME, "when the last of its events to end ends"),
        Column("end_ticks", _INT, "the same in microseconds"),
        Column("nb_objects", _INT, "how many events it holds, counters too, metadata not"),
        Column("object_offset", _INT, "how many events of its stream come before it"),
        Column("payload_size", _INT, "bytes of the chunk's text, that of all its streams"),
        Column("insert_time", TIME, "when the newest text of the trace was written"),
        Column("file", _TEXT, "the trace's path"),
        Column("uc_offset", _INT, "where the chunk begins in the text"),
        Column("c_offset", _INT, "where reading it begins in the file"),
        Column("c_size", _INT, "how many bytes of the file hold it"),
        Column("first_line", _INT, "the number of its first line, from 0"),
        Column("nb_calls", _INT, "how many of its events are calls, which have a duration"),
        Column("nb_counters", _INT, "how many of its events are counters"),
        Column("nb_logs", _INT, "how many log entries it makes"),
        Column("segment_id", _INT, "the part of the trace that was indexed at once"),
        Column("chunk", _INT, "the number of the chunk in its trace"),
        Column("host_hashes", pa.list_(_TEXT), "the hashes of hosts that its events have"),
        *_denormalised("streams", _STREAM_FACTS),
        *_denormalised("processes", _PROCESS_FACTS),
    ),
    begin="begin_time",
    end="end_time",
)

FILES: Final = ViewSchema(
    "files",
    1,
    "One row a trace.",
    (
        Column("path", _TEXT, "the trace"),
        Column("root", _TEXT, "the watched directory it belongs to"),
        Column("state", _TEXT, "`queued`, `growing`, `indexed`, `quarantined` or `damaged`"),
        Column("ending", _TEXT, "`end`, `silence`, `cut`, or null while it grows"),
        Column("events", _UINT, "complete events"),
        Column("bad_lines", _UINT, "lines that cannot be read"),
        Column("lines", _UINT, "lines"),
        Column("bytes", _UINT, "size on disk"),
        Column("reason", _TEXT, "what there is to say of it"),
    ),
)

_AGGREGATED: Final = (
    Column("cat", _TEXT, "category"),
    Column("func_name", _TEXT, "function"),
    Column("pid", _INT, "process"),
    Column("tid", _INT, "thread"),
    Column("file_hash", _TEXT, "hash of the file that was worked on"),
    Column("host_hash", _TEXT, "hash of the host"),
    Column("file_name", _TEXT, "that file, null or empty where not known"),
    Column("host_name", _TEXT, "that host"),
    Column("proc_name", _TEXT, "`app#host#pid#tid`"),
    Column(
        "io_cat", _INT, "1 read, 2 write, 3 metadata, 4 process control, 5 IPC, 6 other, 7 sync"
    ),
    Column("count", _INT, "how many calls"),
    Column("time", _REAL, "seconds that they took"),
    Column("size", _INT, "bytes that they moved, null for none"),
    Column("time_min", _REAL, "seconds of the shortest"),
    Column("time_max", _REAL, "seconds of the longest"),
    Column("size_min", _INT, "bytes of the smallest"),
    Column("size_max", _INT, "bytes of the largest"),
    Column("offset_min", _INT, "least offset in the file"),
    Column("offset_max", _INT, "greatest offset in the file"),
    Column("begin", TIME, "when the first of them began"),
    Column("end", TIME, "when the last of them ended"),
    Column("time_bin", TIME, "when the bucket of time begins that their middles lie in"),
)

EVENTS: Final = ViewSchema(
    "events",
    1,
    "Calls, counted by function, file, thread and bucket of time: the aggregation tier.",
    _AGGREGATED,
    begin="begin",
    end="end",
    open_ended=True,
)

PROFILES: Final = ViewSchema(
    "profiles",
    1,
    "The same of what the tracer aggregated itself, and of counters.",
    _AGGREGATED,
    begin="begin",
    end="end",
    open_ended=True,
)

SYSTEM: Final = ViewSchema(
    "system",
    1,
    "Means of the samples of processors and memory, by host and bucket of time.",
    (
        Column("host_hash", _TEXT, "hash of the host"),
        Column("host_name", _TEXT, "the host"),
        Column("name", _TEXT, "`cpu`, `cpu-N` or `memory`"),
        Column("begin", TIME, "when the bucket begins"),
        Column("end", TIME, "when it ends"),
    ),
    begin="begin",
    end="end",
    open_ended=True,
)

THREAD_SPANS: Final = ViewSchema(
    "thread_spans",
    1,
    "The calls of one thread as a tree, after one row for the thread itself.",
    (
        Column("id", _INT, "-1 of the thread; else the event's, or 1, 2, ... where those repeat"),
        Column("parent", _INT, "the id of the call it lies in, -1 for the thread, 0 of the thread"),
        Column("depth", _INT, "how deep it lies; the thread is 0"),
        Column("hash", pa.uint32(), "CRC-32 of category and name"),
        Column("begin", TIME, "when it began"),
        Column("end", TIME, "when it ended"),
        Column("duration", _INT, "nanoseconds"),
        Column("name", _TEXT, "the function"),
        Column("target", _TEXT, "its category"),
        Column("filename", _TEXT, "the file it worked on, empty where not known"),
        Column("line", _INT, "0: traces do not say"),
        Column("p_idx", _INT, "the parent that the trace itself names (dftracer 1.0)"),
        Column("level", _INT, "the depth that the trace itself names (dftracer 1.0)"),
        Column("ret", _INT, "what the call returned"),
        Column("size", _INT, "bytes it moved: `ret` of reads and writes that did not fail"),
        Column("offset", _INT, "where in the file"),
        Column("args", _TEXT, "all arguments, as JSON"),
    ),
    table=False,
    instances=("stream",),
    begin="begin",
    end="end",
)

ASYNC_EVENTS: Final = ViewSchema(
    "async_events",
    1,
    "The begins and ends of the calls of all threads of a process, in the order of time.",
    (
        Column("stream_id", _TEXT, "the thread"),
        Column("block_id", _TEXT, "where the event lies"),
        Column("time", TIME, "when"),
        Column("event_type", _TEXT, "`begin` or `end`"),
        Column("span_id", _INT, "the call; as `id` of `thread_spans`"),
        Column("parent_span_id", _INT, "the call it lies in"),
        Column("depth", _INT, "how deep it lies"),
        Column("name", _TEXT, "the function"),
        Column("filename", _TEXT, "the file it worked on"),
        Column("target", _TEXT, "its category"),
        Column("line", _INT, "0: traces do not say"),
    ),
    table=False,
    instances=("process",),
    begin="time",
    end="time",
)

NET_SPANS: Final = ViewSchema(
    "net_spans",
    1,
    "The bits that a process moved to and from files: each file and direction, its threads, and "
    "their transfers.",
    (
        Column("process_id", _TEXT, "the process"),
        Column("stream_id", _TEXT, "the thread, empty for a connection"),
        Column("span_id", _INT, "unique within the process"),
        Column("parent_span_id", _INT, "the span it lies in, -1 for a connection"),
        Column("depth", _INT, "0 for a connection, 1 for a thread, 2 for a transfer"),
        Column(
            "kind",
            _TEXT,
            "`connection`: a file in one direction; `object`: a thread; `rpc`: a call of POSIX or "
            "STDIO that moves data and did not fail",
        ),
        Column("name", _TEXT, "the file, the thread, or the function"),
        Column("connection_name", _TEXT, "the file, its hash where it has no name"),
        Column("is_outgoing", pa.bool_(), "whether it is written, not read"),
        Column("begin_bits", _INT, "how many bits its parent moved before it"),
        Column("end_bits", _INT, "`begin_bits + bit_size`"),
        Column("bit_size", _INT, "eight times what the calls returned"),
        Column("begin_time", TIME, "when the first transfer in it began"),
        Column("end_time", TIME, "when the last transfer in it ended"),
    ),
    table=False,
    instances=("process",),
    begin="begin_time",
    end="end_time",
)

OTEL_SPANS: Final = ViewSchema(
    "otel_spans",
    1,
    "The calls of all threads of a process as OpenTelemetry has spans.",
    (
        Column("trace_id", pa.binary(16), "MD5 of the process's id"),
        Column("span_id", pa.binary(8), "the call; unique within its process"),
        Column("parent_span_id", pa.binary(8), "the call it lies in, null for none"),
        Column("name", _TEXT, "the function"),
        Column("kind", _TEXT, "`internal`"),
        Column("target", _TEXT, "its category"),
        Column("begin", TIME, "when it began"),
        Column("end", TIME, "when it ended"),
        Column("duration", _INT, "nanoseconds"),
        Column("status", _TEXT, "`Error` where it returned less than 0, else `Unset`"),
        Column("properties", _TEXT, "all arguments, as JSON"),
        Column("stream_id", _TEXT, "the thread"),
    ),
    table=False,
    instances=("process",),
    begin="begin",
    end="end",
)

LOG_ENTRIES: Final = ViewSchema(
    "log_entries",
    1,
    "What traces say beside events: metadata, starts and ends, and what of them cannot be read.",
    (
        Column("process_id", _TEXT, "the process"),
        Column("stream_id", _TEXT, "the thread"),
        Column("block_id", _TEXT, "where the entry lies"),
        Column("insert_time", TIME, "when the newest text of the trace was written"),
        Column("time", TIME, "of a start or an end; of others, when the process started"),
        Column(
            "level", pa.int32(), "4: information; 2: what cannot be read, a line or a trace's end"
        ),
        Column("target", _TEXT, "its category"),
        Column("msg", _TEXT, "the name and the arguments of the record"),
        Column(
            "name",
            _TEXT,
            "the name of the record, such as `start` or `FH`; of level 2 `bad_line`, `bad_lines`, "
            "`cut` or `corrupt`",
        ),
        Column("line_number", _INT, "its line in the trace, from 0"),
    ),
    instances=("process", "global"),
    begin="time",
    end="time",
)

LOG_STATS: Final = ViewSchema(
    "log_stats",
    1,
    "How many log entries each process has, by minute.",
    (
        Column("time_bin", TIME, "the minute"),
        Column("process_id", _TEXT, "the process"),
        Column("level", pa.int32(), "4: information; 2: what cannot be read"),
        Column("target", _TEXT, "their category"),
        Column("count", _INT, "how many"),
    ),
    begin="time_bin",
    end="time_bin",
)

MEASURES: Final = ViewSchema(
    "measures",
    1,
    "Every number of every counter.",
    (
        Column("process_id", _TEXT, "the process"),
        Column("stream_id", _TEXT, "the thread"),
        Column("block_id", _TEXT, "where the counter lies"),
        Column("insert_time", TIME, "when the newest text of the trace was written"),
        Column("time", TIME, "when it was sampled, or its interval began"),
        Column("target", _TEXT, "its category"),
        Column("name", _TEXT, "`event.argument`"),
        Column("unit", _TEXT, "`percent`, `us`, `bytes` or `count`, by the argument's name"),
        Column("value", _REAL, "the number"),
    ),
    instances=("process", "global"),
    begin="time",
    end="time",
)

#: All view sets by name, in the order in which they are documented.
VIEW_SETS: Final[Mapping[str, ViewSchema]] = {
    schema.name: schema
    for schema in (
        *(FILES, PROCESSES, STREAMS, BLOCKS, EVENTS, PROFILES, SYSTEM),
        *(THREAD_SPANS, ASYNC_EVENTS, NET_SPANS, OTEL_SPANS),
        *(LOG_ENTRIES, LOG_STATS, MEASURES),
    )
}
