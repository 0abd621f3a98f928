"""The command ``dftindexd-client``: one verb a request.

Exit codes: 0 done, 1 error, 2 usage, 3 daemon unreachable, 4 degraded (``status`` and ``ping``
only), 5 not found.
"""

from __future__ import annotations

import os

from dftindexd.client.cli_base import cli

__all__ = ("cli", "main")


def main() -> None:
    """Run the command."""
    # Numpy's linear algebra, which no verb uses, else starts a thread a processor at its import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    cli(prog_name="dftindexd-client")


if __name__ == "__main__":
    main()
