"""The page of recipes: its blocks run, and each question gets what a scan of the lines gives."""

from __future__ import annotations

from pathlib import Path

from benchmarks.questions import SCANS, answer_of_scan, answer_of_store, calls_of, questions
from benchmarks.sql_spans import write_thread
from tests.docs.pages import Home, blocks_of, python_script
from tests.docs.reference import DOCS
from tests.end_to_end.running import running_daemon


def test_each_question_is_answered_as_a_scan_of_the_traces_answers_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    run = home.path / "traces" / "run1"
    run.mkdir(parents=True)
    for process in range(3):
        write_thread(run / f"process-{process}.pfw.gz", 1_000, pid=100 + process)
    asked = questions()
    assert list(asked) == list(SCANS)
    with running_daemon(tmp_path, "--watch", str(home.path / "traces")) as daemon:
        home.environment["DFTINDEXD_SOCKET"] = str(daemon.socket)
        page = blocks_of((DOCS / "recipes.md").read_text())
        done = home.run("python", "-", text=python_script(page, "") + "print(calls)")
        calls = calls_of(daemon.client, run)
        assert done.stdout.split("\n")[0] == "[{'calls': 3000}]"
        assert done.stdout.strip().endswith(calls)
        for name, text in asked.items():
            rows = answer_of_store(daemon.client, text.replace("{calls}", calls), run)
            assert rows == answer_of_scan(SCANS[name], sorted(run.iterdir())), name
            assert rows, name
