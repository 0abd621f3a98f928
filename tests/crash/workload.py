"""Random changes of a directory of traces, the same for the same seed, with a record of each.

Every event that is ever written has a number of its own and a duration that follows from it, so
that a count and a sum tell which events an answer holds.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ("Content", "Totals", "Workload", "duration_of", "totals_of")

_LINE = (
    '{{"id":{id},"name":"{name}","cat":"POSIX","pid":{pid},"tid":{pid},"ts":{ts},"dur":{dur},'
    '"ph":1,"type":3,"args":{{"hhash":"00000000000000aa","ret":4096}}}}\n'
)

#: So many events with names of their own are rows that the store takes in as SST files.
_BULK_EVENTS = 5_000
_PATHS = tuple(
    f"{folder}{name}"
    for folder in ("", "run-1/", "run-2/deep/")
    for name in ("a.pfw", "b.pfw.gz", "c.pfw.gz")
)


def duration_of(number: int) -> int:
    """Return the duration of the event *number* in microseconds."""
    return number * 2_654_435_761 % 997 + 1


@dataclass(frozen=True)
class Totals:
    """How many events there are, and the sum of their durations."""

    events: int = 0
    duration: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.events + other.events, self.duration + other.duration)


@dataclass(frozen=True)
class Content:
    """What a trace holds: ranges of events (first, count), in order."""

    ranges: tuple[tuple[int, int], ...] = ()

    def totals(self) -> Totals:
        """Return the totals of the whole trace."""
        return totals_of(self.ranges)

    def begins_with(self, found: Totals) -> bool:
        """Return whether *found* are the totals of the first lines of this trace."""
        rest = found.events
        head = Totals()
        for first, count in self.ranges:
            taken = min(rest, count)
            head += totals_of(((first, taken),))
            rest -= taken
        return head == found


def totals_of(ranges: tuple[tuple[int, int], ...]) -> Totals:
    """Return the totals of some ranges of events."""
    return Totals(
        sum(count for _, count in ranges),
        sum(
            duration_of(number) for first, count in ranges for number in range(first, first + count)
        ),
    )


@dataclass
class Workload:
    """Changes the traces below *folder*; ``now`` is what each holds.

    *before* is called before the first byte of a change, with the paths that it touches and what
    they will hold: ``None`` for nothing. Its second argument says that readers may see a mixture of
    old and new meanwhile.
    """

    folder: Path
    random: random.Random
    before: Callable[[dict[str, Content | None], bool], None]
    now: dict[str, Content] = field(default_factory=dict)
    _next_event: int = 1

    def step(self) -> str:
        """Make one change; return what it was."""
        missing = [path for path in _PATHS if path not in self.now]
        there = sorted(self.now)
        if missing and (not there or self.random.random() < 0.3):
            return self._create(self.random.choice(missing))
        path = self.random.choice(there)
        kind = self.random.choices(
            (self._append, self._replace, self._rewrite, self._rename, self._delete),
            weights=(5, 2, 1, 1, 1),
        )[0]
        return kind(path)

    def _create(self, path: str) -> str:
        content = Content((self._new_range(),))
        self._announce({path: content})
        self._write(self.folder / path, content.ranges)
        return f"create {path}"

    def _append(self, path: str) -> str:
        added = self._new_range()
        self._announce({path: Content((*self.now[path].ranges, added))})
        with (self.folder / path).open("ab") as file:
            file.write(self._bytes(path, added))
        return f"append {path}"

    def _replace(self, path: str) -> str:
        content = Content((self._new_range(), self._new_range()))
        self._announce({path: content})
        temporary = self.folder / (path + ".new")
        self._write(temporary, content.ranges, as_path=path)
        temporary.rename(self.folder / path)
        return f"replace {path}"

    def _rewrite(self, path: str) -> str:
        content = Content((self._new_range(),))
        self._announce({path: content}, mixed=True)
        self._write(self.folder / path, content.ranges)
        return f"rewrite {path}"

    def _rename(self, path: str) -> str:
        same_kind = [other for other in _PATHS if Path(other).suffix == Path(path).suffix]
        target = self.random.choice([other for other in same_kind if other != path])
        self._announce({path: None, target: self.now[path]})
        (self.folder / target).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).rename(self.folder / target)
        return f"rename {path} {target}"

    def _delete(self, path: str) -> str:
        self._announce({path: None})
        (self.folder / path).unlink()
        return f"delete {path}"

    def _announce(self, coming: dict[str, Content | None], *, mixed: bool = False) -> None:
        self.before(coming, mixed)
        for path, content in coming.items():
            if content is None:
                del self.now[path]
            else:
                self.now[path] = content

    def _new_range(self) -> tuple[int, int]:
        bulk = self.random.random() < 0.1
        count = _BULK_EVENTS if bulk else self.random.randint(1, 300)
        first, self._next_event = self._next_event, self._next_event + count
        return first, count

    def _write(self, path: Path, ranges: tuple[tuple[int, int], ...], *, as_path: str = "") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for each in ranges:
                file.write(self._bytes(as_path or path.name, each))

    def _bytes(self, path: str, numbers: tuple[int, int]) -> bytes:
        text = "".join(_lines(*numbers)).encode()
        return gzip.compress(text, 1) if path.endswith(".gz") else text


def _lines(first: int, count: int) -> Iterator[str]:
    for number in range(first, first + count):
        own_name = count == _BULK_EVENTS
        name = random.Random(number).randbytes(100).hex() if own_name else "read"
        yield _LINE.format(
            id=number,
            name=name,
            pid=77,
            ts=1_700_000_000_000_000 + 10 * number,
            dur=duration_of(number),
        )
