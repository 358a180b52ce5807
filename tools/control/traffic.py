"""Statistics as operators see them: the workers' counters less what was there before.

Workers only ever add to their counters, and nobody else writes them. Zeroing, and giving the id of
a removed real server to a new one, therefore remember the counters' present values here and
subtract them from then on. Service statistics are the sum over the current real servers, and over
what removed ones had counted until then: they never go back.
"""

from __future__ import annotations

from .providers import CounterSource, DestCounters, LaddrCounters
from .rates import Rates, RateSampler

_ZERO = DestCounters()


def _since(now: DestCounters, base: DestCounters) -> DestCounters:
    """Counted since `base`; active, inactive and templates are levels and pass through."""
    if any(new < old for new, old in zip(now[:5], base[:5], strict=True)):
        # the counters themselves were started again, so the old reading means nothing
        return now
    return DestCounters(
        now.conns - base.conns,
        now.inpkts - base.inpkts,
        now.outpkts - base.outpkts,
        now.inbytes - base.inbytes,
        now.outbytes - base.outbytes,
        now.active,
        now.inactive,
        now.templates,
    )


def add_up(parts: list[DestCounters]) -> DestCounters:
    """Field by field sum."""
    return DestCounters(*map(sum, zip(*parts, strict=True))) if parts else _ZERO


class Traffic:
    """Reads counters for the whole fleet (cpu 0) or for one worker (its cid)."""

    def __init__(self, counters: CounterSource) -> None:
        self._counters = counters
        self._bases: dict[tuple[int, int], DestCounters] = {}
        self._past: dict[tuple[int, int], DestCounters] = {}
        self._misses: dict[tuple[int, int], int] = {}
        self._rates = RateSampler(counters)
        self._live: dict[int, None] = {}

    def _cids(self, cpu: int) -> range:
        return range(cpu, cpu + 1) if cpu else range(1, self._counters.n_workers + 1)

    def new_dest(self, dest_id: int) -> None:
        """A real server got this id: it starts from zero."""
        self.zero_dest(dest_id)
        self._live[dest_id] = None

    def drop_dest(self, dest_id: int) -> None:
        """The real server with this id is gone."""
        self._live.pop(dest_id, None)
        self._rates.forget(dest_id)

    def leave(self, service_id: int, dest_id: int) -> None:
        """A real server leaves its service, whose statistics keep what it counted."""
        for cid in self._cids(0):
            counted = self.dest(dest_id, cid)._replace(active=0, inactive=0, templates=0)
            before = self._past.get((service_id, cid), _ZERO)
            self._past[service_id, cid] = add_up([before, counted])
        self.drop_dest(dest_id)

    def past(self, service_id: int, cpu: int = 0) -> DestCounters:
        """What real servers counted that a service no longer has."""
        return add_up([self._past.get((service_id, cid), _ZERO) for cid in self._cids(cpu)])

    def forget_past(self, service_id: int) -> None:
        """A service begins, or is zeroed."""
        for cid in self._cids(0):
            self._past.pop((service_id, cid), None)

    def zero_dest(self, dest_id: int) -> None:
        """Count from zero from now on."""
        for cid in self._cids(0):
            self._bases[dest_id, cid] = self._counters.dest_counters(cid, dest_id)

    def dest(self, dest_id: int, cpu: int = 0) -> DestCounters:
        """Counters of a real server since it was added or zeroed."""
        return add_up(
            [
                _since(
                    self._counters.dest_counters(cid, dest_id),
                    self._bases.get((dest_id, cid), _ZERO),
                )
                for cid in self._cids(cpu)
            ]
        )

    def rates(self, dest_id: int, cpu: int = 0) -> Rates:
        """Per-second rates of a real server."""
        return self._rates.rates(dest_id, self._cids(cpu))

    def sample(self, now: float) -> None:
        """Take the rate samples that are due; call it once a second."""
        self._rates.sample(now, list(self._live))

    def dest_is_idle(self, dest_id: int) -> bool:
        """Whether no worker has a connection to the real server of this id, and no client a
        template that names it."""
        readings = [self._counters.dest_counters(cid, dest_id) for cid in self._cids(0)]
        if any(now.active + now.inactive for now in readings):
            return False
        return sum(now.templates for now in readings) <= 0

    def overloaded(self, dest_id: int, u_thresh: int, cpu: int = 0) -> bool:
        """Whether a worker has reached its share of the upper threshold (0: no threshold).

        The share is u_thresh // workers but at least 1, as the workers compute it.
        """
        share = u_thresh and max(1, u_thresh // max(1, self._counters.n_workers))
        readings = (self._counters.dest_counters(cid, dest_id) for cid in self._cids(cpu))
        return share > 0 and any(now.active + now.inactive >= share for now in readings)

    def laddr(self, laddr_id: int, cpu: int = 0) -> LaddrCounters:
        """Port pool of a local address; misses since the pool was made."""
        used = free = miss = 0
        for cid in self._cids(cpu):
            now = self._counters.laddr_counters(cid, laddr_id)
            base = self._misses.get((laddr_id, cid), 0)
            used, free = used + now.used, free + now.free
            miss += now.miss - base if now.miss >= base else now.miss
        return LaddrCounters(used, free, miss)

    def new_laddr(self, laddr_id: int) -> None:
        """A local address got this id: its misses start from zero."""
        for cid in self._cids(0):
            self._misses[laddr_id, cid] = self._counters.laddr_counters(cid, laddr_id).miss

    def laddr_is_idle(self, laddr_id: int) -> bool:
        """Whether no worker has a port of the local address of this id in use."""
        return all(self._counters.laddr_counters(cid, laddr_id).used == 0 for cid in self._cids(0))
