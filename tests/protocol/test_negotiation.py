"""Which version two sides speak."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dftindexd.protocol.errors import VersionMismatchError
from dftindexd.protocol.negotiation import CAPABILITIES, choose_protocol, require_capability
from dftindexd.protocol.requests import HelloResult, Ping, StopRequest

versions = st.sets(st.integers(1, 12), max_size=6)


@given(versions, versions)
def test_the_highest_common_version_is_chosen_or_both_sides_are_named(
    daemon: set[int], client: set[int]
) -> None:
    common = daemon & client
    if common:
        assert choose_protocol(daemon, client) == max(common)
        return
    with pytest.raises(VersionMismatchError) as caught:
        choose_protocol(daemon, client)
    for version in daemon | client:
        assert str(version) in caught.value.message


def test_the_older_side_is_the_one_to_upgrade() -> None:
    with pytest.raises(
        VersionMismatchError,
        match="the daemon speaks protocol 2, 3, the client 1; upgrade the client",
    ):
        choose_protocol((3, 2), (1,))
    with pytest.raises(VersionMismatchError, match="upgrade the daemon"):
        choose_protocol((1,), (2,))


def test_a_request_that_the_daemon_does_not_know_is_refused_before_it_is_sent() -> None:
    old = HelloResult(protocol=1, version="0.0.9", pid=1, capabilities=("ping",))
    require_capability(old, Ping())
    with pytest.raises(VersionMismatchError, match=r"version 0\.0\.9.*'stop'; upgrade the daemon"):
        require_capability(old, StopRequest())


def test_this_daemon_knows_all_requests_of_this_client() -> None:
    current = HelloResult(protocol=1, version="0", pid=1, capabilities=CAPABILITIES)
    require_capability(current, StopRequest())
