"""Patterns over paths below a root."""

from __future__ import annotations

import pytest

from dftindexd.index.trace_rules import TraceRules

PATHS = (
    b"a.pfw",
    b"run1/a.pfw",
    b"run1/rank-0.pfw.gz",
    b"run12/deep/run1/a.pfw",
    b"old/run1/b.pfw",
    b"x[1].pfw",
    b"line\nbreak.pfw",
    b"\xff.pfw",
)


def shown(*, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> set[bytes]:
    rules = TraceRules(include=include, exclude=exclude)
    return {path for path in PATHS if rules.shows(path)}


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("a.pfw", {PATHS[0], PATHS[1], PATHS[3]}),
        ("/a.pfw", {PATHS[0]}),
        ("run1", {PATHS[1], PATHS[2], PATHS[3], PATHS[4]}),
        ("run1/", {PATHS[1], PATHS[2], PATHS[3], PATHS[4]}),
        ("/run1", {PATHS[1], PATHS[2]}),
        ("run1*", {PATHS[1], PATHS[2], PATHS[3], PATHS[4]}),
        ("run?", {PATHS[1], PATHS[2], PATHS[3], PATHS[4]}),
        ("run1/*.pfw", {PATHS[1]}),
        ("**/run1", {PATHS[1], PATHS[2], PATHS[3], PATHS[4]}),
        ("*/run1", {PATHS[4]}),
        ("run12/**/a.pfw", {PATHS[3]}),
        ("**/*.gz", {PATHS[2]}),
        ("*.gz", {PATHS[2]}),
        ("rank-[0-9].pfw.gz", {PATHS[2]}),
        ("rank-[!0-9].pfw.gz", set()),
        ("x[[]1].pfw", {PATHS[5]}),
        ("x[1].pfw", set()),
        ("line?break.pfw", {PATHS[6]}),
        ("?.pfw", {PATHS[0], PATHS[1], PATHS[3], PATHS[4], PATHS[7]}),
        ("a+pfw", set()),
    ],
)
def test_a_pattern_names_what_it_says_with_all_below(pattern: str, named: set[bytes]) -> None:
    assert shown(include=(pattern,)) == named
    assert shown(exclude=(pattern,)) == set(PATHS) - named


def test_what_is_excluded_is_out_whatever_is_included() -> None:
    assert shown(include=("run1", "x*"), exclude=("old", "*.gz")) == {PATHS[1], PATHS[3], PATHS[5]}
    assert shown() == set(PATHS)
    assert not TraceRules().shows(b"a.txt")


def test_an_excluded_directory_is_not_entered_and_one_that_is_not_included_is() -> None:
    rules = TraceRules(include=("deep/*.pfw",), exclude=("old", "run*/tmp"))
    entered = [one for one in (b"", b"any", b"old", b"x/old/y", b"run1/tmp", b"a/run1/tmp", b"run1")
               if rules.enters(one)]  # fmt: skip
    assert entered == [b"", b"any", b"a/run1/tmp", b"run1"]


@pytest.mark.parametrize("pattern", ["", "/", "../x", "a/../b", "[z-a]", "a\0"])
def test_a_pattern_that_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        TraceRules(exclude=(pattern,))
