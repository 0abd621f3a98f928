"""The logarithmic bins of a DDSketch: which bin a number is in, and what a bin stands for.

As in dftracer-utils (``DDSketch``, Masson et al., VLDB 2019, doi:10.14778/3352063.3352135) with a
relative accuracy of 1 %: ``gamma = 1.01 / 0.99``, and a number ``v >= 1`` is in bin
``ceil(ln v / ln gamma)``, whose value is ``2 gamma**bin / (gamma + 1)``. Zeros have a bin of their
own, ``ZERO_BIN``.

Bins are found by their least integers (``BIN_BEGINS``), never by a logarithm: compiled code and
numpy then agree on every number.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ("BIN_BEGINS", "GAMMA", "ZERO_BIN", "bin_values", "bins_of")

GAMMA: Final = 1.01 / 0.99

#: The bin of 0 (and of nothing else).
ZERO_BIN: Final = -1

_LOG_GAMMA: Final = math.log(GAMMA)
_GREATEST: Final = 2**63 - 1


def _least_integers() -> npt.NDArray[np.int64]:
    last = math.ceil(math.log(_GREATEST) / _LOG_GAMMA)
    begins = [1] + [math.floor(GAMMA ** (index - 1)) + 1 for index in range(1, last + 1)]
    return np.array([min(begin, _GREATEST) for begin in begins], np.int64)


#: For each bin from 0 on the least integer that is in it or in a later one; none decreases.
BIN_BEGINS: Final = _least_integers()


def bins_of(numbers: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int16]:
    """Return the bin of each of *numbers*, which are below 2**63 and not negative."""
    found = np.searchsorted(BIN_BEGINS, numbers.astype(np.int64), side="right") - 1
    return found.astype(np.int16)


def bin_values(bins: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
    """Return what each of *bins* stands for: at most 1 % from every number in it."""
    values = 2.0 * GAMMA ** bins.astype(np.float64) / (GAMMA + 1.0)
    return np.where(bins < 0, 0.0, values)
