"""Runs a command under what a systemd unit restricts, as far as that goes without systemd.

From the unit come the user's one capability, the namespaces, the read-only file systems and the
filter of system calls. Run as a program, within the namespaces, it makes the mounts and the filter.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ("Unit", "read_unit", "sandboxed")

Unit = dict[str, list[str]]
"""The settings of a unit's ``[Service]``, each with its values in order."""

#: File systems of the kernel, which ProtectSystem=strict leaves as they are.
_KERNEL = {"proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "mqueue"}
_NAMESPACES = {
    "PrivateIPC": "--ipc",
    "PrivateMounts": "--mount",
    "PrivateNetwork": "--net",
    "ProtectHostname": "--uts",
}
_ALLOW, _REFUSE_EPERM = 0x7FFF0000, 0x00050001
_EQUAL = 4
_AF_UNIX = 1


class _Comparison(ctypes.Structure):
    """libseccomp's ``scmp_arg_cmp``."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("other", ctypes.c_uint64),
    )


def read_unit(path: Path) -> Unit:
    """Return the settings of a unit file."""
    unit: Unit = {}
    for line in path.read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            unit.setdefault(name, []).append(value)
    return unit


def sandboxed(command: list[str], unit: Unit, writable: list[Path], user: int) -> list[str]:
    """Return the command line that root runs for *command* to run as *user* under *unit*, with
    *writable* as its state, cache and runtime directories."""
    namespaces = [flag for name, flag in _NAMESPACES.items() if unit[name] == ["yes"]]
    (capability,) = unit["CapabilityBoundingSet"]
    assert unit["AmbientCapabilities"] == [capability]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX"]
    only = f"-all,+{capability.removeprefix('CAP_').lower()}"
    drop = [
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"),
        *(f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}"),
        *("--no-new-privs", "nice", "-n", unit["Nice"][0]),
    ]
    plan = json.dumps(
        {
            "writable": list(map(str, writable)),
            "calls": _calls(unit["SystemCallFilter"]),
            "drop": drop,
            "command": command,
        }
    )
    return ["unshare", *namespaces, sys.executable, "-P", __file__, "mounts", plan]


def _calls(filters: list[str]) -> list[str]:
    """Return the names of the system calls that the lines of SystemCallFilter= allow."""
    allowed: set[str] = set()
    for line in filters:
        names = _expanded(line.removeprefix("~").split())
        allowed = allowed - names if line.startswith("~") else allowed | names
    return sorted(allowed)


def _expanded(names: list[str]) -> set[str]:
    calls: set[str] = set()
    for name in names:
        if not name.startswith("@"):
            calls.add(name)
            continue
        done = subprocess.run(
            ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
        )
        inner = [line.strip() for line in done.stdout.splitlines()[1:]]
        calls |= _expanded([one for one in inner if one and not one.startswith("#")])
    return calls


def _make_mounts(writable: list[str]) -> None:
    for place in writable:
        subprocess.run(["mount", "--bind", place, place], check=True)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        place = before.split()[4].encode().decode("unicode_escape")
        kernel = after.split()[0] in _KERNEL or place.startswith(("/dev", "/proc", "/sys"))
        if not kernel and place not in writable:
            subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)


def _filter_calls(names: list[str]) -> None:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_REFUSE_EPERM)))
    unix_only = _Comparison(0, _EQUAL, _AF_UNIX, 0)
    for name in names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            continue  # a call of another kind of processor
        compared = (1, ctypes.byref(unix_only)) if name == "socket" else (0, None)
        allow = ctypes.c_uint32(_ALLOW)
        assert library.seccomp_rule_add_array(context, allow, number, *compared) == 0, name
    assert library.seccomp_load(context) == 0


def main(step: str, text: str) -> None:
    """Take one step of what :func:`sandboxed` planned, and become the next."""
    plan = json.loads(text)
    if step == "mounts":
        _make_mounts(plan["writable"])
        program = shutil.which(plan["drop"][0])
        assert program is not None
        os.execv(program, [*plan["drop"], sys.executable, "-P", __file__, "calls", text])
    _filter_calls(plan["calls"])
    os.execv(plan["command"][0], plan["command"])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
