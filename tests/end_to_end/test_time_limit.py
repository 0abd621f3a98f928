"""A filter that would keep the daemon busy for long: it ends in time, and others are served."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dftindexd.client import Client, connect
from dftindexd.protocol.errors import RequestTimeoutError
from tests.end_to_end.made_traces import event_lines
from tests.end_to_end.running import Daemon, running_daemon, until

LIMIT_SECONDS = 0.5
#: Each process has a name of its own, so that a filter compares so many texts at every place.
PROCESSES = 20_000
#: As long as a filter may be, and true of nothing: it takes many times the limit.
EXPENSIVE = " or ".join(["proc_name>'b'"] * 3_700)
EXPENSIVE_EVENT = " or ".join(["id<0"] * 7_000)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that takes half a second for an answer, with a trace of very many processes."""
    folder = tmp_path_factory.mktemp("limited")
    with running_daemon(folder, "--request-limit", str(LIMIT_SECONDS)) as daemon:
        lines = (event_lines(1, first=1, pid=1 + number) for number in range(PROCESSES))
        (daemon.traces / "many.pfw").write_bytes(b"".join(lines))
        daemon.client.sync()
        # What is read once is kept, so that only the filter takes time from here on.
        require_in_time(lambda: daemon.events() == PROCESSES)
        yield daemon


def require_in_time(holds: Callable[[], bool]) -> None:
    """Hold that an answer is right, and comes within the limit, where the machine is not too busy
    for that at once."""

    def is_there() -> bool:
        try:
            return holds()
        except RequestTimeoutError:
            return False

    until(is_there, "an answer within the limit")


def aggregate(client: Client, traces: Path) -> object:
    return client.aggregation(traces, query=EXPENSIVE)


def read(client: Client, traces: Path) -> object:
    with client.read(traces, query=EXPENSIVE_EVENT) as batches:
        return sum(batch.num_rows for batch in batches)


@pytest.mark.parametrize("ask", [aggregate, read])
def test_a_filter_that_takes_too_long_ends_and_others_are_served_meanwhile(
    limited: Daemon, ask: Callable[[Client, Path], object]
) -> None:
    errors: list[RequestTimeoutError] = []

    def ask_for_much() -> None:
        with connect(limited.socket) as client:
            try:
                ask(client, limited.traces)
            except RequestTimeoutError as error:
                errors.append(error)

    asking = [threading.Thread(target=ask_for_much) for _ in range(2)]
    for thread in asking:
        thread.start()
    served = 0
    while any(thread.is_alive() for thread in asking):
        assert limited.client.ping().ready
        served += 1
    assert served > 0
    assert [error.code for error in errors] == ["timeout"] * 2
    assert "the limit of one answer" in errors[0].message
    assert "ipc.request_limit" in errors[0].hint
    require_in_time(lambda: limited.events() == PROCESSES)


def test_what_a_filter_costs_is_counted_for_each_answer_alone(limited: Daemon) -> None:
    def is_found() -> bool:
        (row,) = limited.client.aggregation(
            limited.traces, query="pid == 7", group_by=["func_name"]
        ).to_pylist()
        return bool(row["count"] == 1)

    for _ in range(3):
        require_in_time(is_found)
