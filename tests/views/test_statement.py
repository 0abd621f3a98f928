"""What a statement may be, and what is read of it before it is planned."""

from __future__ import annotations

import pytest

from dftindexd.index.errors import QueryError
from dftindexd.views.statement import LONGEST_TEXT, read_statement


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "select 1;",
        "(SELECT 1) UNION (SELECT 2)",
        "-- why\nWITH a AS (SELECT 1) SELECT * FROM a",
        "/* ; */ EXPLAIN SELECT ';' ;;",
        "VALUES (1)",
    ],
)
def test_one_statement_that_reads_is_taken(text: str) -> None:
    assert read_statement(text).text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the statement is empty"),
        (" ; ", "the statement is empty"),
        ("INSERT INTO a VALUES (1)", "INSERT at Line: 1, Column: 1 begins no SELECT"),
        ("\n  drop table x", "drop at Line: 2, Column: 3 begins no SELECT"),
        ("'SELECT'", "'SELECT' at Line: 1, Column: 1 begins no SELECT"),
        ("SELECT 1;\nSELECT 2", "more than one statement: the next begins at Line: 1, Column: 9"),
        ("SELECT " + "(" * 101, "brackets lie more than 100 deep at Line: 1, Column: 108"),
        ("SELECT " + "1" * LONGEST_TEXT, "the statement has 100,007 characters"),
        (
            "SELECT * FROM view_instance(streams, 'x')",
            "First argument to view_instance must be a string, at Line: 1, Column: 15",
        ),
        (
            "SELECT * FROM view_instance('x')",
            "Second argument to view_instance must be a string, at Line: 1, Column: 15",
        ),
        (
            "SELECT * FROM view_instance('x', 'y', 'z')",
            "view_instance takes two arguments, at Line: 1, Column: 15",
        ),
    ],
)
def test_anything_else_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(QueryError) as raised:
        read_statement(text)
    assert raised.value.message == message
    assert raised.value.hint


def test_the_instances_and_names_of_a_statement_are_found_but_not_in_texts() -> None:
    statement = read_statement(
        "SELECT \"Name\", 'measures' FROM VIEW_INSTANCE( 'thread_spans' , 'it''s' ) -- files\n"
        "JOIN streams ON true"
    )
    assert statement.instances == (("thread_spans", "it's"),)
    assert {"Name", "streams"} <= statement.names
    assert not {"measures", "files"} & statement.names
