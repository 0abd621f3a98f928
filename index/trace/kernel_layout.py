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
FULL_ORDER: Final = 3
FULL_GROUPS: Final = 4
FULL_ROWS: Final = 5
FULL_ARGUMENTS: Final = 6
FULL_SIDE: Final = 7
FULL_BINS: Final = 8
FULL_TIMES: Final = 9

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
ORDER: Final = 29  #: lines of the open chunk that took effect or are for the reference
# Of the records grouped here in the open chunk:
MIN_TS: Final = 30
MAX_TS: Final = 31
MAX_TE: Final = 32
MIN_DUR: Final = 33
MAX_DUR: Final = 34
SUM_DUR: Final = 35  #: unsigned
CHUNK_RECORDS: Final = 36
BINS: Final = 37
SEEN: Final = 38  #: the ``HAS_*`` bits of all records
MIN_RET: Final = 39  #: least and greatest; so for the other two
MIN_OFFSET: Final = 41
MIN_COUNT: Final = 43
TIMES: Final = 45  #: bins of times in the list
KINDS: Final = 46  #: of the chunk that ends, and those of rows alone
NODES_USED: Final = 47  #: the root included
SKELETONS_USED: Final = 48
OPERATION: Final = 49  #: what to do, and with which number: see below
OPERAND: Final = 50
ROW_KINDS: Final = 51

#: The other arrays; the state has the length of each and where it lies.
ARRAYS: Final = (
    *("buffer", "slots", "texts", "arena", "stamps", "group_slots", "groups", "squares"),
    *("touched", "strings", "rows", "arguments", "reals", "side", "wanted"),
    *("bin_slots", "bins", "times", "order", "group_codes", "kind_slots", "kinds"),
)
ROOM: Final = 52
ROOM_SLOTS: Final = ROOM + ARRAYS.index("slots")
ROOM_TEXTS: Final = ROOM + ARRAYS.index("texts")
ROOM_ARENA: Final = ROOM + ARRAYS.index("arena")
ROOM_GROUP_SLOTS: Final = ROOM + ARRAYS.index("group_slots")
ROOM_GROUPS: Final = ROOM + ARRAYS.index("groups")
ROOM_ROWS: Final = ROOM + ARRAYS.index("rows")
ROOM_ARGUMENTS: Final = ROOM + ARRAYS.index("arguments")
ROOM_SIDE: Final = ROOM + ARRAYS.index("side")
ROOM_BIN_SLOTS: Final = ROOM + ARRAYS.index("bin_slots")
ROOM_BINS: Final = ROOM + ARRAYS.index("bins")
ROOM_TIMES: Final = ROOM + ARRAYS.index("times")
ROOM_ORDER: Final = ROOM + ARRAYS.index("order")
AT: Final = ROOM + len(ARRAYS)
AT_BUFFER: Final = AT + ARRAYS.index("buffer")
AT_SLOTS: Final = AT + ARRAYS.index("slots")
AT_TEXTS: Final = AT + ARRAYS.index("texts")
AT_ARENA: Final = AT + ARRAYS.index("arena")
AT_STAMPS: Final = AT + ARRAYS.index("stamps")
AT_GROUP_SLOTS: Final = AT + ARRAYS.index("group_slots")
AT_GROUPS: Final = AT + ARRAYS.index("groups")
AT_SQUARES: Final = AT + ARRAYS.index("squares")
AT_TOUCHED: Final = AT + ARRAYS.index("touched")
AT_STRINGS: Final = AT + ARRAYS.index("strings")
AT_ROWS: Final = AT + ARRAYS.index("rows")
AT_ARGUMENTS: Final = AT + ARRAYS.index("arguments")
AT_REALS: Final = AT + ARRAYS.index("reals")
AT_SIDE: Final = AT + ARRAYS.index("side")
AT_WANTED: Final = AT + ARRAYS.index("wanted")
AT_BIN_SLOTS: Final = AT + ARRAYS.index("bin_slots")
AT_BINS: Final = AT + ARRAYS.index("bins")
AT_TIMES: Final = AT + ARRAYS.index("times")
AT_ORDER: Final = AT + ARRAYS.index("order")
AT_GROUP_CODES: Final = AT + ARRAYS.index("group_codes")
AT_KIND_SLOTS: Final = AT + ARRAYS.index("kind_slots")
AT_KINDS: Final = AT + ARRAYS.index("kinds")

#: The fields of the line that is being read; see ``kernel_fields``.
SCRATCH: Final = 96
#: The bins of times met last, by their last bits: pairs of the bin and how many there were.
RECENT_TIMES: Final = 160
RECENT: Final = 64
#: The shapes of lines, and words of their keys.
ROOT: Final = RECENT_TIMES + 2 * RECENT

# --- What the compiled code is asked ----------------------------------------------------------

SCAN: Final = 1  #: read the lines of so many bytes; the result is why it stopped
ENTER: Final = 2  #: intern so many bytes; the result is the text's code, below 0 without room
SPREAD_TEXTS: Final = 3  #: enter what a table has into its slots, empty and larger
SPREAD_GROUPS: Final = 4
SPREAD_BINS: Final = 5
NUMBER_KINDS: Final = 6  #: put codes into the order, narrow ones if the number is not 0

# --- Texts: hash, first of their words in ``arena``, length with the kind in the high half --

TEXT_SIZE: Final = 3

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

# --- Bins of durations in the open chunk: one row a bin, int64 --------------------------------

#: The name's code, the durations' bit length and their DDSketch bin less ``ZERO_BIN``, in 32, 16
#: and 16 bits.
B_KEY: Final = 0
B_COUNT: Final = 1
B_TOTAL: Final = 2  #: unsigned
B_SQUARES: Final = 3  #: the bits of a floating point number
BIN_SIZE: Final = 4

#: Width of a bin of times, in microseconds.
TIME_BIN_US: Final = 100_000

#: Metadata records are groups of this bucket, so that their values are known by chunk.
METADATA_BUCKET: Final = -2

# --- Shapes: a tree of the keys that lines had; see ``kernel_shapes`` --------------------------

N_FIRST: Final = 0  #: the first word of the text, and its mask
N_META: Final = 2  #: length of the text, action and whether it takes a third word, 8 bits each
N_CHILD: Final = 3  #: the first of the nodes that followed this one, 0 for none
N_SIBLING: Final = 4
N_SECOND: Final = 5  #: the second word and its mask
N_KEYS: Final = 7  #: the bits of the known keys up to here
N_VALUE: Final = 8  #: the last value here: three words and their masks,
N_VALUE_LENGTH: Final = 14
N_VALUE_IS: Final = 15  #: and its code or number
N_KEY_LENGTH: Final = 16
N_KEY_CODE: Final = 17  #: of the key as an argument, -1 while it is not known
N_MORE_AT: Final = 18  #: where the text's words from the third on lie
NODE_SIZE: Final = 20

#: So many nodes at the most; beyond the first number the tree is grown anew from the next line on.
NODES: Final = 320
MANY_NODES: Final = 192
#: Words for keys that are longer than two; a line with more is for the reference.
SKELETON_WORDS: Final = 512
SKELETONS: Final = ROOT + NODES * NODE_SIZE
STATE_SIZE: Final = SKELETONS + SKELETON_WORDS

# --- Order of lines: int32, the number of the group that a line entered, or -----------------------

ROW: Final = -1  #: it is a row handed on
LEFT: Final = -2  #: it is for the reference, which may give any number of records

# --- Stamps of texts, int64 -------------------------------------------------------------------

K_LINE: Final = 0  #: serial of the last line with this key
K_CHUNK: Final = 1  #: serial of the last chunk with this hash of a string, of grouped records
K_ROWS: Final = 2  #: how many grouped rows of that chunk have it
K_NAMED: Final = 3  #: serial of the last chunk with grouped rows of this name
K_LEAST: Final = 4  #: the least of their durations, and the greatest
K_GREATEST: Final = 5
STAMP_SIZE: Final = 6

# --- Kinds of the chunk that ends, int64 ------------------------------------------------------

#: In the order of sight: code of the category << 32 | code of the name, for metadata the latter
#: with ones above; and the place among those of rows, or of metadata.
K_KEY: Final = 0
K_PLACE: Final = 1
#: In the order of codes: category and name, and of rows the bounds of the name's durations.
K_CAT: Final = 2
K_NAME: Final = 3
K_BOUNDS: Final = 4
KIND_SIZE: Final = 6
#: Of so many kinds the codes are bytes.
NARROW_KINDS: Final = 256

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
