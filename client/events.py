"""Events as they come: the rows of a ``tail`` as values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from dftindexd.protocol.events import IndexEvent

if TYPE_CHECKING:
    import pyarrow as pa

    from dftindexd.client.sync_client import BlockingAnswerStream

__all__ = ("EventIterator", "events_of")


def _events_in(batch: pa.RecordBatch) -> list[IndexEvent]:
    return msgspec.convert(batch.to_pylist(), list[IndexEvent])


async def events_of(batches: AsyncIterator[pa.RecordBatch]) -> AsyncIterator[IndexEvent]:
    """Give the events of *batches* one by one."""
    async for batch in batches:
        for event in _events_in(batch):
            yield event


class EventIterator:
    """Events one by one, until it is closed; also a context manager that closes it.

    ``generation`` is the store's version when it was opened, ``warnings`` what to know of it.
    """

    def __init__(self, answer: AbstractContextManager[BlockingAnswerStream]) -> None:
        """Open *answer*, which is closed with this."""
        self._answer = ExitStack()
        batches = self._answer.enter_context(answer)
        self.generation = batches.generation
        self.warnings = batches.warnings
        self._events = (event for batch in batches for event in _events_in(batch))

    def __enter__(self) -> EventIterator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[IndexEvent]:
        return self

    def __next__(self) -> IndexEvent:
        return next(self._events)

    def close(self) -> None:
        """Tell the daemon that no more are wanted; may be repeated."""
        self._answer.close()
