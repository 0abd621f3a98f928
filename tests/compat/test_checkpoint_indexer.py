"""The checkpoints of one trace through the names of dftracer-utils."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from dftindexd.compat import CheckpointIndexer, DFTUtilsError, Indexer, IndexerCheckpoint

from .writing import count, write_trace

_SIZE = 100_000


def _text(lines: int) -> bytes:
    return b"".join(
        b'{"id":%d,"name":"f%d","cat":"POSIX","pid":1,"tid":1,"ts":%d,"dur":1,"ph":"X"}\n'
        % (index, index * 7919 % 10007, index * index)
        for index in range(lines)
    )


_TEXT = _text(8000)


def _one_member(text: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=31, memLevel=1)  # little memory: small blocks
    return packer.compress(text) + packer.flush()


def _many_members(text: bytes) -> bytes:
    pieces = (text[begin : begin + 30_001] for begin in range(0, len(text), 30_001))
    return b"".join(gzip.compress(piece) for piece in pieces)


@pytest.fixture(params=["one member", "many members", "plain"])
def trace(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    packed: dict[str, Callable[[bytes], bytes]]
    packed = {"one member": _one_member, "many members": _many_members, "plain": bytes}
    path = tmp_path / ("t.pfw" if request.param == "plain" else "t.pfw.gz")
    path.write_bytes(packed[request.param](_TEXT))
    return path


def _indexer(trace: Path, **options: object) -> CheckpointIndexer:
    options = {"checkpoint_size": _SIZE} | options
    store = str(trace.parent / "index")
    return CheckpointIndexer(str(trace), store, **options)  # type: ignore[arg-type]


def test_before_it_is_built_there_is_nothing(trace: Path) -> None:
    with _indexer(trace) as indexer:
        assert not indexer.exists()
        assert indexer.need_rebuild()
        assert indexer.get_checkpoints() == []
        assert indexer.find_checkpoint(0) is None
        assert (indexer.get_num_lines(), indexer.get_max_bytes()) == (0, 0)


def test_checkpoints_tile_the_text_and_count_all_lines(trace: Path) -> None:
    with _indexer(trace) as indexer:
        indexer.build()
        found = indexer.get_checkpoints()
        assert len(found) >= 4
        assert [one.checkpoint_idx for one in found] == list(range(len(found)))
        assert (found[0].uc_offset, found[0].c_offset, found[0].bits) == (0, 0, 0)
        for one, following in pairwise(found):
            assert following.uc_offset == one.uc_offset + one.uc_size
            assert following.c_offset == one.c_offset + one.c_size
        last = found[-1]
        assert last.uc_offset + last.uc_size == indexer.get_max_bytes() == len(_TEXT)
        assert last.c_offset + last.c_size == trace.stat().st_size
        assert sum(one.num_lines for one in found) == indexer.get_num_lines() == 8000


def test_from_a_checkpoint_without_bits_a_member_s_text_begins(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(_many_members(_TEXT))
    with _indexer(path) as indexer:
        indexer.build()
        found = indexer.get_checkpoints()
    for one in found:
        text = gzip.decompress(path.read_bytes()[one.c_offset :])
        assert one.bits == 0
        assert text == _TEXT[one.uc_offset :]


def test_the_checkpoint_for_an_offset_is_the_last_before_it(trace: Path) -> None:
    with _indexer(trace) as indexer:
        indexer.build()
        found = indexer.get_checkpoints()
        for one in found:
            assert indexer.find_checkpoint(one.uc_offset) == one
            assert indexer.find_checkpoint(one.uc_offset + one.uc_size - 1) == one
        assert indexer.find_checkpoint(10 * len(_TEXT)) == found[-1]
        assert indexer.find_checkpoint(-1) is None


def test_an_index_is_kept_and_rebuilt_when_the_trace_changes(trace: Path) -> None:
    _indexer(trace).build()
    indexer = _indexer(trace)
    assert indexer.exists()
    assert not indexer.need_rebuild()
    assert indexer.get_num_lines() == 8000
    trace.write_bytes(_TEXT[: _TEXT.index(b"\n") + 1])
    assert indexer.need_rebuild()
    indexer.build()
    assert not indexer.need_rebuild()
    assert [one.num_lines for one in indexer.get_checkpoints()] == [indexer.get_num_lines()] == [1]
    assert _indexer(trace, force_rebuild=True).need_rebuild()


def test_blooms_and_manifest_are_built_when_asked_for(trace: Path) -> None:
    without = _indexer(trace)
    without.build()
    assert (without.has_bloom, without.has_manifest) == (False, False)
    both = _indexer(trace, build_bloom=True, build_manifest=True)
    assert both.need_rebuild()
    both.build()
    assert both.has_bloom
    assert both.has_manifest


def test_the_store_is_where_it_is_told_to_be_and_nowhere_else(trace: Path) -> None:
    indexer = _indexer(trace)
    indexer.build()
    assert indexer.index_path == str(trace.parent / "index")
    assert sorted(os.listdir(trace.parent)) == ["index", trace.name]
    state = Path(os.environ["DFTINDEXD_STATE_DIR"])
    elsewhere = CheckpointIndexer(str(trace))
    assert elsewhere.checkpoint_size == 1 << 20
    elsewhere.build()
    assert Path(elsewhere.index_path).is_relative_to(state)
    assert elsewhere.get_num_lines() == 8000


def test_an_empty_trace_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(b"")
    with _indexer(path) as indexer:
        indexer.build()
        assert (indexer.get_num_lines(), indexer.get_checkpoints()) == (0, [])


def test_a_closed_indexer_knows_only_its_arguments(trace: Path) -> None:
    indexer = _indexer(trace)
    indexer.close()
    indexer.close()
    assert (indexer.gz_path, indexer.checkpoint_size) == (str(trace), _SIZE)
    assert indexer.index_path == str(trace.parent / "index")
    assert (indexer.has_bloom, indexer.has_manifest) == (False, False)
    for method in (
        indexer.build,
        indexer.need_rebuild,
        indexer.exists,
        indexer.get_checkpoints,
        indexer.get_num_lines,
        indexer.get_max_bytes,
        lambda: indexer.find_checkpoint(0),
    ):
        with pytest.raises(RuntimeError, match="Indexer not initialized"):
            method()


def test_what_cannot_be_indexed_is_refused_at_once(trace: Path) -> None:
    for path in ("", str(trace.parent), str(trace.parent / "none.pfw.gz")):
        with pytest.raises(DFTUtilsError, match="Failed to create indexer"):
            CheckpointIndexer(path)
    for size in (0, -1):
        with pytest.raises(RuntimeError, match="Failed to create indexer: checkpoint_size"):
            CheckpointIndexer(str(trace), checkpoint_size=size)
    with pytest.raises(TypeError, match="gz_path must be a str"):
        CheckpointIndexer(trace)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Runtime"):
        CheckpointIndexer(str(trace), runtime=object())  # type: ignore[arg-type]


def test_a_trace_that_went_away_cannot_be_built(trace: Path) -> None:
    indexer = _indexer(trace)
    trace.unlink()
    with pytest.raises(DFTUtilsError, match="could not be indexed"):
        indexer.build()


def test_an_indexer_gives_the_checkpoints_of_its_own_store(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "a.pfw.gz").write_bytes(_one_member(_TEXT))
    write_trace(folder / "b.pfw", 20)
    index_dir = str(tmp_path / "index")
    indexer = Indexer(
        str(folder), index_dir=index_dir, require_aggregation=True, checkpoint_size=_SIZE
    )
    status = indexer.ensure_indexed()
    with indexer.get_checkpoint_indexer(str(folder / "a.pfw.gz")) as checkpoints:
        assert checkpoints.index_path == status.index_path
        assert not checkpoints.need_rebuild()
        assert len(checkpoints.get_checkpoints()) > 4
        assert isinstance(checkpoints.find_checkpoint(0), IndexerCheckpoint)
        checkpoints.build()
    assert indexer.resolve().needs_work == []
    assert count(indexer.iter_aggregation()) == 8020
    for other in (folder / "c.pfw", tmp_path / "a.pfw.gz"):
        with pytest.raises(RuntimeError, match="Failed to create checkpoint indexer"):
            indexer.get_checkpoint_indexer(str(other))
