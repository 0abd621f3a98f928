"""The filter language: what it accepts, what it means, and how it says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from dftindexd.index.errors import QueryError
from dftindexd.index.query.columns import Frame, NumberColumn, TextColumn
from dftindexd.index.query.filter import (
    MAX_DEPTH,
    MAX_LENGTH,
    And,
    Compare,
    Field,
    Member,
    Not,
    Or,
    parse_filter,
)
from dftindexd.index.query.predicate import filter_rows

BIG = 2**53 + 1


def frame() -> Frame:
    """Four rows: texts with a null, integers with a null, and real numbers."""
    return Frame(
        4,
        {
            "cat": lambda: TextColumn(np.array([0, 0, 1, 1]), ["posix", "app"]),
            "name": lambda: TextColumn(np.array([0, 1, 2, -1]), ["read", "write", r"it\'s"]),
            "pid": lambda: NumberColumn(np.array([1, 2, 3, 4])),
            "size": lambda: NumberColumn(
                np.array([10, 0, BIG, -7]), np.array([True, False, True, True])
            ),
            "time": lambda: NumberColumn(np.array([0.5, 1.0, 1.5, np.inf])),
            "args.epoch": lambda: NumberColumn(np.array([0, 1, 2, 3])),
            "Active(anon)": lambda: NumberColumn(np.array([0.0, 1.0, 2.0, 3.0])),
        },
    )


def kept(query: str) -> list[int]:
    """Return the rows that *query* keeps."""
    mask = filter_rows(frame(), query)
    assert mask is not None
    return np.flatnonzero(mask).tolist()


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("pid == 1", [0]),
        ("pid != 1", [1, 2, 3]),
        ("pid>2", [2, 3]),
        ("pid >= 2 and pid<=3", [1, 2]),
        ("pid < 2 or pid > 3", [0, 3]),
        ("pid == 1 or pid == 2 and cat == 'app'", [0]),
        ("(pid == 1 or pid == 2) and cat == 'posix'", [0, 1]),
        ("not pid == 1 and pid != 2", [2, 3]),
        ("not (pid == 1 and pid == 2)", [0, 1, 2, 3]),
        ("NOT pid == 1 AnD pid IN [1, 2]", [1]),
        ("not not pid == 1", [0]),
        ("pid == 1.0", [0]),
        ("pid == true", [0]),
        ("pid > false", [0, 1, 2, 3]),
        ("pid == TRUE", [0]),
        ("pid == 1.5", []),
        ("pid != 1.5", [0, 1, 2, 3]),
        ("pid < 1.5", [0]),
        ("pid <= 1.5", [0]),
        ("pid > 1.5", [1, 2, 3]),
        ("pid >= 1.5", [1, 2, 3]),
        ("pid < 1e300", [0, 1, 2, 3]),
        ("pid > -1e300", [0, 1, 2, 3]),
        ("pid > 1e999", []),
        ("pid <= 1e999", [0, 1, 2, 3]),
        ("pid == 1e300", []),
        ("pid > -.5e0", [0, 1, 2, 3]),
        ("time == 1", [1]),
        ("time > 1e0", [2, 3]),
        ("time >= 1.", [1, 2, 3]),
        (f"size == {BIG}", [2]),
        (f"size == {BIG - 1}", []),
        ("size == -7", [3]),
        ("size == 0", []),
        ("size != 0", [0, 2, 3]),
        ("not size == 0", [0, 1, 2, 3]),
        ("not size != 10", [0, 1]),
        ("size in [10, -7, 0]", [0, 3]),
        ("size not in [10]", [2, 3]),
        ("pid in [1.0, 2.5, true]", [0]),
        ("pid in ['1']", []),
        ("pid not in ['1']", [0, 1, 2, 3]),
        ("time in [0.5, 1]", [0, 1]),
        ("pid in []", []),
        ("pid not in []", [0, 1, 2, 3]),
        ("name in ['read', \"write\", 3]", [0, 1]),
        ("name not in ['read']", [1, 2]),
        ("name == 'READ'", []),
        ("name >= 'w'", [1]),
        ("name < 'read'", [2]),
        ("name != 'read'", [1, 2]),
        ("not name == 'read'", [1, 2, 3]),
        (r"name == 'it\'s'", [2]),
        (r'''name == "it\'s"''', [2]),
        ("name == 1", []),
        ("name != 1", []),
        ("name == true", []),
        ("pid == '1'", []),
        ("pid != '1'", []),
        ("cat == 'POSIX'", [0, 1]),
        ("cat in ['Posix']", [0, 1]),
        ("cat != 'POSIX'", [2, 3]),
        ("args.epoch == 2", [2]),
        ("`Active(anon)` >= 2", [2, 3]),
        ("  pid\t==\n1  ", [0]),
    ],
)
def test_a_filter_keeps_these_rows(query: str, rows: list[int]) -> None:
    assert kept(query) == rows


def test_no_query_and_the_empty_query_keep_everything() -> None:
    assert filter_rows(frame(), None) is None
    assert filter_rows(frame(), "") is None


def test_the_tree_follows_the_precedence_of_not_and_or() -> None:
    a, b, c = (Compare(Field(name, at), "==", 1) for name, at in (("a", 4), ("b", 15), ("c", 25)))
    assert parse_filter("not a == 1 and b == 1 or c == 1") == Or((And((Not(a), b)), c))
    assert parse_filter("x not in ['a', 2]") == Member(Field("x", 0), ("a", 2), negated=True)


@pytest.mark.parametrize(
    ("query", "message", "column"),
    [
        ("  ", "expected a column, got the end", 3),
        ("pid", "expected a comparison or 'in', got the end", 4),
        ("pid =", "a single =, where == is meant", 5),
        ("pid = 1", "a single =, where == is meant", 5),
        ("pid ==", "expected a text in quotes, a number, true or false, got the end", 7),
        ("pid == read", "expected a text in quotes, a number, true or false, got read", 8),
        ("pid == in", "expected a text in quotes, a number, true or false, got in", 8),
        ("1 == pid", "expected a column, got 1", 1),
        ("'a' == name", "expected a column, got 'a'", 1),
        ("and pid == 1", "expected a column, got and", 1),
        ("pid == 1 pid == 2", "expected 'and', 'or' or the end, got pid", 10),
        ("pid == 1)", "expected 'and', 'or' or the end, got )", 9),
        ("(pid == 1", r"expected ')', got the end", 10),
        ("pid not 1", "expected 'in' after 'not', got 1", 9),
        ("pid in 1", "expected '[', got 1", 8),
        ("pid in [1", "expected ',' or ']', got the end", 10),
        ("pid in [1,]", "expected a text in quotes, a number, true or false, got ]", 11),
        ("pid in [1 2]", "expected ',' or ']', got 2", 11),
        ("name == 'read", "a quote that is not closed", 9),
        (r"name == 'read\'", "a quote that is not closed", 9),
        ("pid == 9223372036854775808", "a number beyond 64 bits", 8),
        ("pid == -9223372036854775809", "a number beyond 64 bits", 8),
        ("pid == " + "9" * 5000, "a number beyond 64 bits", 8),
        ("pid == 0x10", "expected 'and', 'or' or the end, got x10", 9),
        ("pid ~ 1", "unexpected character '~'", 5),
        ("pid == 1;", "unexpected character ';'", 9),
        ("pid == 1 or", "expected a column, got the end", 12),
        ("pid == null", "expected a text in quotes, a number, true or false, got null", 8),
    ],
)
def test_a_bad_filter_is_an_error_with_its_place(query: str, message: str, column: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse_filter(query)
    lines = caught.value.message.split("\n")
    assert lines[0] == f"{message} at column {column}"
    assert lines[2].endswith("^")
    if len(query) < 40:
        assert lines[1] == "  " + query
        assert len(lines[2]) == column + 2


def test_the_caret_of_a_long_query_points_into_an_excerpt() -> None:
    query = " or ".join(["pid == 1"] * 100) + " or pid ! 2"
    with pytest.raises(QueryError) as caught:
        parse_filter(query)
    _, excerpt, caret = caught.value.message.split("\n")
    assert excerpt[caret.index("^")] == "!"
    assert len(excerpt) < 100


def test_an_unknown_column_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(QueryError) as caught:
        filter_rows(frame(), "pid == 1 and nmae == 'read'")
    first, _, caret = caught.value.message.split("\n")
    assert first.startswith("no column nmae at column 14; did you mean name? the columns are cat,")
    assert caret == " " * 15 + "^"


@pytest.mark.parametrize("nested", ["(" * 70 + "pid == 1" + ")" * 70, "not " * 70 + "pid == 1"])
def test_nesting_is_bounded(nested: str) -> None:
    with pytest.raises(QueryError, match=f"more than {MAX_DEPTH} levels"):
        parse_filter(nested)


def test_nesting_below_the_bound_is_fine() -> None:
    assert kept("(" * 60 + "pid == 1" + ")" * 60) == [0]


def test_length_is_bounded() -> None:
    with pytest.raises(QueryError, match=f"more than {MAX_LENGTH}"):
        parse_filter("pid == 1 or " * MAX_LENGTH)


def test_long_chains_and_lists_need_no_depth() -> None:
    assert kept(" or ".join(f"pid == {n}" for n in range(2, 4000))) == [1, 2, 3]
    assert kept(f"pid in [{', '.join(str(n) for n in range(2, 9000))}]") == [1, 2, 3]


def test_a_flood_of_quotes_and_backslashes_does_not_stall_the_parser() -> None:
    with pytest.raises(QueryError, match="a quote that is not closed"):
        parse_filter("name == '" + "\\" * (MAX_LENGTH - 10))
