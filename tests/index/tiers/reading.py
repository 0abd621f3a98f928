"""Stored frames as plain dictionaries."""

from __future__ import annotations

from typing import Any

from dftindexd.index.tiers.frames import FrameSchema, decode_frame, join_frames

__all__ = ("frame_rows",)


def frame_rows(schema: FrameSchema, value: bytes) -> list[dict[str, Any]]:
    """Return the rows of a stored frame in order, each by column."""
    joined = join_frames(schema, [decode_frame(schema, value)])
    columns: dict[str, list[Any]] = {name: one.tolist() for name, one in joined.columns.items()}
    for name, texts in joined.texts.items():
        columns[name] = [None if code < 0 else texts[code] for code in columns[name]]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
