"""The scratch array that compiled code reads a line into: what lies where.

Nothing here is compiled. The array is int64; behind the fields lie the guesses of ``kernel_keys``.
"""

from __future__ import annotations

from typing import Final

from dftindexd.index.trace.kernel_layout import SCRATCH

__all__ = (
    "CLEARED",
    "F_ARG_NAME",
    "F_ARG_VALUE",
    "F_BEGIN",
    "F_CAT",
    "F_CAT_CODE",
    "F_COMMAND",
    "F_COMMAND_CODE",
    "F_COUNT",
    "F_DUR",
    "F_END",
    "F_EXECUTABLE",
    "F_EXECUTABLE_CODE",
    "F_FHASH",
    "F_FHASH_CODE",
    "F_FILE",
    "F_FOLDED",
    "F_HAS",
    "F_HHASH",
    "F_HHASH_CODE",
    "F_HOST",
    "F_KEYS",
    "F_KIND",
    "F_NAME",
    "F_NAME_CODE",
    "F_NUMBER",
    "F_ODD_NAME",
    "F_OFFSET",
    "F_PHASE",
    "F_PHASE_INT",
    "F_PID",
    "F_QUOTED",
    "F_QUOTED_PID",
    "F_QUOTED_TIME",
    "F_RET",
    "F_TID",
    "F_TIMED",
    "F_TS",
    "F_VALUE_TEXT",
    "INT64_MAX",
    "SLOW_LINE",
)

#: The result of ``read_line`` for a line that is not canonical. Others below 0 are ``FULL_*``,
#: negated; those from 0 on are ends of lines.
SLOW_LINE: Final = -100

INT64_MAX: Final = 2**63 - 1

F_KEYS: Final = SCRATCH + 0  # which known keys were seen, as the bits of ``kernel_keys``
F_PHASE: Final = SCRATCH + 2
F_PID: Final = SCRATCH + 3
F_TID: Final = SCRATCH + 4
F_TS: Final = SCRATCH + 5
F_DUR: Final = SCRATCH + 6
F_RET: Final = SCRATCH + 7
F_OFFSET: Final = SCRATCH + 8
F_COUNT: Final = SCRATCH + 9
F_HAS: Final = SCRATCH + 10
F_QUOTED_PID: Final = SCRATCH + 11
F_QUOTED_TIME: Final = SCRATCH + 12  # ts or dur
F_QUOTED: Final = SCRATCH + 13  # ts or pid: a mark of v0
F_PHASE_INT: Final = SCRATCH + 14
F_TIMED: Final = SCRATCH + 16  # ts or dur is there
F_FOLDED: Final = SCRATCH + 17  # dft_cnt is there
F_VALUE_TEXT: Final = SCRATCH + 18  # args.value is a text
F_ODD_NAME: Final = SCRATCH + 19  # args.hostname or args.fname is no text
# Texts: begin and end.
F_NAME: Final = SCRATCH + 20
F_CAT: Final = SCRATCH + 22
F_HHASH: Final = SCRATCH + 24
F_FHASH: Final = SCRATCH + 26
F_COMMAND: Final = SCRATCH + 28
F_EXECUTABLE: Final = SCRATCH + 30
F_HOST: Final = SCRATCH + 32
F_FILE: Final = SCRATCH + 34
F_ARG_NAME: Final = SCRATCH + 36
F_ARG_VALUE: Final = SCRATCH + 38
# The value read last: where it begins and ends, and its number.
F_BEGIN: Final = SCRATCH + 40
F_END: Final = SCRATCH + 41
F_NUMBER: Final = SCRATCH + 42
# The codes of texts, -1 while they are not known.
F_NAME_CODE: Final = SCRATCH + 43
F_CAT_CODE: Final = SCRATCH + 44
F_HHASH_CODE: Final = SCRATCH + 45
F_FHASH_CODE: Final = SCRATCH + 46
F_COMMAND_CODE: Final = SCRATCH + 47
F_EXECUTABLE_CODE: Final = SCRATCH + 48
F_KIND: Final = SCRATCH + 49  # of the argument read last
CLEARED: Final = 40  # so many are zeroed for each line
