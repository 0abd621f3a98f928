"""One SQL statement over the views of one or more roots, by DataFusion.

Everything a statement names is there before the engine plans it: instances of view sets as Parquet
files, into which it pushes filters and columns, and small sets as tables in memory. The engine
itself may not write, make tables, or read anything else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pyarrow as pa
from datafusion import (
    RuntimeEnvBuilder,
    SessionConfig,
    SessionContext,
    SQLOptions,
    col,
    lit,
    udtf,
)
from datafusion.catalog import Table
from datafusion.dataframe import DataFrame
from datafusion.object_store import LocalFileSystem

from dftindexd.index.errors import (
    CoreError,
    NotWatchedError,
    QueryError,
    TraceChangedError,
)
from dftindexd.views.aggregated import AGGREGATED
from dftindexd.views.directory import PROCESSES_SQL, STREAMS_SQL
from dftindexd.views.entries import LOG_STATS_SQL
from dftindexd.views.materialise import GLOBAL, Views
from dftindexd.views.names import did_you_mean
from dftindexd.views.schema import TIME, ViewSchema
from dftindexd.views.sets import (
    BLOCKS,
    FILES,
    LOG_ENTRIES,
    LOG_STATS,
    MEASURES,
    PROCESSES,
    STREAMS,
    VIEW_SETS,
)
from dftindexd.views.statement import (
    INSTANCE_FUNCTION,
    Statement,
    place_of,
    read_statement,
)

__all__ = ("MEMORY_BYTES", "RootViews", "Session", "TimeRange")

#: How much memory the engine may take for sorting, grouping and joining, in bytes.
MEMORY_BYTES: Final = 512 << 20

_ROOT: Final = "root"
#: Begins the name of a table of the session that statements need not name.
_EVERY: Final = "_every_"
#: Tables that follow from others of the session.
_DERIVED: Final = {
    PROCESSES.name: (PROCESSES_SQL, BLOCKS.name),
    STREAMS.name: (STREAMS_SQL, BLOCKS.name),
    LOG_STATS.name: (LOG_STATS_SQL, LOG_ENTRIES.name),
}
#: A file that was there when the statement was planned.
_GONE: Final = re.compile(
    r"Object at location .* not found|No such file or directory|No files found at"
)
#: Which part of the engine an error is from; several may stand before what it says.
_ENGINE_PART: Final = re.compile(r"(?:[A-Z]\w* error|Error during planning): ")
_NO_FIELD: Final = re.compile(r"No field named ([^\n]+?)\.(?:\s|$)")
_NO_TABLE: Final = re.compile(r"table '(?:datafusion\.public\.)?([^']*)' not found")
_NO_FUNCTION: Final = re.compile(r"(?:Invalid|table) function '([^']*)'")


class RootViews(Protocol):
    """The views of one root. ``name`` is its path for people."""

    name: str
    views: Views

    def table(self, name: str) -> pa.Table:
        """Return the set ``files``."""
        ...


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Rows that touch the time from *begin* to *end*, in nanoseconds; None is no bound."""

    begin: int | None = None
    end: int | None = None


class Session:
    """One statement. *named*: rows have a column ``root``, for there may be several."""

    def __init__(
        self, roots: Sequence[RootViews], times: TimeRange | None = None, *, named: bool = False
    ) -> None:
        config = (
            SessionConfig()
            .with_target_partitions(2)
            .with_information_schema(False)
            .set("datafusion.execution.parquet.schema_force_view_types", "false")
            .set("datafusion.sql_parser.map_string_types_to_utf8view", "false")
        )
        runtime = (
            RuntimeEnvBuilder().with_fair_spill_pool(MEMORY_BYTES).with_disk_manager_disabled()
        )
        self._context = SessionContext(config, runtime)
        self._roots = roots
        self._times = times or TimeRange()
        self._named = named
        self._instances: dict[tuple[str, str], Table] = {}
        self._files: list[str] = []
        #: What the engine calls the folder of each root's views.
        self._stores: dict[str, str] = {}

    def run(self, text: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Plan a statement; return the schema of its rows, and the rows as they are found.

        :raises QueryError: it is not one SELECT, or names what there is not.
        :raises CoreError: it needs more memory than it may take.
        """
        statement = read_statement(text)
        self._prepare(statement)
        options = SQLOptions().with_allow_ddl(False).with_allow_dml(False)
        frame = _told(
            statement,
            lambda: self._context.sql_with_options(text, options.with_allow_statements(False)),
        )
        schema = _plain(_told(statement, frame.schema))
        return schema, _batches(statement, frame, schema, self._files)

    # -- tables -------------------------------------------------------------------------------

    def _prepare(self, statement: Statement) -> None:
        wanted = [schema.name for schema in VIEW_SETS.values() if schema.table]
        for name in wanted:
            if name in statement.names:
                self._add(name)
        for pair in statement.instances:
            if pair not in self._instances:
                self._instances[pair] = self._instance(*pair).into_view()

        def view_instance(view_set: Any, instance: Any) -> Table:
            return self._instances[view_set.python_value().as_py(), instance.python_value().as_py()]

        for spelling in statement.spellings:
            self._context.register_udtf(udtf(view_instance, spelling))

    def _add(self, name: str) -> None:
        if self._context.table_exist(name):
            return
        if name in _DERIVED:
            self._derive(name)
            return
        frames = [self._of_root(one, name) for one in self._roots]
        schema = VIEW_SETS[name]
        frame = self._joined(frames, schema)
        self._context.register_table(name, self._within(frame, schema).into_view())

    def _derive(self, name: str) -> None:
        """Add a table that follows from another, of which all times are seen."""
        text, source = _DERIVED[name]
        grouped = text.replace("GROUP BY ", "GROUP BY root, ") if self._named else text
        selected = grouped.replace("SELECT ", "SELECT root, ", 1) if self._named else grouped
        if self._named:
            selected = selected.replace("GROUP BY root, 1, 2, 3, 4", "GROUP BY 1, 2, 3, 4, 5")
        every = _EVERY + source
        if not self._context.table_exist(every):
            frames = [self._of_root(one, source) for one in self._roots]
            joined = self._joined(frames, VIEW_SETS[source])
            self._context.register_table(every, joined.into_view())
        frame = self._context.sql(selected.replace(f"FROM {source}", f'FROM "{every}"'))
        self._context.register_table(name, self._within(frame, VIEW_SETS[name]).into_view())

    def _of_root(self, root: RootViews, name: str) -> DataFrame:
        if name == BLOCKS.name:
            frame = self._in_memory(root.views.blocks())
        elif name in (LOG_ENTRIES.name, MEASURES.name):
            frame = self._parquet(root.views, *root.views.instance(name, GLOBAL))
        elif name in AGGREGATED:
            frame = self._file(root.views, root.views.aggregated(name))
        else:
            frame = self._in_memory(root.table(name))
        if not self._named or name == FILES.name:
            return frame
        return frame.with_column(_ROOT, lit(root.name))

    def _joined(self, frames: Sequence[DataFrame], schema: ViewSchema) -> DataFrame:
        if not frames:
            names = [*schema.arrow, *([pa.field(_ROOT, pa.utf8())] if self._named else [])]
            return self._in_memory(pa.schema(names).empty_table())
        joined = frames[0]
        for frame in frames[1:]:
            joined = joined.union_by_name(frame) if schema.open_ended else joined.union(frame)
        return joined

    def _instance(self, name: str, instance: str) -> DataFrame:
        frames: list[DataFrame] = []
        missing: NotWatchedError | None = None
        for root in self._roots:
            try:
                frame = self._parquet(root.views, *root.views.instance(name, instance))
            except NotWatchedError as error:
                missing = error
                continue
            frames.append(frame.with_column(_ROOT, lit(root.name)) if self._named else frame)
        if missing is not None and not frames:
            raise missing
        schema = VIEW_SETS[name]
        return self._within(self._joined(frames, schema), schema)

    def _parquet(self, views: Views, files: Sequence[str], first: pa.Table) -> DataFrame:
        frame = self._in_memory(first)
        for path in files:
            frame = frame.union(self._file(views, path))
        return frame

    def _file(self, views: Views, path: str) -> DataFrame:
        """Return the rows of a file of *views*, such that nothing tells where these lie."""
        store = self._stores.get(views.folder)
        if store is None:
            store = self._stores[views.folder] = f"views{len(self._stores)}://"
            self._context.register_object_store(store, LocalFileSystem(views.folder), None)
        self._files.append(path)
        return self._context.read_parquet(f"{store}/{os.path.relpath(path, views.folder)}")

    def _in_memory(self, table: pa.Table) -> DataFrame:
        return self._context.create_dataframe([table.to_batches() or [_no_rows(table.schema)]])

    def _within(self, frame: DataFrame, schema: ViewSchema) -> DataFrame:
        begin, end = self._times.begin, self._times.end
        if schema.begin is not None and end is not None:
            frame = frame.filter(col(f'"{schema.begin}"') <= lit(pa.scalar(end, TIME)))
        if schema.end is not None and begin is not None:
            frame = frame.filter(col(f'"{schema.end}"') >= lit(pa.scalar(begin, TIME)))
        return frame


def _plain(schema: pa.Schema) -> pa.Schema:
    """Return a schema without dictionaries, which a stream of batches would need apart."""
    return pa.schema(
        [
            field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
            for field in schema
        ]
    )


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, one.type) for one in schema], schema=schema)


def _batches(
    statement: Statement, frame: DataFrame, schema: pa.Schema, files: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    stream = _told(statement, frame.execute_stream)
    # The engine looks for its files only now, and takes one that is gone for one without rows. What
    # goes later it does not find when it opens it, which is an error.
    if not all(map(os.path.exists, files)):
        raise _gone()
    while True:
        batch = _told(statement, lambda: next(stream, None))
        if batch is None:
            return
        yield batch.to_pyarrow().cast(schema)


def _told(statement: Statement, call: Callable[[], Any]) -> Any:
    """Run a call of the engine; what it raises is told in our words."""
    try:
        return call()
    except CoreError:
        raise
    except Exception as error:
        raise _error(statement, str(error)) from error
    except BaseException as error:
        # What the engine has no error for; it is none of Python's exceptions.
        if type(error).__name__ != "PanicException":
            raise
        raise CoreError(f"the engine failed: {error}", "ask for less at once") from error


def _error(statement: Statement, text: str) -> CoreError:
    if "Resources exhausted" in text:
        return CoreError(
            f"the statement needs more than {MEMORY_BYTES >> 20} MiB of memory",
            "select fewer rows or columns, or sort and join less",
        )
    if _GONE.search(text) is not None:
        return _gone()
    parsed = re.search(r'ParserError\("(.*)"\)', text, re.DOTALL)
    if parsed is not None:
        return QueryError(parsed[1].replace('\\"', '"'), "see the page on views")
    message = _cause(text)
    if (field := _NO_FIELD.search(text)) is not None:
        valid = re.search(r"Valid fields are (.*?)\.?$", text, re.DOTALL)
        if valid is None:
            names = "name a table with FROM"
        else:
            known = [one.strip() for one in valid[1].split(",")]
            names = f"{_near_column(field[1], known)}the columns are {valid[1]}"
        return QueryError(f"no column {field[1]}{_where(statement, field[1])}", names)
    if (table := _NO_TABLE.search(text)) is not None:
        known = [schema.name for schema in VIEW_SETS.values() if schema.table]
        hint = f"{did_you_mean(table[1], known)}the tables are {', '.join(known)}"
        return QueryError(
            f"no table {table[1]}{_where(statement, table[1])}",
            f"{hint}, and {INSTANCE_FUNCTION}(set, id)",
        )
    if (function := _NO_FUNCTION.search(text)) is not None:
        hint = "; ".join(text.splitlines()[1:]) or "see the page on views"
        return QueryError(f"no function {function[1]}{_where(statement, function[1])}", hint)
    return QueryError(message.replace(_EVERY, ""), "see the page on views")


def _cause(text: str) -> str:
    """Return what the engine says first of the cause; before that it names steps of its own."""
    message = text.removeprefix("DataFusion error: ").rpartition("\ncaused by\n")[2]
    message = " ".join(map(str.strip, message.splitlines())).rstrip(".")
    while (said := _ENGINE_PART.match(message)) is not None:
        message = message[said.end() :]
    return message


def _gone() -> TraceChangedError:
    return TraceChangedError("a view was made anew or deleted meanwhile", "ask again")


def _near_column(name: str, known: Sequence[str]) -> str:
    """Return what column may have been meant; the engine says of which table each is."""

    def plain(text: str) -> str:
        return text.split('"')[1] if text.endswith('"') else text.rpartition(".")[2]

    return did_you_mean(plain(name), list(map(plain, known)))


def _where(statement: Statement, name: str) -> str:
    """Return where a name stands in the text, as far as that can be told."""
    plain = name.replace('"', "").rpartition(".")[2]
    found = re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", statement.text, re.IGNORECASE)
    return f" at {place_of(statement.text, found.start())}" if found else ""
