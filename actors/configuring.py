"""What the configuration says of roots, put into force while the engine runs."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.state_dir import RootSettings
from dftindexd.index.errors import ConfiguredRootError

if TYPE_CHECKING:
    from dftindexd.actors.engine import Engine

__all__ = ("configure", "refuse_configured")


def refuse_configured(path: bytes, configured: Container[bytes]) -> None:
    """Refuse a request to change how the root *path* is watched.

    :raises ConfiguredRootError: it is *configured*.
    """
    if path in configured:
        raise ConfiguredRootError(
            f"the configuration says how {os.fsdecode(path)} is watched",
            "change it there, then reload the daemon (SIGHUP)",
        )


async def configure(
    engine: Engine, defaults: RootOptions, configured: Mapping[bytes, RootSettings]
) -> None:
    """Have all roots of *engine* follow *defaults* and what *configured* says of them.

    A root whose rules, backend or tiers change is closed and opened again. One that the
    configuration names no more is not watched any more, unless somebody asked for it besides.
    Stores stay. A root that cannot be opened stops no other; it is told by ``failed_roots`` and
    tried again.
    """
    dropped = engine.configured.keys() - configured.keys() - engine.settings.keys()
    engine.defaults, engine.configured = defaults, dict(configured)
    for path in dropped:
        await engine.drop_root(path)
    for path in {**engine.roots, **configured}:
        await engine.follow_settings(path)
