"""A worker's end of a port: one rx queue, one tx queue, and the burst calls on them."""

from __future__ import annotations

import ctypes

from netdev.abi import FastPath, Mbuf
from netdev.mbuf import free_many
from runtime.intrinsics import call3, load64, store64
from runtime.jit import compiled, inlined
from runtime.pointers import view

BURST = 32
TX_ROOM = 64  # packets gathered per port before a transmit call is forced
MAX_PORTS = 16


class PortStruct(ctypes.Structure):
    """One port as one worker sees it.  Queue numbers of -1 mean: no such queue here."""

    _fields_ = [
        ("fast", ctypes.c_int64),  # address of rte_eth_fp_ops[port]
        ("calls", ctypes.c_int64),  # PoolCalls
        ("mac", ctypes.c_int64),  # 6 bytes as they lie on the wire, low 48 bits
        ("rx_queue", ctypes.c_int32),
        ("tx_queue", ctypes.c_int32),
        ("index", ctypes.c_uint16),  # our device id
        ("mtu", ctypes.c_uint16),  # bytes of an IP packet
        ("up", ctypes.c_uint16),
        ("owner_known", ctypes.c_uint16),  # RSS places packets as stack/rss.py computes
        ("tx_count", ctypes.c_int64),
        ("rx_packets", ctypes.c_int64),
        ("rx_bytes", ctypes.c_int64),
        ("tx_packets", ctypes.c_int64),
        ("tx_bytes", ctypes.c_int64),
        ("tx_dropped", ctypes.c_int64),
        ("tx", ctypes.c_int64 * TX_ROOM),
    ]


Port = view(PortStruct)
TX_ARRAY = PortStruct.tx.offset


@inlined
def receive(port, array):
    """Receive up to BURST mbufs of this worker's queue into ``array``; returns how many."""
    p = Port(port)
    fast = FastPath(p.fast)
    queue = load64(fast.rx_queues + p.rx_queue * 8)
    return call3(fast.rx_burst, queue, array, BURST) & 0xFFFF


@compiled
def flush(port):
    """Transmit what was gathered; what the driver refuses (all of it where this worker has no tx
    queue) is freed and counted."""
    p = Port(port)
    count = p.tx_count
    if count == 0:
        return 0
    fast = FastPath(p.fast)
    array = port + TX_ARRAY
    sent = 0
    if p.tx_queue >= 0:
        queue = load64(fast.tx_queues + p.tx_queue * 8)
        sent = call3(fast.tx_burst, queue, array, count) & 0xFFFF
    p.tx_packets += sent
    if sent < count:
        p.tx_dropped += count - sent
        for i in range(sent, count):
            p.tx_bytes -= Mbuf(load64(array + i * 8)).pkt_len
        free_many(p.calls, array + sent * 8, count - sent)
    p.tx_count = 0
    return sent


@inlined
def transmit(port, mbuf):
    """Queue ``mbuf`` for transmission; it is sent with its burst (see flush)."""
    p = Port(port)
    count = p.tx_count
    store64(port + TX_ARRAY + count * 8, mbuf)
    p.tx_bytes += Mbuf(mbuf).pkt_len
    p.tx_count = count + 1
    if count + 1 >= TX_ROOM:
        flush(port)
    return 0
