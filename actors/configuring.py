"""What the configuration says of roots, put into force while the engine runs."""

from __future__ import annotations

from collections.abc import Mapping

from dftindexd.actors.engine import Engine
from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.state_dir import RootSettings

__all__ = ("configure",)


async def configure(
    engine: Engine, defaults: RootOptions, configured: Mapping[bytes, RootSettings]
) -> None:
    """Have all roots of *engine* follow *defaults* and what *configured* says of them.

    A root whose options change is closed and opened again. One that the configuration names no more
    is not watched any more, unless somebody asked for it besides. Stores stay. A root that cannot
    be opened stops no other; it is told by ``failed_roots`` and tried again.
    """
    dropped = engine.configured.keys() - configured.keys() - engine.settings.keys()
    engine.defaults, engine.configured = defaults, dict(configured)
    for path in dropped:
        await engine.drop_root(path)
    for path in {**engine.roots, **configured}:
        await engine.follow_settings(path)
