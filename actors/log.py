"""The actors' log: structlog, imported when something is logged.

Its import takes longer than an embedded index of a small run, which logs nothing. Who set structlog
up, as the daemon does, gets every event; otherwise those that :data:`own_output` lets through,
warnings and worse at first, go to standard error, and the structlog of the program that we are part
of is left as it is.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

__all__ = ("Log", "OwnOutput", "get_log", "own_output")

_DEBUG, _INFO, _WARNING, _ERROR, _CRITICAL = 10, 20, 30, 40, 50


@dataclass(slots=True)
class OwnOutput:
    """What goes to standard error where nobody set structlog up.

    ``level`` is the least that does, as :mod:`logging` numbers them; ``color`` is ``auto``,
    ``always`` or ``never``.
    """

    level: int = _WARNING
    color: str = "auto"


#: That of this process.
own_output = OwnOutput()


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
        if _is_said(_DEBUG):
            self._logger().debug(event, **values)

    def info(self, event: str, **values: object) -> None:
        """Log what goes on."""
        if _is_said(_INFO):
            self._logger().info(event, **values)

    def warning(self, event: str, **values: object) -> None:
        """Log what is not as it should be."""
        if _is_said(_WARNING):
            self._logger().warning(event, **values)

    def error(self, event: str, **values: object) -> None:
        """Log a failure."""
        if _is_said(_ERROR):
            self._logger().error(event, **values)

    def exception(self, event: str, **values: object) -> None:
        """Log a failure with the exception that is being handled."""
        if _is_said(_ERROR):
            self._logger().exception(event, **values)

    def critical(self, event: str, **values: object) -> None:
        """Log what needs somebody now."""
        if _is_said(_CRITICAL):
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


def _is_said(level: int) -> bool:
    return level >= own_output.level or _is_set_up()


def _own_logger() -> Any:
    import structlog

    has_color = own_output.color == "always" or (
        own_output.color == "auto" and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("%Y-%m-%d %H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=has_color),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_DEBUG),
    )
