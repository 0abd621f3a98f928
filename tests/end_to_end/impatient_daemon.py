"""A daemon that loses patience with an actor within seconds, where ``dftindexd`` waits minutes."""

from __future__ import annotations

from dftindexd.actors import store
from dftindexd.actors.supervisor import Supervisor
from dftindexd.daemon.cli import main

HEARTBEAT_SECONDS = 1.0


def run() -> None:
    """Run ``dftindexd`` with that patience."""
    defaults = Supervisor.__init__.__kwdefaults__
    assert defaults is not None
    defaults["heartbeat"] = HEARTBEAT_SECONDS
    store.LONGEST_CALL_SECONDS = HEARTBEAT_SECONDS
    main(prog_name="dftindexd")


if __name__ == "__main__":
    run()
