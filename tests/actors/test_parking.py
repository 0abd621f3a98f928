"""Which of the open stores are closed when there are too many."""

from __future__ import annotations

import pytest

from dftindexd.actors.open_stores import Usage, surplus


@pytest.mark.parametrize(
    ("stores", "most", "parked"),
    [
        ([("a", 1, True), ("b", 2, True)], 2, []),
        ([("a", 3, True), ("b", 2, True), ("c", 1, True)], 2, ["c"]),
        ([("a", 3, True), ("b", 2, True), ("c", 1, True)], 1, ["c", "b"]),
        ([("a", 3, True), ("b", 2, True), ("c", 1, False)], 2, ["b"]),
        ([("a", 3, False), ("b", 2, False), ("c", 1, False)], 1, []),
    ],
)
def test_of_the_idle_stores_the_least_recently_used_are_surplus(
    stores: list[tuple[str, int, bool]], most: int, parked: list[str]
) -> None:
    assert surplus([Usage(*one) for one in stores], most) == parked
