"""The verb ``completion``: what a shell needs to complete the command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from dftindexd.client import cli_output as output
from dftindexd.client.cli_base import Settings, cli, verb

__all__ = ("completion",)

_PROGRAM = "dftindexd-client"
_VARIABLE = "_DFTINDEXD_CLIENT_COMPLETE"


@verb("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(settings: Settings, shell: str) -> None:
    """Print what makes a shell complete verbs and options; no daemon is asked.

    \b
    Examples:
      eval "$(dftindexd-client completion bash)"        # in ~/.bashrc
      eval "$(dftindexd-client completion zsh)"         # in ~/.zshrc
      dftindexd-client completion fish | source         # in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise AssertionError(f"click knows {shell}")
    # Without asking the shell for its version, as click's own way of printing this does.
    maker = kind(cli, {}, _PROGRAM, _VARIABLE)
    source = maker.source_template % maker.source_vars()
    if settings.json:
        output.print_document({"shell": shell, "source": source})
        return
    click.echo(source)
