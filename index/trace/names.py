"""The hash tables a segment gathers: which hash stands for which name.

The first record of a hash wins. Traces of v0 have no hashes; their names get one here, so that all
that comes after is the same for every generation.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from dftindexd.index.tiers.hash_tables import HashTables
from dftindexd.index.trace.json_line import Record

__all__ = ("NameCollector", "hash_of_name", "hash_text")


def hash_text(value: Any) -> str:
    """Return a hash as text: strings as they are, numbers (1.0.x) as decimal, else ``""``."""
    if isinstance(value, str):
        return value
    if value.__class__ is int or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return ""


def hash_of_name(name: str) -> str:
    """Return the hash we give a name of v0: 16 hex digits of its BLAKE2b."""
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


class NameCollector:
    """Gathers one segment's hash tables."""

    __slots__ = ("_by_kind", "_hashes", "tables")

    def __init__(self) -> None:
        self.tables: Final = HashTables(file={}, host={}, string={}, proc={})
        self._by_kind = {
            "FH": self.tables.file,
            "HH": self.tables.host,
            "SH": self.tables.string,
            "PR": self.tables.proc,
        }
        self._hashes: dict[str, str] = {}

    @property
    def held(self) -> int:
        """How many names there are."""
        return sum(map(len, self._by_kind.values()))

    def see(self, kind: str, args: Record) -> None:
        """Take a metadata record; kinds without a table and lists as values are passed over."""
        table = self._by_kind.get(kind)
        if table is None:
            return
        name, hashed = hash_text(args.get("name")), hash_text(args.get("value"))
        if name and hashed:
            table.setdefault(hashed, name)

    def add(self, kind: str, hashed: str, name: str) -> None:
        """Take the name of a hash, neither empty, from a metadata record of *kind*."""
        self._by_kind[kind].setdefault(hashed, name)

    def host(self, name: object) -> str:
        """Return the hash of a v0 host name, now in the tables."""
        return self._own_hash(name, self.tables.host)

    def file(self, name: object) -> str:
        """Return the hash of a v0 file name, now in the tables."""
        return self._own_hash(name, self.tables.file)

    def _own_hash(self, name: object, table: dict[str, str]) -> str:
        if not isinstance(name, str) or not name:
            return ""
        hashed = self._hashes.get(name)
        if hashed is None:
            hashed = self._hashes[name] = hash_of_name(name)
        table.setdefault(hashed, name)
        return hashed
