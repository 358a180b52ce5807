"""Check, before any packet, that DPDK lays its structures out as netdev/abi.py says."""

from __future__ import annotations

import ctypes

from netdev import eal
from netdev.abi import HEADROOM, PORT_INVALID, Mbuf, Mempool
from netdev.eal import DpdkError
from runtime.intrinsics import call3


def _fail(what: str, found: object, expected: object) -> None:
    raise DpdkError(
        f"DPDK {eal.abi().release} (ABI {eal.abi().number}) does not lay out {what} as expected "
        f"({found} instead of {expected}): refusing to run; install the distribution's DPDK"
    )


def verify_pool(pool: int, count: int) -> None:
    """Check rte_mempool and rte_mbuf against what the library wrote into a fresh pool.

    Raises DpdkError naming the first field that differs.
    """
    p = Mempool(pool)
    if p.size != count:
        _fail("rte_mempool.size", p.size, count)
    slot = ctypes.c_int64()
    dequeue = eal.pool_dequeue(pool)
    if not dequeue or call3(dequeue, pool, ctypes.addressof(slot), 1) & 0xFFFFFFFF:
        _fail("rte_mempool_ops", hex(dequeue), "a working dequeue function")
    m = Mbuf(slot.value)
    expected = {
        "pool": (m.pool, pool),
        "buf_addr": (m.buf_addr, slot.value + 128),
        "buf_len": (m.buf_len, p.elt_size - 128),
        "data_off": (m.data_off, HEADROOM),
        "port": (m.port, PORT_INVALID),
        "nb_segs": (m.nb_segs, 1),
        "refcnt": (m.refcnt, 1),
        "next": (m.next, 0),
    }
    for name, (found, wanted) in expected.items():
        if found != wanted:
            _fail(f"rte_mbuf.{name}", found, wanted)
    eal.cdll("mbuf").rte_pktmbuf_free_bulk(ctypes.byref(slot), 1)
    available, _ = eal.pool_counts(pool)
    if available != count:
        _fail("the pool", f"{available} free mbufs", count)
