"""Random changes of a directory of traces on a real file system, the same for the same seed.

Every event has a number of its own and a duration that follows from it, so that a count and a sum
tell which events an answer holds.
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.crash.workload import duration_of

__all__ = ("DiskChanges",)

_LINE = (
    '{{"id":{id},"name":"{name}","cat":"POSIX","pid":{pid},"tid":{pid},"ts":{ts},"dur":{dur},'
    '"ph":1,"type":3,"args":{{"hhash":"00000000000000aa","ret":4096}}}}\n'
)
_NAMES = (b"a.pfw", b"b.pfw", b"c.pfw.gz", b"d.pfw.gz", b"e\xff.pfw", b"not-a-trace.txt")
_FOLDERS = (b"", b"run", b"run/deep", b"run/deep/er", b"other", b"n\xfe")


class DiskChanges:
    """Changes the traces below *root*; *aside* is an empty directory beside it."""

    def __init__(self, root: Path, aside: Path, seed: int) -> None:
        self._root = os.fsencode(root)
        self._aside = os.fsencode(aside)
        self._random = random.Random(seed)
        self._next_event = 1
        self._moved = 0

    def step(self) -> str:
        """Make one change, as far as there is something to change; return what it was."""
        kinds: tuple[tuple[Callable[[], str], int], ...] = (
            (self._write, 6),
            (self._append, 6),
            (self._replace, 3),
            (self._rewrite_in_place, 2),
            (self._truncate, 2),
            (self._rename, 3),
            (self._exchange, 1),
            (self._delete, 2),
            (self._turn_time_back, 1),
            (self._link, 1),
            (self._make_nested_burst, 1),
            (self._move_directory, 3),
            (self._move_directory_out, 1),
            (self._move_directory_in, 2),
            (self._remove_tree, 1),
        )
        functions, weights = zip(*kinds, strict=True)
        return str(self._random.choices(functions, weights)[0]())

    # -- what there is ------------------------------------------------------------------------

    def _files(self) -> list[bytes]:
        return sorted(
            os.path.join(folder, name)
            for folder, _, names in os.walk(self._root)
            for name in names
            if not os.path.islink(os.path.join(folder, name))
        )

    def _directories(self) -> list[bytes]:
        return sorted(
            os.path.join(folder, name)
            for folder, names, _ in os.walk(self._root)
            for name in names
            if not os.path.islink(os.path.join(folder, name))
        )

    def _some_file(self) -> bytes | None:
        files = self._files()
        return self._random.choice(files) if files else None

    def _place(self) -> bytes:
        """Return where a trace may be, in a directory that is there."""
        folder = os.path.join(self._root, self._random.choice(_FOLDERS))
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, self._random.choice(_NAMES))

    def _lines(self, count: int) -> bytes:
        first, self._next_event = self._next_event, self._next_event + count
        return "".join(
            _LINE.format(
                id=number,
                name=("read", "write", "open")[number % 3],
                pid=number % 4,
                ts=1_700_000_000_000_000 + 1000 * number,
                dur=duration_of(number),
            )
            for number in range(first, first + count)
        ).encode()

    def _bytes(self, path: bytes) -> bytes:
        """Return what one flush adds to the trace *path*: sometimes less than all of it."""
        lines = self._lines(self._random.randint(1, 60))
        data = gzip.compress(lines, 1) if path.endswith(b".gz") else lines
        if self._random.random() < 0.2:
            return data[: self._random.randrange(len(data))]
        return data

    def _put(self, path: bytes, mode: str) -> None:
        with open(path, mode) as file:
            file.write(self._bytes(path))

    # -- changes ------------------------------------------------------------------------------

    def _write(self) -> str:
        path = self._place()
        self._put(path, "wb")
        return f"write {path!r}"

    def _append(self) -> str:
        path = self._some_file()
        if path is None:
            return self._write()
        self._put(path, "ab")
        return f"append {path!r}"

    def _replace(self) -> str:
        path = self._place()
        self._put(path + b".part", "wb")
        os.rename(path + b".part", path)
        return f"replace {path!r}"

    def _rewrite_in_place(self) -> str:
        """Another text of the same size, with the old modification time."""
        path = self._some_file()
        if path is None:
            return self._write()
        before = os.stat(path)
        with open(path, "r+b") as file:
            data = file.read()
            file.seek(0)
            file.write(data if path.endswith(b".gz") else data.replace(b'"read"', b'"send"'))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return f"rewrite {path!r}"

    def _truncate(self) -> str:
        path = self._some_file()
        if path is None:
            return self._write()
        os.truncate(path, self._random.randint(0, os.stat(path).st_size))
        return f"truncate {path!r}"

    def _rename(self) -> str:
        path = self._some_file()
        if path is None:
            return self._write()
        target = self._place()
        os.rename(path, target)
        return f"rename {path!r} {target!r}"

    def _exchange(self) -> str:
        files = self._files()
        if len(files) < 2:
            return self._write()
        one, other = self._random.sample(files, 2)
        aside = one + b".aside"
        os.rename(one, aside)
        os.rename(other, one)
        os.rename(aside, other)
        return f"exchange {one!r} {other!r}"

    def _delete(self) -> str:
        path = self._some_file()
        if path is None:
            return self._write()
        os.unlink(path)
        return f"delete {path!r}"

    def _turn_time_back(self) -> str:
        path = self._some_file()
        if path is None:
            return self._write()
        os.utime(path, ns=(10**18, 10**18))
        return f"turn time back {path!r}"

    def _link(self) -> str:
        target = self._place()
        link = target + b".link.pfw"
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(self._random.choice((target, self._root, self._aside, link)), link)
        return f"link {link!r}"

    def _make_nested_burst(self) -> str:
        for number in range(12):
            folder = os.path.join(self._root, b"burst%d" % (number % 3), b"s%d" % number, b"node")
            os.makedirs(folder, exist_ok=True)
            self._put(os.path.join(folder, b"t.pfw.gz"), "wb")
        return "nested burst"

    def _move_directory(self) -> str:
        directories = self._directories()
        if not directories:
            return self._write()
        source = self._random.choice(directories)
        self._moved += 1
        into = self._random.choice([self._root, *directories])
        if into == source or into.startswith(source + b"/"):
            into = self._root
        target = os.path.join(into, b"moved%d" % self._moved)
        os.rename(source, target)
        return f"move {source!r} {target!r}"

    def _move_directory_out(self) -> str:
        directories = self._directories()
        if not directories:
            return self._write()
        self._moved += 1
        source = self._random.choice(directories)
        os.rename(source, os.path.join(self._aside, b"out%d" % self._moved))
        return f"move out {source!r}"

    def _move_directory_in(self) -> str:
        outside = sorted(os.listdir(self._aside))
        if not outside:
            return self._move_directory_out()
        self._moved += 1
        source = os.path.join(self._aside, self._random.choice(outside))
        target = os.path.join(self._root, b"in%d" % self._moved)
        os.rename(source, target)
        return f"move in {target!r}"

    def _remove_tree(self) -> str:
        directories = self._directories()
        if not directories:
            return self._write()
        tree = self._random.choice(directories)
        shutil.rmtree(tree)
        return f"remove tree {tree!r}"
