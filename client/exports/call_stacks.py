"""Which call lies in which, among calls that come in the order of a tree.

A call lies in the last one before it that spans it. So a selection of calls has a tree, too: one
that was left out has its calls lie in what it lay in itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from dftindexd.client.exports.source import Process, Stream

__all__ = ("CallTree", "Frame", "Slices", "process_label", "thread_label")


class Frame:
    """All calls with the same names around them. ``count`` calls took ``total`` nanoseconds, and
    outside of the calls in them ``own``."""

    __slots__ = ("count", "inner", "name", "own", "total")

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.total = 0
        self.own = 0
        self.inner: dict[str, Frame] = {}

    def within(self, name: str) -> Frame:
        """Return the frame *name* in this one; it is made where there is none."""
        found = self.inner.get(name)
        if found is None:
            found = self.inner[name] = Frame(name)
        return found


class _Open:
    """A call that further ones may lie in. Those up to ``covered`` are told from its own time."""

    __slots__ = ("covered", "end", "frame")

    def __init__(self, frame: Frame, begin: int, end: int) -> None:
        self.frame = frame
        self.covered = begin
        self.end = end


class CallTree:
    """The calls of any number of threads, by process, thread and names: ``whole`` is their sum.

    Memory is that of distinct stacks, however many calls there are. A process or thread has the
    time and the number of its calls, and no time of its own.
    """

    def __init__(self) -> None:
        self.whole = Frame("all")
        self._stream = ""
        self._tops: tuple[Frame, ...] = ()
        self._around: list[_Open] = []

    def add(self, stream: Stream, calls: Iterable[tuple[int, int, str]]) -> None:
        """Add calls of a thread: begin, end and name, in the order of a tree. They may come in
        several parts, if no others come between."""
        if stream.id != self._stream:
            process = self.whole.within(process_label(stream.process))
            self._tops = self.whole, process, process.within(thread_label(stream))
            self._stream, self._around = stream.id, []
        tops, around = self._tops, self._around
        thread = tops[-1]
        count = total = 0
        for begin, end, name in calls:
            while around and end > around[-1].end:
                around.pop()
            time = end - begin
            if around:
                outer = around[-1]
                frame = outer.frame.within(name)
                if end > outer.covered:
                    outer.frame.own -= end - max(begin, outer.covered)
                    outer.covered = end
            else:
                frame = thread.within(name)
                total += time
            frame.count += 1
            frame.total += time
            frame.own += time
            count += 1
            around.append(_Open(frame, begin, end))
        for top in tops:
            top.count += count
            top.total += total


class Slices:
    """Tells which calls of a thread can be drawn in and after each other: those that cross no
    other of these."""

    def __init__(self) -> None:
        self._ends: list[int] = []

    def fits(self, begin: int, end: int) -> bool:
        """Tell it of the next call, in the order of a tree."""
        ends = self._ends
        while ends and ends[-1] <= begin:
            ends.pop()
        if ends and end > ends[-1]:
            return False
        ends.append(end)
        return True


def process_label(process: Process) -> str:
    """Return what a process is called: its program, and its id."""
    return f"{os.path.basename(process.exe)} {process.id}".strip()


def thread_label(stream: Stream) -> str:
    """Return what a thread is called: its name, if it has one, and its number."""
    number = str(stream.tid)
    return f"{stream.name if stream.name not in ('', number) else 'thread'} {number}"
