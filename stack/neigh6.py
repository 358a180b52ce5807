"""IPv6 neighbours: entries of the one neighbour table whose address lies beside it.

Both families share entries, numbers, states and upkeep, so whoever holds an entry's number need
not know its family.  An entry's 32-bit ``address`` is here a keyed digest of the 128-bit one, by
which it is hashed; the full address decides.
"""

from __future__ import annotations

from runtime.intrinsics import GOLDEN, load64, mum, store64
from runtime.jit import compiled
from stack.context import Stack
from stack.neigh import (
    Neighbour,
    NeighbourTable,
    NeighbourTableStruct,
    add,
    bucket_of,
    entry_at,
    number_of,
)

ADDRESSES_AT = NeighbourTableStruct.address6.offset


@compiled
def digest6(table, high, low):
    """Keyed 32-bit digest of an address."""
    seed = NeighbourTable(table).seed
    return mum(high ^ seed, low ^ GOLDEN) & 0xFFFFFFFF


@compiled
def address6_at(table, entry):
    """Where the 16 address bytes of an IPv6 entry lie."""
    return table + ADDRESSES_AT + number_of(table, entry) * 16


@compiled
def find6(table, port, high, low):
    """Address of the neighbour entry for an IPv6 address on port index ``port``, or 0."""
    digest = digest6(table, high, low)
    number = NeighbourTable(table).heads[bucket_of(port, digest)]
    while number != 0:
        n = Neighbour(entry_at(table, number - 1))
        if n.address == digest and n.port == port and n.ipv6:
            at = table + ADDRESSES_AT + (number - 1) * 16
            if load64(at) == high and load64(at + 8) == low:
                return n.ptr
        number = n.next
    return 0


@compiled
def find_or_add6(stack, port, high, low):
    """Like neigh.find_or_add for an IPv6 address: the entry, in state NONE if new; 0 when full."""
    table = Stack(stack).neighbours
    found = find6(table, port, high, low)
    if found != 0:
        return found
    entry = add(stack, port, digest6(table, high, low), 1)
    if entry == 0:
        return 0
    at = address6_at(table, entry)
    store64(at, high)
    store64(at + 8, low)
    return entry
