"""Values of an index: their Arrow type, their one form, and which of them compare.

A value has one form for each type, so that what is equal has one key: Python's own ``bool``,
``int``, ``float``, ``str``, ``bytes`` and ``date``, and ``numpy.datetime64[ns]`` for times, which
are UTC. Null is ``None``; what else stands for it (NaN, NaT, ``pandas.NA``) becomes ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa

__all__ = (
    "arrow_type",
    "infer_type",
    "is_null",
    "kind_of_type",
    "normalize",
    "normalizer",
    "require_comparable",
)

_INT64_MAX: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER_NULL: Final = (int, str, bool, bytes)
_REALS: Final = (float, np.floating)
_WHOLE: Final = (int, np.integer)
_NANOSECONDS: Final = pa.timestamp("ns")
#: Digits of a second that ``datetime`` knows.
_MICRO_DIGITS: Final = 6


def is_null(value: Any) -> bool:
    """Tell whether *value* is one of those that stand for null."""
    if value is None:
        return True
    if value.__class__ in _NEVER_NULL:
        return False
    if isinstance(value, _REALS):
        return math.isnan(value)
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    # Without pandas there are none of its nulls.
    return type(value).__name__ in ("NAType", "NaTType")


def arrow_type(dtype: pa.DataType) -> pa.DataType:
    """Return the type that an index of *dtype* has: the widest of its kind.

    :raises NotImplementedError: nested types and null have none.
    """
    while isinstance(dtype, pa.DictionaryType):
        dtype = dtype.value_type
    if pa.types.is_nested(dtype):
        raise NotImplementedError("Indices w/ nested types are not supported")
    if pa.types.is_null(dtype):
        raise NotImplementedError("Indices w/ null/NA type are not supported")
    if pa.types.is_signed_integer(dtype):
        return pa.int64()
    if pa.types.is_unsigned_integer(dtype):
        return pa.uint64()
    if pa.types.is_floating(dtype):
        return pa.float64()
    if pa.types.is_timestamp(dtype):
        return pa.timestamp("ns", dtype.tz)
    if pa.types.is_large_string(dtype):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(dtype) else dtype


def infer_type(values: Iterable[Any]) -> pa.DataType:
    """Return the type of *values*, null where there is none but null."""
    known = [value for value in values if not is_null(value)]
    if not known:
        return pa.null()
    probe = known[0]
    if isinstance(probe, datetime | np.datetime64):
        return _NANOSECONDS
    if isinstance(probe, bool | np.bool_):
        return pa.bool_()
    if all(isinstance(value, _WHOLE) for value in known):
        return pa.uint64() if max(map(int, known)) > _INT64_MAX else pa.int64()
    if isinstance(probe, float | np.floating):
        return pa.float64()
    found: pa.DataType = pa.array(np.asarray(known)).type
    return found


def normalize(dtype: pa.DataType | None, value: Any) -> Any:
    """Return the one form of *value* in an index of *dtype*; null is ``None``.

    :raises ValueError: there is no type, or *value* is none of it.
    :raises NotImplementedError: an index cannot have this type.
    """
    return normalizer(dtype)(value)


def normalizer(dtype: pa.DataType | None) -> Callable[[Any], Any]:
    """Return what :func:`normalize` does for one type."""
    if dtype is None:
        raise ValueError("Cannot normalize index values as long as dtype is not set")
    form = _form(dtype)
    return lambda value: None if is_null(value) else form(value)


def _form(dtype: pa.DataType) -> Callable[[Any], Any]:
    types = pa.types
    if types.is_string(dtype):
        return _text
    if types.is_binary(dtype):
        return _bytes
    if types.is_date(dtype):
        return lambda value: _time(value).astype("datetime64[D]").item()
    if types.is_timestamp(dtype):
        return _time
    if types.is_integer(dtype):
        return int
    if types.is_floating(dtype):
        return float
    if types.is_boolean(dtype):
        return _truth
    raise NotImplementedError(f"Cannot normalize index value for type {dtype}")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _truth(value: Any) -> bool:
    if not isinstance(value, str):
        return bool(value)
    if value.lower() not in ("true", "false"):
        raise ValueError(f'Cannot parse boolean value "{value}"')
    return value.lower() == "true"


def _time(value: Any) -> np.datetime64:
    """Return a time as nanoseconds since 1970, UTC; what says no zone is UTC.

    Numbers are nanoseconds, texts ISO 8601.
    """
    if hasattr(value, "to_datetime64"):  # a time of pandas, which has nanoseconds
        return np.datetime64(value.to_datetime64(), "ns")
    if isinstance(value, np.datetime64):
        return _of_numpy(value)
    if isinstance(value, bytes | str):
        return _of_text(_text(value))
    if isinstance(value, datetime):
        return _of_datetime(value)
    if isinstance(value, date):
        return _of_datetime(datetime(value.year, value.month, value.day))
    return np.datetime64(int(value), "ns")


def _of_numpy(value: np.datetime64) -> np.datetime64:
    found: np.datetime64 = value.astype("datetime64[ns]")
    if found.astype(value.dtype) != value:
        raise ValueError(f"{value} does not fit nanoseconds since 1970 in 64 bits")
    return found


def _of_datetime(value: datetime) -> np.datetime64:
    since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return _of_nanoseconds(micros * 1000, value)


def _of_nanoseconds(number: int, value: object) -> np.datetime64:
    if abs(number) > _INT64_MAX:
        raise ValueError(f"{value} does not fit nanoseconds since 1970 in 64 bits")
    return np.datetime64(number, "ns")


def _of_text(text: str) -> np.datetime64:
    """Read what ISO 8601 says; of a second up to nine digits."""
    whole, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    fine = digits[_MICRO_DIGITS:9]
    if not dot or not fine:
        return _of_datetime(datetime.fromisoformat(text))
    zone = rest[len(digits) :]
    micros = _of_datetime(datetime.fromisoformat(f"{whole}.{digits[:_MICRO_DIGITS]}{zone}"))
    return _of_nanoseconds(int(micros.astype(np.int64)) + int(fine.ljust(3, "0")), text)


# -- which values compare ---------------------------------------------------------------------


def kind_of_type(dtype: pa.DataType) -> str:
    """Return what a column of *dtype* is called in errors: the name that pandas has for it."""
    if pa.types.is_timestamp(dtype):
        return "datetime64[ns]"
    if pa.types.is_boolean(dtype):
        return "bool"
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        return str(dtype).replace("double", "float64")
    return "object"


def _kind_of_value(value: Any) -> str:
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return str(value.dtype)
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "uint64" if value > _INT64_MAX else "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, datetime | np.datetime64):
        return "datetime64[ns]"
    return "object"


def _family(kind: str) -> str:
    """Return the kinds that compare with each other by one word."""
    return kind.rstrip("0123456789").removeprefix("u")


def _fits(dtype: pa.DataType, value: Any) -> bool:
    if _family(kind_of_type(dtype)) != _family(_kind_of_value(value)):
        return False
    if pa.types.is_date(dtype):
        return isinstance(value, date)
    if pa.types.is_string(dtype):
        return isinstance(value, str)
    return not pa.types.is_binary(dtype) or isinstance(value, bytes)


def require_comparable(column: str, dtype: pa.DataType, asked: Any, values: Iterable[Any]) -> None:
    """Refuse *values*, those of the predicate value *asked*, that a column of *dtype* cannot have.

    Null compares with every column.

    :raises TypeError: one is of another type.
    """
    for value in values:
        if is_null(value) or _fits(dtype, value):
            continue
        raise TypeError(
            f"Unexpected type for predicate: Column {column!r} has pandas type "
            f"'{kind_of_type(dtype)}', but predicate value {asked!r} has pandas type "
            f"'{_kind_of_value(value)}' (Python type '{type(asked)}')."
        )
