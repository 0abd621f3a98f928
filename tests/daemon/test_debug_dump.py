"""What a dump keeps of what actors tell."""

from __future__ import annotations

from dftindexd.daemon.debug_dump import without_texts


def test_numbers_stay_and_texts_become_whether_there_is_one() -> None:
    told = {
        "health": "healthy",
        "queued": 3,
        "rate": 0.5,
        "last_error": "OSError: /scratch/somebody/secret.pfw",
        "name": "store:/scratch/somebody",
        "reason": "",
        "nothing": None,
        "paths": ["/scratch/somebody"],
        "actor": {"open": True, "read_only": "no room in /scratch/somebody"},
    }
    assert without_texts(told) == {
        "health": "healthy",
        "queued": 3,
        "rate": 0.5,
        "last_error": True,
        "name": True,
        "reason": False,
        "nothing": None,
        "actor": {"open": True, "read_only": True},
    }
