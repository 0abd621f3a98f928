"""The primitives of a distributed index, one by one, as a driver of somebody's own calls them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dftindexd.compat import (
    DFTUtilsError,
    DFTUtilsIndexerError,
    IndexDatabase,
    Indexer,
    SstArtifactRegistry,
    build_sst_batch,
    enumerate_gzip_members,
    move_artifacts,
    plan_lpt_partition,
    plan_work_units,
    scan_aggregation_manifest,
    scan_files,
)
from dftindexd.compat.dask import consolidate_index
from dftindexd.index.store.layout import AGGREGATION, completion_marker
from dftindexd.index.store.writer import StoreWriter
from tests.end_to_end.made_traces import event_lines

from .making import answers, rows_of

_Artifacts = dict[str, str | None]


class Coordinator:
    """A driver: registers, builds what it is told, ingests."""

    def __init__(self, run: Path, tmp_path: Path) -> None:
        self.run = run
        self.staging = tmp_path / "staging"
        self.path = str(tmp_path / "index.dftindex")
        self.database = IndexDatabase(self.path)
        self.files = sorted(path for path, _ in scan_files(str(run), [".pfw", ".pfw.gz"]))
        self.ids = self.database.register_files(self.files)

    def build(self, begin: int = 0, end: int | None = None, **options: Any) -> list[_Artifacts]:
        """Build some of the files."""
        files, ids = self.files[begin:end], self.ids[begin:end]
        options = {"build_manifest": True, "aggregation_config": True, "parallelism": 1} | options
        artifacts, blob = build_sst_batch(files, ids, str(self.staging), "batch", **options)
        assert blob == b""
        return artifacts

    def ingest(self, *artifacts: _Artifacts, **options: Any) -> None:
        """Ingest artifacts."""
        registry = SstArtifactRegistry()
        for one in artifacts:
            registry.append(one)
        self.database.bulk_ingest(registry, **options)

    def indexer(self) -> Indexer:
        """Return what reads the index."""
        return Indexer(str(self.run), index_dir=self.path, require_aggregation=True)


@pytest.fixture
def coordinator(run: Path, tmp_path: Path) -> Coordinator:
    """A driver with its files registered."""
    return Coordinator(run, tmp_path)


def test_the_primitives_give_what_one_machine_does(
    coordinator: Coordinator, embedded: dict[str, list[str]], tmp_path: Path
) -> None:
    built = coordinator.build(0, 3) + coordinator.build(3, flush_every_files=2, parallelism=2)
    moved = [move_artifacts(one, str(tmp_path / "shared" / str(n))) for n, one in enumerate(built)]
    coordinator.ingest(*moved)
    coordinator.database.rebuild_root_summaries()
    coordinator.database.write_agg_file_markers(coordinator.ids)
    assert coordinator.indexer().resolve().needs_work == []
    assert answers(coordinator.indexer()) == embedded


def test_files_keep_their_ids_and_are_listed_before_they_are_indexed(
    coordinator: Coordinator,
) -> None:
    again = IndexDatabase(coordinator.path).register_files(list(reversed(coordinator.files)))
    assert again == list(reversed(coordinator.ids))
    assert len(set(coordinator.ids)) == len(coordinator.files)
    assert coordinator.indexer().resolve().needs_work == coordinator.files
    coordinator.ingest(*coordinator.build())
    assert {n: p for p, n in zip(coordinator.files, coordinator.ids, strict=True)} == (
        coordinator.indexer().query_file_info()[0]
    )


def test_a_batch_that_is_delivered_twice_changes_nothing(
    coordinator: Coordinator, embedded: dict[str, list[str]]
) -> None:
    first, second = coordinator.build(), coordinator.build()
    coordinator.ingest(*first)
    coordinator.ingest(*first)
    coordinator.ingest(*second, *first, *second)
    assert answers(coordinator.indexer()) == embedded


def test_a_batch_of_an_older_state_comes_too_late(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    trace = run / "a.pfw"
    trace.write_bytes(_events(5))
    coordinator = Coordinator(run, tmp_path)
    late = coordinator.build()
    trace.write_bytes(_events(9))
    coordinator.ingest(*coordinator.build())
    expected = answers(coordinator.indexer())
    coordinator.ingest(*late)
    assert coordinator.indexer().resolve().needs_work == []
    assert answers(coordinator.indexer()) == expected


def _events(count: int) -> bytes:

    return event_lines(count)


def test_slices_of_one_trace_are_built_by_several_and_ingested_as_one(
    coordinator: Coordinator, embedded: dict[str, list[str]]
) -> None:
    (cut,) = (n for n, path in enumerate(coordinator.files) if path.endswith("cut.pfw.gz"))
    (members,) = enumerate_gzip_members([coordinator.files[cut]])
    shares = plan_work_units([members], 3)
    slices = [(unit[1], unit[2], 0, unit[1] > 0, members) for share in shares for unit in share]
    assert len(slices) == 3
    parts = [one for each in slices for one in coordinator.build(cut, cut + 1, file_slices=[each])]
    others = coordinator.build(0, cut) + coordinator.build(cut + 1)
    with pytest.raises(DFTUtilsIndexerError, match=r"the slice from byte .* is missing"):
        coordinator.ingest(*parts[:-1])
    again = [one for each in slices for one in coordinator.build(cut, cut + 1, file_slices=[each])]
    coordinator.ingest(*again, *others)
    assert answers(coordinator.indexer()) == embedded


def test_the_aggregation_can_stay_outside_be_scanned_in_shares_and_be_taken_in_later(
    coordinator: Coordinator, embedded: dict[str, list[str]], tmp_path: Path
) -> None:
    built = [coordinator.build(0, 4), coordinator.build(4)]
    coordinator.ingest(*built[0], *built[1], skip_cfs={"aggregation", "system_metrics"})
    assert set(coordinator.indexer().resolve().missing) == set(coordinator.files)
    ssts = {
        name: [path for one in built for a in one if (path := a[f"{name}_sst"])]
        for name in ("aggregation", "system_metrics")
    }
    whole = scan_aggregation_manifest(
        ssts["aggregation"],
        ssts["system_metrics"],
        str(tmp_path / "scratch"),
        coordinator.path,
        time_granularity=0.5,
    )
    assert {kind: rows_of(batches) for kind, batches in whole.items()} == {
        kind: embedded[f"fused {kind}"] for kind in whole
    }
    shards = [
        scan_aggregation_manifest(
            *(ssts["aggregation"], ssts["system_metrics"]),
            *(str(tmp_path / f"scratch{begin}"), coordinator.path),
            time_granularity=0.5,
            shard_begin=begin,
            shard_end=begin + 1024,
        )["events"]
        for begin in range(0, 4096, 1024)
    ]
    assert sorted(row for one in shards for row in rows_of(one)) == embedded["fused events"]
    assert sum(1 for one in shards if one) > 1
    assert consolidate_index(coordinator.path) == len(coordinator.files)
    assert answers(coordinator.indexer()) == embedded
    assert not any(map(os.path.exists, ssts["aggregation"]))
    assert consolidate_index(coordinator.path) == 0


def test_markers_come_with_the_ingest_and_only_for_what_is_aggregated(
    coordinator: Coordinator,
) -> None:
    coordinator.ingest(*coordinator.build(0, 1))
    coordinator.database.write_agg_file_markers(coordinator.ids)
    writer = StoreWriter(coordinator.path, root=str(coordinator.run), owner="a test")
    try:
        marked = {
            one.file_id
            for sets in writer.registry.sets.values()
            for one in sets
            if writer.rocks.get(AGGREGATION, completion_marker(one.file_id, one.tiers.digest()))
            is not None
        }
    finally:
        writer.close()
    assert marked == {coordinator.ids[0]}


def test_a_damaged_or_missing_artifact_is_named_and_nothing_is_taken(
    coordinator: Coordinator,
) -> None:
    built = coordinator.build()
    path = next(str(one["manifest_sst"]) for one in built if one["manifest_sst"])
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[:-1])
    with pytest.raises(DFTUtilsIndexerError, match=r"manifest.* has \d+ of \d+ bytes"):
        coordinator.ingest(*built)
    Path(path).unlink()
    with pytest.raises(DFTUtilsIndexerError, match="is missing"):
        coordinator.ingest(*built)
    metadata = next(str(one["metadata_sst"]) for one in built if one["metadata_sst"])
    Path(metadata).write_bytes(Path(metadata).read_bytes()[:-1])
    with pytest.raises(DFTUtilsIndexerError, match="is damaged"):
        coordinator.ingest(*built)
    assert coordinator.indexer().resolve().ready == []


def test_an_index_is_of_one_directory(coordinator: Coordinator, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.pfw").write_bytes(_events(1))
    with pytest.raises(DFTUtilsIndexerError, match="does not lie below"):
        coordinator.database.register_files([str(elsewhere / "a.pfw")])
    with pytest.raises(DFTUtilsIndexerError, match="is the index of"):
        Indexer(str(elsewhere), index_dir=coordinator.path).resolve()


def test_a_build_that_cannot_write_leaves_an_error_not_an_empty_list(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DFTUtilsIndexerError, match="staging directory"):
        build_sst_batch(coordinator.files, coordinator.ids, str(tmp_path / "file"), "b")
    with pytest.raises(DFTUtilsIndexerError, match=r"gone\.pfw is gone"):
        build_sst_batch([str(tmp_path / "gone.pfw")], [1], str(tmp_path / "staging"), "b")
    assert build_sst_batch([], [], str(tmp_path / "staging"), "b") == ([], b"")


def test_files_are_scanned_by_suffix_or_glob(run: Path, tmp_path: Path) -> None:
    nested = tmp_path / "top" / "below"
    nested.mkdir(parents=True)
    for path in (nested.parent / "a.pfw", nested / "b.pfw.gz", nested / "c.txt"):
        path.write_bytes(b"12345")
    top = str(nested.parent)
    assert scan_files(top) == [(f"{top}/a.pfw", 5)]
    assert scan_files(top, [".pfw", "*.gz"], True) == [
        (f"{top}/a.pfw", 5),
        (f"{top}/below/b.pfw.gz", 5),
    ]
    with pytest.raises(DFTUtilsError, match="Directory does not exist"):
        scan_files(str(tmp_path / "none"))
    with pytest.raises(DFTUtilsError, match="Path is not a directory"):
        scan_files(f"{top}/a.pfw")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: plan_lpt_partition(5, 2), TypeError, "sequence of"),  # type: ignore[arg-type]
        (lambda: plan_lpt_partition([("a",)], 2), TypeError, "pair"),  # type: ignore[list-item]
        (lambda: plan_lpt_partition([("a", "b")], 2), TypeError, "pair"),  # type: ignore[list-item]
        (lambda: plan_work_units(5, 2), TypeError, "member_map must"),  # type: ignore[arg-type]
        (lambda: plan_work_units([5], 2), TypeError, r"member_map\[i\]"),  # type: ignore[list-item]
        (lambda: enumerate_gzip_members(5), TypeError, "sequence"),  # type: ignore[arg-type]
        (lambda: enumerate_gzip_members([5]), TypeError, "items must be str"),  # type: ignore[list-item]
        (lambda: move_artifacts(5, "x"), TypeError, "must be a dict"),  # type: ignore[arg-type]
        (lambda: move_artifacts({"aggregation_sst": "/none.sst"}, "x"), RuntimeError, "none.sst"),
        (lambda: SstArtifactRegistry().append(5), TypeError, "dict"),  # type: ignore[arg-type]
        (
            lambda: SstArtifactRegistry().append({"aggregation_sst": 5}),  # type: ignore[dict-item]
            *(TypeError, "must be str or None"),
        ),
        (lambda: build_sst_batch(["a"], [], "s", "b"), ValueError, "file_ids"),
        (
            lambda: build_sst_batch(["a"], [1], "s", "b", flush_every_files=-1),
            *(ValueError, "flush_every_files must be at least 0"),
        ),
        (lambda: IndexDatabase(""), ValueError, "index_path"),
        (
            lambda: scan_aggregation_manifest([], [], "s", "m", shard_begin=5, shard_end=5),
            *(ValueError, "shard_begin"),
        ),
        (lambda: scan_aggregation_manifest([], [], "s", "none"), RuntimeError, "no store"),
    ],
)
def test_wrong_arguments_are_named(
    call: Any, error: type[Exception], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=text):
        call()


def test_what_the_others_need_cannot_be_left_outside(coordinator: Coordinator) -> None:
    with pytest.raises(ValueError, match="hash_tables"):
        coordinator.ingest(*coordinator.build(0, 1), skip_cfs=["hash_tables"])
    with pytest.raises(TypeError, match="registry"):
        coordinator.database.bulk_ingest({})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="int"):
        coordinator.database.write_agg_file_markers(["a"])  # type: ignore[list-item]


def test_names_that_a_caller_knows_come_first(coordinator: Coordinator, tmp_path: Path) -> None:
    built = coordinator.build()
    coordinator.ingest(*built, skip_cfs=["aggregation"])
    found = scan_aggregation_manifest(
        [path for one in built if (path := one["aggregation_sst"])],
        [],
        *(str(tmp_path / "scratch"), coordinator.path),
        file_hashes={"f1": "/renamed"},
        group_by=["file_name"],
    )
    assert any("/renamed" in row for row in rows_of(found["events"]))


def test_somebody_else_s_directory_is_refused_and_left_as_it_is(run: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.dftindex"
    theirs.mkdir()
    (theirs / "CURRENT").write_text("of another program")
    with pytest.raises(DFTUtilsIndexerError, match="not a store of dftindexd"):
        IndexDatabase(str(theirs)).register_files([str(run / "plain.pfw")])
    assert os.listdir(theirs) == ["CURRENT"]
