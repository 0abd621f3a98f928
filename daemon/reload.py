"""The configuration while the daemon runs: read again on SIGHUP, and put into force as far as a
running daemon can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio.to_thread
import structlog
from msgspec.structs import replace

from dftindexd.actors.configuring import configure
from dftindexd.actors.engine import Engine
from dftindexd.daemon.config import KEYS, Config
from dftindexd.daemon.config_load import ConfigError, Loaded
from dftindexd.daemon.logs import configure_logs
from dftindexd.daemon.run_options import configured_roots, root_options

__all__ = ("Configuration", "changed_keys", "in_force")

_log = structlog.get_logger(__name__)

_LIVE = frozenset(key.path for key in KEYS if key.note.live) | {"watch"}


def changed_keys(before: Config, after: Config) -> list[str]:
    """Return the keys whose values differ; all roots together are the key ``watch``."""
    changed = [key.path for key in KEYS if _value(before, key.path) != _value(after, key.path)]
    return [*changed, "watch"] if before.watch != after.watch else changed


def in_force(before: Config, after: Config) -> tuple[Config, list[str]]:
    """Return the configuration of a daemon that ran with *before* and read *after*, and the keys
    that it takes over only when it is started again."""
    waiting = [path for path in changed_keys(before, after) if path not in _LIVE]
    config = after
    for path in waiting:
        section, name = path.split(".")
        kept = replace(getattr(config, section), **{name: _value(before, path)})
        config = replace(config, **{section: kept})
    return config, waiting


def _value(config: Config, path: str) -> Any:
    section, name = path.split(".")
    return getattr(getattr(config, section), name)


class Configuration:
    """What is in force, and what the last reload could not put into force.

    ``problem`` is why the file was not taken the last time; what was before then holds on.
    ``waiting`` are the keys that need a restart.
    """

    def __init__(self, loaded: Loaded, read: Callable[[], Loaded]) -> None:
        """Begin with what was *loaded*; *read* loads it again, and may raise ConfigError."""
        self.file = loaded.file
        self.problem = ""
        self.waiting: tuple[str, ...] = ()
        self._config = loaded.config
        self._read = read

    async def reload(self, engine: Engine) -> None:
        """Read the configuration again, and have *engine* and the log follow it."""
        try:
            loaded = await anyio.to_thread.run_sync(self._read)
        except ConfigError as error:
            self.problem = "; ".join(error.problems)
            _log.error("reload_refused", problems=error.problems)
            return
        config, waiting = in_force(self._config, loaded.config)
        changed = changed_keys(self._config, config)
        self.problem, self.waiting, self.file = "", tuple(waiting), loaded.file
        self._config = config
        if waiting:
            _log.warning("restart_needed", keys=waiting)
        configure_logs(config.log.level)
        roots = await anyio.to_thread.run_sync(configured_roots, config)
        await configure(engine, root_options(config), roots)
        _log.info("reloaded", applied=changed)
