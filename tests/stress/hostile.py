"""Traces that no tracer writes on purpose, made as large as asked for."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.end_to_end.made_traces import event_lines

__all__ = (
    "MEBIBYTE",
    "write_bomb",
    "write_file_hashes",
    "write_long_line",
    "write_many_arguments",
    "write_members",
    "write_wrong_checksum",
)

MEBIBYTE: Final = 1 << 20

_PIECE_BYTES: Final = 4 * MEBIBYTE
_MEMBER_BYTES: Final = 16 * MEBIBYTE
_EVENT: Final = (
    '{"id":%d,"name":"read","cat":"POSIX","type":3,"pid":7,"tid":8,"ts":%d,"dur":5,"ph":1,'
    '"args":{"hhash":"00000000000000aa","fhash":"%016x","ret":4096}}\n'
)
_FILE: Final = (
    '{"name":"FH","cat":"dftracer","type":1,"pid":7,"tid":8,"ph":4,'
    '"args":{"hhash":"00000000000000aa","name":"/data/run/file-%d.bin","value":"%016x"}}\n'
)


def write_bomb(path: Path, blank: bytes, mebibytes: int, events: int) -> None:
    """Write a member of so much of *blank*, then one of *events*, which begins a line of its own.

    A bomb of more than a gibibyte is made of members of one each.
    """
    piece = blank * (_PIECE_BYTES // len(blank))
    packer = zlib.compressobj(6, wbits=31)
    unit = min(mebibytes, 1024)
    pieces = unit * MEBIBYTE // _PIECE_BYTES
    member = b"".join(packer.compress(piece) for _ in range(pieces)) + packer.flush()
    with path.open("wb") as file:
        for _ in range(mebibytes // unit):
            file.write(member)
        file.write(gzip.compress(b"\n" + event_lines(events), 1))


def write_long_line(path: Path, length: int, events: int) -> None:
    """Write a record of *length* bytes without its newline, then *events*."""
    head = b'{"name":"long","cat":"APP","pid":1,"tid":1,"ts":5,"dur":1,"ph":1,"args":{"text":"'
    text = head + b"y" * (length - len(head) - 3) + b'"}}'
    with gzip.open(path, "wb", 1) as file:
        file.write(text + b"\n")
        file.write(event_lines(events))


def write_wrong_checksum(path: Path, events: int) -> None:
    """Write two members of *events* each, the first with a wrong checksum."""
    member = gzip.compress(event_lines(events), 1)
    faulty = bytearray(member)
    faulty[-5] ^= 1
    path.write_bytes(bytes(faulty) + member)


def write_many_arguments(path: Path, names: int, phase: int) -> None:
    """Write *names* records with an argument of its own each, then one with all of them."""
    every = {f"argument_{number}": number for number in range(names)}

    def record(number: int, args: dict[str, int]) -> str:
        fields = {"id": number, "name": "cpu", "cat": "sys", "pid": 1, "tid": 1, "ts": 10 * number}
        return json.dumps({**fields, "dur": 1, "ph": phase, "args": args}) + "\n"

    singles = (record(number, {name: number}) for number, name in enumerate(every))
    write_members(path, (*singles, record(names, every)))


def write_file_hashes(path: Path, count: int) -> None:
    """Write *count* files' names, each with an event of that file, in members of 16 MiB."""
    write_members(path, _of_files(count))


def _of_files(count: int) -> Iterator[str]:
    for number in range(count):
        hashed = number * 0x9E3779B97F4A7C15 % 2**64
        yield _FILE % (number, hashed)
        yield _EVENT % (number, 1_700_000_000_000_000 + 10 * number, hashed)


def write_members(path: Path, lines: Iterable[str]) -> None:
    """Write *lines* in members of 16 MiB of text."""
    held: list[str] = []
    size = 0
    with path.open("wb") as file:
        for line in lines:
            held.append(line)
            size += len(line)
            if size >= _MEMBER_BYTES:
                file.write(gzip.compress("".join(held).encode(), 1))
                held, size = [], 0
        file.write(gzip.compress("".join(held).encode(), 1))
