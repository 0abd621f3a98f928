"""Indices as series of pandas, which only this module needs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from dftindexd.views.indices.tables import PARTITION

try:
    import pandas as pd
except ImportError as error:
    raise RuntimeError("a series needs the package pandas: pip install pandas") from error

__all__ = ("flat_series",)


def flat_series(
    column: str,
    values: npt.NDArray[Any],
    partitions: Sequence[list[str]],
    *,
    compact: bool,
    by_partition: bool,
) -> pd.Series:
    """Return *values* of *column* and the *partitions* of each as a series named ``partition``, or
    *by_partition* one named as the column; *compact* has lists instead of a row for each."""
    if compact and not by_partition:
        return pd.Series(list(partitions), index=_index(values, column), name=PARTITION)
    labels = list(chain.from_iterable(partitions))
    repeated = np.repeat(values, [len(some) for some in partitions])
    if not by_partition:
        return pd.Series(labels, index=_index(repeated, column), name=PARTITION)
    if not compact:
        return pd.Series(repeated, index=pd.Index(labels, name=PARTITION), name=column)
    grouped: dict[str, list[Any]] = {label: [] for label in sorted(set(labels))}
    for label, value in zip(labels, repeated.tolist(), strict=True):
        grouped[label].append(value)
    return pd.Series(list(grouped.values()), index=pd.Index(grouped, name=PARTITION), name=column)


def _index(values: npt.NDArray[Any], name: str) -> pd.Index:
    return pd.Index(values, name=name)
