"""Where the metrics go beside the socket: a port of the loopback interface, or a file.

The port is for a Prometheus on the same machine. Whoever can connect to the machine's loopback can
read it, which is why there is none unless it is asked for. The file is for the textfile collector
of node_exporter: it is replaced whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

__all__ = ("FILE_SECONDS", "MetricsOptions", "run_outlets")

#: How often the file is written, and what could not be had is tried again.
FILE_SECONDS: Final = 15.0
_HOST: Final = "127.0.0.1"
_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_REQUEST_BYTES: Final = 8 << 10
_REQUEST_SECONDS: Final = 5.0
_MOST_AT_ONCE: Final = 8

_log = structlog.get_logger(__name__)


class MetricsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The port and the file (an absolute path), where there are to be any."""

    port: int | None = None
    file: str | None = None


async def run_outlets(
    options: MetricsOptions, text: Callable[[], str], problems: MutableMapping[str, str]
) -> None:
    """Serve what *text* returns until cancelled. An outlet that cannot be had is tried again and
    again, and stops nothing: *problems* has why, by its key of the configuration."""
    async with anyio.create_task_group() as tasks:
        if options.port is not None:
            tasks.start_soon(_listen_again_and_again, options.port, text, problems)
        if options.file is not None:
            tasks.start_soon(_write_again_and_again, options.file, text, problems)


async def _listen_again_and_again(
    port: int, text: Callable[[], str], problems: MutableMapping[str, str]
) -> None:
    while True:
        try:
            listener = await anyio.create_tcp_listener(local_host=_HOST, local_port=port)
        except OSError as error:
            _note(problems, "metrics.port", f"cannot serve {_HOST}:{port}: {error.strerror}")
            await anyio.sleep(FILE_SECONDS)
            continue
        problems.pop("metrics.port", None)
        await _serve(listener, text)


def _note(problems: MutableMapping[str, str], key: str, problem: str) -> None:
    problems[key] = problem
    _log.warning("metrics_not_served", key=key, reason=problem)


async def _serve(
    listener: anyio.abc.Listener[anyio.abc.SocketStream], text: Callable[[], str]
) -> None:
    room = anyio.CapacityLimiter(_MOST_AT_ONCE)

    async def attend(stream: anyio.abc.SocketStream) -> None:
        async with room, stream:
            with anyio.move_on_after(_REQUEST_SECONDS):
                try:
                    await stream.send(_response(await _request_line(stream), text))
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    _log.debug("metrics_client_left")

    async with listener:
        await listener.serve(attend)


async def _request_line(stream: anyio.abc.SocketStream) -> bytes:
    """Return the first line of a request, once all of its head has come; ``b""`` for too long a
    one."""
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > _REQUEST_BYTES:
            return b""
        head += await stream.receive(_REQUEST_BYTES)
    return head.partition(b"\r\n")[0]


def _response(line: bytes, text: Callable[[], str]) -> bytes:
    words = line.split(b" ")
    if len(words) != 3 or words[0] != b"GET":
        return _message("400 Bad Request", "only GET /metrics is served here\n")
    if words[1].partition(b"?")[0] != b"/metrics":
        return _message("404 Not Found", "see /metrics\n")
    return _message("200 OK", text())


def _message(status: str, text: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {_CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def _write_again_and_again(
    path: str, text: Callable[[], str], problems: MutableMapping[str, str]
) -> None:
    while True:
        try:
            await anyio.to_thread.run_sync(_replace, path, text())
        except OSError as error:
            _note(problems, "metrics.file", f"cannot write {path}: {error.strerror}")
        else:
            problems.pop("metrics.file", None)
        await anyio.sleep(FILE_SECONDS)


def _replace(path: str, text: str) -> None:
    new = f"{path}.{os.getpid()}.new"
    with open(new, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
    os.replace(new, path)
