"""Timers, neighbours, IP protocols, messages and local address pools."""

# ruff: noqa: RUF009 - the calls declare fields, they make no shared value

from dataclasses import dataclass
from typing import Any, ClassVar

from runtime.config_kinds import Choice, Int, Switch, Text, floor_pow2, floor_pow2_less_1
from runtime.config_schema import block, opt
from tools.settings_net import NOT_YET


def _routes(size: str) -> Any:
    return opt(
        1 << 16,
        Int(1024, 1 << 24),
        f"routes of this family, those of our own addresses included; {size} in every worker, "
        "taken as they are used",
    )


@dataclass(frozen=True)
class TimerDefs:
    """Block timer_defs."""

    schedule_interval: int = opt(
        10, Int(1, 10000000, "us"), "time between two looks at a worker's timers", reload=True
    )


@dataclass(frozen=True)
class NeighDefs:
    """Block neigh_defs."""

    unres_queue_length: int = opt(
        128, Int(16, 8192, "packets"), "packets waiting for one unresolved neighbour, per worker"
    )
    timeout: int = opt(60, Int(1, 3600, "s"), "time a neighbour stays REACHABLE", reload=True)


@dataclass(frozen=True)
class IpsetDefs:
    """Block ipset_defs."""

    ipset_hash_pool_size: int = opt(
        262143, Int(65536, 1 << 30, "", floor_pow2_less_1), "members of all ipsets together"
    )


@dataclass(frozen=True)
class Fragment:
    """Block fragment of ipv4_defs: reassembly, per worker."""

    bucket_number: int = opt(4096, Int(32, 65536), "buckets of the table")
    bucket_entries: int = opt(16, Int(1, 256, "", floor_pow2), "entries of a bucket")
    max_entries: int = opt(
        4096, Int(1, 65536 * 256), "packets in reassembly, at most bucket_number x bucket_entries"
    )
    ttl: int = opt(1, Int(1, 255, "s"), "time until all fragments must have come")


@dataclass(frozen=True)
class Ipv4Defs:
    """Block ipv4_defs."""

    forwarding: bool = opt(False, Switch(), "route packets for other hosts", reload=True)
    default_ttl: int = opt(
        64, Int(0, 255), "TTL of packets of our own", inert="it is always 64", quiet=(64,)
    )
    route_table_size: int = _routes("36 bytes each")
    fragment: Fragment = block(Fragment, "reassembly of fragments")


@dataclass(frozen=True)
class Lpm6:
    """Block lpm of route6."""

    RETIRED: ClassVar[dict[str, str]] = {"rt6_array_size": "the table sizes itself"}

    lpm6_max_rules: int = opt(256, Int(16, 1 << 31, "", floor_pow2), "routes")
    lpm6_num_tbl8s: int = opt(4096, Int(16, 1 << 31, "", floor_pow2), "second-level tables")
    rt6_hash_bucket: int = opt(256, Int(2, 1 << 31, "", floor_pow2), "hash buckets")


@dataclass(frozen=True)
class Route6:
    """Block route6 of ipv6_defs."""

    method: str = opt("hlist", Choice(("hlist", "lpm")), "how routes are looked up")
    recycle_time: int = opt(
        10, Int(1, 36000, "s"), "time between attempts to free deleted routes", reload=True
    )
    lpm: Lpm6 = block(Lpm6, "sizes of the lpm method")


@dataclass(frozen=True)
class Ipv6Defs:
    """Block ipv6_defs."""

    disable: bool = opt(False, Switch(), "drop all IPv6 packets", reload=True)
    forwarding: bool = opt(False, Switch(), "route packets for other hosts", reload=True)
    addr_gen_mode: str = opt(
        "eui64",
        Choice(("eui64", "none", "stable-privacy", "random")),
        "how link-local addresses are made",
    )
    stable_secret: str | None = opt(
        None,
        Text("32 hexadecimal digits", "[0-9a-fA-F]{32}", str.lower),
        "secret of stable-privacy addresses",
    )
    route_table_size: int = _routes("68 bytes each")
    route6: Route6 = block(Route6, "IPv6 routes", inert="route_table_size is all the table needs")


@dataclass(frozen=True)
class LcoreMsg:
    """Block lcore_msg of ctrl_defs."""

    RETIRED: ClassVar[dict[str, str]] = {"bucket_number": "messages need no hash table"}

    ring_size: int = opt(
        4096, Int(256, 524288, "messages", floor_pow2), "ring from the master to a worker"
    )
    sync_msg_timeout_us: int = opt(
        2000, Int(1, (1 << 31) - 1, "us"), "longest wait for the answer of a worker", reload=True
    )
    priority_level: str = opt(
        "low",
        Choice(("low", "norm", "high", "ign")),
        "messages of less importance are refused",
        reload=True,
    )


@dataclass(frozen=True)
class CtrlDefs:
    """Block ctrl_defs."""

    RETIRED: ClassVar[dict[str, str]] = {"ipc_msg": "the command line names the control socket"}

    lcore_msg: LcoreMsg = block(LcoreMsg, "messages between master and workers")


@dataclass(frozen=True)
class SaPool:
    """Block sa_pool: ports of local addresses."""

    pool_hash_size: int = opt(16, Int(1, 128), "port pools of one local address")
    flow_enable: bool = opt(
        True, Switch(), "accepted; local ports are chosen so that return traffic finds its worker"
    )


NO_IPSET = f"ipsets are {NOT_YET}"
