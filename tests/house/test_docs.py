"""What the documents name is there: commands, options, make targets, pages, tests."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

import click
import pytest

from dftindexd.client.cli import cli as client_command
from dftindexd.daemon.cli import main as daemon_command

from .checkout import ROOT, committed_files, python_files

README = (ROOT / "README.md").read_text()
PAGES = [file for file in committed_files() if file.suffix == ".md"]


def _named_commands(program: str) -> set[str]:
    return set(re.findall(rf"^\| `{program} ([a-z-]+)` \|", README, re.MULTILINE))


def _commands(group: click.Command) -> set[str]:
    assert isinstance(group, click.Group)
    return set(group.list_commands(click.Context(group)))


def test_the_readme_s_table_has_every_command_and_no_other() -> None:
    assert _named_commands("dftindexd") == _commands(daemon_command)
    assert _named_commands("dftindexd-client") == _commands(client_command)


def test_options_in_the_readme_exist() -> None:
    known = {"--json", "--socket", "--help"}
    for group in (daemon_command, client_command):
        assert isinstance(group, click.Group)
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            for parameter in command.params:
                known.update(parameter.opts)
    assert set(re.findall(r"(?<![\w|-])--[a-z][a-z-]*", README)) <= known


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = [target for target in targets if not (ROOT / page.parent / target).resolve().exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_make_targets_in_the_pages_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", (ROOT / page).read_text()))
    assert named <= targets


def test_tests_that_the_pages_name_exist() -> None:
    existing = {
        name
        for file in python_files()
        if file.parts[0] == "tests"
        for name in re.findall(r"def (test_\w+)\(", (ROOT / file).read_text())
    }
    for page in PAGES:
        named = set(re.findall(r"`(test_\w+)`", (ROOT / page).read_text()))
        assert named <= existing, page


def test_every_dependency_has_its_reason_written_down() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    required = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in required} - {"dftindexd"}
    page = (ROOT / "docs/dependencies.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)`", page, re.MULTILINE)) == names
