"""A balancer of the benchmarks: the operator's commands, the unchanged loop, its counters."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace

import numpy as np

from ipvs.context import Ipvs
from ipvs.control import Control
from ipvs.dest import MAX_DESTS, STATS_SIZE
from ipvs.loop import LEFT_LIMIT
from ipvs.stages import STAGES
from ipvs.table import Table
from netdev import eal
from netdev.port import Port
from perf import network
from perf.errors import PerfError
from perf.loops import bounce, timed_run
from stack.context import Stack
from stack.dad import DadTableStruct
from stack.mld_table import MldTableStruct
from tools import settings
from tools.daemon.embedded import Embedded
from tools.settings_model import Settings

BURST_WORDS = 64


def load(text: str, buffers: int) -> Settings:
    """Settings of a configuration text with room for ``buffers`` mbufs, exactly."""
    found = settings.loads(text, "perf.conf").settings
    return replace(found, netif_defs=replace(found.netif_defs, pktpool_size=buffers))


@dataclass
class Tally:
    """Counters of the worker at one moment."""

    received: int
    sent: int
    dropped: int
    forwarded: int  # as the real servers' statistics have it
    reasons: dict[str, int]


class Bench:
    """One embedded balancer with one port, and ways to run and to look at it.

    Raises DpdkError, CommandFailed.  ``mac`` is the address our port answers to.
    """

    def __init__(self, config: Settings, mac: bytes, name: str, huge: bool = True) -> None:
        self.balancer = Embedded(config, name=name, huge=huge)
        self.address = self.balancer.address
        self.port = int(Stack(Ipvs(self.address).stack).ports[0])
        Port(self.port).mac = int.from_bytes(mac, "little")
        self.balancer.commands()
        # Nobody else is on the link; what would be announced in a second would be miscounted.
        stack = Stack(Ipvs(self.address).stack)
        ctypes.memset(int(stack.dad), 0, ctypes.sizeof(DadTableStruct))
        ctypes.memset(int(stack.mld), 0, ctypes.sizeof(MldTableStruct))
        self.hz = eal.tsc_hz()
        self.out = (ctypes.c_int64 * 8)()
        self.array = (ctypes.c_int64 * BURST_WORDS)()

    def tally(self) -> Tally:
        """The counters now."""
        counters = self.balancer.counters
        cpu = counters.cpu_counters(1)
        reasons = {k: v for k, v in counters.drop_counters(1).items() if v}
        words = STATS_SIZE // 8
        stats = np.ctypeslib.as_array(
            (ctypes.c_int64 * (MAX_DESTS * words)).from_address(Ipvs(self.address).dest_stats)
        ).reshape(MAX_DESTS, words)
        forwarded = int(stats[:, 0:2].sum())
        return Tally(cpu["ipackets"], cpu["opackets"], cpu["dropped"], forwarded, reasons)

    def run(self, iterations: int) -> int:
        """Run the worker loop; TSC cycles it took.  PerfError when it left early."""
        control = Control(Ipvs(self.address).control)
        began = control.iterations
        left = timed_run(self.address, iterations, ctypes.addressof(self.out))
        if left != LEFT_LIMIT or control.iterations - began != iterations:
            raise PerfError(f"the worker loop was left early (reason {left})")
        return int(self.out[0])

    def bounce(self, iterations: int) -> tuple[int, int]:
        """(cycles, packets) of receiving and sending alone.  PerfError when packets were lost."""
        fast = int(Port(self.port).fast)
        bounce(fast, ctypes.addressof(self.array), iterations, ctypes.addressof(self.out))
        if self.out[1] != self.out[2]:
            raise PerfError(f"the driver refused {self.out[1] - self.out[2]} packets")
        return int(self.out[0]), int(self.out[1])

    def stages(self, iterations: int) -> dict[str, float]:
        """Cycles a packet by stage, by the worker's own accounting (ipvs/stages.py)."""
        w = Ipvs(self.address)
        before, packets = [int(w.stage_cycles[i]) for i in range(len(STAGES))], w.stage_packets
        w.accounting = 1
        try:
            self.run(iterations)
        finally:
            w.accounting = 0
        count = max(int(w.stage_packets - packets), 1)
        return {name: (w.stage_cycles[i] - before[i]) / count for i, name in enumerate(STAGES)}

    def connections(self) -> int:
        """Connections in the table now."""
        return int(Table(Ipvs(self.address).table).count)

    def close(self) -> None:
        """Release DPDK."""
        self.balancer.close()


def check_nothing_lost(before: Tally, after: Tally) -> int:
    """Packets handled between two tallies.  PerfError unless all were forwarded and sent."""
    received = after.received - before.received
    sent = after.sent - before.sent
    lost = {
        name: count - before.reasons.get(name, 0)
        for name, count in after.reasons.items()
        if count != before.reasons.get(name, 0)
    }
    if lost or after.dropped != before.dropped or received != sent:
        why = ", ".join(f"{name} {count}" for name, count in lost.items()) or "transmit refused"
        raise PerfError(f"packets were lost: {received} received, {sent} sent ({why})")
    forwarded = after.forwarded - before.forwarded
    if forwarded != received:
        raise PerfError(
            f"wrong route: {received} packets received, the real servers' statistics show "
            f"{forwarded}"
        )
    if received == 0:
        raise PerfError("no packet was received")
    return received


def services_of(proto: str) -> list[network.Service]:
    """The one virtual service of generated traffic."""
    return [(proto, network.VIP, network.PORT)]
