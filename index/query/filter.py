"""The filter language: its syntax tree and parser.

::

    or    := and ("or" and)*
    and   := not ("and" not)*
    not   := "not" not | prim
    prim  := "(" or ")" | field cmp value | field ["not"] "in" "[" [value ("," value)*] "]"
    cmp   := "==" | "!=" | ">" | "<" | ">=" | "<="
    value := 'text' | "text" | integer | float | true | false

Keywords are case-insensitive. A field is ``[A-Za-z_][A-Za-z0-9_.]*`` or any text in backquotes. A
backslash in a text protects the quote after it and stays in the text. Parsing is bounded: texts of
at most ``MAX_LENGTH`` characters, ``MAX_DEPTH`` levels of parentheses and ``not``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NoReturn, TypeAlias

from dftindexd.index.errors import QueryError

__all__ = (
    "MAX_DEPTH",
    "MAX_LENGTH",
    "And",
    "Compare",
    "Comparison",
    "Expression",
    "Field",
    "IsNull",
    "Member",
    "Not",
    "Or",
    "Value",
    "parse_filter",
    "query_error",
)

MAX_LENGTH: Final = 65_536
MAX_DEPTH: Final = 64

Comparison: TypeAlias = Literal["==", "!=", ">", "<", ">=", "<="]
Value: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Field:
    """A column by name, and where in the text it stands."""

    name: str
    position: int


@dataclass(frozen=True, slots=True)
class Compare:
    """A field compared with a value."""

    field: Field
    comparison: Comparison
    value: Value


@dataclass(frozen=True, slots=True)
class Member:
    """A field that is, or is not, one of some values."""

    field: Field
    values: tuple[Value, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class IsNull:
    """A field that an event lacks, or *negated* has. No text says so; predicates do."""

    field: Field
    negated: bool


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of an expression."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more expressions."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more expressions."""

    operands: tuple[Expression, ...]


Expression: TypeAlias = Compare | Member | IsNull | Not | And | Or

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<float>-?(?:\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+))
      | (?P<int>-?\d+)
      | (?P<quoted>`[^`]+`)
      | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<mark>==|!=|>=|<=|>|<|\(|\)|\[|\]|,)
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS: Final = frozenset(("and", "or", "not", "in", "true", "false"))
_COMPARISONS: Final[dict[str, Comparison]] = {
    "==": "==",
    "!=": "!=",
    ">": ">",
    "<": "<",
    ">=": ">=",
    "<=": "<=",
}
_CONTEXT: Final = 40
_INT64: Final = 2**63


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def query_error(query: str, position: int, message: str, hint: str = "") -> QueryError:
    """Return an error that shows where in *query* it is, by a caret below the text.

    The hint stands in the first line, so that the caret comes last.
    """
    begin = max(0, position - _CONTEXT)
    excerpt = re.sub(r"\s", " ", query[begin : position + _CONTEXT])
    caret = " " * (position - begin) + "^"
    place = f"{message} at column {position + 1}" + (f"; {hint}" if hint else "")
    return QueryError(f"{place}\n  {excerpt}\n  {caret}")


def parse_filter(query: str) -> Expression | None:
    """Return the tree of *query*, ``None`` for the empty text; else raise a QueryError."""
    if not query:
        return None
    if len(query) > MAX_LENGTH:
        raise QueryError(
            f"the query has {len(query)} characters, more than {MAX_LENGTH}",
            hint="filter by fewer values, or filter the answer",
        )
    return _Parser(query).parse()


def _tokens(query: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while not tokens or tokens[-1].kind != "end":
        found = _TOKEN.match(query, position)
        if found is None or found.lastgroup is None:
            start = position + len(query[position:]) - len(query[position:].lstrip())
            raise query_error(query, start, _lexical_message(query[start]))
        kind = found.lastgroup
        text = found.group(kind)
        if kind == "word" and text.lower() in _KEYWORDS:
            kind, text = "keyword", text.lower()
        tokens.append(_Token(kind, text, found.start(found.lastgroup)))
        position = found.end()
    return tokens


def _lexical_message(character: str) -> str:
    if character in "'\"`":
        return "a quote that is not closed"
    if character == "=":
        return "a single =, where == is meant"
    return f"unexpected character {character!r}"


class _Parser:
    def __init__(self, query: str) -> None:
        self._query = query
        self._tokens = _tokens(query)
        self._next = 0
        self._depth = 0

    def parse(self) -> Expression:
        tree = self._or()
        if self._token.kind != "end":
            self._fail("expected 'and', 'or' or the end")
        return tree

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *texts: str, kind: str) -> str | None:
        token = self._token
        if token.kind != kind or (texts and token.text not in texts):
            return None
        self._next += 1
        return token.text

    def _fail(self, message: str) -> NoReturn:
        token = self._token
        got = "the end" if token.kind == "end" else token.text[:_CONTEXT]
        raise query_error(self._query, token.position, f"{message}, got {got}")

    def _or(self) -> Expression:
        operands = [self._and()]
        while self._take("or", kind="keyword"):
            operands.append(self._and())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _and(self) -> Expression:
        operands = [self._not()]
        while self._take("and", kind="keyword"):
            operands.append(self._not())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _not(self) -> Expression:
        if self._depth > MAX_DEPTH:
            message = f"more than {MAX_DEPTH} levels of parentheses and not"
            raise query_error(self._query, self._token.position, message)
        self._depth += 1
        try:
            if self._take("not", kind="keyword"):
                return Not(self._not())
            return self._primary()
        finally:
            self._depth -= 1

    def _primary(self) -> Expression:
        if self._take("(", kind="mark"):
            inner = self._or()
            if not self._take(")", kind="mark"):
                self._fail("expected ')'")
            return inner
        field = self._field()
        negated = self._take("not", kind="keyword") is not None
        if self._take("in", kind="keyword"):
            return Member(field, self._values(), negated)
        if negated:
            self._fail("expected 'in' after 'not'")
        mark = self._take(*_COMPARISONS, kind="mark")
        if mark is None:
            self._fail("expected a comparison or 'in'")
        return Compare(field, _COMPARISONS[mark], self._value())

    def _field(self) -> Field:
        position = self._token.position
        word = self._take(kind="word")
        if word is not None:
            return Field(word, position)
        quoted = self._take(kind="quoted")
        if quoted is None:
            self._fail("expected a column")
        return Field(quoted[1:-1], position)

    def _values(self) -> tuple[Value, ...]:
        if not self._take("[", kind="mark"):
            self._fail("expected '['")
        if self._take("]", kind="mark"):
            return ()
        values = [self._value()]
        while self._take(",", kind="mark"):
            values.append(self._value())
        if not self._take("]", kind="mark"):
            self._fail("expected ',' or ']'")
        return tuple(values)

    def _value(self) -> Value:
        token = self._token
        value: Value
        if token.kind == "text":
            value = token.text[1:-1]
        elif token.kind == "float":
            value = float(token.text)
        elif token.kind == "int":
            value = self._integer(token)
        elif token.kind == "keyword" and token.text in ("true", "false"):
            value = token.text == "true"
        else:
            self._fail("expected a text in quotes, a number, true or false")
        self._next += 1
        return value

    def _integer(self, token: _Token) -> int:
        value = int(token.text) if len(token.text) <= 20 else _INT64
        if not -_INT64 <= value < _INT64:
            raise query_error(self._query, token.position, "a number beyond 64 bits")
        return value
