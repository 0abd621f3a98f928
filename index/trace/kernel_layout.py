"""The arrays that compiled code and Python share: what lies where.

Nothing here is compiled. All arrays belong to :class:`~dftindexd.index.trace.kernel.Kernel`, which
makes them larger when :func:`~dftindexd.index.trace.kernel_scan.scan` asks for it.
"""

from __future__ import annotations

from typing import Final

# --- Why the scan came back (its result is never negative) -----------------------------------

DONE: Final = 0  #: all lines are read
BARRIER: Final = 1  #: a line must be read by the reference before the next one
FULL_TEXTS: Final = 2
FULL_ARENA: Final = 3
FULL_GROUPS: Final = 4
FULL_ROWS: Final = 5
FULL_ARGUMENTS: Final = 6
FULL_SIDE: Final = 7

# --- State: counters and settings, int64 -----------------------------------------------------

POSITION: Final = 0  #: where the next line begins
LINE: Final = 1  #: its number
TEXTS: Final = 2  #: interned texts, the empty one included
ARENA: Final = 3  #: words used of their bytes
GROUPS: Final = 4
TOUCHED: Final = 5  #: groups that occur in the open chunk
STRINGS: Final = 6  #: string hashes that occur in the open chunk
ROWS: Final = 7  #: records that are handed on as columns
ARGUMENTS: Final = 8
SIDE: Final = 9
CHUNK: Final = 10  #: serial of the open chunk, from 1
SERIAL: Final = 11  #: serial of the line, for duplicate keys
DATED: Final = 12  #: whether the generation is known
MULTIPLY: Final = 13  #: times become microseconds: multiplied, then divided
DIVIDE: Final = 14
INTERVAL: Final = 15  #: width of a bucket, at least 1
MIDPOINT: Final = 16
FUSED: Final = 17  #: whether events are grouped here; otherwise they are handed on as columns
WANTED: Final = 18  #: number of arguments that the configuration names
SEED: Final = 19  #: of the hash functions
FAST: Final = 20  #: lines with a record read here
SKIPPED: Final = 21
COMPLETE: Final = 22
METADATA: Final = 23
AGGREGATED: Final = 24  #: whether a record was one that stands for calls
BRACKET: Final = 25
INEXACT: Final = 26  #: whether a time is not as it was written
FUSED_RECORDS: Final = 27
BUCKET_LOW: Final = 28  #: the last bucket, to spare divisions
# Of the records grouped here in the open chunk:
MIN_TS: Final = 30
MAX_TS: Final = 31
MAX_TE: Final = 32
MIN_DUR: Final = 33
MAX_DUR: Final = 34
SUM_DUR: Final = 35  #: unsigned
CHUNK_RECORDS: Final = 36
STATE_SIZE: Final = 40

# --- Groups: one row a key, int64; sums are unsigned -----------------------------------------

G_CAT_NAME: Final = 0  #: code of the category << 32 | code of the name
G_HASHES: Final = 1  #: code of the host's hash << 32 | code of the file's
G_PID: Final = 2
G_TID: Final = 3
G_BUCKET: Final = 4
G_COUNT: Final = 5
G_TS: Final = 6
G_TE: Final = 7
G_DUR: Final = 8  #: count, total, min, max; so for the other two
G_SIZE: Final = 12
G_OFFSET: Final = 16
G_TRANSFER: Final = 20
G_CHUNK: Final = 21  #: serial of the last chunk with this key
G_CHUNK_COUNT: Final = 22
G_CHUNK_LINE: Final = 23
GROUP_SIZE: Final = 24

#: Metadata records are groups of this bucket, so that their values are known by chunk.
METADATA_BUCKET: Final = -2

#: Size of the scan's scratch array. Zeros are right but for the first word of each of its guesses,
#: which no text must match (``kernel_keys``).
SCRATCH_SIZE: Final = 208
FIRST_GUESS: Final = 48
GUESS_SIZE: Final = 5

# --- Rows handed on: int64 -------------------------------------------------------------------

ROW_FIELDS: Final = (
    *("line", "uc_offset", "ts", "dur", "ret", "offset", "count", "pid", "tid"),
    *("cat", "name", "hhash", "fhash", "shash", "phase", "has"),
)

# Arguments: row, key, text (-1: number), integer, begin and end of a number still to be read.
ARGUMENT_SIZE: Final = 6

# --- Side list: what is to be done in order after a scan, int64 ------------------------------

SIDE_KIND: Final = 0
SIDE_BEGIN: Final = 1  #: of the line
SIDE_END: Final = 2  #: of the line, without its newline
SIDE_LINE: Final = 3
SIDE_NAME: Final = 4  #: begin and end of the name
SIDE_VALUE: Final = 6  #: begin and end of the hash
SIDE_SIZE: Final = 8

SLOW: Final = 0  #: a line for the reference
DATE: Final = 1  #: a record that shows the generation
END: Final = 2  #: an ``end`` event
FH: Final = 3
HH: Final = 4
SH: Final = 5
PR: Final = 6
TIME_METRIC: Final = 7

# --- Texts known beforehand: their codes are their positions from 1 --------------------------

TRANSFER_NAMES: Final = (
    *("read", "pread", "pread64", "readv", "preadv", "preadv2", "fread"),
    *("recv", "recvfrom", "recvmsg", "write", "pwrite", "pwrite64", "writev", "pwritev"),
    *("pwritev2", "fwrite", "send", "sendto", "sendmsg"),
    *("splice", "sendfile", "copy_file_range"),
)
KNOWN_TEXTS: Final = (*TRANSFER_NAMES, "end", "start", "dftracer", "FH", "HH", "SH", "PR", "CM")

LAST_TRANSFER: Final = len(TRANSFER_NAMES)
T_END: Final = LAST_TRANSFER + 1
T_START: Final = LAST_TRANSFER + 2
T_DFTRACER: Final = LAST_TRANSFER + 3
T_FH: Final = LAST_TRANSFER + 4
T_HH: Final = LAST_TRANSFER + 5
T_SH: Final = LAST_TRANSFER + 6
T_PR: Final = LAST_TRANSFER + 7
T_CM: Final = LAST_TRANSFER + 8

#: Kinds of texts; a code has one. Names of v0 get their hash after a scan.
PLAIN: Final = 0
HOST_NAME: Final = 1
FILE_NAME: Final = 2

#: So many readable bytes follow the scanned text in its buffer: reading by words stays inside.
PADDING: Final = 64
