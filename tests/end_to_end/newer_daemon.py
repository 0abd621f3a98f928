"""A daemon of a version to come: it speaks one more protocol, knows one more request, and every
reply has a field that no client of today knows."""

from __future__ import annotations

import msgspec

import dftindexd
from dftindexd.protocol import negotiation

VERSION = "99.0.0"


def _with_more(reply: msgspec.Struct) -> bytes:
    return msgspec.msgpack.encode({**msgspec.to_builtins(reply), "added_later": {"more": [1]}})


def run() -> None:
    """Run ``dftindexd`` as that version does."""
    # Before anything takes these over.
    dftindexd.__version__ = VERSION
    negotiation.PROTOCOLS = (*negotiation.PROTOCOLS, max(negotiation.PROTOCOLS) + 1)
    negotiation.CAPABILITIES = (*negotiation.CAPABILITIES, "added-later")
    from dftindexd.daemon import session
    from dftindexd.daemon.cli import main

    vars(session)["encode_reply"] = _with_more
    main(prog_name="dftindexd")


if __name__ == "__main__":
    run()
