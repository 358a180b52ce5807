"""Port pools of local addresses.

Every sapool interface address has one pool, whatever services use it: its id names the pool in the
workers. The pool lives as long as the address is configured with sapool (possibly under several
prefix lengths of the same device). A service may keep listing a local address whose interface
address is gone; it is told to workers again when the address comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .addresses import InterfaceAddress
from .errors import Code, ControlError
from .ids import IdPool
from .inettypes import Address

MAX_LADDRS = 1024


@dataclass(slots=True)
class LocalPool:
    """The ports of one local address; `plens` are the interface addresses that keep it alive."""

    id: int
    addr: Address
    dev: int
    plens: set[int] = field(default_factory=set)


class LocalPools:
    """Pools by address.

    `idle(id)` says whether no worker has a port of that pool in use; `created(id)` is called when
    an id begins to name a pool; `check(address)` raises when an address cannot have one.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        idle: Callable[[int], bool],
        created: Callable[[int], None],
        check: Callable[[Address], None],
    ) -> None:
        self._created = created
        self._check = check
        self._pools: dict[Address, LocalPool] = {}
        self.ids: IdPool[Address] = IdPool("local addresses", MAX_LADDRS, clock, idle)

    def claim(self, entry: InterfaceAddress) -> LocalPool | None:
        """Count a new sapool address in; returns its pool if that is a new one.

        INVAL when a service needs its ports, EXIST when it is a local address of another device,
        RESOURCE when there are too many. Nothing is changed when it raises.
        """
        pool = self._pools.get(entry.address)
        if pool is not None:
            if pool.dev != entry.dev:
                raise ControlError(
                    Code.EXIST, f"{entry.address} is already a sapool address of another device"
                )
            pool.plens.add(entry.plen)
            return None
        self._check(entry.address)
        number = self.ids.acquire(entry.address)
        pool = LocalPool(number, entry.address, entry.dev, {entry.plen})
        self._pools[entry.address] = pool
        self._created(number)
        return pool

    def drop(self, entry: InterfaceAddress) -> LocalPool | None:
        """Count a removed sapool address out; returns its pool if that is gone now."""
        pool = self._pools[entry.address]
        pool.plens.discard(entry.plen)
        if pool.plens:
            return None
        del self._pools[entry.address]
        self.ids.release(pool.addr, pool.id)
        return pool

    def of(self, addr: Address) -> LocalPool | None:
        """The pool of the address, if it is a sapool address of any device."""
        return self._pools.get(addr)

    def usable(self, addr: Address, dev: int) -> LocalPool | None:
        """The pool of the address if it is a sapool address of that device."""
        pool = self._pools.get(addr)
        return pool if pool is not None and pool.dev == dev else None

    def __iter__(self) -> Iterator[LocalPool]:
        return iter(list(self._pools.values()))

    def __len__(self) -> int:
        return len(self._pools)
