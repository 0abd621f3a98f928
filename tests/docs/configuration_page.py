"""``docs/configuration.md`` and its JSON schema, written from the tree of the configuration."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence

import msgspec

from dftindexd.daemon.config import KEYS, WATCH_KEYS, Config, WatchConfig
from dftindexd.daemon.config_keys import Key

__all__ = ("configuration_page", "configuration_schema")

_HEAD = """# Configuration

Written by `make docs` from `daemon/config.py`;
[configuration.schema.json](configuration.schema.json) is the same for programs, such as editors.
Nothing has to be configured.

The file is TOML: `--config FILE`, else `config.toml` in `$CONFIGURATION_DIRECTORY` (as systemd
gives it), else `/etc/dftindexd/config.toml` for root and `~/.config/dftindexd/config.toml` for
others (`$XDG_CONFIG_HOME`). One that is named must be there.

```toml
[store]
retention = "2h"
state_limit = "200GiB"

[[watch]]
path = "/scratch/traces"
exclude = ["tmp"]
settle = "30s"
```

For each key the command line comes before the environment (`DFTINDEXD_STORE__RETENTION=2h`), that
before the file, that before the default. Lists in the environment are separated by commas;
`[[watch]]` is for the file alone. Durations are a number and `ms`, `s`, `m`, `h` or `d`; sizes a
number and `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` or `TiB`; on the command line a number
alone has the unit that the option names. Paths are absolute, or begin with `~/`. An unknown key
is an error that names its line and the key that was probably meant, and so is a value of the
wrong kind; all errors are told at once, with exit code 2.

`dftindexd check-config` says what is wrong, `dftindexd print-config` what holds and where each
value is from, as a file or with `--json` as one document.

`SIGHUP` (`systemctl reload dftindexd`) has the daemon read the file again, but for one that logs
to a terminal, which ends with it. What is marked *live* is put into force. A root takes other
times and limits as it works; one whose patterns, links, backend or tiers change is closed and
opened again, and requests that wait for it then are told so. What else has changed is named in
the log and in `status` (`restart_needed`) and waits for a restart. A file
that is wrong changes nothing: `status` and `ping` are degraded and say why.
"""

_WATCH = """\
A root is watched for as long as the file names it. `dftindexd-client unwatch` refuses it, and so
does `watch` with other rules. A root that was there already, remembered from `watch` or
`--watch`, follows the file meanwhile. Its directory may come later, and where it is gone its
index is kept, however long. What is not set is as in `[indexing]`.
"""


def configuration_page() -> str:
    """Return ``docs/configuration.md``."""
    parts = [_HEAD]
    for field in msgspec.structs.fields(Config):
        if field.name == "watch":
            continue
        keys = [key for key in KEYS if key.section == field.name]
        parts.append(f"## [{field.name}]\n\n{inspect.getdoc(field.type)}\n\n{_table(keys)}\n")
    parts.append(f"## [[watch]]\n\n{inspect.getdoc(WatchConfig)}\n{_WATCH}\n{_table(WATCH_KEYS)}\n")
    return "\n".join(parts)


def configuration_schema() -> str:
    """Return ``docs/configuration.schema.json``."""
    schema = msgspec.json.encode(msgspec.json.schema(Config))
    return msgspec.json.format(schema, indent=2).decode() + "\n"


def _table(keys: Sequence[Key]) -> str:
    return "\n".join(["| key | | default | option | |", "|---|---|---|---|---|", *_rows(keys)])


def _rows(keys: Sequence[Key]) -> Iterator[str]:
    for key in keys:
        default = _default(key)
        option = f"`{key.note.option}`" if key.note.option else ""
        live = "live" if key.note.live or key.section == "watch" else ""
        yield f"| `{key.name}` | {key.help} | {default} | {option} | {live} |"


def _default(key: Key) -> str:
    if key.default is msgspec.NODEFAULT:
        return "required"
    return "" if key.default is None else f"`{msgspec.json.encode(key.default).decode()}`"
