"""unwatch --purge: a store is deleted whole, also by a daemon that dies in the midst of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dftindexd.index.failpoints import VARIABLE
from dftindexd.protocol.errors import DftIndexError
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import running_daemon, wait_for_exit


def test_a_store_whose_deletion_was_interrupted_is_deleted_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, "store:delete:renamed=kill")
        with running_daemon(tmp_path) as daemon:
            write_trace(daemon.traces / "t.pfw", 10)
            daemon.client.sync()
            with pytest.raises(DftIndexError):
                daemon.client.unwatch(daemon.traces, purge=True)
            assert wait_for_exit(daemon.process) == -signal.SIGKILL
    stores = tmp_path / "state" / "stores"
    (left,) = os.listdir(stores)
    assert left.endswith(".deleted")
    with running_daemon(tmp_path) as again:
        again.client.sync()
        assert again.events() == 10
        (store,) = os.listdir(stores)
        assert store + ".deleted" == left
        assert again.client.unwatch(again.traces, purge=True).purged
        assert os.listdir(stores) == []
