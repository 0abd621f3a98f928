"""Predicates as the client sends them."""

from __future__ import annotations

from typing import Any

import pytest

from dftindexd.client.indices import sent_predicates
from dftindexd.protocol.errors import InvalidArgumentError


def test_predicates_are_sent_as_they_are_given() -> None:
    given: Any = [[("pid", "==", 7), ["cat", "in", {"posix"}]], [("ret", "!=", None)]]
    sent = ((("pid", "==", 7), ("cat", "in", ("posix",))), (("ret", "!=", None),))
    assert sent_predicates(given) == sent
    assert sent_predicates(None) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([("name", "==", "read")], "no list of lists of conditions: 'name'"),
        ([[("name", "==")]], "no list of lists of conditions: ('name', '==')"),
        ([["name", "==", "read"]], "no list of lists of conditions: 'name'"),
        ("pid == 7", "no list of lists of conditions: 'p'"),
        ([[("pid", "==", 2**70)]], f"the number {2**70} is out of range"),
        ([[("pid", "in", [7, 2**64])]], f"the number {2**64} is out of range"),
        ([[("name", "==", b"read")]], "no values such as b'read'"),
        ([[("name", "==", object)]], "no values such as <class 'object'>"),
    ],
)
def test_predicates_of_another_shape_are_refused_by_what_is_wrong(given: Any, said: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        sent_predicates(given)
    assert said in raised.value.message
    assert raised.value.hint
