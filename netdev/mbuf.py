"""Packet buffers in compiled code: data pointer, allocate, free, grow and shrink."""

from __future__ import annotations

import ctypes

from netdev.abi import HEADROOM, PORT_INVALID, Mbuf, Mempool
from runtime.intrinsics import call2, call3, load64
from runtime.jit import compiled, inlined
from runtime.pointers import view


class PoolCallsStruct(ctypes.Structure):
    """Addresses (valid in one process) that allocation and freeing need."""

    _fields_ = [
        ("pool", ctypes.c_int64),
        ("dequeue", ctypes.c_int64),  # of the pool's mempool driver
        ("free_bulk", ctypes.c_int64),  # rte_pktmbuf_free_bulk
        ("slot", ctypes.c_int64),  # one pointer of scratch space
    ]


PoolCalls = view(PoolCallsStruct)


@inlined
def data_of(mbuf):
    """Address of the first data byte."""
    m = Mbuf(mbuf)
    return m.buf_addr + m.data_off


@compiled
def free_one(calls, mbuf):
    """Give one mbuf (chain) back to its pool."""
    c = PoolCalls(calls)
    c.slot = mbuf
    call2(c.free_bulk, calls + 24, 1)
    return 0


@compiled
def free_many(calls, array, count):
    """Give ``count`` mbufs, pointers at ``array``, back to their pools."""
    call2(PoolCalls(calls).free_bulk, array, count)
    return 0


@compiled
def allocate(calls):
    """Address of an empty mbuf, or 0 when the pool is exhausted.

    Goes to the pool's ring directly, past the per-lcore cache: only control packets (ARP, ICMP
    errors) are allocated, everything else is a received mbuf sent on.
    """
    c = PoolCalls(calls)
    if call3(c.dequeue, c.pool, calls + 24, 1) & 0xFFFFFFFF != 0:
        return 0
    mbuf = load64(calls + 24)
    m = Mbuf(mbuf)
    m.data_off = HEADROOM
    m.refcnt = 1
    m.nb_segs = 1
    m.port = PORT_INVALID
    m.ol_flags = 0
    m.packet_type = 0
    m.pkt_len = 0
    m.data_len = 0
    m.next = 0
    m.tx_offload = 0
    return mbuf


@inlined
def set_length(mbuf, length):
    """Cut or extend the packet to ``length`` bytes; the caller knows that the room is there."""
    m = Mbuf(mbuf)
    m.pkt_len = length
    m.data_len = length
    return 0


@compiled
def room_of(pool):
    """Data bytes an mbuf of ``pool`` can hold behind the headroom."""
    return Mempool(pool).elt_size - 128 - HEADROOM
