"""What every verb of ``dftindexd-client`` shares: the group, its options, its exit codes.

Exit codes: 0 done, 1 error, 2 usage, 3 daemon unreachable, 4 degraded (``status`` and ``ping``
only), 5 not found.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import msgspec

from dftindexd.client import cli_output as output
from dftindexd.client.cli_verbs import Verbs
from dftindexd.protocol.errors import DaemonUnreachableError, DftIndexError, NotFoundError

if TYPE_CHECKING:
    from dftindexd.client.sync_client import Client
    from dftindexd.protocol.requests import TraceProblem

__all__ = (
    "EXIT_DEGRADED",
    "EXIT_ERROR",
    "Settings",
    "cli",
    "finished_only",
    "meta",
    "print_result",
    "verb",
)

EXIT_ERROR = 1
EXIT_UNREACHABLE = 3
EXIT_DEGRADED = 4
EXIT_NOT_FOUND = 5

F = TypeVar("F", bound=Callable[..., Any])

_SOCKET_HELP = "The daemon's socket; else DFTINDEXD_SOCKET, else the runtime directories."
_JSON_HELP = "Print JSON and nothing else."


class Settings(msgspec.Struct):
    """What the options before and after the verb say together."""

    socket: str | None = None
    json: bool = False

    def connect(self) -> Client:
        """Connect to the daemon that they name."""
        from dftindexd.client.sync_client import connect  # late: some verbs connect otherwise

        return connect(self.socket)

    def check_meta(self, meta: bool) -> None:
        """Refuse ``--meta`` without ``--json``."""
        if meta and not self.json:
            raise click.UsageError("--meta goes with --json")


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--socket", metavar="S", help=_SOCKET_HELP)
@click.pass_context
def cli(ctx: click.Context, socket: str | None) -> None:
    """Ask the indexing daemon for DFTracer traces.

    Example: dftindexd-client status
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    ctx.obj = Settings(socket=socket)


def verb(name: str) -> Callable[[F], click.Command]:
    """Make a verb: options that all have, and errors told with their exit codes."""

    def decorate(function: F) -> click.Command:
        def command(settings: Settings, socket: str | None, as_json: bool, **given: Any) -> None:
            settings.socket = socket or settings.socket
            settings.json = as_json
            try:
                function(settings, **given)
            except DftIndexError as error:
                _fail(error)

        # Takes over the help text and the options of the verb itself.
        functools.update_wrapper(command, function)
        with_json = click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)(command)
        with_socket = click.option("--socket", metavar="S", help=_SOCKET_HELP)(with_json)
        return cli.command(name)(click.pass_obj(with_socket))

    return decorate


def _fail(error: DftIndexError) -> NoReturn:
    output.print_error(error)
    if isinstance(error, DaemonUnreachableError):
        sys.exit(EXIT_UNREACHABLE)
    sys.exit(EXIT_NOT_FOUND if isinstance(error, NotFoundError) else EXIT_ERROR)


def print_result(
    settings: Settings, result: msgspec.Struct, text: str, problems: Iterable[TraceProblem] = ()
) -> None:
    """Print what a request gave, as *text* where no JSON is asked for."""
    if settings.json:
        output.print_document(result)
        return
    click.echo(text)
    output.print_problems(problems)


meta = click.option(
    "--meta", is_flag=True, help="With --json: the first line is the generation and warnings."
)
finished_only = click.option("--finished-only", is_flag=True, help="Leave growing traces out.")
