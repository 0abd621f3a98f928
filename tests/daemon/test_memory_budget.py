"""The memory budget that nobody gave: a quarter of what the machine, or its control group, has."""

from __future__ import annotations

from pathlib import Path

import pytest

from dftindexd.daemon.memory_budget import MOST_BUDGET, default_budget, memory_there_is
from tests.end_to_end.running import running_daemon

GIB = 1 << 30
_V1 = "4:memory:/user/one\n1:cpu:/\n"
_V2 = "0::/user.slice/one\n"


def _machine(folder: Path, groups: str, limits: dict[str, str]) -> str:
    """Make a machine of 16 GiB, of which 12 are available, with these control groups."""
    files = {
        "proc/meminfo": "MemTotal:       16777216 kB\nMemAvailable:   12582912 kB\n",
        "proc/self/cgroup": groups,
        **{f"sys/fs/cgroup/{path}": text + "\n" for path, text in limits.items()},
    }
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("groups", "limits", "gibibytes"),
    [
        ("", {}, 12),
        (_V2, {"user.slice/one/memory.max": "max"}, 12),
        (_V2, {"user.slice/one/memory.max": str(4 * GIB)}, 4),
        (_V2, {"user.slice/memory.max": str(2 * GIB), "user.slice/one/memory.max": "max"}, 2),
        (_V2, {"memory.max": str(3 * GIB)}, 3),
        (_V1, {"memory/user/one/memory.limit_in_bytes": str(5 * GIB)}, 5),
        (_V1, {"memory/user/one/memory.limit_in_bytes": str(2**63 - 4096)}, 12),
        (_V1, {"memory/memory.limit_in_bytes": str(GIB)}, 1),
        (_V1 + _V2, {"memory/user/one/memory.limit_in_bytes": str(6 * GIB)}, 6),
    ],
)
def test_the_memory_is_what_is_available_or_the_least_limit_of_a_group_around_us(
    tmp_path: Path, groups: str, limits: dict[str, str], gibibytes: int
) -> None:
    assert memory_there_is(_machine(tmp_path, groups, limits)) == gibibytes * GIB


def test_the_budget_is_a_quarter_up_to_a_bound() -> None:
    assert default_budget(8 * GIB) == 2 * GIB
    assert default_budget(1024 * GIB) == MOST_BUDGET


def test_a_daemon_says_which_budget_it_has(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        log = daemon.log.read_text()
    assert "memory_budget_mib" in log
