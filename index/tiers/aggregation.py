"""Tier 3: statistics of records by (kind, cat, name, pid, tid, hashes, time bucket).

The builder takes blocks of records and keeps one row a key; ``docs/aggregation.md`` has the rules.
Complete events are sampled call by call; counters and aggregated records bring the statistics of
many calls, whose squares are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dftindexd.index.model import AggregationTier, Row
from dftindexd.index.store.layout import AGGREGATION, segment_key
from dftindexd.index.tiers.aggregation_schema import (
    KIND_EVENT,
    KIND_PROFILE,
    KIND_SYSTEM,
    NO_BUCKET,
    batch_to_ipc,
    check_tier,
    extra_column,
    key_columns,
    metric_column,
    quantities,
    reductions,
    row_schema,
    tier_key,
)
from dftindexd.index.tiers.groups import (
    UINT64_MAX,
    Array,
    Columns,
    Groups,
    RowAccumulator,
    compact_codes,
    exact_sums,
    float_sums,
    group_rows,
    maxima,
    minima,
)
from dftindexd.index.tiers.record_kinds import Arguments, Numbers, record_kinds
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
from dftindexd.index.trace.kernel_layout import (
    G_BUCKET,
    G_COUNT,
    G_DUR,
    G_OFFSET,
    G_PID,
    G_SIZE,
    G_TE,
    G_TID,
    G_TS,
    TRANSFER_NAMES,
)

__all__ = ("TRANSFERS", "AggregationBuilder", "ascii_lower", "text_column")

#: The functions whose ``ret`` is a number of bytes.
TRANSFERS: Final = frozenset(TRANSFER_NAMES)

_TRANSFER_CATEGORIES: Final = frozenset(("posix", "stdio"))
#: Where the statistics of grouped events lie.
_GROUPED: Final = {"dur": G_DUR, "size": G_SIZE, "offset": G_OFFSET}

_INT64_MAX: Final = 2**63 - 1
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

_Mask = npt.NDArray[np.bool_]


def ascii_lower(text: str) -> str:
    """Return *text* with A-Z in lower case and every other letter as it is."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def text_column(codes: Array, texts: Sequence[str], *, optional: bool = False) -> pa.Array[Any]:
    """Return a dictionary column of the used *texts*; with *optional*, code 0 is null."""
    indices, used = compact_codes(codes)
    values = pa.array([texts[code] for code in used.tolist()], pa.utf8())
    places = pa.array(indices, pa.int32(), mask=codes == 0 if optional else None)
    return pa.DictionaryArray.from_arrays(places, values)


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

    @property
    def min_bucket(self) -> int | None:
        """The smallest bucket so far; records without a timestamp do not count."""
        rows = self._rows.result()
        if rows is None:
            return None
        buckets = rows["bucket"][rows["bucket"] != NO_BUCKET]
        return int(buckets.min()) if len(buckets) else None

    def add(self, columns: RecordColumns, texts: Interner) -> None:
        """Take in a block of records; samples of the system metrics are left to their tier."""
        if not len(columns):
            return
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
        fields = groups.fields
        categories = self._lowered(groups.cat, texts)
        kept = int(np.count_nonzero(np.bincount(categories)))
        distinct = groups.distinct and kept == np.count_nonzero(np.bincount(groups.cat))
        rows: Columns = {
            "kind": np.full(len(groups.cat), KIND_EVENT, np.uint8),
            "cat": categories,
            "name": groups.name,
            "pid": fields[G_PID].view(np.uint64),
            "tid": fields[G_TID].view(np.uint64),
            "hhash": groups.hhash,
            "fhash": groups.fhash,
            "bucket": fields[G_BUCKET],
            "count": fields[G_COUNT].view(np.uint64),
        }
        for which, (quantity, place) in enumerate(_GROUPED.items()):
            count, total, least, greatest = fields[place : place + 4].view(np.uint64)
            rows[f"{quantity}_count"] = count
            rows[f"{quantity}_total"] = total
            rows[f"{quantity}_min"] = np.where(count == 0, np.uint64(UINT64_MAX), least)
            rows[f"{quantity}_max"] = greatest
            rows[f"{quantity}_sq"] = groups.squares[which]
        rows["ts"], rows["te"] = fields[G_TS], fields[G_TE]
        self._rows.add(rows, distinct=distinct)

    def rows(self, segment_id: int, texts: Interner) -> list[Row]:
        """Return the one row of a segment, also where it has no records."""
        schema = row_schema(self._config)
        rows = self._rows.result()
        if rows is None:
            arrays = [pa.array([], field.type) for field in schema]
        else:
            arrays = [self._stored(field, rows[field.name], texts) for field in schema]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        key = segment_key(segment_id, tier_key(self._config))
        return [(AGGREGATION, key, batch_to_ipc(batch))]

    def _stored(self, field: pa.Field[Any], values: Array, texts: Interner) -> pa.Array[Any]:
        if field.name == "cat":
            return text_column(values, self._categories.texts)
        if pa.types.is_dictionary(field.type):
            return text_column(values, texts.texts, optional=field.nullable)
        stored: pa.Array[Any] = pa.array(values, field.type)
        return stored

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
        finished["cat"] = self._lowered(finished["cat"], texts)
        numbers = finished["bucket"]
        width = max(self._config.interval_us, 1)
        finished["bucket"] = np.where(numbers == NO_BUCKET, NO_BUCKET, numbers * width)
        return finished

    def _lowered(self, categories: Array, texts: Interner) -> npt.NDArray[np.int32]:
        """Return our codes of *categories* in lower case."""
        written, used = compact_codes(categories)
        lowered = [self._categories.code(ascii_lower(texts.texts[code])) for code in used.tolist()]
        return np.array(lowered, np.int32)[written]

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
        rows |= _sampled("dur", dur, None, groups)
        ret = pick(columns.ret)
        sized = ((has & HAS_RET) != 0) & (ret >= 0) & self._transfers(rows, texts)[groups.ids]
        rows |= _sampled("size", ret, sized, groups)
        offset = pick(columns.offset)
        rows |= _sampled("offset", np.maximum(offset, 0), (has & HAS_OFFSET) != 0, groups)
        for field in dict.fromkeys(self._config.custom_metric_fields):
            numbers = _plain(columns, arguments, field)
            values = np.maximum(pick(numbers.values), 0)
            rows |= _sampled(metric_column(field), values, pick(numbers.has), groups)
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


def _sampled(
    quantity: str, values: npt.NDArray[np.int64], mask: _Mask | None, groups: Groups
) -> Columns:
    """Return the statistics of each group over *values*, not negative, where *mask*."""
    count = len(groups)
    samples = groups
    if mask is not None and not mask.all():
        if not mask.any():
            return _no_samples(quantity, count)
        samples = Groups(groups.ids[mask], groups.first)
        values = values[mask]
    unsigned = values.view(np.uint64)
    real = values.astype(np.float64)
    least = np.full(count, UINT64_MAX, np.uint64)
    greatest = np.zeros(count, np.uint64)
    np.minimum.at(least, samples.ids, unsigned)
    np.maximum.at(greatest, samples.ids, unsigned)
    return {
        f"{quantity}_count": np.bincount(samples.ids, minlength=count).astype(np.uint64),
        f"{quantity}_total": exact_sums(unsigned, samples),
        f"{quantity}_min": least,
        f"{quantity}_max": greatest,
        f"{quantity}_sq": float_sums(real * real, samples),
    }


def _no_samples(quantity: str, count: int) -> Columns:
    return {
        f"{quantity}_count": np.zeros(count, np.uint64),
        f"{quantity}_total": np.zeros(count, np.uint64),
        f"{quantity}_min": np.full(count, UINT64_MAX, np.uint64),
        f"{quantity}_max": np.zeros(count, np.uint64),
        f"{quantity}_sq": np.zeros(count, np.float64),
    }


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
