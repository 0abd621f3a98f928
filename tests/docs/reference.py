"""The pages that are written from the code: commands, client, configuration and views.

``python -m tests.docs.reference`` writes them; a test says whether they are up to date.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from dftindexd.client import Answer, AnswerStream, AsyncClient, Backup, connect
from dftindexd.client.cli import cli as client_command
from dftindexd.daemon.cli import main as daemon_command
from dftindexd.views.schema import TIME, ViewSchema
from dftindexd.views.sets import VIEW_SETS
from tests.docs.configuration_page import configuration_page, configuration_schema

__all__ = ("DOCS", "PAGES", "api_page", "cli_page", "views_page")

DOCS = Path(__file__).resolve().parents[2] / "docs"

_CLI_HEAD = """# Commands

Written by `make docs` from the commands themselves. Exit codes: 0 done, 1 error, 2 usage,
3 daemon unreachable, 4 degraded (`ping` and `status` only), 5 not found.
"""
_API_HEAD = """# The Python client

Written by `make docs` from the docstrings of `dftindexd.client`. `connect()` gives a blocking
`Client`, which has the methods of `AsyncClient` under the same names, without `await`, and with the
same arguments. Errors are those of [errors.md](errors.md), all in `dftindexd.protocol.errors`.
"""
_VIEWS_HEAD = """# Views in SQL

Written by `make docs` from the schemas in `views/sets.py`.

`dftindexd-client sql QUERY`, or `client.sql(QUERY)`, runs one SELECT over the traces below a
directory (`--root`), or over those of all roots, then with a column `root`. The dialect is that of
DataFusion; `EXPLAIN` tells how a statement would run. The daemon needs the extra `sql` for it.
[Ten questions](recipes.md) are answered by one statement each.

* A **table** is named as it is. `view_instance(set, id)` gives the rows of one process or stream of
  a **view set**; `processes` and `streams` have the ids. Both arguments are texts in the statement.
* A **time** is in nanoseconds since 1970, UTC (traces have microseconds). `--begin` and `--end`
  leave out rows of other times, whole: a span that touches the range is a row.
* Columns with a dot in their names are written in quotes: `"processes.exe"`.
* Rows are those of one generation of each store, growing traces included. Without ORDER BY they
  come in any order.
* A guest's statement is about the traces that it may read ([security](security.md)).

A statement is refused that is not one SELECT. One that runs longer than `--seconds` (60), has more
rows than `--rows` (a million), or whose sorting, grouping and joining needs more than 512 MiB ends
with an error that says so; one whose client goes away ends at once. At most two run at once, each
in a process of its own.

Views are **made when they are first asked for**, from only those chunks of traces that hold the
process or stream, and kept as Parquet in the folder `views` of the store: asking again reads no
trace and writes nothing. A partition is fresh while it was made of exactly the blocks that there
are, with the present version of its set; when a trace grows, is replaced or goes, only partitions
of its own processes are made anew, and those with a file whose name another trace tells, or none.
A file is named by the checksum of its bytes; one that is damaged or gone is made anew.
A partition that no answer used for a week is deleted, and the least recently used ones beyond 4 GiB
a store. Nothing is lost with them. `dftindexd-client views` lists what is kept, `views drop`
deletes it. While a view is made, a terminal has a bar, and `client.sql_progress(ticket)` tells of
the statement that was sent with that `ticket`.

What lies in what (`parent`, `depth`) is found by the nesting of times in each thread, over all its
chunks: what 1.0 traces say of it is incomplete. Calls that cross are no children of each other. A
call that is told in two records (`ph` B and E) and not closed ends with what is known of its
thread.
"""


def cli_page() -> str:
    """Return ``docs/cli.md``."""
    programs = {"dftindexd": daemon_command, "dftindexd-client": client_command}
    groups = (part for name, group in programs.items() for part in _group(name, group))
    return "\n".join([_CLI_HEAD, *groups])


def _group(name: str, group: click.Command) -> Iterator[str]:
    assert isinstance(group, click.Group)
    yield f"## {name}\n\n{_prose(group.help)}\n"
    shared = {"--socket", "--json"} if name == "dftindexd-client" else set()
    if shared:
        yield "Every verb takes `--socket S` and `--json` as well.\n"
    context = click.Context(group)
    for verb in sorted(group.list_commands(context)):
        command = group.get_command(context, verb)
        assert command is not None
        arguments = " ".join(_argument(one) for one in command.params if _is_argument(one))
        yield f"### {' '.join(filter(None, (name, verb, arguments)))}\n\n{_prose(command.help)}\n"
        options = [
            one
            for one in command.params
            if isinstance(one, click.Option) and not shared & set(one.opts)
        ]
        if options:
            yield "| option | |\n|---|---|"
            yield "\n".join(map(_option, options)) + "\n"


def _is_argument(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Argument)


def _argument(parameter: click.Parameter) -> str:
    name = str(parameter.name).upper()
    if isinstance(parameter.type, click.Choice):
        name = "|".join(map(str, parameter.type.choices))
    name = f"{name}..." if parameter.nargs == -1 else name
    return name if parameter.required else f"[{name}]"


def _option(option: click.Option) -> str:
    names = ", ".join(option.opts)
    value = "" if option.is_flag else f" {_value(option)}"
    text = " ".join((option.help or "").split())
    shown = option.show_default if isinstance(option.show_default, str) else option.default
    default = f" Default: {shown}." if option.show_default and not option.is_flag else ""
    return f"| `{names}{value}` | {(text + default).strip()} |"


def _value(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return " or ".join(map(str, option.type.choices))
    return str(option.name).upper()


def _prose(text: str | None) -> str:
    """Return a help text with its examples as blocks of code."""
    plain = inspect.cleandoc(text or "").replace("\b\n", "")
    plain = re.sub(r"^Example: (.+)$", r"```\n\1\n```", plain, flags=re.MULTILINE)
    return re.sub(
        r"^Examples:\n((?:  .+\n?)+)",
        lambda found: f"```\n{inspect.cleandoc('  ' + found[1].strip())}\n```",
        plain,
        flags=re.MULTILINE,
    ).strip()


def api_page() -> str:
    """Return ``docs/api.md``."""
    parts = [_API_HEAD, _call("connect", connect, level=2)]
    for kind in (AsyncClient, AnswerStream, Answer, Backup):
        parts.append(f"## {kind.__name__}\n\n{_doc(kind)}\n")
        parts += [
            _property(name, value) if isinstance(value, property) else _call(name, value, level=3)
            for name, value in _members(kind)
        ]
    return "\n".join(parts)


def _members(kind: type[Any]) -> list[tuple[str, Any]]:
    """Return what users call, by name: with a docstring, and not of a base that is not ours."""
    return [
        (name, value)
        for name, value in inspect.getmembers(kind)
        if not name.startswith("_")
        and (isinstance(value, property) or inspect.isroutine(value))
        and value.__doc__
    ]


def _call(name: str, function: Callable[..., Any], *, level: int) -> str:
    signature = inspect.signature(function)
    kept = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
    texts = [_parameter(one) for one in kept]
    star = next((place for place, one in enumerate(kept) if one.kind is one.KEYWORD_ONLY), None)
    if star is not None:
        texts.insert(star, "*")
    arguments = "(\n" + "".join(f"    {text},\n" for text in texts) + ")" if kept else "()"
    arrow = f" -> {_annotation(signature.return_annotation)}"
    return f"{'#' * level} {name}\n\n```\n{name}{arguments}{arrow}\n```\n\n{_doc(function)}\n"


def _parameter(parameter: inspect.Parameter) -> str:
    text = f"{parameter.name}: {_annotation(parameter.annotation)}"
    return text if parameter.default is parameter.empty else f"{text} = {parameter.default!r}"


def _annotation(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "None")


def _property(name: str, value: property) -> str:
    return f"### {name}\n\n{_doc(value)}\n"


def _doc(value: object) -> str:
    text = inspect.getdoc(value) or ""
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", text).replace("``", "`")
    text = re.sub(r"^(Args|Raises):\n((?:    .*\n?|\n)+)", _listed, text, flags=re.MULTILINE)
    return text.strip()


def _listed(found: re.Match[str]) -> str:
    lines = re.sub(r"^    (\w+):", r"- `\1`:", found[2], flags=re.MULTILINE)
    return f"{found[1]}:\n\n{re.sub(r'^ +', '  ', lines, flags=re.MULTILINE)}"


def views_page() -> str:
    """Return ``docs/views.md``."""
    sets = (part for schema in VIEW_SETS.values() for part in _view_set(schema))
    return "\n".join([_VIEWS_HEAD, *sets])


def _view_set(schema: ViewSchema) -> Iterator[str]:
    yield f"## {schema.name}\n\n{schema.doc} Version {schema.version}.\n"
    if schema.table:
        yield f"Table `{schema.name}`.\n"
    for kind in schema.instances:
        instance = "global" if kind == "global" else f"<{kind}_id>"
        yield f"`view_instance('{schema.name}', '{instance}')`\n"
    if schema.open_ended:
        yield "Further columns follow as the tier is configured ([aggregation](aggregation.md)).\n"
    yield "| column | type | |\n|---|---|---|"
    for column in schema.columns:
        values = "time" if column.type == TIME else str(column.type)
        yield f"| `{column.name}` | {values} | {column.doc} |"
    yield ""


PAGES: dict[str, Callable[[], str]] = {
    "api.md": api_page,
    "cli.md": cli_page,
    "configuration.md": configuration_page,
    "configuration.schema.json": configuration_schema,
    "views.md": views_page,
}


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    main()
