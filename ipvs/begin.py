"""A connection whose entry is filled in comes alive."""

from __future__ import annotations

from ipvs.context import SCRATCH, Ipvs
from ipvs.dest import DEST_SIZE, Dest, connection_begins
from ipvs.entry import HASHED1, MODE_FULLNAT, QUIESCENT, S_OPS, Entry
from ipvs.service import PERSISTENT, Service, number_of
from ipvs.table import arm, entry_of, prefetch_side, publish
from runtime.jit import compiled
from stack.context import NEVER, Stack


@compiled
def begin(ipvs, service, slot, dest, flags, special):
    """A connection whose sides and checksum terms are filled in comes alive; its reference."""
    w = Ipvs(ipvs)
    s = Service(service)
    stack = Stack(w.stack)
    e = Entry(entry_of(w.table, slot))
    mode = Dest(w.dests + dest * DEST_SIZE).mode
    e.mode = mode
    e.dest = dest
    e.service = number_of(w.services, service)
    e.flags = flags | (QUIESCENT if s.expire_quiescent else 0)
    e.special = special
    e.state = 0
    e.last = stack.now
    e.created = stack.now
    e.timeout = w.init_timeout
    e.fixed_timeout = s.conn_timeout
    e.template = w.template if s.sticky & PERSISTENT else 0
    e.forward[0].generation = NEVER
    e.forward[1].generation = NEVER
    connection_begins(w.dests, w.dest_stats, dest)
    if s.ops:
        # Nobody will find it: it ends when its packet is sent (end_one_packet).
        e.special = special | S_OPS
        e.armed = stack.now
        return slot * 2
    arm(w.table, slot, stack.now, w.init_timeout)
    if mode == MODE_FULLNAT and w.pending_count < SCRATCH:
        # The tuple is ours alone and no reply can come before the packet is sent: the server's
        # side is entered at the end of the burst, when its index line has arrived.
        prefetch_side(w.table, slot, 1)
        w.pending[w.pending_count] = slot
        w.pending_count += 1
        publish(w.table, slot, 1)
    else:
        publish(w.table, slot, 2 if flags & HASHED1 else 1)
    return slot * 2
