"""What the stack of one worker works with: addresses of its tables, settings, the clock."""

from __future__ import annotations

import ctypes

from netdev.port import MAX_PORTS
from runtime.jit import compiled
from runtime.pointers import view


class StackStruct(ctypes.Structure):
    """Per-worker state of the stack, in memory of the worker process."""

    _fields_ = [
        ("now", ctypes.c_int64),  # milliseconds, wraps at 2**32 (see netdev clock)
        ("drops", ctypes.c_int64),  # int64[DROP_SLOTS], shared memory
        ("calls", ctypes.c_int64),  # PoolCalls
        ("routes", ctypes.c_int64),  # RouteTable
        ("neighbours", ctypes.c_int64),  # NeighbourTable
        ("events", ctypes.c_int64),  # EventQueue towards the interpreter
        ("port_count", ctypes.c_int64),
        ("worker", ctypes.c_int64),  # 0-based
        ("workers", ctypes.c_int64),
        ("generation", ctypes.c_int64),  # of routes, 1..0xffff; next hops of another are stale
        ("forwarding", ctypes.c_int64),
        ("ip_id", ctypes.c_int64),
        ("icmp_tokens", ctypes.c_int64),
        ("icmp_refill", ctypes.c_int64),  # time of the last refill, ms
        ("routes6", ctypes.c_int64),  # Route6Table
        ("forwarding6", ctypes.c_int64),
        ("disabled6", ctypes.c_int64),  # 1: no IPv6 packet is taken
        ("pointer6", ctypes.c_int64),  # of the parameter problem found last, see stack/exthdr.py
        ("dad", ctypes.c_int64),  # DadTable: addresses being checked for duplicates
        ("mld", ctypes.c_int64),  # MldTable: multicast groups we listen to
        ("link_local", ctypes.c_int64 * MAX_PORTS),  # low words of the ports' fe80:: addresses
        ("header", ctypes.c_int64 * 8),  # room for an IP header, see stack/split.py
        ("ports", ctypes.c_int64 * MAX_PORTS),  # PortStruct addresses
    ]


Stack = view(StackStruct)
HEADER_AT = StackStruct.header.offset
NEVER = 0  # the generation of a next hop that was not looked up yet: no current one is 0


@compiled
def bump_generation(stack):
    """Make all connections look up their next hops again: a route or a neighbour moved."""
    s = Stack(stack)
    s.generation = s.generation + 1 if s.generation < 0xFFFF else 1
    return 0
