"""What the metadata records of a segment say about hashes, and how it is stored.

One row a segment, in ``hash_tables``, key ``segment_key(segment)``, also where there is nothing to
say: a segment without its row is damage. The value is MessagePack: an array of the four tables.
Which name a hash has, where traces differ, is decided when reading
(:mod:`dftindexd.index.query.hash_names`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import HASH_TABLES, segment_key

__all__ = ("HashTables", "decode_hash_tables", "hash_table_rows")

_Tables = tuple[dict[str, str], dict[str, str], dict[str, str], dict[str, str]]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Tables)


@dataclass(slots=True)
class HashTables:
    """Hash to name: of files (FH), hosts (HH), other strings (SH) and process properties (PR).

    A hash is its decimal text where the trace has numbers. Whoever fills the tables keeps the first
    name of a hash (``dict.setdefault``).
    """

    file: dict[str, str] = field(default_factory=dict)
    host: dict[str, str] = field(default_factory=dict)
    string: dict[str, str] = field(default_factory=dict)
    proc: dict[str, str] = field(default_factory=dict)


def hash_table_rows(segment_id: int, tables: HashTables) -> list[Row]:
    """Return the one row of a segment."""
    value = _encoder.encode((tables.file, tables.host, tables.string, tables.proc))
    return [(HASH_TABLES, segment_key(segment_id), value)]


def decode_hash_tables(value: bytes) -> HashTables:
    """Return the tables of a stored *value*; one that does not decode is a StoreDamagedError."""
    try:
        file, host, string, proc = _decoder.decode(value)
    except msgspec.DecodeError as error:
        raise StoreDamagedError(f"hash tables do not decode: {error}") from error
    return HashTables(file=file, host=host, string=string, proc=proc)
