"""What is required is built, only what is missing, beside what others required before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dftindexd.compat import AggregationConfig, Indexer
from dftindexd.compat.reading import LocalRows, open_index
from dftindexd.compat.selection import select
from dftindexd.index.store.layout import FILE_BLOOM, SEGMENT_FAMILIES

from .writing import count, table_of, write_trace

KINDS = ("events", "profiles", "system")
CHUNKS = {"checkpoints", "chunk_bloom", "chunk_stats", "hash_tables", "manifest"}
AGGREGATION = {"aggregation", "hash_tables", "system_metrics"}

FIVE = AggregationConfig()
ONE = AggregationConfig(time_interval_ms=1000.0)
GROUPED = AggregationConfig(group_keys=["step"])


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A directory with two traces."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_trace(folder / "a.pfw", 10, pid=1)
    write_trace(folder / "b.pfw.gz", 20, pid=2)
    return folder


def _indexer(traces: Path, index: str = "index", **options: object) -> Indexer:
    options = {"parallelism": 1, "index_dir": str(traces.parent / index)} | options
    return Indexer(str(traces), **options)  # type: ignore[arg-type]


def without_tiers(*names: str) -> dict[str, Any]:
    return {f"require_{name}": False for name in names}


def _segments(indexer: Indexer) -> dict[int, set[str]]:
    """Return the families in which each visible segment has rows; a bloom of the whole trace is
    left out, as one of its only chunk may stand for it."""
    selection = select(indexer.directory, [])
    with open_index(selection, selection.store_path(indexer.index_dir)) as index:
        assert index is not None
        assert isinstance(index.rows, LocalRows)
        visible = {
            segment.segment_id: set[str]()
            for sets in index.sets.values()
            for one in sets
            for segment in one.segments
        }
        for family in set(SEGMENT_FAMILIES) - {FILE_BLOOM}:
            for key, _ in index.rows.store.scan(family):
                if (segment := int.from_bytes(key[:8], "big")) in visible:
                    visible[segment].add(family)
    return visible


def _families(indexer: Indexer, before: dict[int, set[str]]) -> set[frozenset[str]]:
    """Return the families of the segments that came; those of *before* must still be there."""
    now = _segments(indexer)
    assert before.items() <= now.items()
    return {frozenset(now[segment]) for segment in now.keys() - before.keys()}


def _answers(indexer: Indexer) -> dict[str, object]:
    found: dict[str, object] = {}
    for kind in KINDS:
        found[kind] = [table_of([one]) for one in indexer.iter_aggregation(kind)]
        found[f"analyzer {kind}"] = [table_of([one]) for one in indexer.iter_arrow_dfanalyzer(kind)]
    return found | {
        f"all {kind}": [table_of([one]) for one in batches]
        for kind, batches in indexer.iter_arrow_dfanalyzer_all().items()
    }


def _refuse(indexer: Indexer) -> None:
    raise AssertionError("built although all was ready")


def test_each_configuration_answers_as_a_store_built_with_it_alone(
    traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configurations = (FIVE, ONE, GROUPED)
    together = [_indexer(traces, require_aggregation=one) for one in configurations]
    for indexer in together:
        assert indexer.ensure_indexed().needs_work == []
    alone = [
        _indexer(traces, f"alone{number}", require_aggregation=one)
        for number, one in enumerate(configurations)
    ]
    for indexer in alone:
        indexer.ensure_indexed()
    monkeypatch.setattr(Indexer, "build", _refuse)
    for beside, apart in zip(together, alone, strict=True):
        assert beside.ensure_indexed().ready == apart.resolve().ready
        assert _answers(beside) == _answers(apart)
        assert beside.get_hash_table("file") == apart.get_hash_table("file")
        assert beside.query_file_info() == apart.query_file_info()


def test_a_second_interval_is_built_beside_the_first_and_nothing_else(traces: Path) -> None:
    coarse = _indexer(traces, require_aggregation=FIVE)
    coarse.ensure_indexed()
    before = _segments(coarse)
    fine = _indexer(traces, require_aggregation=ONE)
    lacking = fine.resolve().missing
    assert list(lacking.values()) == [["aggregation"], ["aggregation"]]
    fine.ensure_indexed()
    assert _families(fine, before) == {frozenset(AGGREGATION)}
    assert coarse.resolve().needs_work == []


def test_group_keys_with_an_equal_interval_are_another_configuration(traces: Path) -> None:
    _indexer(traces, require_aggregation=FIVE).ensure_indexed()
    grouped = _indexer(traces, require_aggregation=GROUPED)
    assert len(grouped.resolve().needs_work) == 2
    assert grouped.ensure_indexed().needs_work == []
    (batch, *_) = grouped.iter_aggregation()
    assert "step" in table_of([batch]).column_names


def test_aggregation_asked_for_later_leaves_the_other_tiers_as_they_are(traces: Path) -> None:
    plain = _indexer(traces)
    plain.ensure_indexed()
    before = _segments(plain)
    assert set(map(frozenset, before.values())) == {frozenset(CHUNKS)}
    aggregated = _indexer(traces, require_aggregation=True)
    aggregated.ensure_indexed()
    assert _families(aggregated, before) == {frozenset(AGGREGATION)}
    assert sorted(map(sorted, aggregated.query_all_file_pids().values())) == [[1], [2]]
    assert count(aggregated.iter_aggregation()) == 30


@pytest.mark.parametrize(
    ("tier", "families"),
    [
        ("manifest", {"checkpoints", "chunk_stats", "hash_tables", "manifest"}),
        ("bloom", {"checkpoints", "chunk_bloom", "chunk_stats", "hash_tables"}),
    ],
)
def test_a_tier_of_chunks_asked_for_later_is_built_alone(
    traces: Path, tier: str, families: set[str]
) -> None:
    without = _indexer(traces, require_aggregation=True, **without_tiers(tier))
    without.ensure_indexed()
    before = _segments(without)
    everything = _indexer(traces, require_aggregation=True)
    assert list(everything.resolve().missing.values()) == [[tier], [tier]]
    assert everything.ensure_indexed().needs_work == []
    assert _families(everything, before) == {frozenset(families)}
    assert sorted(map(sorted, everything.query_all_file_pids().values())) == [[1], [2]]


def test_another_size_of_chunks_is_built_without_a_second_aggregation(traces: Path) -> None:
    indexer = _indexer(traces, require_aggregation=True)
    indexer.ensure_indexed()
    before = _segments(indexer)
    small = _indexer(traces, require_aggregation=True, checkpoint_size=1000)
    assert list(small.resolve().missing.values()) == [["checkpoint", "bloom", "manifest"]] * 2
    small.ensure_indexed()
    assert _families(small, before) == {frozenset(CHUNKS)}


def test_all_sets_follow_a_trace_that_grows_or_is_replaced_once_asked_for(traces: Path) -> None:
    indexers = [_indexer(traces, require_aggregation=one) for one in (FIVE, ONE)]
    for indexer in indexers:
        indexer.ensure_indexed()
    for events in (25, 7):
        write_trace(traces / "a.pfw", events, pid=1)
        for indexer in indexers:
            assert indexer.resolve().needs_work == [str(traces / "a.pfw")]
            assert indexer.ensure_indexed().needs_work == []
            assert count(indexer.iter_aggregation()) == events + 20
    (traces / "b.pfw.gz").unlink()
    for indexer in reversed(indexers):
        indexer.build()
        assert count(indexer.iter_aggregation()) == 7
        assert len(indexer.query_file_info()[0]) == 1


def test_a_set_that_another_overtook_does_not_answer_and_the_answer_says_so(
    traces: Path,
) -> None:
    coarse, fine = (_indexer(traces, require_aggregation=one) for one in (FIVE, ONE))
    coarse.ensure_indexed()
    fine.ensure_indexed()
    with (traces / "a.pfw").open("a") as trace:
        trace.write('{"id":99,"name":"read","cat":"POSIX","pid":1,"tid":1,"ts":1,"ph":"X"}\n')
    with pytest.warns(RuntimeWarning, match=r"1 of 2 traces have changed .*a\.pfw"):
        assert count(coarse.iter_aggregation()) == 30
    _indexer(
        traces, require_checkpoint=False, require_bloom=False, require_manifest=False,
        require_aggregation=ONE,
    ).ensure_indexed()  # fmt: skip
    assert count(fine.iter_aggregation()) == 31
    with pytest.warns(RuntimeWarning, match=r"1 of 2 traces are not in the answer.*a\.pfw"):
        assert count(coarse.iter_aggregation()) == 20


def test_without_a_configuration_of_its_own_an_indexer_reads_what_there_is(traces: Path) -> None:
    _indexer(traces, require_aggregation=ONE).ensure_indexed()
    plain = _indexer(traces)
    fine = list(plain.iter_aggregation(batch_size=1))
    assert len(fine) == 30
    _indexer(traces, require_aggregation=FIVE).ensure_indexed()
    assert len(list(plain.iter_aggregation(batch_size=1))) < 30


def test_a_forced_build_makes_what_is_required_anew_and_leaves_the_rest(traces: Path) -> None:
    _indexer(traces, require_aggregation=FIVE).ensure_indexed()
    fine = _indexer(traces, require_aggregation=ONE)
    fine.ensure_indexed()
    before = _segments(fine)
    only_one = without_tiers("checkpoint", "bloom", "manifest")
    forced = _indexer(traces, require_aggregation=ONE, force_rebuild=True, **only_one)
    forced.ensure_indexed()
    after = _segments(fine)
    gone = [families for segment, families in before.items() if segment not in after]
    assert gone == [AGGREGATION, AGGREGATION]
    assert len(after) == len(before)
    assert count(forced.iter_aggregation()) == 30


def test_filters_of_more_arguments_are_built_beside_what_is_there(traces: Path) -> None:
    plain = _indexer(traces)
    plain.ensure_indexed()
    before = _segments(plain)
    more = _indexer(traces, bloom_dimensions=["step", "epoch"])
    status = more.resolve()
    assert set(map(tuple, status.missing.values())) == {("bloom",)}
    assert more.ensure_indexed().needs_work == []
    assert {"chunk_bloom"} <= set().union(*_families(more, before))
    assert _indexer(traces, bloom_dimensions=["epoch", "step"]).resolve().needs_work == []
    assert plain.resolve().needs_work == []
    with pytest.raises(ValueError, match=r"names without a dot, not 'a\.b'"):
        _indexer(traces, bloom_dimensions=["a.b"])


def test_buckets_are_chosen_by_the_start_of_events_if_that_is_wanted(
    traces: Path, tmp_path: Path
) -> None:
    for name in ("midpoint", "start"):
        wanted = AggregationConfig(bucket_by=name)
        indexer = Indexer(
            str(traces), require_aggregation=wanted, index_dir=str(tmp_path / "index")
        )
        assert not indexer.ensure_indexed().needs_work
        assert count(indexer.iter_aggregation()) > 0
    (store,) = (tmp_path / "index").iterdir()
    selection = select(str(traces), ())
    with open_index(selection, str(store)) as index:
        assert index is not None
        tiers = {one.tiers.aggregation for sets in index.sets.values() for one in sets}
    assert {tier.bucket_by for tier in tiers if tier} == {"midpoint", "start"}


def test_the_categories_of_0_0_12_can_be_had(tmp_path: Path) -> None:
    trace = tmp_path / "run" / "a.pfw"
    trace.parent.mkdir()
    write_trace(trace, 3)
    trace.write_text(trace.read_text().replace('"name": "read"', '"name": "pread64"'))
    categories = []
    for table in ("analyzer", "0.0.12"):
        indexer = Indexer(
            str(trace.parent),
            require_aggregation=True,
            index_dir=str(tmp_path / "index"),
            io_cat_table=table,
        )
        indexer.ensure_indexed()
        rows = table_of(indexer.iter_arrow_dfanalyzer("events")).to_pylist()
        categories.append({row["io_cat"] for row in rows if row["func_name"] == "pread64"})
    assert categories == [{1}, {6}]
    with pytest.raises(ValueError, match="io_cat_table must be"):
        Indexer(str(trace.parent), io_cat_table="other")  # type: ignore[arg-type]
