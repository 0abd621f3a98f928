"""Logs: events with keys and values, as JSON lines, or for people on a terminal. To stderr.

What repeats too often is held back (:mod:`dftindexd.daemon.log_flow`).
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from dftindexd.daemon.log_flow import LogFlow

__all__ = ("LOG_FLOW", "configure_logs")

#: What passed through the log of this process.
LOG_FLOW = LogFlow()

# Without the values of local variables: they are long, and may hold what users wrote.
_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure_logs(level: str = "info") -> None:
    """Set up structlog for this process; *level* is ``debug``, ``info``, ``warning`` or ``error``.

    :raises KeyError: no such level.
    """
    terminal = sys.stderr.isatty()
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        LOG_FLOW,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if terminal:
        processors.append(structlog.dev.ConsoleRenderer())
    else:
        processors += [
            structlog.processors.ExceptionRenderer(_TRACEBACKS),
            structlog.processors.JSONRenderer(),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
