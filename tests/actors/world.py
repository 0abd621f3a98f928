"""A small disk, a small store and a clock around the state of one root."""

from __future__ import annotations

from dftindexd.actors.jobs import Job, Task, Waiter, removals_of
from dftindexd.actors.root_state import RootState
from dftindexd.index.model import FileStamp, ParsedTrace, ResumePoint, TierConfig, TraceFacts
from dftindexd.index.reconcile import Action, Step
from dftindexd.index.scan import Scan
from dftindexd.index.store.registry import Commit, CommitParsed, Registry, plan
from tests.index.store.commits import segment

__all__ = ("TIERS", "World")

TIERS = TierConfig()


class World:
    """A disk, a store and a clock around one state."""

    def __init__(self, *, settle: float = 5.0, workers: int = 1, tiers: TierConfig = TIERS) -> None:
        self.state = RootState(tiers=tiers, settle_seconds=settle)
        self.disk: dict[bytes, FileStamp] = {}
        self.registry = Registry.of(0, 1, (), tiers)
        self.now = 0.0
        self.device = 1
        self.workers = workers
        self._tick = 0
        self._segment = 0

    @property
    def wall_ns(self) -> int:
        return int(self.now * 1e9) + self._tick

    def put(self, path: bytes, size: int = 100, *, ino: int = 0, mtime: int | None = None) -> None:
        self._tick += 1
        known = self.disk.get(path)
        number = ino or (known.ino if known else self._tick)
        when = self.wall_ns if mtime is None else mtime
        self.disk[path] = FileStamp(number, size, when, self.wall_ns)

    def look(
        self, directory: bytes = b"", problems: dict[bytes, str] | None = None, root_error: str = ""
    ) -> None:
        self.state.begin_look()
        self.apply(self.scan(directory, problems, root_error))

    def scan(
        self, directory: bytes = b"", problems: dict[bytes, str] | None = None, root_error: str = ""
    ) -> tuple[Scan, list[bytes]]:
        """Return what a look at the disk now shows, compared with what is known now."""
        scan = Scan(
            directory=directory,
            stamps={},
            problems=problems or {},
            root_error=root_error,
            device=self.device,
        )
        hidden = tuple(path + b"/" for path in scan.problems)
        for path, stamp in self.disk.items():
            if scan.covers(path) and not path.startswith(hidden) and path not in scan.problems:
                scan.stamps[path] = stamp
        return self.state.compare(scan, self.registry.sets)

    def apply(self, looked: tuple[Scan, list[bytes]]) -> None:
        self.state.apply(*looked, self.registry.sets, now=self.now, wall_ns=self.wall_ns)

    def job(self) -> Job | None:
        return self.state.next_job(
            self.registry.sets, now=self.now, wall_ns=self.wall_ns, workers=self.workers
        )

    def paths(self, job: Job | None) -> list[bytes]:
        return [task.path for task in job.tasks] if job else []

    def commit(self, commits: list[Commit]) -> None:
        done = plan(self.registry, commits)
        assert not done.refused
        self.registry = done.registry
        for commit in commits:
            self.state.evaluate(commit.path, self.registry.sets, now=self.now, wall_ns=self.wall_ns)

    def want(self, tiers: TierConfig) -> None:
        """Start afresh on the same disk and store, asked for other tiers."""
        old = self.registry
        records = [record for sets in old.sets.values() for record in sets]
        self.registry = Registry.of(old.generation, old.next_file_id, records, tiers)
        self.state = RootState(tiers=tiers, settle_seconds=self.state.settle_seconds)
        self.look()

    def parse(self, task: Task, step: Step, *, end: bool = True) -> Commit | None:
        """Return what a worker that reads the disk now makes of a step, None if it is gone."""
        stamp = self.disk.get(task.path)
        if stamp is None:
            return None
        self._segment += 1
        return CommitParsed(
            path=task.path,
            base_version=step.base_version,
            tiers=step.tiers,
            parsed=ParsedTrace(
                stamp=stamp,
                resumed=step.action is Action.EXTEND,
                segments=(segment(self._segment),),
                resume=ResumePoint(
                    c_offset=stamp.size,
                    uc_offset=0,
                    line_offset=0,
                    line=0,
                    head=b"",
                    head_bytes=0,
                    tail=b"",
                ),
                facts=TraceFacts(),
                final_facts=TraceFacts(end_seen=end),
                tail="complete",
            ),
        )

    def finish(
        self,
        job: Job,
        *,
        end: bool = True,
        failing: frozenset[bytes] = frozenset(),
        bad: TierConfig | None = None,
    ) -> None:
        """End a job; the traces *failing* fail, and of every trace the set *bad*."""
        commits: list[Commit] = []
        quarantines: list[Commit] = []
        unresolved: set[bytes] = set()
        for task in job.tasks:
            failed = [one for one in task.steps if task.path in failing or one.tiers == bad]
            made = [self.parse(task, one, end=end) for one in task.steps if one not in failed]
            if None in made:
                self.state.vanished(task)
                continue
            built = [one for one in made if one is not None]
            commits += [*built, *(removals_of(task.outdated) if built else ())]
            if failed:
                due = self.state.failed(task, failed, "bad", now=self.now)
                quarantines += due
                if not due:
                    unresolved.add(task.path)
        self.commit(commits)
        self.commit(quarantines)
        self.state.finished(
            job,
            self.registry.sets,
            unresolved=frozenset(unresolved),
            now=self.now,
            wall_ns=self.wall_ns,
        )

    def remove(self) -> None:
        self.commit(self.state.removals(self.registry.sets))

    def try_quarantined(self) -> None:
        self.state.try_quarantined(self.registry.sets, now=self.now, wall_ns=self.wall_ns)

    def settle(self) -> list[bytes]:
        commits = self.state.settled(self.registry.sets, now=self.now, wall_ns=self.wall_ns)
        self.commit(commits)
        return [commit.path for commit in commits]

    def run(
        self,
        *,
        end: bool = True,
        failing: frozenset[bytes] = frozenset(),
        bad: TierConfig | None = None,
    ) -> list[Job]:
        """Do all there is to do; return the jobs it took."""
        jobs: list[Job] = []
        begun = self.now
        while not self.state.idle:
            for path in list(self.state.doubtful):
                self.look(path)
            self.remove()
            job = self.job()
            if job is None:
                self.now += 1.0
                assert self.now < begun + 1000.0, "never idle"
                continue
            jobs.append(job)
            self.finish(job, end=end, failing=failing, bad=bad)
        return jobs

    def wait_for(self, below: bytes = b"", *, until_finished: bool = False) -> Waiter:
        waiter = Waiter(below=below, until_finished=until_finished)
        self.state.owe(waiter)
        return waiter

    def satisfied(self) -> list[Waiter]:
        return self.state.satisfied(self.registry.traces)
