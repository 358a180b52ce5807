"""Calling a user-written scheduler, and what it may ask about its service, servers and packet.

The scheduler is machine code at an address (ipvs/user_code.py), called like any C function: loading
one recompiles nothing of the path.  It sees the world only through the functions below, which check
every index, and what it returns is checked again.
"""

from __future__ import annotations

from ipvs.dest import DEST_SIZE, STATS_SIZE, Dest, DestStats, usable
from ipvs.extra import CALL_AT, Call, Extra
from ipvs.service import IdList, Service
from runtime.intrinsics import call3, mum, signed
from runtime.jit import compiled, inlined

NOBODY = -1
FAULT = -2  # the scheduler looped too long or chose what does not exist
STEPS = 1 << 16  # loop rounds of one choice
KEY_A, KEY_B = signed(0x9E3779B97F4A7C15), signed(0xD1B54A32D192ED03)


@inlined
def server_count(call):
    """len(servers)"""
    return Call(call).count


@inlined
def _id_of(call, index):
    """Real server id of an index; -1 when there is none."""
    c = Call(call)
    if index < 0 or index >= c.count:
        return -1
    return IdList(c.ids).id[index]


@inlined
def server_weight(call, index):
    """servers[i].weight; 0 for an index that does not exist, like all that follow."""
    number = _id_of(call, index)
    return 0 if number < 0 else Dest(Call(call).dests + number * DEST_SIZE).weight


@inlined
def server_usable(call, index):
    """servers[i].usable: it is there, has a weight, is neither overloaded nor inhibited."""
    number = _id_of(call, index)
    return 0 if number < 0 else usable(Call(call).dests, number)


@inlined
def server_address(call, index):
    """servers[i].address"""
    number = _id_of(call, index)
    return 0 if number < 0 else Dest(Call(call).dests + number * DEST_SIZE).address


@inlined
def server_port(call, index):
    """servers[i].port"""
    number = _id_of(call, index)
    return 0 if number < 0 else Dest(Call(call).dests + number * DEST_SIZE).port


@inlined
def server_active(call, index):
    """servers[i].active: established connections of this worker."""
    number = _id_of(call, index)
    return 0 if number < 0 else DestStats(Call(call).stats + number * STATS_SIZE).active


@inlined
def server_inactive(call, index):
    """servers[i].inactive: the other connections of this worker."""
    number = _id_of(call, index)
    return 0 if number < 0 else DestStats(Call(call).stats + number * STATS_SIZE).inactive


@inlined
def server_connections(call, index):
    """servers[i].connections: all that this worker ever opened to it."""
    number = _id_of(call, index)
    return 0 if number < 0 else DestStats(Call(call).stats + number * STATS_SIZE).conns


@inlined
def hashed(a, b):
    """hash(a, b): a well mixed number from 0 to 2**62 - 1."""
    return mum(a ^ KEY_A, b ^ KEY_B) & 0x3FFFFFFFFFFFFFFF


@compiled
def by_user(service, dests, stats, source, ports, now):
    """Real server id chosen by the service's own scheduler, NOBODY or FAULT."""
    s = Service(service)
    extra = Extra(s.extra)
    function = extra.function
    if function == 0:
        return NOBODY
    call = s.extra + CALL_AT
    c = Call(call)
    c.ids = s.dests
    c.count = s.dest_count
    c.dests = dests
    c.stats = stats
    c.now = now
    c.source = source
    c.source_port = ((ports & 0xFF) << 8) | ((ports >> 8) & 0xFF)
    c.destination_port = ((ports >> 8) & 0xFF00) | ((ports >> 24) & 0xFF)
    c.protocol = (ports >> 32) & 0xFF
    c.service_address = s.address
    c.service_port = s.port
    index = call3(function, call, call, call)
    if index >= c.count or index < NOBODY:
        c.faults += 1
        return FAULT
    if index < 0:
        return NOBODY
    number = IdList(s.dests).id[index]
    return number if usable(dests, number) else NOBODY
