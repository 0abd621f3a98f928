"""An answer is taken as it is by the libraries that people analyse with, and shown in notebooks."""

from __future__ import annotations

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dftindexd.client import Answer, connect
from dftindexd.client.results import read_tables
from dftindexd.protocol.errors import ProtocolError
from dftindexd.protocol.message import AnswerHead
from tests.client.echo_daemon import ThreadedDaemon, rows

HEAD = AnswerHead(generation=7, warnings=("a <b> is missing",))


@pytest.mark.parametrize("count", [0, 5, 160_000])
def test_each_library_takes_an_answer_as_it_is(daemon: ThreadedDaemon, count: int) -> None:
    with connect(daemon.path) as client:
        answer = client.list(f"/rows-{count}")
    total = count * (count - 1) // 2
    assert pa.table(answer)["n"].to_pylist() == list(range(count))
    assert pl.DataFrame(answer)["n"].sum() == total
    assert answer.to_polars().columns == ["n", "name", "ratio"]
    assert answer.to_pandas()["n"].sum() == total
    assert list(pd.DataFrame.from_arrow(answer).columns) == ["n", "name", "ratio"]
    counted = duckdb.sql("select count(*), coalesce(sum(n), 0) from answer")
    assert counted is not None
    assert counted.fetchall() == [(count, total)]


def test_a_notebook_shows_the_first_rows_with_their_text_escaped() -> None:
    table = pa.table({"a<b": ["<script>", None] * 20, "n": list(range(40))})
    html = Answer(HEAD, table)._repr_html_()
    assert "<th>a&lt;b</th><th>n</th>" in html
    assert "<td>&lt;script&gt;</td><td>0</td>" in html
    assert "<td></td><td>1</td>" in html
    assert "<script>" not in html
    assert html.count("<tr>") == 21
    assert "<p>40 rows, generation 7</p>" in html
    assert "<p>a &lt;b&gt; is missing</p>" in html


def test_several_streams_are_read_one_after_the_other() -> None:
    tables = [pa.Table.from_batches([rows(0, count)]) for count in (3, 0, 50_000)]
    sink = pa.BufferOutputStream()
    for table in tables:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    read = read_tables(memoryview(sink.getvalue()))
    assert [table.num_rows for table in read] == [3, 0, 50_000]
    assert read[2].drop(["ratio"]) == tables[2].drop(["ratio"])
    with pytest.raises(ProtocolError, match="Arrow stream cannot be read"):
        read_tables(b"")
