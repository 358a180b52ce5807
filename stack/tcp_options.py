"""TCP options (RFC 9293 3.1): find them, blank them, throw some out.

The walk stops where receivers stop: at the end of the list, and at an option whose length is
below 2 or reaches beyond the header.  What stands behind is never read as options by anybody.
"""

from __future__ import annotations

from runtime.intrinsics import copy, load8, load16, store8, store16
from runtime.jit import compiled, inlined
from stack.checksum import difference, sum_bytes, update

END, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, SACK = range(6)
TIMESTAMP, MPTCP, FAST_OPEN, TOA = 8, 30, 34, 254
FIXED = 20  # bytes in front of the options
MOST = 60  # bytes of the largest header


@inlined
def header_bytes(l4):
    """Length of the TCP header with its options."""
    return (load8(l4 + 12) >> 4) * 4


@inlined
def following(at, end):
    """Address of the option behind the one at ``at``, or 0 when there is none that counts."""
    kind = load8(at)
    if kind == NOP:
        return at + 1
    if kind == END or at + 2 > end:
        return 0
    length = load8(at + 1)
    if length < 2 or at + length > end:
        return 0
    return at + length


@compiled
def find_option(l4, kind):
    """Address of the first option of ``kind`` (not NOP or END), or 0."""
    end = l4 + header_bytes(l4)
    at = l4 + FIXED
    while at < end:
        behind = following(at, end)
        if behind == 0:
            return 0
        if load8(at) == kind:
            return at
        at = behind
    return 0


@compiled
def blank_option(l4, kind):
    """Overwrite every option of ``kind`` with NOPs, the checksum by difference; how many."""
    found = find_option(l4, kind)
    if found == 0:
        return 0
    size = header_bytes(l4) - FIXED
    end = l4 + FIXED + size
    old = sum_bytes(l4 + FIXED, size)
    count = 0
    at = found
    while at < end:
        behind = following(at, end)
        if behind == 0:
            break
        if load8(at) == kind:
            count += 1
            while at < behind:
                store8(at, NOP)
                at += 1
        at = behind
    new = sum_bytes(l4 + FIXED, size)
    store16(l4 + 16, update(load16(l4 + 16), difference(old, new)))
    return count


@inlined
def _worth_keeping(kind, syn):
    """1 for the options that stay when there is not room for all."""
    if kind == TIMESTAMP:
        return 1
    if syn == 0:
        return 0
    if MSS <= kind <= SACK_PERMITTED or kind == FAST_OPEN:
        return 1
    return 1 if kind == MPTCP else 0


@compiled
def gather_options(l4, only_needed):
    """Move the options together, NOPs left out (and, if ``only_needed``, all that a connection
    can do without); pad to 4 bytes.  Returns the bytes of options now; the header length and the
    checksum, which still cover the bytes behind them (zeroed), stay right.
    """
    syn = load8(l4 + 13) & 2
    size = header_bytes(l4) - FIXED
    end = l4 + FIXED + size
    old = sum_bytes(l4 + FIXED, size)
    at = l4 + FIXED
    to = at
    while at < end:
        behind = following(at, end)
        if behind == 0:
            break
        kind = load8(at)
        if kind != NOP and (only_needed == 0 or _worth_keeping(kind, syn)):
            copy(to, at, behind - at)
            to += behind - at
        at = behind
    kept = (to - l4 - FIXED + 3) & ~3
    while to < end:
        store8(to, END)
        to += 1
    new = sum_bytes(l4 + FIXED, size)
    store16(l4 + 16, update(load16(l4 + 16), difference(old, new)))
    return kept


@compiled
def lower_mss(l4, by):
    """Take ``by`` off the maximum segment size a SYN announces (RFC 6691); 1 when it was there."""
    at = find_option(l4, MSS)
    if at == 0 or load8(at + 1) != 4:
        return 0
    value = (load8(at + 2) << 8) | load8(at + 3)
    if value <= by:
        return 0
    size = header_bytes(l4) - FIXED
    old = sum_bytes(l4 + FIXED, size)
    value -= by
    store8(at + 2, value >> 8)
    store8(at + 3, value & 0xFF)
    new = sum_bytes(l4 + FIXED, size)
    store16(l4 + 16, update(load16(l4 + 16), difference(old, new)))
    return 1
