"""Calls as a flame graph: one HTML page that needs nothing but itself.

Script and style are in the page, and its policy lets it load nothing. Names come into it as JSON
that cannot end the element it is in, and are shown as text alone. The page has the largest frames,
so that its size is bounded whatever the trace; it says what it leaves out.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from importlib.resources import files
from string import Template
from typing import Any, Final, NamedTuple

import msgspec

from dftindexd.client.exports.call_stacks import Frame
from dftindexd.client.exports.source import Process

__all__ = ("MOST_FRAMES", "Shown", "flame_page", "shown_frames")

#: So many frames a page has at most: a browser zooms into them without delay.
MOST_FRAMES: Final = 20_000

#: So many processes are listed.
_MOST_PROCESSES: Final = 1000

_MICROSECOND: Final = 1000
#: What could end a script element, or a line of a script, written in another way.
_ESCAPES: Final = {
    one: f"\\u{ord(one):04x}".encode() for one in ("<", ">", "&", "\u2028", "\u2029")
}

_encode: Final = msgspec.json.Encoder().encode


class Shown(NamedTuple):
    """The frames of a page, each after the one that it lies in: name (a place in ``names``), place
    of the outer frame (-1 of the first), count, total and own time in microseconds. ``hidden`` ones
    are left out, which took no more than ``least`` of all time each."""

    names: list[str]
    frames: list[tuple[int, int, int, int, int]]
    hidden: int
    least: float


def shown_frames(whole: Frame, most: int = MOST_FRAMES) -> Shown:
    """Choose the *most* frames that took longest; one is shown with all that it lies in."""
    totals = sorted((frame.total for frame in _every(whole)), reverse=True)
    least = totals[most - 1] if len(totals) > most else -1
    names: dict[str, int] = {}
    frames: list[tuple[int, int, int, int, int]] = []
    pending = [(whole, -1)]
    # Of frames that took just as long as the least, there may be too many.
    while pending and len(frames) < most:
        frame, outer = pending.pop()
        name = names.setdefault(frame.name, len(names))
        times = (frame.total // _MICROSECOND, frame.own // _MICROSECOND)
        place = len(frames)
        frames.append((name, outer, frame.count, *times))
        inner = sorted(frame.inner.values(), key=lambda one: (one.total, one.name))
        pending += [(one, place) for one in inner if one.total >= least]
    hidden = len(totals) - len(frames)
    share = least / whole.total if hidden and whole.total else 0.0
    return Shown(list(names), frames, hidden, share)


def _every(whole: Frame) -> Iterator[Frame]:
    pending = [whole]
    while pending:
        frame = pending.pop()
        yield frame
        pending += frame.inner.values()


def flame_page(
    whole: Frame, title: str, processes: Sequence[Process], begin: int, end: int
) -> bytes:
    """Return the page of the calls in *whole*, those of *processes*, which are from *begin* to
    *end*, in nanoseconds."""
    shown = shown_frames(whole)
    data = {
        "title": title,
        "begin": begin // _MICROSECOND,
        "end": end // _MICROSECOND,
        "processes": [_process(one) for one in processes[:_MOST_PROCESSES]],
        "process_count": len(processes),
        **shown._asdict(),
    }
    style, script = _part("flame.css"), _part("flame.js")
    page = Template(_part("flame.html")).substitute(
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=_inert(data),
    )
    return page.encode()


def _process(process: Process) -> dict[str, Any]:
    return {
        "id": process.id,
        "exe": process.exe,
        "cmd": process.cmd.replace(";", " "),
        "pid": process.pid,
        "host": process.host,
        "start": process.start // _MICROSECOND,
    }


def _part(name: str) -> str:
    return files("dftindexd.client.exports").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inert(data: object) -> str:
    """Return JSON that means the same and ends no element."""
    text = _encode(data)
    for one, escape in _ESCAPES.items():
        text = text.replace(one.encode(), escape)
    return text.decode()
