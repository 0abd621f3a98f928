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
    AT_ARENA,
    AT_GROUP_SLOTS,
    AT_GROUPS,
    AT_SLOTS,
    AT_TEXTS,
    AT_TOUCHED,
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
    ROOM_ARENA,
    ROOM_GROUP_SLOTS,
    ROOM_GROUPS,
    ROOM_SLOTS,
    ROOM_TEXTS,
    SEED,
    TEXT_SIZE,
    TEXTS,
    TOUCHED,
)
from dftindexd.index.trace.kernel_text import (
    codes_at,
    helper,
    inlined,
    load,
    low_bytes,
    numbers_at,
    words_at,
)

__all__ = ("NO_ROOM", "find_group", "free_slot", "group_slot", "intern", "plus", "word_hash")

#: A table must grow before the line can be taken.
NO_ROOM: Final = -1

_U29: Final = np.uint64(29)
_U32: Final = np.uint64(32)
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX2: Final = np.uint64(0x94D049BB133111EB)
_ODD2: Final = np.uint64(0xD6E8FEB86659FD93)
_ODD3: Final = np.uint64(0xA0761D6478BD642F)
_UMAX: Final = np.uint64(0xFFFFFFFFFFFFFFFF)


@inlined
def _mix(h: np.uint64, word: np.uint64) -> np.uint64:
    h = (h ^ word) * _ODD
    return h ^ (h >> _U32)


@inlined
def _finish(h: np.uint64) -> np.uint64:
    h = (h ^ (h >> _U29)) * _MIX
    return h ^ (h >> _U32)


@inlined
def plus(left: np.int64, right: np.int64) -> np.int64:
    """Add unsigned numbers; the sum stops at the greatest."""
    total = np.uint64(left) + np.uint64(right)
    return np.int64(_UMAX if total < np.uint64(left) else total)


@inlined
def word_hash(seed: np.int64, word: np.int64) -> np.int64:
    """Return the hash of one word."""
    return np.int64(_finish(_mix(np.uint64(seed), np.uint64(word) * _MIX2)))


@inlined
def free_slot(slots: Any, hashed: np.int64, mask: np.int64) -> np.int64:
    """Return the first of *slots* that is free for this hash; there must be one."""
    slot = hashed & mask
    while slots[slot] != 0:
        slot = (slot + 1) & mask
    return slot


@inlined
def intern(b: Any, st: Any, begin: np.int64, end: np.int64, kind: np.int64) -> np.int64:
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
    slots, texts, arena = codes_at(st[AT_SLOTS]), numbers_at(st[AT_TEXTS]), words_at(st[AT_ARENA])
    hashed = np.int64(h)
    meta = length | (kind << 32)
    mask = st[ROOM_SLOTS] - 1
    slot = hashed & mask
    while True:
        code = np.int64(slots[slot])
        if code == 0:
            break
        place = TEXT_SIZE * code
        if texts[place] == hashed and texts[place + 2] == meta:
            word = texts[place + 1]
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
    if 2 * code >= st[ROOM_SLOTS] or code >= st[ROOM_TEXTS] or word + words > st[ROOM_ARENA]:
        return np.int64(NO_ROOM)
    place = TEXT_SIZE * code
    texts[place] = hashed
    texts[place + 1] = word
    texts[place + 2] = meta
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
    # A product for each word: the processor has them all under way at once.
    s = np.uint64(seed)
    h = (np.uint64(cat_name) ^ s) * _ODD + (np.uint64(hashes) + s) * _MIX2
    h += (np.uint64(pid) + (s >> _U29)) * _MIX + (np.uint64(tid) ^ (s >> _U32)) * _ODD2
    h += np.uint64(n) * _ODD3
    h ^= h >> _U32
    return np.int64(_finish(h))


@helper
def group_slot(st: Any, group: np.int64) -> np.int64:
    """Return the first free slot for an existing group; there must be one."""
    groups, g = numbers_at(st[AT_GROUPS]), group * GROUP_SIZE
    hashed = _group_hash(
        st[SEED],
        groups[g + G_CAT_NAME],
        groups[g + G_HASHES],
        groups[g + G_PID],
        groups[g + G_TID],
        groups[g + G_BUCKET],
    )
    return free_slot(codes_at(st[AT_GROUP_SLOTS]), hashed, st[ROOM_GROUP_SLOTS] - 1)


@inlined
def find_group(
    st: Any, cat_name: np.int64, hashes: np.int64, pid: np.int64, tid: np.int64, bucket: np.int64
) -> np.int64:
    """Return the group with this key, a new one (all zeros beside the key) if there is none.

    It is marked as occurring in the open chunk, at line 0 so far. ``NO_ROOM``: the table is full.
    """
    groups, slots = numbers_at(st[AT_GROUPS]), codes_at(st[AT_GROUP_SLOTS])
    mask = st[ROOM_GROUP_SLOTS] - 1
    slot = _group_hash(st[SEED], cat_name, hashes, pid, tid, bucket) & mask
    while True:
        group = np.int64(slots[slot]) - 1
        if group < 0:
            break
        place = group * GROUP_SIZE
        if (
            groups[place + G_CAT_NAME] == cat_name
            and groups[place + G_HASHES] == hashes
            and groups[place + G_PID] == pid
            and groups[place + G_TID] == tid
            and groups[place + G_BUCKET] == bucket
        ):
            break
        slot = (slot + 1) & mask
    if group < 0:
        group = st[GROUPS]
        if group >= st[ROOM_GROUPS] or 2 * group >= st[ROOM_GROUP_SLOTS]:
            return np.int64(NO_ROOM)
        st[GROUPS] = group + 1
        place = group * GROUP_SIZE
        slots[slot] = group + 1
        for field in range(GROUP_SIZE):
            groups[place + field] = 0
        groups[place + G_CAT_NAME] = cat_name
        groups[place + G_HASHES] = hashes
        groups[place + G_PID] = pid
        groups[place + G_TID] = tid
        groups[place + G_BUCKET] = bucket
    place = group * GROUP_SIZE
    if groups[place + G_CHUNK] != st[CHUNK]:
        groups[place + G_CHUNK] = st[CHUNK]
        groups[place + G_CHUNK_COUNT] = 0
        groups[place + G_CHUNK_LINE] = 0
        touched = numbers_at(st[AT_TOUCHED])
        touched[st[TOUCHED]] = group
        st[TOUCHED] += 1
    return group
