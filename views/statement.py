"""A SQL text before it is planned: whether it is one that only reads, and what it names.

This reads words and brackets, no grammar; the engine does that. It is what lets views be made
before the engine plans, and errors be told with their place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

from dftindexd.index.errors import QueryError

__all__ = ("INSTANCE_FUNCTION", "LONGEST_TEXT", "Statement", "place_of", "read_statement")

#: The table function that gives an instance of a view set.
INSTANCE_FUNCTION: Final = "view_instance"
#: No statement is longer, in characters.
LONGEST_TEXT: Final = 100_000

#: How deep brackets may lie: the engine's parser descends into each.
_DEEPEST: Final = 100
_FIRST_WORDS: Final = ("select", "with", "explain", "values")

_Kind: TypeAlias = Literal["word", "quoted", "text", "number", "sign"]

_TOKEN: Final = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<word>[^\W\d]\w*)
    |(?P<number>\d[\w.]*)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: _Kind
    text: str
    at: int

    @property
    def name(self) -> str:
        """The name that a word stands for."""
        if self.kind == "quoted":
            return self.text[1:-1].replace('""', '"')
        return self.text.lower()


class Statement(NamedTuple):
    """What a text names: all words, the instances of view sets as (set, id), and how it writes
    :data:`INSTANCE_FUNCTION`: the engine takes another case, or quotes, for another function."""

    text: str
    names: frozenset[str]
    instances: tuple[tuple[str, str], ...]
    spellings: frozenset[str]


def place_of(text: str, at: int) -> str:
    """Return where the character *at* is, as the engine's parser says it."""
    line = text.count("\n", 0, at) + 1
    return f"Line: {line}, Column: {at - text.rfind(chr(10), 0, at)}"


def read_statement(text: str) -> Statement:
    """Return what one reading statement names.

    :raises QueryError: it is none, or more than one, or calls :data:`INSTANCE_FUNCTION` with
        anything but two texts.
    """
    if len(text) > LONGEST_TEXT:
        raise QueryError(
            f"the statement has {len(text):,} characters", f"use at most {LONGEST_TEXT:,}"
        )
    tokens = list(_tokens(text))
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens:
        raise QueryError("the statement is empty", "give one SELECT")
    first = next((token for token in tokens if token.text != "("), tokens[0])
    if first.name not in _FIRST_WORDS or first.kind != "word":
        raise QueryError(
            f"{first.text} at {place_of(text, first.at)} begins no SELECT",
            "give one SELECT; views are only read",
        )
    second = next((token for token in tokens if token.text == ";"), None)
    if second is not None:
        raise QueryError(
            f"more than one statement: the next begins at {place_of(text, second.at)}",
            "give one SELECT",
        )
    _check_depth(text, tokens)
    names = frozenset(token.name for token in tokens if token.kind in ("word", "quoted"))
    spellings = frozenset(token.text for token in tokens if _is_function(token))
    return Statement(text, names, tuple(_instances(text, tokens)), spellings)


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        match found.lastgroup:
            case "word" | "quoted" | "text" | "number" | "sign" as kind:
                yield _Token(kind, found[0], found.start())


def _check_depth(text: str, tokens: list[_Token]) -> None:
    depth = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if depth > _DEEPEST:
            raise QueryError(
                f"brackets lie more than {_DEEPEST} deep at {place_of(text, token.at)}",
                "write it flatter",
            )


def _is_function(token: _Token) -> bool:
    return token.kind in ("word", "quoted") and token.name == INSTANCE_FUNCTION


def _instances(text: str, tokens: list[_Token]) -> Iterator[tuple[str, str]]:
    for at, token in enumerate(tokens):
        if not _is_function(token):
            continue
        following = tokens[at + 1 : at + 6]
        signs = [one.text for one in following]
        if signs[:1] != ["("]:
            continue
        for number, place in (("First", 1), ("Second", 3)):
            if len(following) <= place or following[place].kind != "text":
                raise QueryError(
                    f"{number} argument to {INSTANCE_FUNCTION} must be a string, at "
                    f"{place_of(text, token.at)}",
                    f"such as {INSTANCE_FUNCTION}('thread_spans', 'host:1:2:3')",
                )
        if signs[2] != "," or signs[4:] != [")"]:
            raise QueryError(
                f"{INSTANCE_FUNCTION} takes two arguments, at {place_of(text, token.at)}",
                f"such as {INSTANCE_FUNCTION}('thread_spans', 'host:1:2:3')",
            )
        yield _text_of(following[1]), _text_of(following[3])


def _text_of(token: _Token) -> str:
    return token.text[1:-1].replace("''", "'")
