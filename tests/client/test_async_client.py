"""The asynchronous client against the real server, over a real socket."""

from __future__ import annotations

import os
import subprocess

import anyio
import pyarrow as pa
import pytest
from anyio.lowlevel import checkpoint

from dftindexd.client import AsyncClient
from dftindexd.protocol.errors import (
    ConnectionLostError,
    DaemonUnreachableError,
    DftIndexError,
    InvalidArgumentError,
    NotFoundError,
    QueryError,
    RequestTimeoutError,
    ShuttingDownError,
)
from dftindexd.protocol.requests import AggregationRequest, ListRequest
from tests.client.echo_daemon import VERSION, EchoService, Hosted, rows, serving

pytestmark = pytest.mark.anyio


async def test_each_request_is_answered_by_its_own_reply(socket_path: str) -> None:
    async with serving(socket_path), AsyncClient(socket_path) as client:
        assert (await client.ping()).version == VERSION
        assert (await client.status()).roots[0].traces == 2
        assert (await client.watch("/t")).root == "/t"
        assert (await client.unwatch("/t", purge=True)).purged
        assert (await client.index("/t", wait=True)).problems[0].path == "/t/a.pfw"
        assert (await client.sync()).generation == 5
        assert (await client.stop()).pid == os.getpid()
        assert client.daemon.version == VERSION


async def test_relative_paths_are_made_absolute_here(socket_path: str) -> None:
    async with serving(socket_path), AsyncClient.connect(socket_path) as client:
        assert (await client.watch("x/../run")).root == os.path.join(os.getcwd(), "run")


@pytest.mark.parametrize("count", [0, 1, 160_000])
async def test_rows_arrive_as_they_were_sent(socket_path: str, count: int) -> None:
    async with serving(socket_path), AsyncClient(socket_path) as client:
        answer = await client.aggregation(f"/rows-{count}")
    assert len(answer) == count
    assert answer.generation == 3
    assert answer.warnings == ("one trace is missing",)
    assert answer.arrow().to_pydict()["n"] == list(range(count))
    assert pa.table(answer).schema == rows(0, 1).schema


async def test_the_arguments_of_an_aggregation_reach_the_service(socket_path: str) -> None:
    service = EchoService()
    async with serving(socket_path, service), AsyncClient(socket_path) as client:
        await client.aggregation(
            "/rows-1",
            "system",
            query="n == 1",
            group_by=["n"],
            time_granularity=2.0,
            time_resolution=1.0,
            finished_only=True,
        )
    assert service.asked == [
        AggregationRequest(
            path="/rows-1",
            kind="system",
            query="n == 1",
            group_by=("n",),
            time_granularity=2.0,
            time_resolution=1.0,
            finished_only=True,
        )
    ]


async def test_the_daemons_errors_keep_their_kind(socket_path: str) -> None:
    async with serving(socket_path), AsyncClient(socket_path) as client:
        with pytest.raises(NotFoundError, match="/missing does not exist; make it first"):
            await client.watch("/missing")
        with pytest.raises(NotFoundError, match="/gone went away"):
            await client.watch("/gone")
        with pytest.raises(QueryError, match="column 'x'"):
            await client.aggregation("/query")
        with pytest.raises(DftIndexError, match="ZeroDivisionError: division by zero") as caught:
            await client.watch("/bug")
        assert caught.value.code == "internal"
        with pytest.raises(DftIndexError, match="TypeError"):
            await client.watch("/wrong-reply")
        assert (await client.ping()).ready


async def read_all(client: AsyncClient, path: str, seen: list[int]) -> None:
    """Read an answer batch by batch, noting the number of rows of each."""
    async with client.stream(ListRequest(path=path)) as stream:
        async for batch in stream:
            seen += [batch.num_rows]


async def test_a_stream_that_fails_midway_raises_its_error_after_the_rows(socket_path: str) -> None:
    seen: list[int] = []
    async with serving(socket_path), AsyncClient(socket_path) as client:
        with pytest.raises(QueryError, match="the store broke at row 30000"):
            await read_all(client, "/breaks", seen)
        with pytest.raises(QueryError):
            await client.list("/breaks")
    assert sum(seen) == 30_000


async def test_an_endless_answer_is_read_in_bounded_memory_and_ends_with_its_reader(
    socket_path: str,
) -> None:
    service = EchoService()
    async with serving(socket_path, service), AsyncClient(socket_path) as client:
        async with client.stream(ListRequest(path="/endless")) as stream:
            assert stream.generation == 3
            first = await anext(stream)
            # The reader stands still: the daemon may run ahead by its window and no more, and
            # other requests on the connection go on.
            for _ in range(200):
                assert (await client.ping()).ready
            ahead = service.batches
            for _ in range(50):
                await client.ping()
            assert service.batches == ahead
            second = await anext(stream)
        with anyio.fail_after(60):
            while service.streams_closed == 0:
                await checkpoint()
    assert first.column("n")[0].as_py() == 0
    assert second.column("n")[0].as_py() == 10_000
    assert ahead < 64


async def test_a_reader_that_is_cancelled_midway_leaves_the_client_usable(socket_path: str) -> None:
    service = EchoService()
    async with serving(socket_path, service), AsyncClient(socket_path) as client:
        with anyio.move_on_after(0.05) as scope:
            async with client.stream(ListRequest(path="/endless")) as stream:
                async for batch in stream:
                    assert batch.num_rows == 10_000
        assert scope.cancelled_caught
        assert (await client.ping()).ready


async def test_a_request_that_times_out_is_cancelled_at_the_daemon(socket_path: str) -> None:
    service = EchoService()

    async def wait(client: AsyncClient) -> None:
        with pytest.raises(RequestTimeoutError, match=r"within 0\.5 s"):
            await client.wait("/t", timeout=0.5)

    async with serving(socket_path, service), AsyncClient(socket_path) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, client)
            await service.until_waiting(1)  # else there is nothing to cancel
        await service.until_waiting(0)
        assert service.cancelled == 1
        assert (await client.ping()).ready


async def test_a_task_that_is_cancelled_cancels_its_request_and_no_other(socket_path: str) -> None:
    service = EchoService()
    first, second = anyio.CancelScope(), anyio.CancelScope()
    async with (
        serving(socket_path, service),
        AsyncClient(socket_path) as client,
        anyio.create_task_group() as tasks,
    ):

        async def wait_in(scope: anyio.CancelScope) -> None:
            with scope:
                await client.wait()

        tasks.start_soon(wait_in, first)
        tasks.start_soon(wait_in, second)
        await service.until_waiting(2)
        first.cancel()
        await service.until_waiting(1)
        assert service.cancelled == 1
        second.cancel()


async def test_sixty_four_tasks_share_one_connection(socket_path: str) -> None:
    service = EchoService()
    lengths: list[int] = []
    async with serving(socket_path, service) as server, AsyncClient(socket_path) as client:

        async def ask(count: int) -> None:
            answer = await client.list(f"/rows-{count}")
            assert len(answer) == count
            lengths.append(count)

        async with anyio.create_task_group() as tasks:
            for number in range(64):
                tasks.start_soon(ask, number * 700)
        assert server.connections == 1
    assert sorted(lengths) == [number * 700 for number in range(64)]


async def test_more_requests_than_one_connection_takes_get_another(socket_path: str) -> None:
    service = EchoService()
    async with serving(socket_path, service) as server, AsyncClient(socket_path) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(300):
                tasks.start_soon(client.wait)
            await service.until_waiting(300)
            assert server.connections == 3
            assert len(await client.list("/rows-5")) == 5
            tasks.cancel_scope.cancel()
        await service.until_waiting(0)
        assert (await client.ping()).ready
    assert service.cancelled == 300


async def fails_to_wait(client: AsyncClient, error: type[DftIndexError], text: str) -> None:
    """Wait for what never comes, and fail as told."""
    with anyio.fail_after(60), pytest.raises(error, match=text):
        await client.wait()


async def test_leaving_the_client_ends_its_requests_at_the_daemon(socket_path: str) -> None:
    service = EchoService()
    async with serving(socket_path, service):
        async with anyio.create_task_group() as tasks, AsyncClient(socket_path) as client:
            tasks.start_soon(fails_to_wait, client, ConnectionLostError, "was closed")
            await service.until_waiting(1)
        await service.until_waiting(0)
    with pytest.raises(ConnectionLostError, match="this client is not connected"):
        await client.ping()


async def test_a_daemon_that_ends_tells_the_requests_in_flight(socket_path: str) -> None:
    service = EchoService()
    async with anyio.create_task_group() as tasks:
        hosted = await Hosted.start(tasks, socket_path, service)
        async with AsyncClient(socket_path) as client, anyio.create_task_group() as waiting:
            waiting.start_soon(fails_to_wait, client, ShuttingDownError, "the daemon is ending")
            await service.until_waiting(1)
            await hosted.stop()
    assert not await anyio.Path(socket_path).exists()


async def test_the_next_request_after_a_restart_finds_the_new_daemon(socket_path: str) -> None:
    before, after = EchoService(), EchoService()
    async with anyio.create_task_group() as tasks:
        hosted = await Hosted.start(tasks, socket_path, before)
        async with AsyncClient(socket_path) as client:
            assert (await client.ping()).ready
            await hosted.stop()
            hosted = await Hosted.start(tasks, socket_path, after)
            async with anyio.create_task_group() as asking:
                for _ in range(8):
                    asking.start_soon(client.ping)
            assert len(await client.list("/rows-5")) == 5
        await hosted.stop()
    assert (len(before.asked), len(after.asked)) == (1, 9)


async def test_a_daemon_killed_midway_is_told_at_once(
    socket_path: str, daemon_process: subprocess.Popen[str]
) -> None:
    async with AsyncClient(socket_path) as client, anyio.create_task_group() as tasks:
        async with client.stream(ListRequest(path="/endless")) as stream:
            assert (await anext(stream)).num_rows == 10_000
            tasks.start_soon(fails_to_wait, client, ConnectionLostError, "went away")
            await client.ping()
            daemon_process.kill()
            with anyio.fail_after(60), pytest.raises(ConnectionLostError, match="went away"):
                _ = [batch async for batch in stream]
        with anyio.fail_after(60), pytest.raises(DaemonUnreachableError, match="nobody listens"):
            await client.ping()


async def test_no_daemon_names_the_place_and_what_to_do(socket_path: str) -> None:
    with pytest.raises(DaemonUnreachableError, match=r"d\.sock \(no such socket\); start one"):
        async with AsyncClient(socket_path):
            pass


async def test_all_places_that_were_tried_are_named(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DFTINDEXD_SOCKET", raising=False)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}/a")
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{tmp_path}/b")
    with pytest.raises(DaemonUnreachableError) as caught:
        async with AsyncClient():
            pass
    assert f"{tmp_path}/a/dftindexd.sock (no such socket)" in caught.value.message
    assert f"{tmp_path}/b/dftindexd/dftindexd.sock (no such socket)" in caught.value.message
    assert "/run/dftindexd/dftindexd.sock" in caught.value.message


async def test_the_variable_leads_to_the_daemon(
    socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFTINDEXD_SOCKET", socket_path)
    async with serving(socket_path), AsyncClient() as client:
        assert (await client.ping()).ready


async def test_a_path_over_the_limit_is_refused_with_the_limit() -> None:
    with pytest.raises(InvalidArgumentError, match="the limit is 107"):
        async with AsyncClient("/" + "x" * 120):
            pass


async def test_a_path_that_is_not_utf8_is_refused_and_harms_nothing(socket_path: str) -> None:
    async with serving(socket_path), AsyncClient(socket_path) as client:
        with pytest.raises(InvalidArgumentError, match="not UTF-8"):
            await client.watch("/t/\udcff")
        assert (await client.ping()).ready
