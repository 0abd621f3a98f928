"""A daemon whose store breaks one promise, so that the crash tests can be seen to notice.

``no-log``: writes do not reach the write-ahead log. ``torn``: the records of a commit are written
before its rows. ``early``: a write is acknowledged before it is made.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from dftindexd.daemon.cli import main
from dftindexd.index.store.layout import DEFAULT
from dftindexd.index.store.rocks import Batch, RocksStore

_LATE_SECONDS = 0.3

_open = RocksStore.__init__
_write = RocksStore.write
_put = Batch.put


def _without_log(store: RocksStore, path: str) -> None:
    _open(store, path)
    options: Any = store._options
    options.disable_wal = True


def _in_two_parts(store: RocksStore, batch: Batch) -> None:
    _write(store, batch)
    time.sleep(_LATE_SECONDS)
    late = store.batch()
    for family, key, value in getattr(batch, "held", ()):
        _put(late, family, key, value)
    _write(store, late)


class _TornBatch(Batch):
    """Holds back what is not a record."""

    __slots__ = ("held",)

    def __init__(self, handles: Any) -> None:
        super().__init__(handles)
        self.held: list[tuple[str, bytes, bytes]] = []

    def put(self, family: str, key: bytes, value: bytes) -> None:
        if family == DEFAULT:
            super().put(family, key, value)
        else:
            self.held.append((family, key, value))


def _later(store: RocksStore, batch: Batch) -> None:
    threading.Timer(_LATE_SECONDS, _write, (store, batch)).start()


_WAYS: dict[str, dict[str, Any]] = {
    "no-log": {"__init__": _without_log},
    "torn": {"batch": lambda store: _TornBatch(store._handles), "write": _in_two_parts},
    "early": {"write": _later},
}


if __name__ == "__main__":
    for name, function in _WAYS[sys.argv.pop(1)].items():
        setattr(RocksStore, name, function)
    main(prog_name="dftindexd")
