"""Hash tables as they are stored."""

from __future__ import annotations

import pytest

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.store.layout import HASH_TABLES, segment_key
from dftindexd.index.tiers.hash_tables import HashTables, decode_hash_tables, hash_table_rows


@pytest.mark.parametrize(
    "tables",
    [
        HashTables(),
        HashTables(
            file={"f": "/data/é", "7": ""},
            host={"h": "node1"},
            string={"s": "python;app.py"},
            proc={"3": "rank"},
        ),
    ],
)
def test_tables_read_back_as_they_were_written(tables: HashTables) -> None:
    [(family, key, value)] = hash_table_rows(9, tables)
    assert (family, key) == (HASH_TABLES, segment_key(9))
    assert decode_hash_tables(value) == tables


def test_every_cut_of_a_stored_value_is_damage() -> None:
    [(_, _, value)] = hash_table_rows(9, HashTables(file={"f": "/data/a"}))
    for length in range(len(value)):
        with pytest.raises(StoreDamagedError, match="do not decode"):
            decode_hash_tables(value[:length])
