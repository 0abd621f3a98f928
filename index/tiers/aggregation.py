"""Tier 3: statistics of records by (kind, cat, name, pid, tid, hashes, time bucket).

The builder takes blocks of records and keeps one row a key; ``docs/aggregation.md`` has the rules.
Complete events are sampled call by call; counters and aggregated records bring the statistics of
many calls, whose squares are unknown.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from dftindexd.index.model import AggregationTier, Row
from dftindexd.index.store.layout import AGGREGATION, segment_key
from dftindexd.index.tiers.aggregation_schema import (
    KIND_EVENT,
    KIND_PROFILE,
    KIND_SYSTEM,
    NO_BUCKET,
    check_tier,
    extra_column,
    key_columns,
    metric_column,
    quantities,
    reductions,
    row_schema,
    sketch_key,
    tier_key,
)
from dftindexd.index.tiers.frames import empty_frame, encode_frame
from dftindexd.index.tiers.grouped_events import GroupedEvents
from dftindexd.index.tiers.groups import (
    UINT64_MAX,
    Array,
    Columns,
    RowAccumulator,
    compact_codes,
    group_rows,
    maxima,
    minima,
)
from dftindexd.index.tiers.record_kinds import Arguments, Numbers, record_kinds
from dftindexd.index.tiers.samples import Samples, sample_statistics
from dftindexd.index.tiers.sketches import SketchBuilder
from dftindexd.index.trace.columns import (
    HAS_COUNT,
    HAS_OFFSET,
    HAS_RET,
    HAS_TS,
    PHASE_COUNTER,
    Interner,
    RecordColumns,
)
from dftindexd.index.trace.kernel import GroupTable
from dftindexd.index.trace.kernel_layout import TRANSFER_NAMES

__all__ = ("TRANSFERS", "AggregationBuilder", "ascii_lower")

#: The functions whose ``ret`` is a number of bytes.
TRANSFERS: Final = frozenset(TRANSFER_NAMES)

_TRANSFER_CATEGORIES: Final = frozenset(("posix", "stdio"))
#: So many texts are quicker handled one by one.
_FEW: Final = 64
_INT64_MAX: Final = 2**63 - 1
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

_Mask = npt.NDArray[np.bool_]


def ascii_lower(text: str) -> str:
    """Return *text* with A-Z in lower case and every other letter as it is."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


class AggregationBuilder:
    """Builds the aggregation rows of one segment from blocks of its records.

    All blocks and :meth:`rows` must be given the segment's one interner. Memory is bounded by the
    number of distinct keys.
    """

    def __init__(self, config: AggregationTier) -> None:
        check_tier(config)
        self._config = config
        self._categories = Interner()
        self._rows = RowAccumulator(key_columns(config), reductions(config))
        self._grouped: GroupedEvents | None = None  # all events, while there is nothing else
        self._sketches: SketchBuilder | None = None
        if config.percentiles:
            self._sketches = SketchBuilder(key_columns(config), quantities(config))

    @property
    def min_bucket(self) -> int | None:
        """The smallest bucket so far; records without a timestamp do not count."""
        buckets = self._buckets()
        if buckets is None:
            return None
        timed = buckets[buckets != NO_BUCKET]
        return int(timed.min()) if len(timed) else None

    def _buckets(self) -> Array | None:
        if self._grouped is not None:
            return self._grouped.buckets
        rows = self._rows.result()
        return None if rows is None else rows["bucket"]

    @property
    def held(self) -> int:
        """About how many rows and entries of sketches there are so far."""
        grouped = 0 if self._grouped is None else len(self._grouped)
        return grouped + self._rows.held + (self._sketches.held if self._sketches else 0)

    def add(self, columns: RecordColumns, texts: Interner) -> None:
        """Take in a block of records; samples of the system metrics are left to their tier."""
        if not len(columns):
            return
        self._ungroup()
        arguments = Arguments(columns, texts)
        kinds = record_kinds(columns, arguments, texts)
        keys = self._keys(columns, arguments, kinds)
        events = np.flatnonzero(kinds == KIND_EVENT)
        if len(events):
            self._rows.add(self._event_rows(columns, arguments, keys, events, texts))
        folded = np.flatnonzero((kinds == KIND_PROFILE) | (kinds == KIND_SYSTEM))
        if len(folded):
            self._rows.add(self._counter_rows(columns, arguments, keys, folded, texts))

    def add_groups(self, groups: GroupTable, texts: Interner) -> None:
        """Take in events that were grouped as they were read."""
        if not len(groups.cat):
            return
        self._ungroup()
        categories, apart = self._lowered(groups.cat, texts)
        events = GroupedEvents.of(groups, categories)
        if groups.distinct and apart and self._rows.empty:
            self._grouped = events
        else:
            self._rows.add(events.columns(self._config))

    def _ungroup(self) -> None:
        """Make the grouped events rows like others, as they do not stay the only ones."""
        if self._grouped is not None:
            self._rows.add(self._grouped.columns(self._config), distinct=True)
            self._grouped = None

    def rows(self, segment_id: int, texts: Interner) -> list[Row]:
        """Return the row of a segment, also where it has no records, and that of its sketches."""
        key = segment_key(segment_id, tier_key(self._config))
        stored = [(AGGREGATION, key, self._stored(texts))]
        if self._sketches:
            key = segment_key(segment_id, sketch_key(self._config))
            stored.append((AGGREGATION, key, self._sketches.stored(self._rows.result())))
        return stored

    def _stored(self, texts: Interner) -> bytes:
        schema = row_schema(self._config)
        # The categories have codes of their own, which follow those of the other texts.
        every, first = [*texts.texts, *self._categories.texts], len(texts)
        if self._grouped is not None:
            return self._grouped.stored(self._config, first, every)
        rows = self._rows.result()
        if rows is None:
            return empty_frame(schema)
        columns = dict(rows)
        columns["cat"] = rows["cat"] + first
        for name in schema.optional:
            columns[name] = np.where(rows[name] == 0, -1, rows[name])
        return encode_frame(schema, columns, every)

    def _keys(self, columns: RecordColumns, arguments: Arguments, kinds: Array) -> Columns:
        """Return the key of each record, with ``cat`` as written and the number of the bucket."""
        keys: Columns = {
            "kind": kinds,
            "cat": columns.cat,
            "name": columns.name,
            "pid": columns.pid,
            "tid": columns.tid,
            "hhash": columns.hhash,
            "fhash": columns.fhash,
            "bucket": self._bucket_numbers(columns, kinds),
        }
        for key in self._config.group_keys:
            keys[extra_column(key)] = arguments.texts(key)
        return keys

    def _bucket_numbers(self, columns: RecordColumns, kinds: Array) -> npt.NDArray[np.int64]:
        time = columns.ts.astype(np.uint64)
        shifted = (kinds == KIND_PROFILE) & (columns.phase == PHASE_COUNTER) & (columns.ts > 0)
        if shifted.any():
            time -= shifted
        if self._config.bucket_by == "midpoint":
            time += (columns.dur >> 1).astype(np.uint64)
        numbers = np.minimum(time, np.uint64(_INT64_MAX)).astype(np.int64)
        if self._config.interval_us > 1:
            numbers //= self._config.interval_us
        timeless = (columns.has & HAS_TS) == 0
        if timeless.any():
            numbers[timeless] = NO_BUCKET
        return numbers

    def _finished_keys(self, keys: Columns, rows: Array, texts: Interner) -> Columns:
        """Return the keys of *rows* as they are stored: ``cat`` in lower case, buckets in time."""
        finished = {name: values[rows] for name, values in keys.items()}
        finished["cat"], _ = self._lowered(finished["cat"], texts)
        numbers = finished["bucket"]
        width = max(self._config.interval_us, 1)
        finished["bucket"] = np.where(numbers == NO_BUCKET, NO_BUCKET, numbers * width)
        return finished

    def _lowered(self, categories: Array, texts: Interner) -> tuple[npt.NDArray[np.int32], bool]:
        """Return our codes of *categories* in lower case; whether different ones stay different."""
        if len(categories) > _FEW:
            written, used = compact_codes(categories)
            lowered = [self._lower_code(code, texts) for code in used.tolist()]
            return np.array(lowered, np.int32)[written], len(set(lowered)) == len(lowered)
        codes = categories.tolist()
        known = {code: self._lower_code(code, texts) for code in dict.fromkeys(codes)}
        apart = len(set(known.values())) == len(known)
        return np.array([known[code] for code in codes], np.int32), apart

    def _lower_code(self, category: int, texts: Interner) -> int:
        return self._categories.code(ascii_lower(texts.texts[category]))

    def _event_rows(
        self,
        columns: RecordColumns,
        arguments: Arguments,
        keys: Columns,
        events: npt.NDArray[np.int64],
        texts: Interner,
    ) -> Columns:
        whole = len(events) == len(columns)
        if not whole:
            keys = {name: values[events] for name, values in keys.items()}
        groups = group_rows(list(keys.values()), len(events))

        def pick(values: Array) -> Array:
            return values if whole else values[events]

        rows = self._finished_keys(keys, groups.first, texts)
        ts, dur, has = pick(columns.ts), pick(columns.dur), pick(columns.has)
        rows["count"] = np.bincount(groups.ids, minlength=len(groups)).astype(np.uint64)
        ret = pick(columns.ret)
        sized = ((has & HAS_RET) != 0) & (ret >= 0) & self._transfers(rows, texts)[groups.ids]
        offset = pick(columns.offset)
        samples = {
            "dur": Samples(dur, None),
            "size": Samples(ret, sized),
            "offset": Samples(np.maximum(offset, 0), (has & HAS_OFFSET) != 0),
        }
        for field in dict.fromkeys(self._config.custom_metric_fields):
            numbers = _plain(columns, arguments, field)
            values = np.maximum(pick(numbers.values), 0)
            samples[metric_column(field)] = Samples(values, pick(numbers.has))
        for quantity, one in samples.items():
            rows |= sample_statistics(quantity, one, groups)
        if self._sketches:
            self._sketches.add(rows, groups, samples)
        timed = (has & HAS_TS) != 0
        end = np.minimum(ts.view(np.uint64) + dur.view(np.uint64), np.uint64(_INT64_MAX))
        end = end.view(np.int64)
        if not timed.all():
            ts, end = np.where(timed, ts, 0), np.where(timed, end, 0)
        rows["ts"] = minima(ts, groups)
        rows["te"] = maxima(end, groups)
        return rows

    def _transfers(self, rows: Columns, texts: Interner) -> _Mask:
        """Return for each row whether its ``ret`` is a number of bytes."""
        names, used = compact_codes(rows["name"])
        transfer = np.array([texts.texts[code] in TRANSFERS for code in used.tolist()], np.bool_)
        io = [category in _TRANSFER_CATEGORIES for category in self._categories.texts]
        return transfer[names] & np.array(io, np.bool_)[rows["cat"]]

    def _counter_rows(
        self,
        columns: RecordColumns,
        arguments: Arguments,
        keys: Columns,
        folded: npt.NDArray[np.int64],
        texts: Interner,
    ) -> Columns:
        calls = _calls(columns, arguments)
        rows = self._finished_keys(keys, folded, texts)
        rows["count"] = calls[folded].astype(np.uint64)
        arguments_of = {"dur": "dur", "size": "ret", "offset": "offset"}
        for field in self._config.custom_metric_fields:
            arguments_of[metric_column(field)] = field
        for quantity in quantities(self._config):
            statistics = _folded(quantity, arguments_of[quantity], columns, arguments, calls)
            rows |= {name: values[folded] for name, values in statistics.items()}
        ts = columns.ts[folded]
        timed = (columns.has[folded] & HAS_TS) != 0
        width = self._config.interval_us
        rows["ts"] = np.where(timed, ts, 0)
        rows["te"] = np.where(timed, np.minimum(ts, _INT64_MAX - width) + width, 0)
        return rows


def _plain(columns: RecordColumns, arguments: Arguments, name: str) -> Numbers:
    """Return argument *name* of each record, from its own column where it has one."""
    own = {
        "ret": (HAS_RET, columns.ret),
        "offset": (HAS_OFFSET, columns.offset),
        "count": (HAS_COUNT, columns.count),
    }
    if name in own:
        bit, values = own[name]
        return Numbers((columns.has & bit) != 0, values)
    return arguments.numbers(name) or _absent(columns)


def _absent(columns: RecordColumns) -> Numbers:
    return Numbers(np.zeros(len(columns), np.bool_), np.zeros(len(columns), np.int64))


def _calls(columns: RecordColumns, arguments: Arguments) -> npt.NDArray[np.int64]:
    """Return how many calls each counter stands for: ``dft_cnt``, else ``count``, else one."""
    counted = (columns.has & HAS_COUNT) != 0
    calls = np.where(counted, columns.count, 1)
    folded = arguments.numbers("dft_cnt")
    if folded is not None:
        calls = np.where(folded.has, folded.values, calls)
    return np.maximum(calls, 0)


def _folded(
    quantity: str, name: str, columns: RecordColumns, arguments: Arguments, calls: Array
) -> Columns:
    """Return the statistics that each counter brings of argument *name*.

    Its total is ``<name>_sum``, else the plain argument; only where there is one do its calls
    count. A bound that is not given is the total, but never beyond the other bound.
    """
    plain = _plain(columns, arguments, name)
    total = arguments.numbers(f"{name}_sum") or _absent(columns)
    low = arguments.numbers(f"{name}_min") or _absent(columns)
    high = arguments.numbers(f"{name}_max") or _absent(columns)
    has = plain.has | total.has
    value = np.where(total.has, total.values, plain.values)
    if quantity == "size":  # a failed call transfers nothing: no sample, as with events
        has = has & (value >= 0)
    value = np.maximum(value, 0)
    greatest = np.select([high.has, has, low.has], [high.values, value, low.values], 0)
    least = np.minimum(np.where(low.has, low.values, np.where(has, value, greatest)), greatest)
    seen = has | low.has | high.has
    return {
        f"{quantity}_count": np.where(has, calls, 0).astype(np.uint64),
        f"{quantity}_total": np.where(has, value, 0).astype(np.uint64),
        f"{quantity}_min": np.where(seen, np.maximum(least, 0).astype(np.uint64), UINT64_MAX),
        f"{quantity}_max": np.where(seen, np.maximum(greatest, 0), 0).astype(np.uint64),
        f"{quantity}_sq": np.where(has, np.nan, 0.0),
    }
