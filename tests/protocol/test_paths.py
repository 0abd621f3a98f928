"""Where the socket is looked for, as a function of the environment and the user."""

from __future__ import annotations

import pytest

from dftindexd.protocol.errors import InvalidArgumentError
from dftindexd.protocol.paths import (
    MAX_SOCKET_PATH_BYTES,
    check_socket_path,
    default_socket_path,
    socket_candidates,
)

SYSTEM = "/run/dftindexd/dftindexd.sock"


def test_the_variable_is_the_only_place_when_it_is_set() -> None:
    environment = {"DFTINDEXD_SOCKET": "/x/s", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert socket_candidates(environment, 7) == ("/x/s",)


def test_a_user_looks_in_the_own_runtime_directory_then_in_the_systems() -> None:
    own = "/run/user/7/dftindexd/dftindexd.sock"
    assert socket_candidates({"XDG_RUNTIME_DIR": "/run/user/7"}, 7) == (own, SYSTEM)


def test_a_unit_of_systemd_names_the_first_place() -> None:
    environment = {"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert default_socket_path(environment, 7) == "/run/a/dftindexd.sock"
    assert len(socket_candidates(environment, 7)) == 3


def test_a_user_without_a_runtime_directory_falls_to_a_directory_of_the_own_name() -> None:
    assert socket_candidates({}, 7) == ("/tmp/dftindexd-7/dftindexd.sock", SYSTEM)


def test_root_without_a_runtime_directory_has_the_systems_place_alone() -> None:
    assert socket_candidates({}, 0) == (SYSTEM,)


def test_the_same_place_is_not_tried_twice() -> None:
    assert socket_candidates({"RUNTIME_DIRECTORY": "/run/dftindexd"}, 0) == (SYSTEM,)


def test_a_path_over_the_limit_of_a_unix_socket_is_refused_with_the_limit() -> None:
    check_socket_path("/" + "x" * (MAX_SOCKET_PATH_BYTES - 1))
    with pytest.raises(InvalidArgumentError, match="has 108 bytes, the limit is 107"):
        check_socket_path("/" + "x" * MAX_SOCKET_PATH_BYTES)


@pytest.mark.parametrize("path", ["", "/a\0b"])
def test_what_is_no_path_at_all_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgumentError, match="is no path of a socket"):
        check_socket_path(path)
