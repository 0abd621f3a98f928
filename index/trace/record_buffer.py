"""Records on their way to columns: packed one by one, turned into arrays all at once.

Packing a record into bytes and viewing all of them as one structured array takes a third of the
time of appending to a list a column.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from dftindexd.index.trace.columns import RecordColumns
from dftindexd.index.trace.kernel_layout import ROW_FIELDS

__all__ = (
    "PACK_OTHER",
    "PACK_RECORD",
    "ArgumentBuffer",
    "Others",
    "columns_of",
    "columns_of_rows",
    "others_of",
)

_RECORD: Final = np.dtype(
    [
        ("line", "<i8"),
        ("uc_offset", "<i8"),
        ("ts", "<i8"),
        ("dur", "<i8"),
        ("ret", "<i8"),
        ("offset", "<i8"),
        ("count", "<i8"),
        ("pid", "<u8"),
        ("tid", "<u8"),
        ("cat", "<i4"),
        ("name", "<i4"),
        ("hhash", "<i4"),
        ("fhash", "<i4"),
        ("shash", "<i4"),
        ("phase", "u1"),
        ("has", "u1"),
    ]
)
_CODE: Final = np.dtype("<i4")
_OTHER: Final = np.dtype(
    [
        ("line", "<i8"),
        ("pid", "<u8"),
        ("tid", "<u8"),
        ("cat", "<i4"),
        ("name", "<i4"),
        ("hhash", "<i4"),
        ("fhash", "<i4"),
        ("shash", "<i4"),
    ]
)

#: Packs a record's values in the order of the fields above; all must be in range.
PACK_RECORD: Final = struct.Struct("<7q2Q5i2B").pack
PACK_OTHER: Final = struct.Struct("<q2Q5i").pack

#: Objects that are no rows, metadata above all: an array with the fields ``line``, ``pid``,
#: ``tid``, ``cat``, ``name``, ``hhash``, ``fhash`` and ``shash``, as in :class:`RecordColumns`.
Others: TypeAlias = npt.NDArray[np.void]


class ArgumentBuffer:
    """The sparse arguments of some records."""

    __slots__ = ("floats", "ints", "keys", "rows", "texts")

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.keys: list[int] = []
        self.texts: list[int] = []
        self.ints: list[int] = []
        self.floats: list[float] = []

    def add(self, row: int, key: int, text: int, integer: int, real: float) -> None:
        """Add one argument; *text* is -1 for a number."""
        self.rows.append(row)
        self.keys.append(key)
        self.texts.append(text)
        self.ints.append(integer)
        self.floats.append(real)


def columns_of(packed: list[bytes], arguments: ArgumentBuffer) -> RecordColumns:
    """Return packed records and their arguments as columns."""
    rows = np.frombuffer(b"".join(packed), _RECORD)
    fields = {name: np.ascontiguousarray(rows[name]) for name in _RECORD.names or ()}
    return RecordColumns(
        **fields,
        arg_row=np.array(arguments.rows, np.int32),
        arg_key=np.array(arguments.keys, np.int32),
        arg_text=np.array(arguments.texts, np.int32),
        arg_int=np.array(arguments.ints, np.int64),
        arg_float=np.array(arguments.floats, np.float64),
    )


def columns_of_rows(
    rows: npt.NDArray[np.int64], codes: npt.NDArray[np.int32], **arguments: npt.NDArray[Any]
) -> RecordColumns:
    """Return records as columns whose fields lie side by side, in the order of
    ``kernel_layout.ROW_FIELDS``; *codes* has the interner's code for each of theirs."""
    fields: dict[str, npt.NDArray[Any]] = {}
    for place, name in enumerate(ROW_FIELDS):
        kind = _RECORD[name]
        values = rows[:, place]
        fields[name] = codes[values] if kind == _CODE else values.astype(kind)
    return RecordColumns(**fields, **arguments)


def others_of(packed: list[bytes]) -> Others:
    """Return packed objects that are no rows as one array."""
    return np.frombuffer(b"".join(packed), _OTHER)
