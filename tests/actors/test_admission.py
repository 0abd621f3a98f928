"""Which root has its next job read: fairness, who waits first, and the memory budget."""

from __future__ import annotations

from collections import Counter

import pytest

from dftindexd.actors.admission import BATCH_BYTES, Admission, Demand, job_memory

MIB = 1 << 20
BIG = Demand(urgent=False, bytes=1 << 30)


def small(*, urgent: bool = False, traces: int = 1) -> Demand:
    return Demand(urgent=urgent, bytes=1000 * traces, traces=traces)


def admitted(admission: Admission, job: Demand) -> tuple[bytes, int]:
    """Return who comes next, with its job begun."""
    turn = admission.next()
    assert turn is not None
    admission.begin(turn[1], job)
    return turn


def test_a_root_of_many_traces_holds_up_no_other() -> None:
    admission = Admission(workers=1)
    batches = {b"many": small(traces=64), b"few": small()}
    order: list[bytes] = []
    for root, batch in batches.items():
        admission.want(root, batch)
    for _ in range(140):
        turn = admission.next()
        assert turn is not None
        root, slot = turn
        order.append(root)
        admission.begin(slot, batches[root])
        admission.want(root, batches[root])
        admission.release(slot)
    # Both had about as much read: a batch of 64 on one side is 64 traces on the other.
    assert order[1] == b"few"
    counts = Counter(order)
    assert abs(64 * counts[b"many"] - counts[b"few"]) <= 64


def test_a_root_that_had_nothing_to_do_gets_no_credit_for_it() -> None:
    admission = Admission(workers=1)
    order: list[bytes] = []
    for step in range(20):
        admission.want(b"old", BIG)
        if step >= 10:
            admission.want(b"new", BIG)
        root, slot = admitted(admission, BIG)
        order.append(root)
        admission.release(slot)
    assert Counter(order[10:]) == {b"old": 5, b"new": 5}


def test_whoever_somebody_waits_for_goes_first() -> None:
    admission = Admission(workers=2)
    for root in (b"a", b"b"):
        admission.want(root, BIG)
        admitted(admission, BIG)
    admission.want(b"a", BIG)
    admission.want(b"b", small())
    admission.want(b"c", small(urgent=True))
    assert admitted(admission, small(urgent=True))[0] == b"c"
    assert admission.next() is None


def test_a_small_job_is_given_ahead_of_a_free_worker_and_a_big_one_is_not() -> None:
    admission = Admission(workers=1)
    admission.want(b"a", BIG)
    _, slot = admitted(admission, BIG)
    admission.want(b"a", BIG)
    assert admission.next() is None
    admission.want(b"a", Demand(urgent=False, bytes=BATCH_BYTES))
    admitted(admission, Demand(urgent=False, bytes=BATCH_BYTES))
    admission.want(b"a", small())
    assert admission.next() is None
    admission.release(slot)
    admission.release(slot)
    admitted(admission, small())
    assert admission.next() is None


@pytest.mark.parametrize(
    ("size", "memory"), [(0, 64), (MIB, 80), (4 * MIB, 128), (5 * MIB, 144), (1 << 40, 144)]
)
def test_the_memory_of_a_job_grows_with_its_bytes_up_to_a_bound(size: int, memory: int) -> None:
    assert job_memory(size) == memory * MIB


def test_a_job_over_the_budget_waits_and_nothing_overtakes_it() -> None:
    admission = Admission(workers=8, memory_budget=220 * MIB)
    admission.want(b"a", small())
    _, slot = admitted(admission, small())
    admission.want(b"b", BIG)
    assert admitted(admission, BIG)[0] == b"b"
    assert admission.memory <= 220 * MIB
    admission.want(b"b", BIG)
    admission.want(b"c", Demand(urgent=True, bytes=8 * MIB))
    assert admission.next() is None
    admission.release(slot)
    assert admission.next() is None


def test_a_job_alone_is_let_in_whatever_the_budget() -> None:
    admission = Admission(workers=8, memory_budget=1)
    admission.want(b"a", BIG)
    _, slot = admitted(admission, BIG)
    admission.want(b"a", small())
    assert admission.next() is None
    admission.release(slot)
    admitted(admission, small())


def test_what_a_root_has_is_taken_back_when_it_is_forgotten() -> None:
    admission = Admission(workers=1)
    admission.want(b"a", BIG)
    _, slot = admitted(admission, BIG)
    admission.want(b"a", BIG)
    admission.forget(b"a")
    assert not admission.holds(slot)
    assert admission.next() is None
    admission.want(b"b", BIG)
    assert admitted(admission, BIG)[0] == b"b"
