"""The pages for users do what they say: their blocks are run, and the written ones up to date."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.docs.pages import Home, blocks_of, python_script, shell_script
from tests.docs.reference import DOCS, PAGES
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import running_daemon

README = DOCS.parent / "README.md"


@pytest.fixture
def home() -> Iterator[Home]:
    """The home directory of somebody who reads our pages; its name is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="dftindexd-home-") as path:
        yield Home(Path(path))


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_that_is_written_from_the_code_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run make docs"


def test_the_first_page_leads_from_an_installation_to_a_picture(home: Home) -> None:
    """All blocks up to the commands are run, but the installation itself."""
    page = README.read_text()
    blocks = blocks_of(page[: page.index("## Commands")])
    assert [block.kind for block in blocks].count("sh") == 1
    assert "[daemon,plot]" in next(one.text for one in blocks if one.kind == "sh not-run")
    run = home.path / "traces" / "run1"
    run.mkdir(parents=True)
    for number in range(3):
        write_trace(run / f"app-{number}.pfw.gz", 500)
    # The last block is for those who have no daemon.
    script = shell_script(blocks[:-1]) + "dftindexd-client stop\nwait\n"
    script += shell_script(blocks[-1:]).replace("/scratch/traces", str(home.path / "traces"))
    home.run("bash", "-s", text=script)
    assert (home.path / "run1.png").read_bytes().startswith(b"\x89PNG")


def test_the_quick_start_leads_from_a_program_to_a_picture(home: Home) -> None:
    blocks = blocks_of((DOCS / "quickstart.md").read_text())
    assert {block.kind for block in blocks} == {"sh", "sh not-run", "python"}
    done = home.run("bash", "-s", text=shell_script(blocks) + "wait\n")
    assert (home.path / "run1.png").read_bytes().startswith(b"\x89PNG")
    rows = pq.read_table(home.path / "run1.parquet").to_pylist()
    written = sum(row["size"] for row in rows if row["func_name"] == "write")
    assert written >= 60_000_000
    assert "0 of 1 chunks are read" in done.stdout


def test_the_tour_prints_what_it_says(home: Home) -> None:
    blocks = blocks_of((DOCS / "tour.md").read_text())
    mark = "== end of block =="
    folder = home.path / "daemon"
    folder.mkdir()
    # What the page calls growing stays so, however slow the machine is.
    with running_daemon(folder, "--settle", "600") as daemon:
        home.environment["DFTINDEXD_SOCKET"] = str(daemon.socket)
        done = home.run("python", "-", text=python_script(blocks, mark))
    printed = [part.strip() for part in done.stdout.split(mark)[:-1]]
    assert printed == [block.text.strip() for block in blocks if block.kind == "text"]
    assert len(printed) == sum(block.kind == "python" for block in blocks)


def test_the_page_on_indices_prints_what_it_says(home: Home) -> None:
    blocks = blocks_of((DOCS / "indices.md").read_text())
    mark = "== end of block =="
    folder = home.path / "daemon"
    folder.mkdir()
    with running_daemon(folder, "--index-column", "args.epoch") as daemon:
        home.environment["DFTINDEXD_SOCKET"] = str(daemon.socket)
        done = home.run("python", "-", text=python_script(blocks, mark))
    printed = [part.strip() for part in done.stdout.split(mark)[:-1]]
    assert printed == [block.text.strip() for block in blocks if block.kind == "text"]
    assert len(printed) == sum(block.kind == "python" for block in blocks) > 0


def test_the_page_on_clusters_indexes_a_run(home: Home) -> None:
    blocks = blocks_of((DOCS / "cluster.md").read_text())
    assert [block.kind for block in blocks] == ["python", "python slurm", "python"]
    (home.path / "run1").mkdir()
    for number in range(3):
        write_trace(home.path / "run1" / f"app-{number}.pfw.gz", 500)
    for number, block in enumerate(block for block in blocks if block.kind == "python"):
        script = home.path / f"block{number}.py"
        script.write_text(block.text)
        home.run("python", str(script), text="")
    assert {"run1-index.dftindex", "own.dftindex"} <= {path.name for path in home.path.iterdir()}


def test_the_page_on_exports_writes_what_other_programs_read(home: Home) -> None:
    blocks = blocks_of((DOCS / "exports.md").read_text())
    assert {block.kind for block in blocks} == {"sh", "python"}
    run = home.path / "traces" / "run1"
    run.mkdir(parents=True)
    write_trace(run / "app.pfw.gz", 500)
    with running_daemon(home.path) as daemon:
        home.environment["DFTINDEXD_SOCKET"] = str(daemon.socket)
        daemon.client.sync()
        done = home.run("bash", "-s", text=shell_script(blocks))
    # 500 calls, and the thread that they are of.
    assert "501 ['stream_id', 'id', 'parent', 'depth']" in done.stdout
    assert json.loads((home.path / "slow.json").read_text())["traceEvents"]
    assert len((home.path / "first.folded").read_text().splitlines()) == 1
    assert pa.ipc.open_file((home.path / "reads.arrow").read_bytes()).read_all().num_rows == 500
    assert (home.path / "by-category.parquet" / "cat=posix" / "part-0.parquet").is_file()


#: SLURM's commands as far as the page needs them: the job runs at once, here.
_SBATCH = """#!/bin/sh
cp "$1" "$HOME/job.sh"
setsid bash "$HOME/job.sh" >"$HOME/job.log" 2>&1 &
echo "Submitted batch job $!"
"""
_SCANCEL = """#!/bin/sh
kill -- "-$1" || true  # it may have ended
"""


def test_the_example_for_slurm_indexes_a_run_by_the_job_that_it_submits(home: Home) -> None:
    (block,) = (
        one for one in blocks_of((DOCS / "cluster.md").read_text()) if one.kind == "python slurm"
    )
    for name, text in (("sbatch", _SBATCH), ("scancel", _SCANCEL)):
        command = home.path / "bin" / name
        command.write_text(text)
        command.chmod(0o755)
    run = home.path / "run1"
    run.mkdir()
    for number in range(3):
        write_trace(run / f"app-{number}.pfw.gz", 500)
    script = block.text
    for ours, theirs in (
        ("cores=32", "cores=2"),
        ("64GB", "2GB"),
        ("jobs=16", "jobs=1"),
        ("wait_for_workers(16)", "wait_for_workers(1)"),
        ('"$TMPDIR"', f'"{home.path}/scratch"'),
        ("/p/lustre1/me", str(home.path)),
        ("/tmp/me-staging", f"{home.path}/local"),
    ):
        assert ours in script
        script = script.replace(ours, theirs)
    script += """
from dftindexd.compat import Indexer
status = Indexer("run1", index_dir="run1-index.dftindex", require_aggregation=True).resolve()
print(len(status.ready), status.needs_work, result["per_worker"])
"""
    done = home.run("python", "-", text=script)
    assert done.stdout.splitlines()[-1].endswith("3 [] [3]")
    job = (home.path / "job.sh").read_text()
    assert "#SBATCH --cpus-per-task=2" in job
    assert "export CACHE_DIRECTORY=$HOME/.cache/dftindexd" in job
    assert "--nthreads 2" in job
