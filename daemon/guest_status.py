"""The status of a root as a guest is told it: of the traces that it sees, and nothing of others."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dftindexd.actors.root import Root
from dftindexd.daemon.sight import Sight
from dftindexd.daemon.tables import display
from dftindexd.index.store.registry import Tally
from dftindexd.protocol.requests import RootStatus

__all__ = ("guest_reason", "guest_status")


def guest_reason(root: Root) -> str:
    """Return why *root* is not as it should be, as far as that is of the whole store."""
    return root.handle.read_only


def guest_status(root: Root, sight: Sight) -> Callable[[], RootStatus]:
    """Return what makes the status of *root* as it is now, in any thread."""
    registry, seen = root.handle.registry, dict(root.state.seen)
    damaged = root.handle.damage.reasons(registry.sets)

    def status() -> RootStatus:
        shown = sight.registry(root, root.path, registry)
        way = sight.way(root, root.path)
        queued = [
            path
            for path in seen
            if path not in registry.sets and way.shows(path, seen[path].stamp.ino)
        ]
        tally = Tally.of(shown.traces.values())
        sizes = [seen[path].stamp.size for path in (*shown.traces, *queued) if path in seen]
        return RootStatus(
            root=display(root.path),
            store="",
            state=_state(root, bool(queued)),
            backend=root.watch.backend if root.options.follow else "none",
            generation=registry.generation,
            traces=len(sizes),
            queued=len(queued),
            **msgspec.structs.asdict(tally),
            trace_bytes=sum(sizes),
            pending_bytes=sum(seen[path].stamp.size for path in queued),
            reason=guest_reason(root),
            damaged=sum(path in shown.traces for path in damaged),
            open=root.handle.is_open,
        )

    return status


def _state(root: Root, is_queued: bool) -> str:
    if root.handle.read_only:
        return "read-only"
    if root.handle.rebuilding:
        return "rebuilding"
    return "indexing" if is_queued else "caught-up"
