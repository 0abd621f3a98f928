"""The errors of dftracer-utils, by their names. All are ``RuntimeError``, as there."""

from __future__ import annotations

__all__ = (
    "DFTUtilsAggregationError",
    "DFTUtilsCompressionError",
    "DFTUtilsError",
    "DFTUtilsIOError",
    "DFTUtilsIndexerError",
    "DFTUtilsNotFoundError",
    "DFTUtilsParseError",
    "DFTUtilsPipelineError",
    "DFTUtilsQueryError",
    "DFTUtilsReaderError",
    "DFTUtilsValueError",
)


class DFTUtilsError(RuntimeError):
    """The root of the tree."""


class DFTUtilsValueError(DFTUtilsError):
    """An argument is out of its range."""


class DFTUtilsNotFoundError(DFTUtilsError):
    """There is nothing at a path."""


class DFTUtilsIOError(DFTUtilsError):
    """A file cannot be read or written."""


class DFTUtilsParseError(DFTUtilsError):
    """A text does not parse."""


class DFTUtilsCompressionError(DFTUtilsError):
    """Bytes do not inflate."""


class DFTUtilsQueryError(DFTUtilsError):
    """A query does not parse."""


class DFTUtilsReaderError(DFTUtilsError):
    """A trace cannot be read."""


class DFTUtilsIndexerError(DFTUtilsError):
    """An index cannot be opened, built or read."""


class DFTUtilsPipelineError(DFTUtilsError):
    """A pipeline ended early."""


class DFTUtilsAggregationError(DFTUtilsError):
    """The aggregation tier is not there, or not as asked for."""
