"""A balancer whose packets a generator writes: for tables larger than any file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from perf import network, network6
from perf.balancer import Bench, check_nothing_lost, load, services_of
from perf.errors import PerfError
from perf.generator import Source, Source6
from perf.oracle import Oracle
from tools.settings_model import Settings

BUFFERS = 16383
BURST = 32
MAC = bytes.fromhex("02aa00000001")
VDEV = "net_null0,size=60,copy=0"
VDEV6 = f"net_null0,size={network6.FRAME},copy=0"
FEATURES = ("xmit_ttl",)  # every optional feature of the packet path that a switch turns on


def adapted(config: Settings, features: list[str], timeout: int | None) -> Settings:
    """The configuration with features switched on, and with one timeout (seconds) for all."""
    defs = config.ipvs_defs
    conn = replace(defs.conn, **{name: True for name in features})
    tcp, udp = defs.tcp, defs.udp
    if timeout is not None:
        conn = replace(conn, conn_init_timeout=timeout)
        tcp = replace(tcp, timeout=replace(tcp.timeout, **_all(tcp.timeout, timeout)))
        udp = replace(udp, timeout=replace(udp.timeout, **_all(udp.timeout, timeout)))
    return replace(config, ipvs_defs=replace(defs, conn=conn, tcp=tcp, udp=udp))


def _all(block: Any, seconds: int) -> dict[str, Any]:
    return {name: seconds for name in block.__dataclass_fields__}


def slots_for(connections: int, family: int) -> int:
    """Slots of a table for so many connections: an IPv6 one takes an even slot and the next."""
    return connections if family == 4 else 2 * connections + 1


def build(job: dict[str, Any]) -> tuple[Bench, Source]:
    """A balancer on a null port that our generator feeds.

    The job names mode, proto, table (connections), and perhaps family (4 or 6), features and
    timeout (seconds).
    """
    if job.get("family") == 6:
        return source_over(
            job, network6.commands([(job["proto"], network6.VIP, network.PORT)], job["mode"])
        )
    return source_over(job, network.commands(services_of(job["proto"]), job["mode"]))


def source_over(job: dict[str, Any], lines: list[str]) -> tuple[Bench, Source]:
    """As ``build``, with the operator's commands ``lines``."""
    proto, six = job["proto"], job.get("family") == 6
    text = network.text(lines, VDEV6 if six else VDEV, slots_for(job["table"], 6 if six else 4))
    config = adapted(load(text, BUFFERS), job.get("features", []), job.get("timeout"))
    bench = Bench(config, MAC, name=job["name"])
    source = (Source6 if six else Source)(bench.port, proto, MAC)
    source.in_order(0, 0)
    bench.run(1)  # sends the announcements of our addresses
    return bench, source


def oracle_of(job: dict[str, Any]) -> Oracle:
    """The oracle for what ``build`` made."""
    if job.get("family") == 6:
        oracle: Oracle = network6.Oracle6(job["mode"], MAC)
    else:
        services = {(network.number(network.VIP), network.PORT)}
        oracle = Oracle(job["mode"], services, MAC)
    oracle.ttl = 1 if "xmit_ttl" in job.get("features", []) else 0
    return oracle


def grow(bench: Bench, source: Source, first: int, count: int) -> None:
    """Open connections for flows ``first``..``first + count - 1``.  PerfError when one fails."""
    before, had = bench.tally(), bench.connections()
    source.opening()
    source.in_order(first, count)
    bench.run(-(-count // BURST))
    source.data()
    packets = check_nothing_lost(before, bench.tally())
    if packets != count or bench.connections() - had != count:
        raise PerfError(
            f"{count} flows opened {bench.connections() - had} connections with {packets} packets"
        )
