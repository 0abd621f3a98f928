"""The verbs of ``dftindexd-client``, and in which module each is.

A module is imported when one of its verbs is asked for: what some need takes longer to import than
others take in all.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import Final

import click

__all__ = ("VERBS", "Verbs")

#: In ``dftindexd.client``, by verb.
VERBS: Final = MappingProxyType(
    {
        verb: module
        for module, verbs in {
            "cli_agg": ("agg",),
            "cli_completion": ("completion",),
            "cli_daemon": ("ping", "status", "stop", "tail", "version"),
            "cli_export": ("export",),
            "cli_indices": ("indices",),
            "cli_operation": ("debug-dump", "metrics"),
            "cli_publish": ("publish",),
            "cli_reading": ("explain", "read"),
            "cli_roots": (
                *("backup", "compact", "index", "list", "rebuild", "sync", "unwatch", "verify"),
                *("wait", "watch"),
            ),
            "cli_sql": ("sql",),
            "cli_top": ("top",),
            "cli_views": ("views",),
        }.items()
        for verb in verbs
    }
)


class Verbs(click.Group):
    """A group whose verbs are those of ``VERBS``; to import a module adds its verbs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all."""
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the verb of a name, ``None`` if there is none."""
        if cmd_name in VERBS:
            import_module(f"dftindexd.client.{VERBS[cmd_name]}")
        return super().get_command(ctx, cmd_name)
