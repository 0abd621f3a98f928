"""A process of another user that asks a daemon, as a program: one call a line in, its answer out.

A call is a JSON list: the name of a method of the client, its arguments and its options. Beside
these there are ``connect`` (so many connections, which are kept), ``changes`` (since an answer of
just before), ``events_until`` (the events until one is of a path that ends so) and ``on_disk``
(which files below a directory this process can find and read itself). The answer comes as
``{"answer": ...}`` or ``{"error": [code, message, hint]}``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from dftindexd.client import Answer, Client, connect
from dftindexd.protocol.errors import DftIndexError

__all__ = ("main",)


class _Calls:
    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._client: Client | None = None
        self._kept: list[Client] = []

    def connect(self, number: int = 1) -> int:
        for _ in range(number):
            self._kept.append(connect(self._socket))
        return len(self._kept)

    def read(self, path: str, **options: Any) -> list[Any]:
        with self.client.read(path, **options) as batches:
            return [row for batch in batches for row in batch.to_pylist()]

    def changes(self, path: str) -> Answer:
        return self.client.list(path, since=self.client.list(path))

    def events_until(self, path: str, end: str) -> list[str]:
        told = []
        with self.client.events(path) as events:
            print(json.dumps({"begun": True}), flush=True)
            for event in events:
                told.append(event.path)
                if event.path.endswith(end) and event.kind in ("indexed", "grew"):
                    break
        return told

    def on_disk(self, path: str) -> list[str]:
        if os.path.isdir(path):
            every = [os.path.join(at, name) for at, _, names in os.walk(path) for name in names]
        else:
            every = [path]
        return sorted(file for file in every if _opens(file))

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = connect(self._socket)
        return self._client

    def answer(self, call: str, arguments: list[Any], options: dict[str, Any]) -> Any:
        method: Callable[..., Any] = getattr(self if hasattr(self, call) else self.client, call)
        found = method(*arguments, **options)
        return found.to_pylist() if isinstance(found, Answer) else found


def _opens(path: str) -> bool:
    with suppress(OSError), open(path, "rb"):
        return True
    return False


def main(socket: str) -> None:
    """Answer calls until standard input ends."""
    calls = _Calls(socket)
    for line in sys.stdin:
        told: dict[str, Any]
        try:
            told = {"answer": calls.answer(*json.loads(line))}
        except DftIndexError as error:
            told = {"error": [error.code, error.message, error.hint]}
        print(msgspec.json.encode(told).decode(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
