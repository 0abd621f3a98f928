"""Exports: what a daemon answers, written as files of other programs.

``statements`` says what is asked, ``source`` asks it, one module a format turns rows into bytes
and knows nothing of daemons or files, ``places`` makes files appear whole, ``writing`` joins them.
They are here, not in ``views``, because the process that asks writes the files, and it has the
client alone.
"""

from __future__ import annotations
