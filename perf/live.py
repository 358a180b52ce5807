"""A balancer whose packets a generator writes: for tables larger than any file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from perf import network, network6, ways
from perf.balancer import Bench, check_nothing_lost, load
from perf.errors import PerfError
from perf.generator import Source, Source6
from perf.oracle import Oracle
from tools.settings_model import Settings

BUFFERS = 16383
BURST = 32
MAC = bytes.fromhex("02aa00000001")
VDEV = "net_null0,size=60,copy=0"
VDEV6 = f"net_null0,size={network6.FRAME},copy=0"
# Options that cost every packet of a known connection of any mode.  What TCP FullNAT (toa, new_isn)
# and UDP FullNAT (uoa_max_trail) may have besides is not here: the oracle does not know it.
FEATURES = ("xmit_ttl", "expire_quiescent")


def adapted(config: Settings, features: list[str], timeout: int | None) -> Settings:
    """The configuration with its features switched on, and with one timeout (seconds) for all."""
    defs = config.ipvs_defs
    conn = replace(defs.conn, xmit_ttl="xmit_ttl" in features)
    tcp, udp = defs.tcp, defs.udp
    if timeout is not None:
        conn = replace(conn, conn_init_timeout=timeout)
        tcp = replace(tcp, timeout=replace(tcp.timeout, **_all(tcp.timeout, timeout)))
        udp = replace(udp, timeout=replace(udp.timeout, **_all(udp.timeout, timeout)))
    return replace(config, ipvs_defs=replace(defs, conn=conn, tcp=tcp, udp=udp))


def _all(block: Any, seconds: int) -> dict[str, Any]:
    return {name: seconds for name in block.__dataclass_fields__}


def build(job: dict[str, Any]) -> tuple[Bench, Source]:
    """A balancer on a null port that our generator feeds.

    The job names mode, proto, table (connections), and perhaps family (4 or 6), features,
    timeout (seconds), and ``most``: the connections of another job whose addresses it shall have.
    """
    family = ways.family_of(job)
    services = ways.services_of(job["proto"], family)
    lines = ways.commands(job["mode"], family, services, most_of(job))
    return source_over(job, with_options(lines, job.get("features", [])))


def with_options(lines: list[str], features: list[str]) -> list[str]:
    """The operator's commands, with the features that are options of services."""
    if "expire_quiescent" not in features:
        return lines
    opening = "ipvsadm -A "
    return [f"{line} --expire-quiescent" if line.startswith(opening) else line for line in lines]


def most_of(job: dict[str, Any]) -> int:
    """Connections that the addresses of a job must do for."""
    return int(job.get("most", job["table"]))


def source_over(job: dict[str, Any], lines: list[str]) -> tuple[Bench, Source]:
    """As ``build``, with the operator's commands ``lines``."""
    proto, family = job["proto"], ways.family_of(job)
    vdev = VDEV6 if family == 6 else VDEV
    text = network.text(lines, vdev, ways.slots_for(job["table"], family))
    config = adapted(load(text, BUFFERS), job.get("features", []), job.get("timeout"))
    bench = Bench(config, MAC, name=job["name"])
    source = (Source6 if family == 6 else Source)(bench.port, proto, MAC)
    source.in_order(0, 0)
    bench.run(1)  # sends the announcements of our addresses
    return bench, source


def oracle_of(job: dict[str, Any]) -> Oracle:
    """The oracle for what ``build`` made."""
    family = ways.family_of(job)
    services = ways.services_of(job["proto"], family)
    oracle = ways.oracle(job["mode"], family, services, MAC, most_of(job))
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
