"""Compiled: the shapes of lines, learned as they come: a tree of keys.

A node is a piece of text that followed the value before it: the comma, the key with its quotes, the
colon; or the braces that end the arguments or the record. Lines of one kind have the same pieces in
the same order, so that nearly every piece is one of its predecessor's children: one comparison of
two words then tells which key comes, where its value begins and what is to be done with it,
and the processor need not look for the key's end before it goes on.

The tree only speeds up reading: what a piece is was found by looking at each of its bytes when its
node was made, and a node is taken only where all its bytes are the same.
"""

# Compiled by numba, whose decorators and calls have no types.

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dftindexd.index.trace.kernel_keys import (
    A_ARGS,
    A_END_ARGS,
    A_END_BOTH,
    A_END_RECORD,
    argument_of,
    bit_of,
    field_of,
)
from dftindexd.index.trace.kernel_layout import (
    MANY_NODES,
    N_CHILD,
    N_FIRST,
    N_KEY_CODE,
    N_KEY_LENGTH,
    N_KEYS,
    N_META,
    N_MORE_AT,
    N_SECOND,
    N_SIBLING,
    N_VALUE,
    N_VALUE_LENGTH,
    NODE_SIZE,
    NODES,
    NODES_USED,
    ROOT,
    SKELETON_WORDS,
    SKELETONS,
    SKELETONS_USED,
)
from dftindexd.index.trace.kernel_text import (
    byte_at,
    helper,
    inlined,
    load,
    low_bytes,
    text_end,
)

__all__ = ("action_of", "find_piece", "learn_piece", "root")

_ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
#: Nodes looked at before a piece is learned anew, as one that is not found again.
_FAMILY: Final = 12
#: A longer key is for the reference.
_LONGEST: Final = 250


@inlined
def root(st: Any) -> np.int64:
    """Return where a line's path begins, in a tree that has room for one more line."""
    if st[NODES_USED] > MANY_NODES or st[NODES_USED] == 0:
        _clear_shapes(st)
    return np.int64(ROOT)


@helper
def _clear_shapes(st: Any) -> None:
    """Forget all shapes."""
    for field in range(NODE_SIZE):
        st[ROOT + field] = np.int64(0)
    st[NODES_USED] = 1
    st[SKELETONS_USED] = 0


@inlined
def find_piece(b: Any, st: Any, i: np.int64, node: np.int64) -> np.int64:
    """Return the child of *node* whose text is at *i*, 0 where it is none."""
    word = np.int64(load(b, i))
    child = st[node + N_CHILD]
    while child != 0:
        if word & st[child + N_FIRST + 1] == st[child + N_FIRST]:
            if st[child + N_META] & 0xFF <= 8 or _has_more(b, st, i, child):
                return child
        child = st[child + N_SIBLING]
    return child


@inlined
def action_of(meta: np.int64) -> np.int64:
    """Return the action of a node."""
    return meta >> 8 & 0xFF


@inlined
def _has_more(b: Any, st: Any, i: np.int64, node: np.int64) -> bool:
    if np.int64(load(b, i + 8)) & st[node + N_SECOND + 1] != st[node + N_SECOND]:
        return False
    return bool(st[node + N_META] >> 16 == 0 or _has_rest(b, st, i + 16, node))


@helper
def _has_rest(b: Any, st: Any, i: np.int64, node: np.int64) -> bool:
    place = st[node + N_MORE_AT]
    left = (st[node + N_META] & 0xFF) - 16
    while left > 0:
        if low_bytes(load(b, i), min(left, np.int64(8))) != np.uint64(st[place]):
            return False
        place += 1
        i += 8
        left -= 8
    return True


@helper
def learn_piece(b: Any, st: Any, i: np.int64, node: np.int64, in_args: bool) -> np.int64:
    """Return a new child of *node* for what is at *i*, -1 where no such piece is or has room."""
    begin = i
    byte = byte_at(b, i)
    key_length = np.int64(0)
    if byte == 125:
        if not in_args:
            action, length = np.int64(A_END_RECORD), np.int64(1)
        elif byte_at(b, i + 1) == 125:
            action, length = np.int64(A_END_BOTH), np.int64(2)
        else:
            action, length = np.int64(A_END_ARGS), np.int64(1)
    else:
        # Only the first key of an object has no comma, and only the root and ``args`` have one.
        is_first = node == ROOT or action_of(st[node + N_META]) == A_ARGS
        if not is_first:
            if byte != 44:
                return np.int64(-1)
            i += 1
        if byte_at(b, i) != 34:
            return np.int64(-1)
        end = text_end(b, i + 1)
        if end < 0 or byte_at(b, end + 1) != 58:
            return np.int64(-1)
        key_length = end - i - 1
        if in_args:
            action = argument_of(b, i + 1, key_length)
        else:
            action = field_of(b, i + 1, key_length)
        length = end + 2 - begin
        if action == A_ARGS:
            if byte_at(b, end + 2) != 123:
                return np.int64(-1)
            length += 1
    if length > _LONGEST or st[node + N_KEYS] & bit_of(action):
        return np.int64(-1)
    return _new_node(b, st, begin, length, action, key_length, node)


@helper
def _new_node(
    b: Any,
    st: Any,
    i: np.int64,
    length: np.int64,
    action: np.int64,
    key_length: np.int64,
    parent: np.int64,
) -> np.int64:
    more = max((length - 9) >> 3, np.int64(0)) if length > 16 else np.int64(0)
    if st[NODES_USED] >= NODES or st[SKELETONS_USED] + more > SKELETON_WORDS:
        if st[NODES_USED] < MANY_NODES:
            st[NODES_USED] = MANY_NODES + 1  # the words ran out: begin anew with the next line
        return np.int64(-1)
    node = ROOT + st[NODES_USED] * NODE_SIZE
    st[NODES_USED] += 1
    for field in range(NODE_SIZE):
        st[node + field] = 0
    first = min(length, np.int64(8))
    st[node + N_FIRST] = np.int64(low_bytes(load(b, i), first))
    st[node + N_FIRST + 1] = np.int64(low_bytes(_ALL, first))
    if length > 8:
        second = min(length - 8, np.int64(8))
        st[node + N_SECOND] = np.int64(low_bytes(load(b, i + 8), second))
        st[node + N_SECOND + 1] = np.int64(low_bytes(_ALL, second))
    if length > 16:
        st[node + N_MORE_AT] = SKELETONS + st[SKELETONS_USED]
        left = length - 16
        i += 16
        while left > 0:
            st[SKELETONS + st[SKELETONS_USED]] = np.int64(
                low_bytes(load(b, i), min(left, np.int64(8)))
            )
            st[SKELETONS_USED] += 1
            i += 8
            left -= 8
    st[node + N_META] = length | action << 8 | (1 << 16 if length > 16 else 0)
    st[node + N_KEYS] = st[parent + N_KEYS] | bit_of(action)
    st[node + N_KEY_LENGTH] = key_length
    st[node + N_KEY_CODE] = np.int64(-1)
    st[node + N_VALUE] = np.int64(1)  # with no mask: no value is like this
    st[node + N_VALUE_LENGTH] = np.int64(0)
    _adopt(st, parent, node)
    return node


@helper
def _adopt(st: Any, parent: np.int64, node: np.int64) -> None:
    """Make *node* the last child of *parent*, the first where there are very many."""
    place = parent + N_CHILD
    members = 0
    while st[place] != 0 and members < _FAMILY:
        place = st[place] + N_SIBLING
        members += 1
    if members == _FAMILY:
        place = parent + N_CHILD
    st[place] = node
