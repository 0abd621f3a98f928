"""Publishing roots by itself: those that the configuration says, whenever they are quiet.

Each directory with traces gets its own store, as other tools look for it, when all its traces are
finished and any of them is new since it was last published. Only directories of the daemon's own
user are: files in those of others would be made with rights that they did not give. The work is
done by a process of its own, the one that ``dftindexd-client publish`` runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import anyio
import anyio.to_thread
import msgspec
import structlog

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.daemon.tables import display
from dftindexd.index.model import TraceRecord
from dftindexd.protocol.published_formats import PublishedFormat

__all__ = ("AutoPublisher", "Quiet", "quiet_directories")

_log = structlog.get_logger(__name__)

_MODULE: Final = "dftindexd.compat.publish_command"
_LOOK_SECONDS: Final = 5.0


class Quiet(NamedTuple):
    """What a directory held when it was quiet: how many traces, and the last commit of any."""

    traces: int
    generation: int


def quiet_directories(records: Iterable[TraceRecord]) -> dict[bytes, Quiet]:
    """Return the directories, relative to the root, all of whose traces are finished."""
    below: defaultdict[bytes, list[TraceRecord]] = defaultdict(list)
    for record in records:
        below[os.path.dirname(record.path)].append(record)
    return {
        directory: Quiet(len(held), max(one.generation for one in held))
        for directory, held in below.items()
        if all(one.ending is not None or one.quarantined for one in held)
    }


class AutoPublisher:
    """Publishes what roots of *engine* want, by the daemon at *socket*. After a start, everything
    is published once."""

    def __init__(self, engine: Engine, socket: str) -> None:
        self._engine = engine
        self._socket = socket
        self._published: dict[bytes, Quiet] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            for path, settings in list(self._engine.configured.items()):
                root = self._engine.roots.get(path)
                if settings.publish and root is not None and root.state.idle:
                    await self._publish_root(root, settings.publish)

    async def _publish_root(self, root: Root, form: PublishedFormat) -> None:
        records = root.handle.registry.traces.values()
        quiet = await anyio.to_thread.run_sync(quiet_directories, records)
        for directory, state in self._owed(root, quiet).items():
            self._published[directory] = state  # also where it fails: it would fail again
            await self._publish(directory, form)

    def _owed(self, root: Root, quiet: Mapping[bytes, Quiet]) -> dict[bytes, Quiet]:
        absolute = {
            os.path.join(root.path, name).rstrip(b"/"): state for name, state in quiet.items()
        }
        return {
            directory: state
            for directory, state in absolute.items()
            if self._published.get(directory) != state
        }

    async def _publish(self, directory: bytes, form: PublishedFormat) -> None:
        if not await anyio.to_thread.run_sync(_is_own, directory):
            _log.warning("publish_refused", path=display(directory), reason="it is another user's")
            return
        place = {"directory": os.fsdecode(directory), "socket": self._socket}
        order = {**place, "format": form, "json": True}
        command = [sys.executable, "-P", "-m", _MODULE, msgspec.json.encode(order).decode()]
        done = await anyio.run_process(command, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()
            _log.warning("publish_failed", path=display(directory), reason=reason)
        else:
            _log.info("published", path=display(directory))


def _is_own(directory: bytes) -> bool:
    try:
        return os.stat(directory).st_uid == os.getuid()
    except OSError:
        return False
