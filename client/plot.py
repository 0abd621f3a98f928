"""A picture of a run: bandwidth and operations over time, by category.

A row of the aggregation says how many operations and bytes there were between its first start and
its last end; they are spread evenly over that time. So the picture is as fine as the rows are, and
its areas are exactly the totals. A short run has few rows, but also few events: these are drawn one
by one. What has no time has no place in it and is told of above.

matplotlib and numpy come with the extra ``plot`` and are imported when something is drawn.
"""

from __future__ import annotations

import os
import string
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import pyarrow as pa

from dftindexd.protocol.errors import InvalidArgumentError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

__all__ = (
    "EVENT_COLUMNS",
    "EVENT_QUERY",
    "Activity",
    "Spans",
    "activity_of",
    "activity_of_events",
    "draw",
    "over_time",
    "require_plotting",
    "unit_of",
)

#: What is drawn of single events, and which of them are those that the aggregation counts.
EVENT_COLUMNS: Final = ("cat", "name", "ts", "dur", "ret")
EVENT_QUERY: Final = "ph not in ['M', 'C', 'A']"

_FORMATS: Final = ("png", "svg", "pdf")
_BINS: Final = 240
_MICROSECOND: Final = 1e-6
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
#: Categories beyond these are drawn as one.
_MOST_CATEGORIES: Final = 7
_OTHERS: Final = "others"
#: Told apart also by those who do not see all colours (Okabe and Ito), and on paper.
_COLOURS: Final = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999"),
)
_INK: Final = "#333333"
_FAINT: Final = "#8a8a8a"


@dataclass
class Spans:
    """What happened between which times, in seconds; one element a row of the aggregation."""

    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    operations: list[float] = field(default_factory=list)
    bytes: list[float] = field(default_factory=list)

    def add(self, other: Spans) -> None:
        """Add all that is in *other*."""
        self.starts += other.starts
        self.ends += other.ends
        self.operations += other.operations
        self.bytes += other.bytes


@dataclass
class Activity:
    """A run by category; ``untimed`` are operations without a time, ``transfers`` the functions,
    each with its category, that moved bytes."""

    categories: dict[str, Spans] = field(default_factory=lambda: defaultdict(Spans))
    operations: int = 0
    untimed: int = 0
    transfers: set[tuple[str, str]] = field(default_factory=set)

    def add(self, category: str, start: int, end: int, count: int, size: int) -> None:
        """Add operations between two times in microseconds."""
        spans = self.categories[category]
        spans.starts.append(start * _MICROSECOND)
        # At least a moment, so that it has an area.
        spans.ends.append(max(end, start + 1) * _MICROSECOND)
        spans.operations.append(count)
        spans.bytes.append(size)

    @property
    def begin(self) -> float:
        """When the first operation began."""
        return min((min(one.starts) for one in self.categories.values()), default=0.0)

    @property
    def end(self) -> float:
        """When the last operation ended."""
        return max((max(one.ends) for one in self.categories.values()), default=0.0)

    @property
    def bytes(self) -> float:
        """How many bytes were moved."""
        return sum(sum(one.bytes) for one in self.categories.values())

    @property
    def seconds(self) -> float:
        """How long it took from the first to the last."""
        return self.end - self.begin


def require_plotting(path: str) -> str:
    """Return the format that the suffix of *path* names.

    :raises InvalidArgumentError: it is none that can be drawn, or matplotlib is not installed.
    """
    form = os.path.splitext(path)[1].lower().removeprefix(".")
    if form not in _FORMATS:
        raise InvalidArgumentError(
            f"{path} is no picture that can be drawn", f"name a file .{', .'.join(_FORMATS)}"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InvalidArgumentError(
            f"drawing {path} needs matplotlib: {error}", "pip install 'dftindexd[plot]'"
        ) from error
    return form


def activity_of(batches: Iterable[pa.RecordBatch]) -> Activity:
    """Gather what rows of the aggregation, that are not grouped, say of time."""
    activity = Activity()
    columns = ("cat", "func_name", "time_start", "time_end", "count", "size")
    for category, name, start, end, count, size in _rows(batches, columns):
        activity.operations += count
        if size is not None:
            activity.transfers.add((category, name))
        if start is None or end is None:
            activity.untimed += count
            continue
        activity.add(category, start, end, count, size or 0)
    return activity


def activity_of_events(batches: Iterable[pa.RecordBatch], rows: Activity) -> Activity:
    """Gather the times of single events, with ``EVENT_COLUMNS``; *rows* are those of the
    aggregation, which knows what moves bytes. It is *rows* again where the two do not have the same
    operations and bytes: then the traces changed between the two."""
    activity = Activity(transfers=rows.transfers)
    for written, name, start, duration, size in _rows(batches, EVENT_COLUMNS):
        # Categories of the aggregation are in lower case.
        category = written.translate(_LOWER)
        activity.operations += 1
        if start is None:
            activity.untimed += 1
            continue
        moved = size if (category, name) in rows.transfers and size is not None else 0
        activity.add(category, start, start + (duration or 0), 1, max(moved, 0))
    is_same = activity.operations == rows.operations and activity.bytes == rows.bytes
    return activity if is_same else rows


def _rows(batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)


def over_time(
    starts: Sequence[float], ends: Sequence[float], amounts: Sequence[float], edges: Numbers
) -> Numbers:
    """Return how much of *amounts*, each spread evenly from its start to its end, lies between each
    two *edges*, per second."""
    import numpy as np

    begins, stops = np.asarray(starts, float), np.asarray(ends, float)
    rates = np.asarray(amounts, float) / (stops - begins)

    def flown(moments: Numbers) -> Numbers:
        # At time t: of all that began at s at the rate r before t, the sum of r * (t - s).
        order = np.argsort(moments)
        at, rate = moments[order], rates[order]
        place = np.searchsorted(at, edges)
        total = np.concatenate([[0.0], np.cumsum(rate)])[place]
        shift = np.concatenate([[0.0], np.cumsum(rate * at)])[place]
        return np.asarray(total * edges - shift)

    amount = np.diff(flown(begins) - flown(stops))
    return np.asarray(np.maximum(amount, 0.0) / np.diff(edges))


def unit_of(most: float, unit: str) -> tuple[float, str]:
    """Return by what to divide numbers up to *most*, and the unit that they then have."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if most >= factor:
            return factor, prefix + unit
    return 1.0, unit


def draw(activity: Activity, title: str, target: BinaryIO, form: str) -> None:
    """Draw *activity* to *target*; no display is needed."""
    import numpy as np
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    begin, seconds = activity.begin, max(activity.seconds, _MICROSECOND)
    edges = np.linspace(begin, begin + seconds, _BINS + 1)
    shown = _most_active(activity)
    with rc_context({"font.size": 10, "font.family": "sans-serif", "svg.fonttype": "none"}):
        figure = Figure(figsize=(10, 6), layout="constrained", facecolor="white")
        above, below = figure.subplots(2, 1, sharex=True)
        byte_rates = [over_time(s.starts, s.ends, s.bytes, edges) for s in shown.values()]
        rates = [over_time(s.starts, s.ends, s.operations, edges) for s in shown.values()]
        moments = edges - begin
        _panel(above, moments, byte_rates, "bandwidth", "B/s")
        handles = _panel(below, moments, rates, "operations", "/s")
        below.set_xlabel("seconds since the first event", color=_INK)
        below.set_xlim(0.0, seconds)
        figure.suptitle(title, x=0.012, ha="left", color=_INK, fontsize=13, fontweight="bold")
        above.set_title(_summary(activity), loc="left", color=_FAINT, fontsize=9)
        if handles:
            labels = [_label(name, spans) for name, spans in shown.items()]
            figure.legend(
                *(handles, labels),
                loc="outside lower left",
                ncols=3,
                frameon=False,
                fontsize=9,
                labelcolor=_INK,
            )
        figure.savefig(target, format=form, dpi=150)


def _panel(axes: Any, moments: Numbers, rates: list[Numbers], name: str, unit: str) -> list[Any]:
    """Draw one stack of *rates*, each a step from moment to moment; return the areas."""
    import numpy as np

    stacked = np.cumsum(rates, axis=0) if rates else np.zeros((0, len(moments) - 1))
    most = float(stacked.max(initial=0.0))
    factor, scaled = unit_of(most, unit)
    handles = []
    lower = np.zeros(len(moments) - 1)
    for upper, colour in zip(stacked / factor, _COLOURS, strict=False):
        heights = (np.append(edge, edge[-1:]) for edge in (lower, upper))
        handles.append(
            axes.fill_between(moments, *heights, step="post", color=colour, linewidth=0, alpha=0.9)
        )
        lower = upper
    axes.set_ylabel(f"{name}, {scaled}", color=_INK)
    axes.set_ylim(0.0, most / factor * 1.08 if most else 1.0)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")
    if not most:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=_FAINT)
    return handles


def _most_active(activity: Activity) -> dict[str, Spans]:
    """Return the categories, the most bytes and then operations first, the smallest as one."""
    names = sorted(
        activity.categories,
        key=lambda name: (
            -sum(activity.categories[name].bytes),
            -sum(activity.categories[name].operations),
            name,
        ),
    )
    few = len(names) <= _MOST_CATEGORIES + 1
    shown = {name: activity.categories[name] for name in names[: None if few else _MOST_CATEGORIES]}
    for name in names[len(shown) :]:
        shown.setdefault(_OTHERS, Spans()).add(activity.categories[name])
    return shown


def _label(name: str, spans: Spans) -> str:
    operations, size = sum(spans.operations), sum(spans.bytes)
    calls = _text(operations, "")
    return f"{name}: {calls} operations" + (f", {_text(size, 'B')}" if size else "")


def _summary(activity: Activity) -> str:
    untimed = f", {activity.untimed:,} without a time" if activity.untimed else ""
    return (
        f"{activity.operations:,} operations{untimed}, {_text(activity.bytes, 'B')} in "
        f"{activity.seconds:,.3g} s"
    )


def _text(amount: float, unit: str) -> str:
    factor, scaled = unit_of(amount, unit)
    return f"{amount / factor:,.3g} {scaled}".rstrip()
