"""The scratch array that compiled code reads a line into: what lies where.

Nothing here is compiled. The array is int64; behind the fields lie the guesses of ``kernel_keys``.
"""

from __future__ import annotations

from typing import Final

__all__ = (
    "CLEARED",
    "F_ARG_KEYS",
    "F_ARG_NAME",
    "F_ARG_VALUE",
    "F_BEGIN",
    "F_CAT",
    "F_CODES",
    "F_COMMAND",
    "F_COUNT",
    "F_DUR",
    "F_END",
    "F_EXECUTABLE",
    "F_FHASH",
    "F_FILE",
    "F_FOLDED",
    "F_HAS",
    "F_HHASH",
    "F_HOST",
    "F_ID",
    "F_KEYS",
    "F_NAME",
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

F_KEYS: Final = 0  # which known keys were seen
F_ARG_KEYS: Final = 1
F_PHASE: Final = 2
F_PID: Final = 3
F_TID: Final = 4
F_TS: Final = 5
F_DUR: Final = 6
F_RET: Final = 7
F_OFFSET: Final = 8
F_COUNT: Final = 9
F_HAS: Final = 10
F_QUOTED_PID: Final = 11
F_QUOTED_TIME: Final = 12  # ts or dur
F_QUOTED: Final = 13  # ts or pid: a mark of v0
F_PHASE_INT: Final = 14
F_ID: Final = 15
F_TIMED: Final = 16  # ts or dur is there
F_FOLDED: Final = 17  # dft_cnt is there
F_VALUE_TEXT: Final = 18  # args.value is a text
F_ODD_NAME: Final = 19  # args.hostname or args.fname is no text
# Texts: begin and end.
F_NAME: Final = 20
F_CAT: Final = 22
F_HHASH: Final = 24
F_FHASH: Final = 26
F_COMMAND: Final = 28
F_EXECUTABLE: Final = 30
F_HOST: Final = 32
F_FILE: Final = 34
F_ARG_NAME: Final = 36
F_ARG_VALUE: Final = 38
# The value read last: where it begins and ends, and its number.
F_BEGIN: Final = 40
F_END: Final = 41
F_NUMBER: Final = 42
F_CODES: Final = 43  # of name, category, host's, file's and string's hash
CLEARED: Final = 40  # so many are zeroed for each line
