"""Lookup tables of the hashing schedulers: built here once, so that all workers swap in the same.

The last tables are kept: a snapshot for a new worker does not build them again.
"""

from __future__ import annotations

from functools import lru_cache

from ipvs.conhash_ring import Server as RingServer
from ipvs.conhash_ring import conhash_ring
from ipvs.maglev_table import Server as TableServer
from ipvs.maglev_table import maglev_table

from .inettypes import Address
from .services import Service

_KEPT = 256
_Row = tuple[int, Address, int, int]  # id, address, port, weight


def _folded(address: Address) -> int:
    """The address's 32-bit words XORed, as they lie in a packet."""
    packed = address.packed
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    folded = 0
    for word in words:
        folded ^= int.from_bytes(word, "little")
    return folded


@lru_cache(maxsize=_KEPT)
def _table(scheduler: str, rows: tuple[_Row, ...]) -> bytes:
    if scheduler == "mh":
        return maglev_table([TableServer(n, _folded(a), port, w) for n, a, port, w in rows])
    return conhash_ring([RingServer(n, str(a), port, w) for n, a, port, w in rows])


def lookup_table(service: Service) -> bytes | None:
    """The table that the service's scheduler looks clients up in; None when it has none."""
    if service.options.sched not in ("mh", "conhash"):
        return None
    rows = tuple(
        (dest.id, dest.key.addr, dest.key.port, 0 if dest.inhibited else dest.options.weight)
        for dest in service.newest_first()
    )
    return _table(service.options.sched, rows)
