"""For which tools an index is published, and what each store is called by."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

__all__ = ("FORMATS", "FOR_ANALYZER", "FOR_UTILITIES", "PublishedFormat")

#: A store has one width of time buckets: that which the tool asks for.
PublishedFormat: TypeAlias = Literal["dftracer-utils-0.0.12", "dfanalyzer-0.0.9"]

FOR_UTILITIES: Final = "dftracer-utils-0.0.12"
FOR_ANALYZER: Final = "dfanalyzer-0.0.9"
FORMATS: Final[tuple[PublishedFormat, ...]] = get_args(PublishedFormat)
