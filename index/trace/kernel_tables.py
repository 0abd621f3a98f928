"""Compiled: the hash tables, of texts and of groups.

Both are open addressing with linear probing over slots of codes (0: free), at most half full, and
compare whole keys: a hash only says where to look. Hashes begin from a seed of the process, so that
no trace can be written to make them collide.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dftindexd.index.trace.kernel_layout import (
    ARENA,
    CHUNK,
    G_BUCKET,
    G_CAT_NAME,
    G_CHUNK,
    G_CHUNK_COUNT,
    G_CHUNK_LINE,
    G_HASHES,
    G_PID,
    G_TID,
    GROUP_SIZE,
    GROUPS,
    SEED,
    TEXTS,
    TOUCHED,
)
from dftindexd.index.trace.kernel_text import helper, inlined, load, low_bytes

__all__ = ("NO_ROOM", "find_group", "group_slot", "intern", "text_slot")

#: A table must grow before the line can be taken.
NO_ROOM: Final = -1

_U29: Final = np.uint64(29)
_U32: Final = np.uint64(32)
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX2: Final = np.uint64(0x94D049BB133111EB)


@inlined
def _mix(h: np.uint64, word: np.uint64) -> np.uint64:
    h = (h ^ word) * _ODD
    return h ^ (h >> _U32)


@inlined
def _finish(h: np.uint64) -> np.uint64:
    h = (h ^ (h >> _U29)) * _MIX
    return h ^ (h >> _U32)


@inlined
def text_slot(hashed: np.int64, slots: Any) -> np.int64:
    """Return the first free slot for a text with this hash; there must be one."""
    mask = len(slots) - 1
    slot = hashed & mask
    while slots[slot] != 0:
        slot = (slot + 1) & mask
    return slot


@inlined
def intern(
    b: Any,
    begin: np.int64,
    end: np.int64,
    kind: np.int64,
    st: Any,
    slots: Any,
    texts: Any,
    arena: Any,
) -> np.int64:
    """Return the code of a text of one *kind*, 0 for the empty one, ``NO_ROOM`` without room.

    ``texts`` has for each code its hash, the first of its words in *arena*, and its length with the
    kind in the high half. The last word is filled up with zeros.
    """
    length = end - begin
    if length == 0:
        return np.int64(0)
    h = np.uint64(st[SEED]) ^ np.uint64(length)
    i = begin
    while end - i > 8:
        h = _mix(h, load(b, i))
        i += 8
    last = low_bytes(load(b, i), end - i)
    h = _finish(_mix(h, last))
    hashed = np.int64(h)
    meta = length | (kind << 32)
    mask = len(slots) - 1
    slot = hashed & mask
    while True:
        code = np.int64(slots[slot])
        if code == 0:
            break
        if texts[code, 0] == hashed and texts[code, 2] == meta:
            word = texts[code, 1]
            i = begin
            while end - i > 8 and arena[word] == load(b, i):
                i += 8
                word += 1
            if end - i <= 8 and arena[word] == last:
                return code
        slot = (slot + 1) & mask
    code = st[TEXTS]
    word = st[ARENA]
    words = (length + 7) >> 3
    if code >= len(texts) or 2 * code >= len(slots) or word + words > len(arena):
        return np.int64(NO_ROOM)
    texts[code, 0] = hashed
    texts[code, 1] = word
    texts[code, 2] = meta
    i = begin
    while end - i > 8:
        arena[word] = load(b, i)
        i += 8
        word += 1
    arena[word] = last
    slots[slot] = code
    st[TEXTS] = code + 1
    st[ARENA] = word + 1
    return code


@inlined
def _group_hash(
    seed: np.int64, cat_name: np.int64, hashes: np.int64, pid: np.int64, tid: np.int64, n: np.int64
) -> np.int64:
    h = _mix(np.uint64(seed), np.uint64(cat_name) * _MIX2)
    h = _mix(h, np.uint64(hashes))
    h = _mix(h, (np.uint64(pid) << _U32) ^ np.uint64(tid))
    return np.int64(_finish(_mix(h, np.uint64(n) ^ (np.uint64(pid) >> _U32))))


@helper
def group_slot(seed: np.int64, group: np.int64, groups: Any, slots: Any) -> np.int64:
    """Return the first free slot for an existing group; there must be one."""
    g = groups[group]
    hashed = _group_hash(seed, g[G_CAT_NAME], g[G_HASHES], g[G_PID], g[G_TID], g[G_BUCKET])
    return text_slot(hashed, slots)


@inlined
def find_group(
    st: Any,
    groups: Any,
    slots: Any,
    touched: Any,
    cat_name: np.int64,
    hashes: np.int64,
    pid: np.int64,
    tid: np.int64,
    bucket: np.int64,
) -> np.int64:
    """Return the group with this key, a new one (all zeros beside the key) if there is none.

    It is marked as occurring in the open chunk, at line 0 so far. ``NO_ROOM``: the table is full.
    """
    mask = len(slots) - 1
    slot = _group_hash(st[SEED], cat_name, hashes, pid, tid, bucket) & mask
    while True:
        group = np.int64(slots[slot]) - 1
        if group < 0:
            break
        if (
            groups[group, G_CAT_NAME] == cat_name
            and groups[group, G_HASHES] == hashes
            and groups[group, G_PID] == pid
            and groups[group, G_TID] == tid
            and groups[group, G_BUCKET] == bucket
        ):
            break
        slot = (slot + 1) & mask
    if group < 0:
        group = st[GROUPS]
        if group >= len(groups) or 2 * group >= len(slots):
            return np.int64(NO_ROOM)
        st[GROUPS] = group + 1
        slots[slot] = group + 1
        for field in range(GROUP_SIZE):
            groups[group, field] = 0
        groups[group, G_CAT_NAME] = cat_name
        groups[group, G_HASHES] = hashes
        groups[group, G_PID] = pid
        groups[group, G_TID] = tid
        groups[group, G_BUCKET] = bucket
    if groups[group, G_CHUNK] != st[CHUNK]:
        groups[group, G_CHUNK] = st[CHUNK]
        groups[group, G_CHUNK_COUNT] = 0
        groups[group, G_CHUNK_LINE] = 0
        touched[st[TOUCHED]] = group
        st[TOUCHED] += 1
    return group
