"""The actors' log: structlog, imported when something is logged.

Its import takes longer than an embedded index of a small run, which logs nothing. Who set structlog
up, as the daemon does, gets every event; otherwise warnings and worse go to standard error, and
the structlog of the program that we are part of is left as it is.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

__all__ = ("Log", "get_log")


class Log:
    """A logger with a name and values that all of its events have."""

    def __init__(self, name: str, values: dict[str, object]) -> None:
        self._name = name
        self._values = values

    def bind(self, **values: object) -> Log:
        """Return a logger whose events have *values* too."""
        return Log(self._name, self._values | values)

    def debug(self, event: str, **values: object) -> None:
        """Log what a developer may want to see."""
        if _is_set_up():
            self._logger().debug(event, **values)

    def info(self, event: str, **values: object) -> None:
        """Log what goes on."""
        if _is_set_up():
            self._logger().info(event, **values)

    def warning(self, event: str, **values: object) -> None:
        """Log what is not as it should be."""
        self._logger().warning(event, **values)

    def error(self, event: str, **values: object) -> None:
        """Log a failure."""
        self._logger().error(event, **values)

    def exception(self, event: str, **values: object) -> None:
        """Log a failure with the exception that is being handled."""
        self._logger().exception(event, **values)

    def critical(self, event: str, **values: object) -> None:
        """Log what needs somebody now."""
        self._logger().critical(event, **values)

    def _logger(self) -> Any:
        import structlog

        logger = structlog.get_logger(self._name) if _is_set_up() else _own_logger()
        return logger.bind(**self._values)


def get_log(name: str) -> Log:
    """Return the logger of the module *name*."""
    return Log(name, {})


def _is_set_up() -> bool:
    structlog = sys.modules.get("structlog")
    return structlog is not None and bool(structlog.is_configured())


@cache
def _own_logger() -> Any:
    import structlog

    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
    )
