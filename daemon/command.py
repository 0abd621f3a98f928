"""The entry point of the command ``dftindexd``.

The command is installed with the client as well, which has nothing of what the daemon imports.
"""

from __future__ import annotations

import sys

__all__ = ("main",)


def main() -> None:
    """Run the command, or end with what is to be installed."""
    try:
        import dftindexd.index  # noqa: F401 - the first to say what is missing
    except ImportError as error:
        sys.exit(f"error: {error}")
    from dftindexd.daemon.cli import main as run

    run()
