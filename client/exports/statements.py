"""What an export asks: statements over view sets, cut so that none is large.

Pure functions. Instances of a view set (a stream's or a process's) are asked for some at a time;
one that has very many rows in parts by time, between the begins of its blocks. Thereby no statement
sorts more rows than a daemon allows it memory for, and the rows come in order all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from dftindexd.protocol.errors import InvalidArgumentError

__all__ = (
    "COUNTERS",
    "INSTANCES",
    "PART",
    "Choice",
    "InstanceKind",
    "InstanceSet",
    "Part",
    "Weight",
    "blocks_statement",
    "grouped",
    "instances_statement",
    "one_of",
    "parts",
    "table_statement",
)

InstanceKind: TypeAlias = Literal["stream", "process"]


class InstanceSet(NamedTuple):
    """A view set with instances: what these are of, the column with the time at which a row begins,
    in what order rows are asked for, and how many a call makes."""

    kind: InstanceKind
    begins: str
    order: tuple[str, ...]
    rows_a_call: int = 1


#: View sets that are no tables. In the order of threads each call follows the one that it lies in.
INSTANCES: Final[Mapping[str, InstanceSet]] = {
    "thread_spans": InstanceSet("stream", "begin", ("begin", '"end" DESC', "id")),
    "async_events": InstanceSet("process", "time", ("time",), 2),
    "net_spans": InstanceSet("process", "begin_time", ("begin_time", "depth")),
    "otel_spans": InstanceSet("process", "begin", ("begin", '"end" DESC')),
}
#: Of a process, though it is a table too: its rows are of counters.
COUNTERS: Final = InstanceSet("process", "time", ("time", "name"))

#: The column that says which of the parts of a statement a row is of.
PART: Final = "part"

#: So many rows are sorted at once, or those of one block.
_ROWS_AT_ONCE: Final = 100_000
#: So many instances are named in one statement.
_PARTS_AT_ONCE: Final = 32
_TEXTS: Final = {
    "exe": "processes.exe",
    "cmd": "processes.cmd",
    "host": "processes.computer",
    "version": "processes.version",
    "thread": "streams.thread_name",
}
#: Where brackets of a condition are none: in texts, names and comments.
_NO_SIGNS: Final = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_BLOCKS: Final = (
    'SELECT process_id, stream_id, "processes.pid" AS pid, "streams.tid" AS tid, '
    'coalesce(CAST("processes.start_time" AS BIGINT), 0) AS start, '
    'CAST(begin_time AS BIGINT) AS "begin", CAST(end_time AS BIGINT) AS "end", '
    "nb_calls AS calls, nb_counters AS counters, {texts} FROM blocks WHERE {where}"
)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What is exported of the traces below ``directory``: rows that ``condition`` keeps (an
    expression of SQL, "" for all), of these processes and streams (none: all), that touch the time
    from ``begin`` to ``end`` in nanoseconds since 1970; at most ``limit`` of them. A statement may
    run for ``seconds``."""

    directory: str
    condition: str = ""
    processes: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    begin: int | None = None
    end: int | None = None
    limit: int | None = None
    seconds: float = 60.0


class Weight(NamedTuple):
    """A block: when it begins, in nanoseconds, and how many rows it makes, about."""

    begin: int
    rows: int


class Part(NamedTuple):
    """The rows of one instance that begin from ``begin`` on and before ``end``; None: no bound."""

    instance: str
    rows: int
    begin: int | None = None
    end: int | None = None


def parts(instance: str, blocks: Iterable[Weight]) -> Iterator[Part]:
    """Cut an instance where its blocks begin, so that none but a large block is too many rows."""
    begin: int | None = None
    rows = 0
    last: int | None = None
    for block in sorted(blocks):
        if rows and rows + block.rows > _ROWS_AT_ONCE and block.begin != last:
            yield Part(instance, rows, begin, block.begin)
            begin, rows = block.begin, 0
        rows += block.rows
        last = block.begin
    if rows:
        yield Part(instance, rows, begin)


def grouped(every: Iterable[Part]) -> Iterator[list[Part]]:
    """Yield the parts in their order, as many together as one statement takes."""
    group: list[Part] = []
    for part in every:
        rows = sum(one.rows for one in group)
        if group and (len(group) == _PARTS_AT_ONCE or rows + part.rows > _ROWS_AT_ONCE):
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def blocks_statement(choice: Choice) -> str:
    """Return the statement for the blocks of the chosen processes and streams."""
    texts = ", ".join(f"coalesce({_name(name)}, '') AS {own}" for own, name in _TEXTS.items())
    return _BLOCKS.format(texts=texts, where=_where("begin_time IS NOT NULL", _chosen(choice)))


def table_statement(name: str, choice: Choice, columns: Sequence[str] | None) -> str:
    """Return the statement for the view set *name*, which is a table."""
    limit = "" if choice.limit is None else f" LIMIT {choice.limit}"
    where = _where(_condition(choice.condition), _chosen(choice))
    return f"SELECT {_columns(columns)} FROM {_name(name)} WHERE {where}{limit}"


def instances_statement(
    name: str,
    group: Sequence[Part],
    columns: Sequence[str] | None,
    of: InstanceSet,
    condition: str = "",
    where: str = "",
) -> str:
    """Return the statement for the rows of *group*, all of the view set *name*, part by part.

    A column :data:`PART` comes first: the part's place in *group*. *condition* is somebody's and
    may span lines, *where* is ours.
    """
    every = " UNION ALL ".join(
        f"SELECT {number} AS {PART}, * FROM view_instance({_text(name)}, {_text(part.instance)})"
        f" WHERE {_where(*_within(of.begins, part))}"
        for number, part in enumerate(group)
    )
    sorted_by = ", ".join((PART, *of.order))
    kept = _where(_condition(condition), where)
    shown = "*" if columns is None else f"{PART}, {_columns(columns)}"
    return f"SELECT {shown} FROM ({every}) WHERE {kept} ORDER BY {sorted_by}"


def _within(column: str, part: Part) -> Iterator[str]:
    if part.begin is not None:
        yield f"{_name(column)} >= {_time(part.begin)}"
    if part.end is not None:
        yield f"{_name(column)} < {_time(part.end)}"


def _time(nanoseconds: int) -> str:
    return f"arrow_cast({nanoseconds}, 'Timestamp(Nanosecond, Some(\"UTC\"))')"


def _chosen(choice: Choice) -> str:
    found = (one_of("process_id", choice.processes), one_of("stream_id", choice.streams))
    return " AND ".join(filter(None, found))


def one_of(column: str, values: Sequence[str]) -> str:
    """Return the condition that a column has one of *values*, "" where there are none."""
    return f"{column} IN ({', '.join(map(_text, values))})" if values else ""


def _condition(text: str) -> str:
    """Return somebody's condition on a line of its own, which it may end with a comment.

    :raises InvalidArgumentError: its brackets do not match; with ours they might, to other ends.
    """
    depth = 0
    for sign in re.findall("[()]", _NO_SIGNS.sub("", text)):
        depth += 1 if sign == "(" else -1
        if depth < 0:
            raise InvalidArgumentError("the filter closes a bracket that it does not open", text)
    return f"(\n{text}\n)" if text else ""


def _where(*conditions: str) -> str:
    return " AND ".join(filter(None, conditions)) or "true"


def _columns(names: Sequence[str] | None) -> str:
    return "*" if names is None else ", ".join(map(_name, names))


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
