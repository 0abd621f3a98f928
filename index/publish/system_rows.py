"""The samples of the system in a dftracer-utils 0.0.12 store, from our rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dftindexd.index.publish import families as to
from dftindexd.index.publish.encoding import f64, short_text, varint
from dftindexd.index.publish.families import PublishedRow
from dftindexd.index.tiers.groups import Columns

__all__ = ("system_rows",)

_Key = tuple[str, str, int]


class _Mean(NamedTuple):
    metric: str
    samples: int
    total: float


def system_rows(columns: Columns, texts: Mapping[str, Sequence[str]]) -> list[PublishedRow]:
    """Return merged rows of system metrics.

    A metric has a number of samples, their sum and their mean; of their bounds and their deviation,
    which nothing reads, we know nothing: they are as if all samples had been the mean.
    """
    heads: dict[_Key, tuple[int, int, int]] = {}
    means: dict[_Key, list[_Mean]] = {}
    names = ("hhash", "name", "bucket", "metric", "samples", "total", "ts", "te")
    listed = (columns[name].tolist() for name in names)
    for hhash, name, bucket, metric, samples, total, ts, te in zip(*listed, strict=True):
        key = (texts["hhash"][hhash], texts["name"][name], max(bucket, 0))
        text = texts["metric"][metric]
        if text:
            means.setdefault(key, []).append(_Mean(text, samples, total))
        else:  # the row that counts the samples
            heads[key] = (samples, ts, te)
    return [
        (to.SYSTEM_METRICS, _key(key), _value(head, means.get(key, [])))
        for key, head in heads.items()
    ]


def _key(key: _Key) -> bytes:
    hhash, name, bucket = key
    return short_text(hhash) + short_text(name) + varint(bucket)


def _value(head: tuple[int, int, int], means: list[_Mean]) -> bytes:
    parts = [*map(varint, head), varint(len(means))]
    for one in means:
        mean = f64(one.total / max(one.samples, 1))
        parts += (short_text(one.metric), varint(one.samples), f64(one.total))
        parts += (mean, mean, mean, f64(0.0), b"\0")
    return b"".join(parts)
