"""The registry: what each kind of commit does, what is refused, what is dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dftindexd.index.endings import ending_by_marks, ending_by_silence
from dftindexd.index.model import TraceFacts
from dftindexd.index.store.registry import (
    Commit,
    CommitParsed,
    CommitQuarantine,
    CommitRemoval,
    CommitSettled,
    Registry,
    decode_record,
    encode_record,
    plan,
    records_below,
)
from tests.index.store.commits import TIERS, parsed_commit, stamp

EMPTY = Registry.of(0, 1, ())


def after(*batches: list[Commit]) -> Registry:
    registry = EMPTY
    for batch in batches:
        done = plan(registry, batch)
        assert not done.refused
        registry = done.registry
    return registry


def segments(registry: Registry, path: bytes) -> list[int]:
    return [one.segment_id for one in registry.traces[path].segments]


def quarantine(path: bytes, base_version: int) -> CommitQuarantine:
    return CommitQuarantine(
        path=path, base_version=base_version, tiers=TIERS, stamp=stamp(), reason="kills workers"
    )


def test_a_first_parse_makes_its_segments_visible_under_a_new_file_id() -> None:
    done = plan(EMPTY, [parsed_commit(b"a", 0, 1, 2), parsed_commit(b"b", 0, 3)])
    assert segments(done.registry, b"a") == [1, 2]
    assert [record.file_id for record in done.changed] == [1, 2]
    assert done.registry.next_file_id == 3
    assert done.registry.generation == 1
    assert [record.generation for record in done.changed] == [1, 1]
    assert not any((done.dropped, done.removed, done.refused))


def test_an_extension_keeps_the_closed_segments_and_drops_the_provisional_one() -> None:
    registry = after([parsed_commit(b"a", 0, 1, provisional=2)])
    done = plan(registry, [parsed_commit(b"a", 1, 3, resumed=True, provisional=4)])
    assert segments(done.registry, b"a") == [1, 3, 4]
    assert done.dropped == (2,)
    assert done.registry.traces[b"a"].version == 2
    assert done.registry.traces[b"a"].file_id == registry.traces[b"a"].file_id


def test_a_replacement_drops_every_old_segment() -> None:
    registry = after([parsed_commit(b"a", 0, 1, provisional=2)])
    done = plan(registry, [parsed_commit(b"a", 1, 3)])
    assert segments(done.registry, b"a") == [3]
    assert done.dropped == (1, 2)


def test_a_removal_drops_the_trace_and_its_segments() -> None:
    registry = after([parsed_commit(b"a", 0, 1, 2)])
    done = plan(registry, [CommitRemoval(path=b"a", base_version=1, tiers=TIERS)])
    assert not done.registry.traces
    assert done.dropped == (1, 2)
    assert [record.file_id for record in done.removed] == [1]


def test_removing_what_is_not_there_changes_nothing() -> None:
    done = plan(EMPTY, [CommitRemoval(path=b"a", base_version=0, tiers=TIERS)])
    assert not any((done.changed, done.removed, done.refused))


def test_a_quarantine_drops_the_segments_and_keeps_the_reason() -> None:
    done = plan(after([parsed_commit(b"a", 0, 1)]), [quarantine(b"a", 1)])
    record = done.registry.traces[b"a"]
    assert (record.quarantined, record.segments, record.version) == ("kills workers", (), 2)
    assert done.dropped == (1,)


def test_a_parse_ends_a_quarantine() -> None:
    registry = after([quarantine(b"a", 0)], [parsed_commit(b"a", 1, 1)])
    assert registry.traces[b"a"].quarantined == ""
    assert segments(registry, b"a") == [1]


def test_settling_ends_a_trace_and_keeps_its_segments() -> None:
    registry = after(
        [parsed_commit(b"a", 0, 1)], [CommitSettled(path=b"a", base_version=1, tiers=TIERS)]
    )
    assert registry.traces[b"a"].ending == "silence"
    assert segments(registry, b"a") == [1]


def test_settling_what_is_not_there_is_refused_by_name() -> None:
    done = plan(EMPTY, [CommitSettled(path=b"a", base_version=0, tiers=TIERS)])
    assert done.refused == ((b"a", "no such trace"),)


def test_a_continuation_of_nothing_is_refused_and_its_segments_dropped() -> None:
    done = plan(EMPTY, [parsed_commit(b"a", 0, 1, resumed=True)])
    assert [path for path, _ in done.refused] == [b"a"]
    assert done.dropped == (1,)
    assert not done.registry.traces


def test_a_commit_planned_on_another_version_is_refused_and_its_segments_dropped() -> None:
    registry = after([parsed_commit(b"a", 0, 1)], [parsed_commit(b"a", 1, 2)])
    done = plan(registry, [parsed_commit(b"a", 1, 3, provisional=4), parsed_commit(b"b", 0, 5)])
    assert done.refused == ((b"a", "planned on version 1 of the trace, which is at 2"),)
    assert done.dropped == (3, 4)
    assert segments(done.registry, b"a") == [2]
    assert segments(done.registry, b"b") == [5]


def test_a_repeated_commit_is_neither_refused_nor_counted_twice() -> None:
    commit = parsed_commit(b"a", 0, 1, provisional=2)
    registry = after([commit])
    for batch in ([commit], [commit, commit]):
        done = plan(registry, batch)
        assert not any((done.refused, done.changed, done.dropped))
        assert done.registry.traces == registry.traces


def test_a_commit_twice_in_one_batch_counts_once() -> None:
    commit = parsed_commit(b"a", 0, 1)
    done = plan(EMPTY, [commit, commit])
    assert done.refused == ()
    assert done.registry.traces[b"a"].version == 1


def test_a_late_repeat_drops_only_what_is_no_longer_visible() -> None:
    first = parsed_commit(b"a", 0, 1, provisional=2)
    registry = after([first], [parsed_commit(b"a", 1, 3, resumed=True)])
    done = plan(registry, [first])
    assert done.dropped == (2,)
    assert segments(done.registry, b"a") == [1, 3]


def test_a_repeat_after_a_removal_cannot_bring_dropped_segments_back() -> None:
    first = parsed_commit(b"a", 0, 1)
    gone = plan(after([first]), [CommitRemoval(path=b"a", base_version=1, tiers=TIERS)])
    done = plan(gone.registry, [first], frozenset(gone.dropped))
    assert not done.registry.traces
    assert [path for path, _ in done.refused] == [b"a"]
    together = plan(after([first]), [CommitRemoval(path=b"a", base_version=1, tiers=TIERS), first])
    assert not together.registry.traces


def test_a_trace_made_anew_in_the_batch_that_removes_it_gets_a_new_file_id() -> None:
    registry = after([parsed_commit(b"a", 0, 1)])
    again: list[Commit] = [
        CommitRemoval(path=b"a", base_version=1, tiers=TIERS),
        parsed_commit(b"a", 0, 2),
        CommitRemoval(path=b"a", base_version=1, tiers=TIERS),
        parsed_commit(b"a", 0, 3),
    ]
    done = plan(registry, again)
    assert [record.file_id for record in done.removed] == [1, 2]
    assert [record.file_id for record in done.changed] == [3]
    assert done.dropped == (1, 2)


def test_marks_end_a_trace_only_with_its_last_member_complete() -> None:
    assert ending_by_marks(TraceFacts(end_seen=True), "complete") == "end"
    assert ending_by_marks(TraceFacts(bracket_closed=True), "complete") == "end"
    assert ending_by_marks(TraceFacts(end_seen=True), "open") is None
    assert ending_by_marks(TraceFacts(end_seen=True), "corrupt") is None
    assert ending_by_marks(TraceFacts(), "complete") is None


def test_silence_after_an_open_or_corrupt_tail_is_a_cut() -> None:
    assert ending_by_silence("complete") == ending_by_silence("empty") == "silence"
    assert ending_by_silence("open") == ending_by_silence("corrupt") == "cut"


def test_a_record_is_stored_and_read_back_whole() -> None:
    facts = TraceFacts(generation="v2", end_seen=True, announced=3)
    registry = after([parsed_commit(b"\xff/a\n", 0, 1, provisional=2, facts=facts)])
    record = registry.traces[b"\xff/a\n"]
    assert record.ending == "end"
    assert decode_record(encode_record(record)) == record


def test_what_lies_below_a_path_is_told_by_whole_names() -> None:
    names = [b"a", b"a/b", b"a/c/d", b"ab", b"b"]
    registry = after([parsed_commit(name, 0, at + 1) for at, name in enumerate(names)])

    def below(path: bytes, *, recursive: bool = True) -> list[bytes]:
        found = records_below(registry, path, recursive=recursive)
        return sorted(record.path for record in found)

    assert below(b"") == names
    assert below(b"", recursive=False) == [b"a", b"ab", b"b"]
    assert below(b"a") == [b"a", b"a/b", b"a/c/d"]
    assert below(b"a", recursive=False) == [b"a", b"a/b"]
    assert below(b"a/c/d") == [b"a/c/d"]
    assert below(b"x") == []


PATHS = st.sampled_from([b"a", b"b", b"c"])
STEPS = st.tuples(
    PATHS,
    st.sampled_from(["parse", "extend", "settle", "quarantine", "remove", "repeat"]),
    st.integers(-1, 1),
)


@given(st.lists(st.lists(STEPS, min_size=1, max_size=4), max_size=12))
def test_any_batches_do_what_a_plain_dictionary_does(  # noqa: C901 - one case a step
    batches: list[list[tuple[bytes, str, int]]],
) -> None:
    registry = EMPTY
    model: dict[bytes, tuple[int, list[int], set[int]]] = {}
    garbage: set[int] = set()
    ever: set[int] = set()
    last: dict[bytes, CommitParsed] = {}
    serial = 0
    for batch in batches:
        commits: list[Commit] = []
        dead = frozenset(garbage)
        for path, kind, skew in batch:
            version, closed, provisional = model.get(path, (0, [], set()))
            base = max(0, version + skew)
            late = base != version
            commit: Commit
            match kind:
                case "parse" | "extend":
                    serial += 2
                    resumed = kind == "extend"
                    commit = parsed_commit(
                        path, base, serial, resumed=resumed, provisional=serial + 1
                    )
                    last[path] = commit
                    if late or (resumed and not version):
                        garbage |= {serial, serial + 1}
                    else:
                        kept = closed if resumed else []
                        garbage |= (set(closed) - set(kept)) | provisional
                        model[path] = (version + 1, [*kept, serial], {serial + 1})
                case "settle":
                    commit = CommitSettled(path=path, base_version=base, tiers=TIERS)
                    if not late and version:
                        model[path] = (version + 1, closed, provisional)
                case "quarantine":
                    commit = quarantine(path, base)
                    if not late:
                        garbage |= {*closed, *provisional}
                        model[path] = (version + 1, [], set())
                case "remove":
                    commit = CommitRemoval(path=path, base_version=base, tiers=TIERS)
                    if not late and version:
                        garbage |= {*closed, *provisional}
                        del model[path]
                case _:
                    if path not in last:
                        continue
                    commit = last[path]
                    offered = {one.segment_id for one in commit.parsed.segments}
                    garbage |= offered - {*closed, *provisional}
                    if not offered & {*closed, *provisional}:
                        assert offered <= garbage
            commits.append(commit)
        before = {record.path: record.file_id for record in registry.traces.values()}
        done = plan(registry, commits, dead)
        registry = done.registry
        assert {
            path: (record.version, {one.segment_id for one in record.segments})
            for path, record in registry.traces.items()
        } == {
            path: (version, {*closed, *open_}) for path, (version, closed, open_) in model.items()
        }
        visible = {one for _, closed, open_ in model.values() for one in (*closed, *open_)}
        assert not visible & set(done.dropped)
        assert set(done.dropped) <= garbage
        file_ids = [record.file_id for record in registry.traces.values()]
        assert len(set(file_ids)) == len(file_ids)
        fresh = {record.file_id for record in done.changed} - set(before.values())
        assert not fresh & ever
        ever |= {record.file_id for record in (*done.changed, *done.removed)} | set(before.values())
        assert done.registry.next_file_id > max(ever, default=0)
