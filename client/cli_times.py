"""Times as options of verbs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click

__all__ = ("begin_option", "end_option")

_SECOND: Final = 1_000_000_000


def _nanoseconds(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> int | None:
    """Return the time that *value* says: nanoseconds since 1970, or ISO 8601, UTC unless told."""
    if value is None:
        return None
    if value.isdecimal():
        return int(value)
    try:
        time = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no time such as 2026-01-31T12:00:00") from error
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
    return (since.days * 86_400 + since.seconds) * _SECOND + since.microseconds * 1000


begin_option = click.option(
    "--begin", callback=_nanoseconds, metavar="TIME", help="No rows that end before."
)
end_option = click.option(
    "--end", callback=_nanoseconds, metavar="TIME", help="No rows that begin after."
)
