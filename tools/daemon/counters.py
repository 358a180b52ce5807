"""The control plane's counters, read straight out of the workers' shared memory."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

from ipvs import drops as ipvs_drops
from ipvs.context import Ipvs
from ipvs.control import Control
from ipvs.dest import STATS_SIZE, DestStats
from ipvs.laddr import LADDR_STATS_SIZE, LaddrStats
from ipvs.stages import STAGES
from ipvs.table import Table
from ipvs.worker import shared_offsets
from netdev import eal, ethdev
from netdev.port import Port, PortStruct
from runtime.intrinsics import load64
from stack.drops import DROP_SLOTS, REASONS
from tools.control.providers import DestCounters, LaddrCounters
from tools.daemon.plan import PortPlan
from tools.settings_port import PciPort

assert ipvs_drops.NO_DEST in REASONS  # the layer's reasons are registered by importing it


class SharedCounters:
    """CounterSource over the shared blocks (addresses) of workers 1..n and the DPDK ports.

    ``ports`` maps our device id to (plan, DPDK port id, PortInfo); ``pool`` is the mbuf pool.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        ports: Mapping[int, tuple[PortPlan, int, ethdev.PortInfo]],
        pool: int,
    ) -> None:
        self._blocks = list(blocks)
        self._ports = dict(ports)
        self._pool = pool
        self._at, _ = shared_offsets()

    @property
    def n_workers(self) -> int:
        return len(self._blocks)

    def _part(self, cid: int, name: str) -> int:
        return self._blocks[cid - 1] + self._at[name]

    def dest_counters(self, cid: int, dest_id: int) -> DestCounters:
        s = DestStats(self._part(cid, "dest_stats") + dest_id * STATS_SIZE)
        packets, sizes = s.packets, s.bytes
        templates = load64(self._part(cid, "dest_templates") + dest_id * 8)
        return DestCounters(
            s.conns, packets[0], packets[1], sizes[0], sizes[1], s.active, s.inactive, templates
        )  # fmt: skip

    def laddr_counters(self, cid: int, laddr_id: int) -> LaddrCounters:
        s = LaddrStats(self._part(cid, "laddr_stats") + laddr_id * LADDR_STATS_SIZE)
        return LaddrCounters(s.used, s.free, s.miss)

    def _port_blocks(self, cid: int) -> list[Any]:
        size = ctypes.sizeof(PortStruct)
        return [Port(self._part(cid, "ports") + i * size) for i in range(len(self._ports))]

    def cpu_counters(self, cid: int) -> Mapping[str, int]:
        if cid == 0:
            return {}
        w = Ipvs(self._part(cid, "context"))
        control = Control(self._part(cid, "control"))
        ports = self._port_blocks(cid)
        return {
            "lcore_loop": control.iterations,
            "pktburst": w.polls,
            "zpktburst": w.empty_polls,
            "fpktburst": w.full_polls,
            "z2hpktburst": w.polls - w.half_polls,
            "h2fpktburst": w.half_polls,
            "dropped": sum(p.tx_dropped for p in ports) + sum(self.drop_counters(cid).values()),
            "ipackets": sum(p.rx_packets for p in ports),
            "ibytes": sum(p.rx_bytes for p in ports),
            "opackets": sum(p.tx_packets for p in ports),
            "obytes": sum(p.tx_bytes for p in ports),
        }

    def drop_counters(self, cid: int) -> dict[str, int]:
        """Drop reasons of one worker by name."""
        slots = (ctypes.c_int64 * DROP_SLOTS).from_address(self._part(cid, "drops"))
        return {name: int(slots[number]) for number, (name, _) in REASONS.items()}

    def named_counters(self, cid: int) -> Mapping[str, int]:
        w = Ipvs(self._part(cid, "context"))
        control = Control(self._part(cid, "control"))
        return {
            **{f"drop_{name}": value for name, value in self.drop_counters(cid).items()},
            "handed_out": w.handed_out,
            "handed_in": w.handed_in,
            "idle_probed": w.idle_probed,
            "idle_resets": w.idle_resets,
            "idle_untold": w.idle_untold,
            "packets": control.packets,
            "iterations": control.iterations,
            "sleeps": control.sleeps,
            "busy_cycles": control.busy_tsc,
            "idle_cycles": control.idle_tsc,
            "longest_excursion_cycles": control.excursion_tsc,
            "tx_dropped": sum(p.tx_dropped for p in self._port_blocks(cid)),
            "connections": Table(w.table).count if w.table else 0,
            **{f"cycles_{name}": w.stage_cycles[i] for i, name in enumerate(STAGES)},
            "cycles_packets": w.stage_packets,
        }

    def account(self, on: bool | None) -> Mapping[str, Any]:
        if on is not None:
            for cid in range(1, self.n_workers + 1):
                Ipvs(self._part(cid, "context")).accounting = int(on)
        return {"hz": eal.tsc_hz(), "stages": list(STAGES)}

    def port_stats(self, dev_id: int) -> Mapping[str, int]:
        _, number, _ = self._ports[dev_id]
        available, used = eal.pool_counts(self._pool)
        counted = dict(ethdev.statistics(number))
        # Virtual devices keep their statistics in the process that polls: ours are complete.
        size = ctypes.sizeof(PortStruct)
        ours = [
            Port(self._part(cid, "ports") + dev_id * size) for cid in range(1, self.n_workers + 1)
        ]
        for name, field in (
            ("ipackets", "rx_packets"),
            ("ibytes", "rx_bytes"),
            ("opackets", "tx_packets"),
            ("obytes", "tx_bytes"),
        ):
            counted[name] = max(counted[name], sum(int(getattr(p, field)) for p in ours))
        return {**counted, "mbuf_avail": available, "mbuf_inuse": used}

    def port_info(self, dev_id: int) -> Mapping[str, Any]:
        plan, number, info = self._ports[dev_id]
        up, speed, full, auto = ethdev.link(number)
        limits = info.limits
        titles = {
            "pci_addr": plan.dpdk_name if isinstance(plan.device.port, PciPort) else "",
            "driver_name": info.driver,
            "speed_capa": limits["speed_capa"],
            "rx_ol_capa": f"0x{limits['rx_offload_capa']:X}",
            "tx_ol_capa": f"0x{limits['tx_offload_capa']:X}",
            "flowtype_rss_ol": f"0x{limits['flow_type_rss']:X}",
            "max_vmdq_pools": limits["max_vmdq_pools"],
            "vmdq_que_base": limits["vmdq_queue_base"],
            "vmdq_que_num": limits["vmdq_queue_num"],
            "vmdq_pool_base": limits["vmdq_pool_base"],
            **{
                name: limits[name]
                for name in (
                    "if_index", "min_rx_bufsize", "max_rx_pktlen", "max_hash_addrs", "max_vfs",
                    "max_rx_queues", "max_tx_queues", "reta_size", "hash_key_size",
                    "rx_desc_max", "rx_desc_min", "rx_desc_align",
                    "tx_desc_max", "tx_desc_min", "tx_desc_align",
                )
            },
            "max_mac_addrs": limits["max_mac_addrs"],
        }  # fmt: skip
        return {
            "socket": info.socket,
            "up": up,
            "speed": speed,
            "duplex": "full-duplex" if full else "half-duplex",
            "autoneg": auto,
            "offloads": [],
            "info": titles,
            "xstats": [list(row) for row in ethdev.extended_statistics(number)],
            "queues": [f"rx{q}-tx{q}     cpu{q + 1}-cpu{q + 1}" for q in range(info.rx_queues)],
        }
