"""What an export asks, cut so that no statement is large."""

from __future__ import annotations

import pytest

from dftindexd.client.exports.statements import (
    COUNTERS,
    INSTANCES,
    Choice,
    Part,
    Weight,
    blocks_statement,
    grouped,
    instances_statement,
    parts,
    table_statement,
)
from dftindexd.protocol.errors import InvalidArgumentError
from dftindexd.views.sets import VIEW_SETS
from dftindexd.views.statement import read_statement


def test_every_view_set_is_a_table_or_known_to_have_instances() -> None:
    """Of those that are no table the client knows what the instances are, and a column of time."""
    for name, schema in VIEW_SETS.items():
        if not schema.table:
            found = INSTANCES[name]
            assert schema.instances == (found.kind,)
            assert schema.begin == found.begins
    assert VIEW_SETS["measures"].begin == COUNTERS.begins


def test_a_small_instance_is_one_part_and_one_without_rows_none() -> None:
    assert list(parts("a", [Weight(5, 10), Weight(3, 7)])) == [Part("a", 17)]
    assert list(parts("a", [Weight(5, 0)])) == []


def test_a_large_instance_is_cut_where_its_blocks_begin() -> None:
    blocks = [Weight(10 * number, 40_000) for number in range(5)]
    assert list(parts("a", blocks)) == [
        Part("a", 80_000, None, 20),
        Part("a", 80_000, 20, 40),
        Part("a", 40_000, 40, None),
    ]


def test_blocks_that_begin_together_are_not_cut_apart() -> None:
    blocks = [Weight(10, 80_000), Weight(10, 80_000), Weight(11, 80_000)]
    assert list(parts("a", blocks)) == [
        Part("a", 160_000, None, 11),
        Part("a", 80_000, 11, None),
    ]


def test_parts_are_asked_for_together_up_to_a_number_of_them_and_of_rows() -> None:
    many = [Part(f"{number}", 1) for number in range(70)]
    assert [len(group) for group in grouped(many)] == [32, 32, 6]
    large = [Part("a", 80_000), Part("b", 25_000), Part("c", 10_000)]
    assert list(grouped(large)) == [large[:1], large[1:]]
    assert list(grouped([])) == []


def test_names_of_instances_are_texts_whatever_is_in_them() -> None:
    text = instances_statement(
        "thread_spans",
        [Part("it's:1:2:3", 5, 10, 20), Part("b", 5)],
        ("begin", 'odd"name'),
        of=INSTANCES["thread_spans"],
        condition="size > 1 -- large",
        where="id <> -1",
    )
    found = read_statement(text)
    assert found.instances == (("thread_spans", "it's:1:2:3"), ("thread_spans", "b"))
    assert '"odd""name"' in text
    assert "(\nsize > 1 -- large\n) AND id <> -1 ORDER BY part, begin" in text


def test_a_table_is_asked_for_what_was_chosen() -> None:
    choice = Choice(directory="d", condition="level = 2", processes=("a", "b'"), limit=9)
    assert table_statement("log_entries", choice, None) == (
        "SELECT * FROM \"log_entries\" WHERE (\nlevel = 2\n) AND process_id IN ('a', 'b''') LIMIT 9"
    )
    assert table_statement("files", Choice(directory="d"), ("path",)) == (
        'SELECT "path" FROM "files" WHERE true'
    )
    assert "stream_id IN ('s')" in blocks_statement(Choice(directory="d", streams=("s",)))


@pytest.mark.parametrize("condition", ["size > 1) OR (1 = 1", ")", "name = '(' AND size > 1)"])
def test_a_condition_ends_no_bracket_that_it_does_not_begin(condition: str) -> None:
    with pytest.raises(InvalidArgumentError, match="closes a bracket"):
        table_statement("files", Choice(directory="d", condition=condition), None)


@pytest.mark.parametrize(
    "condition", ["(a > 1) OR (b = 2)", "name = 'it''s )' AND \"odd )\" > 1 -- )", "a > 1 /* ) */"]
)
def test_brackets_in_texts_names_and_comments_are_none(condition: str) -> None:
    text = table_statement("files", Choice(directory="d", condition=condition), None)
    assert condition in text
