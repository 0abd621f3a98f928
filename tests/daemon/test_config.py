"""The configuration: what holds, where it is from, and what is said of what is wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from dftindexd.daemon.amounts import (
    DURATION,
    SIZE,
    bytes_of,
    duration_text,
    seconds_of,
    size_text,
)
from dftindexd.daemon.cli import main
from dftindexd.daemon.config import KEYS, WATCH_KEYS, Config
from dftindexd.daemon.config_load import ConfigError, Loaded, default_file, read_config, resolve
from dftindexd.daemon.config_show import as_toml
from dftindexd.daemon.config_text import key_lines
from dftindexd.daemon.reload import changed_keys, in_force
from dftindexd.daemon.run_options import run_options
from dftindexd.index.model import TierConfig

FILE = "/etc/dftindexd/config.toml"
HOME = {"HOME": "/h"}

FULL = """\
[store]
retention = "2h"
limit = "10GiB"

[indexing]
settle = "10s"
arguments = [
  "epoch",
  "step",
]

[[watch]]
path = "/scratch/traces"
exclude = ["tmp"]

[[watch]]
path = "~/traces"
settle = "1m"
arguments = []
bloom_rate = 0.1
interval = "1s"
"""


def loaded(
    text: str | None = None,
    options: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> Loaded:
    return resolve(text, FILE, options or {}, HOME | (environment or {}), 1000)


def problems(
    text: str | None = None,
    options: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(text, options, environment)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30.0), ("1.5m", 90.0), ("12 h", 43_200.0), ("30d", 2_592_000.0)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
    assert seconds_of(duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("10B", 10), ("1kB", 1000), ("512MiB", 512 << 20), ("1.5 GiB", 3 << 29), ("2TB", 2 * 10**12)],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert bytes_of(text) == size
    assert bytes_of(size_text(size)) == size


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1w", "1 s ", "1e3s", "\u0661s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number with a unit"):
        seconds_of(text)


def test_the_command_line_comes_before_the_environment_before_the_file_before_the_default() -> None:
    text = '[store]\nretention = "2h"\nopen_stores = 5\n[indexing]\nsettle = "9s"\n'
    environment = {"DFTINDEXD_STORE__RETENTION": "3h", "DFTINDEXD_STORE__OPEN_STORES": "6"}
    found = loaded(text, {"store.retention": "4h"}, environment)
    store = found.config.store
    assert (store.retention, store.open_stores, store.gone_retention) == ("4h", 6, "30d")
    assert found.config.indexing.settle == "9s"
    assert found.origins["store.retention"] == "--retention"
    assert found.origins["store.open_stores"] == "DFTINDEXD_STORE__OPEN_STORES"
    assert found.origins["indexing.settle"] == f"{FILE}:5"
    assert found.origins["store.gone_retention"] == "default"
    assert set(found.origins) == {key.path for key in KEYS}


def test_directories_come_from_the_service_manager_where_nobody_names_others() -> None:
    told = {"STATE_DIRECTORY": "/var/lib/x:/var/lib/y", "RUNTIME_DIRECTORY": "/run/x"}
    found = loaded(None, {}, told)
    assert found.config.daemon.state_dir == "/var/lib/x"
    assert found.config.ipc.socket == "/run/x/dftindexd.sock"
    assert found.origins["daemon.state_dir"] == "STATE_DIRECTORY"
    assert found.origins["ipc.socket"] == "RUNTIME_DIRECTORY"
    named = loaded('[daemon]\nstate_dir = "/data/state"\n', {}, told)
    assert named.config.daemon.state_dir == "/data/state"
    ours = {"DFTINDEXD_STATE_DIR": "/mine", "DFTINDEXD_SOCKET": "/mine/s"}
    found = loaded('[daemon]\nstate_dir = "/data/state"\n', {}, told | ours)
    assert found.config.daemon.state_dir == "/mine"
    assert found.origins["ipc.socket"] == "DFTINDEXD_SOCKET"
    assert loaded().config.daemon.state_dir == "/h/.local/state/dftindexd"


@pytest.mark.parametrize(
    ("environment", "uid", "place"),
    [
        ({"CONFIGURATION_DIRECTORY": "/etc/a:/etc/b"}, 1000, "/etc/a/config.toml"),
        ({}, 0, "/etc/dftindexd/config.toml"),
        ({"HOME": "/h"}, 1000, "/h/.config/dftindexd/config.toml"),
        ({"XDG_CONFIG_HOME": "/conf", "HOME": "/h"}, 1000, "/conf/dftindexd/config.toml"),
    ],
)
def test_the_default_file_depends_on_who_runs_the_daemon(
    environment: dict[str, str], uid: int, place: str
) -> None:
    assert default_file(environment, uid) == place


def test_a_default_file_may_be_missing_and_a_named_one_may_not(tmp_path: Path) -> None:
    environment = HOME | {"XDG_CONFIG_HOME": str(tmp_path)}
    assert read_config(None, {}, environment, 1000).file is None
    with pytest.raises(ConfigError, match="no such file"):
        read_config(str(tmp_path / "c.toml"), {}, environment, 1000)
    (tmp_path / "c.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_config(str(tmp_path / "c.toml"), {}, environment, 1000)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[store]\n\nretenton = "1h"\n', "3: store.retenton: no such key; did you mean retention?"),
        ("[stor]\nx = 1\n", "1: stor: no such key; did you mean store?"),
        ('[[watch]]\npath = "/a"\n[[watch]]\npath = "/b"\nincludes = []\n', "5: watch[1].includes"),
        ("zzz = 1\n", "1: zzz: no such key; known are daemon,"),
        ("store = 1\n", "1: store: must be a table, under [store]"),
        ('watch = "/a"\n', "1: watch: must be tables, each under [[watch]]"),
        ('[[watch]]\nexclude = ["x"]\n', "1: watch[0]: path is missing"),
        ('[[watch]]\npath = "/a"\n[[watch]]\npath = "/a/"\n', "3: /a is watched twice"),
        ('[[watch]]\npath = "a"\n', "2: watch[0].path: must be an absolute path"),
        ('[[watch]]\npath = "/a"\nexclude = ["../b"]\n', "3: watch[0].exclude: a pattern must be"),
        ("[store]\nretention = 5\n", '2: store.retention: must be a duration such as "500ms"'),
        ('[store]\nlimit = "5 bytes"\n', '2: store.limit: must be a size such as "512MiB"'),
        ('[store]\nlimit = "0B"\n', "2: store.limit: must be at least 1B, not '0B'"),
        ('[indexing]\npoll_interval = "1ms"\n', "2: indexing.poll_interval: must be at least 100"),
        ('[indexing]\nbackend = "fanotify"\n', "must be one of auto, inotify, poll, not"),
        (
            "[indexing]\nbloom_rate = 0.9\n",
            "2: indexing.bloom_rate: must be a number from 0.0001 to 0.5, not 0.9",
        ),
        ('[indexing]\narguments = ["a.b"]\n', "2: indexing.arguments: arguments must be names"),
        ("[metrics]\nport = 99999\n", "2: metrics.port: must be a whole number from 1 to 65535"),
        ("[indexing]\narguments = 3\n", "2: indexing.arguments: must be a list of texts, not 3"),
        (
            '[[watch]]\npath = "/x"\nbackend = "inotfy"\n',
            "3: watch[0].backend: must be one of auto, inotify, poll, not 'inotfy'",
        ),
        (
            '[[watch]]\npath = "/x"\nfollow_links = "yes"\n',
            "3: watch[0].follow_links: must be true or false, not 'yes'",
        ),
        (
            "[store]\nopen_stores = 0\n",
            "2: store.open_stores: must be a whole number of at least 1, not",
        ),
        (
            '[store]\nopen_stores = "5"\n',
            "2: store.open_stores: must be a whole number of at least 1, not",
        ),
        ("[store\n", " not TOML: "),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(text: str, told: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"{FILE}:")
    assert told in problem


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = problems(
        '[store]\nretention = "x"\nlimt = "1B"\n',
        {"parser.workers": 0},
        {"DFTINDEXD_LOG__LEVEL": "loud", "DFTINDEXD_LOG__LEVL": "info", "DFTINDEXD_FAILPOINTS": ""},
    )
    assert [one.split(": ")[0] for one in sorted(found)] == [
        "--workers",
        f"{FILE}:2",
        f"{FILE}:3",
        "DFTINDEXD_LOG__LEVEL",
        "DFTINDEXD_LOG__LEVL",
    ]
    assert any("did you mean DFTINDEXD_LOG__LEVEL?" in one for one in found)


def test_a_list_in_the_environment_is_separated_by_commas() -> None:
    found = loaded(None, {}, {"DFTINDEXD_INDEXING__ARGUMENTS": "step, epoch"})
    assert found.config.indexing.arguments == ["epoch", "step"]


def test_the_line_of_a_key_is_that_on_which_it_begins() -> None:
    lines = key_lines(FULL)
    assert lines["store", "limit"] == 3
    assert lines["indexing", "arguments"] == 7
    assert lines["watch", 0] == 12
    assert lines["watch", 1, "interval"] == 21
    text = 'a = """\n[b]\nc = 1\n"""\n# [d]\n[b]\nc.d = 2\n'
    assert key_lines(text)[("b", "c", "d")] == 7


def test_a_root_has_what_it_says_and_else_what_holds_for_all() -> None:
    options = run_options(loaded(FULL).config, ("/other",))
    assert options.watch == ("/other",)
    assert options.root.retention_seconds == 7200.0
    assert options.root.store_limit_bytes == 10 << 30
    one, two = (settings.applied(options.root) for settings in options.configured.values())
    assert (one.settle_seconds, two.settle_seconds) == (10.0, 60.0)
    assert one.rules.exclude == ("tmp",)
    assert one.tiers == TierConfig(arguments=("epoch", "step"))
    assert two.tiers.arguments == ()
    assert two.tiers.bloom_rate == 0.1
    assert two.tiers.aggregation is not None
    assert two.tiers.aggregation.interval_us == 1_000_000
    assert two.retention_seconds == 7200.0


def test_without_a_file_the_daemon_runs_as_its_parts_do_by_default() -> None:
    options = run_options(loaded().config, ())
    assert options == msgspec.structs.replace(
        type(options)(
            state_dir=options.state_dir,
            socket=options.socket,
            memory_budget=options.memory_budget,
        ),
        workers=options.workers,
    )


def test_what_is_printed_is_a_file_that_says_the_same() -> None:
    before = loaded(FULL, {"log.level": "debug"})
    printed = as_toml(before)
    after = loaded(printed)
    assert after.config == before.config
    assert "--log-level" in printed
    assert f"# {FILE}:2" in printed
    assert set(tomllib.loads(printed)) == {field.name for field in msgspec.structs.fields(Config)}


def test_every_option_of_run_is_one_key_of_the_tree() -> None:
    assert isinstance(main, click.Group)
    options = [name for one in main.commands["run"].params for name in one.opts]
    keys = [key.note.option for key in KEYS if key.note.option]
    # The file itself, and the key [[watch]].
    assert sorted(options) == sorted([*keys, "--config", "--watch"])


def test_a_reload_applies_what_a_running_daemon_can_and_names_the_rest() -> None:
    before = loaded(FULL).config
    text = FULL.replace('"2h"', '"3h"') + '[parser]\nworkers = 7\nstall = "5m"\n'
    after = loaded(text.replace("/scratch/traces", "/scratch/other")).config
    changed = ["parser.workers", "parser.stall", "store.retention", "watch"]
    assert changed_keys(before, after) == changed
    config, waiting = in_force(before, after)
    assert waiting == ["parser.workers", "parser.stall"]
    assert changed_keys(before, config) == ["store.retention", "watch"]
    # What waits goes on waiting, and what is taken back does not.
    assert in_force(config, after) == (config, waiting)
    assert in_force(config, before)[1] == []


def test_a_key_has_the_check_of_its_kind() -> None:
    for key in (*KEYS, *WATCH_KEYS):
        pattern = re.search(r"pattern='([^']+)'", repr(key.type))
        kinds = {DURATION: "duration", SIZE: "size"}
        found = pattern and pattern[1].replace("\\\\", "\\")
        assert kinds.get(found or "", "") in (key.note.kind, ""), key.path
        assert (found is not None) == (key.note.kind in kinds.values()), key.path


def test_the_example_of_the_documentation_holds() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    found = loaded(example).config
    assert found.store.retention == "2h"
    assert [root.path for root in found.watch] == ["/scratch/traces"]
