"""Answers to ``list``: a row a trace, of a directory or of all roots. Threads make the rows."""

from __future__ import annotations

import anyio.to_thread
import pyarrow as pa

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.daemon.answer import ArrowAnswer
from dftindexd.daemon.gate import visible_roots
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.sight import Sight
from dftindexd.daemon.tables import LIST_SCHEMA, changes_listing, listing
from dftindexd.index.errors import StaleGenerationError
from dftindexd.protocol.errors import InvalidArgumentError
from dftindexd.protocol.requests import AnswerHead, ListRequest

__all__ = ("list_answer",)


async def list_answer(engine: Engine, request: ListRequest, sight: Sight) -> ArrowAnswer:
    """Return one row for each trace that *sight* shows, or for each that changed.

    :raises NotWatchedError: no root holds the path.
    :raises StaleGenerationError: what changed since that generation is not known.
    """
    if request.path is not None:
        path = request_path(request.path)
        root = engine.root_of(path)
        if request.since is None:
            one = listing(root, path, sight)
        else:
            _require_same_store(engine, root, path, request, sight)
            one = changes_listing(root, path, request.since, sight)
        head = AnswerHead(generation=one[0], store_id=root.handle.store_id)
        return ArrowAnswer(head, await anyio.to_thread.run_sync(one[1]))
    if request.since is not None:
        raise InvalidArgumentError(
            "each root has generations of its own", "name a directory with since"
        )
    roots = await visible_roots(engine, sight)
    listings = [listing(root, root.path, sight, engine.inside(root)) for root in roots]
    tables = [await anyio.to_thread.run_sync(table) for _, table in listings]
    newest = max((generation for generation, _ in listings), default=0)
    return ArrowAnswer(
        AnswerHead(generation=newest),
        pa.concat_tables(tables) if tables else LIST_SCHEMA.empty_table(),
    )


def _require_same_store(
    engine: Engine, root: Root, path: bytes, request: ListRequest, sight: Sight
) -> None:
    """Refuse a generation that is another store's, or may be: no store knows that of another.

    Whether other roots hold the path is no guest's to know: theirs always may be another's.

    :raises StaleGenerationError: it is.
    """
    if request.store_id:
        if request.store_id != root.handle.store_id:
            raise StaleGenerationError(
                f"generation {request.since} is of another store than answers for "
                f"{request.path} now",
                "list all traces, then ask for changes since that answer",
            )
        return
    if not request.since:
        return
    hint = "give the store_id of that answer's head with its generation"
    if not sight.is_whole:
        raise StaleGenerationError(
            f"generation {request.since} may be of another store than answers for "
            f"{request.path} now",
            hint,
        )
    if any(other is not root and other.covers(path) for other in engine.roots.values()):
        raise StaleGenerationError(
            f"{request.path} lies in several roots, of which each has its own generations", hint
        )
