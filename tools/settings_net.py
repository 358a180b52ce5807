"""global_defs and netif_defs: the instance, its log, its memory and its network devices."""

# ruff: noqa: RUF009 - the calls declare fields, they make no shared value

from dataclasses import dataclass
from typing import ClassVar

from runtime.config_kinds import (
    Choice,
    Custom,
    Flag,
    Int,
    Switch,
    Text,
    Words,
    floor_pow2,
    floor_pow2_less_1,
)
from runtime.config_report import Origin
from runtime.config_schema import block, blocks, opt, origin_field
from runtime.log import LEVELS, level_name
from runtime.shm_owner import check_instance
from tools.settings_port import PORT, Port, pci_address

NOT_YET = "not supported in this release"
DEVICE_NAME = Text("a device name of up to 15 characters", r"[\w.:-]{1,15}")
_LEVEL = Text(", ".join(LEVELS), ".+", level_name)
_INSTANCE = Text("a name of up to 32 letters, digits, '-' and '.'", ".+", check_instance)
_KNI_NAME = Text("an interface name of up to 32 characters", r"[^\s/\"]{1,32}")

RSS_TYPES = ("ip", "tcp", "udp", "sctp", "ether", "port", "tunnel")
_RSS_ALL = ("ip", "tcp", "udp")


def parse_rss(words: tuple[str, ...]) -> tuple[str, ...]:
    """Read `all`, `off` or types joined by `|`; returns types in a fixed order, () for off."""
    named = [word.strip() for word in " ".join(words).lower().split("|")]
    if named == ["off"]:
        return ()
    types = {item for word in named for item in (_RSS_ALL if word == "all" else (word,))}
    if wrong := sorted(types - set(RSS_TYPES)):
        raise ValueError(f"'{wrong[0]}' is not one of all, off, {', '.join(RSS_TYPES)}")
    return tuple(item for item in RSS_TYPES if item in types)


def format_rss(types: tuple[str, ...]) -> str:
    """Write what `parse_rss` reads."""
    return "all" if types == _RSS_ALL else "|".join(types) or "off"


@dataclass(frozen=True)
class GlobalDefs:
    """Block global_defs."""

    RETIRED: ClassVar[dict[str, str]] = {"daemon": "the process stays in the foreground"}

    name: str | None = opt(None, _INSTANCE, "instance name; a name on the command line wins")
    log_level: str = opt("INFO", _LEVEL, "least severe level that is logged", reload=True)
    log_file: str | None = opt(
        None, Text("a file name"), "log file, opened to append; stderr if unset", reload=True
    )
    log_async_mode: bool = opt(
        False, Switch(), "accepted; lines are always written by a thread of their own"
    )
    log_with_timestamp: bool = opt(
        False, Switch(), "accepted; every line carries its time", reload=True
    )
    log_async_pool_size: int = opt(
        16383, Int(1023, (1 << 24) - 1, "lines", floor_pow2_less_1), "lines waiting to be written"
    )
    kni: bool = opt(True, Switch(), "kernel interface per device", inert=NOT_YET, quiet=(False,))
    lldp: bool = opt(
        False, Switch(), "send and receive LLDP", reload=True, inert=NOT_YET, quiet=(False,)
    )
    pdump: bool = opt(False, Switch(), "serve DPDK's capture tools", inert=NOT_YET, quiet=(False,))
    huge: bool = opt(True, Switch(), "use hugepages; off: ordinary memory (tests, laboratories)")
    hugepages: int = opt(
        0, Int(0, 1 << 20, "pages"), "2 MB pages to reserve at start if fewer are free; 0: none"
    )
    memory: int = opt(0, Int(0, 1 << 20, "MB"), "memory DPDK takes at start; 0: as needed")
    cpu_isolation: str = opt(
        "warn",
        Choice(("warn", "off")),
        "warn: say so when the kernel schedules other work on worker cpus; "
        "off: do not, and let several workers share a cpu",
    )
    pci_allow: tuple[str, ...] = opt(
        (),
        Text("a PCI address", ".+", pci_address),
        "card that may be used; devices without `port` take these cards in order",
        many=True,
    )


@dataclass(frozen=True)
class Rx:
    """Block rx of a device. rss holds the hashed header types, none if the hash is unknown."""

    RETIRED: ClassVar[dict[str, str]] = {"max_burst_size": "bursts are at most 32 packets"}

    queue_number: int | None = opt(
        None, Int(0, 16), "receive queues; decides only if there is no worker_defs block"
    )
    descriptor_number: int = opt(256, Int(16, 8192, "", floor_pow2), "descriptors per queue")
    rss: tuple[str, ...] = opt(
        ("tcp",),
        Custom(parse_rss, format_rss, f"all, off, {'|'.join(RSS_TYPES)}"),
        "header types the card hashes to choose a queue (all: ip, tcp and udp); "
        "off: the card's hash is unknown, packets are handed to their worker in software",
    )

    @property
    def rss_known(self) -> bool:
        """True if the card's hash can be predicted."""
        return bool(self.rss)


@dataclass(frozen=True)
class Tx:
    """Block tx of a device."""

    RETIRED: ClassVar[dict[str, str]] = Rx.RETIRED

    queue_number: int | None = opt(None, Int(0, 16), "transmit queues, as for rx")
    descriptor_number: int = opt(512, Int(16, 8192), "descriptors per queue")
    mbuf_fast_free: bool = opt(
        True, Switch(), "let the card free buffers fast; off if ports are on different NUMA nodes"
    )


@dataclass(frozen=True)
class Device:
    """Block device NAME: one DPDK port; port is None until pci_allow has been consulted."""

    RETIRED: ClassVar[dict[str, str]] = {"fdir": "no flow director tables are used"}

    name: str = ""
    origin: Origin = origin_field()
    port: Port | None = opt(None, PORT, "what stands behind the device; default: see pci_allow")
    rx: Rx = block(Rx, "receiving")
    tx: Tx = block(Tx, "sending")
    mtu: int = opt(1500, Int(1, 9000, "bytes"), "largest IP packet")
    promisc_mode: bool = opt(False, Flag(), "receive frames for any address")
    allmulticast: bool = opt(False, Flag(), "receive all multicast frames")
    kni_name: str | None = opt(None, _KNI_NAME, "name of the kernel interface, else NAME.kni")


@dataclass(frozen=True)
class Bonding:
    """Block bonding NAME: several devices as one. See Settings.devices for what is done."""

    name: str = ""
    origin: Origin = origin_field()
    mode: int = opt(
        0, Int(0, 6), "0 rr, 1 active-backup, 2 balance, 3 broadcast, 4 LACP, 5 tlb, 6 alb"
    )
    slaves: tuple[str, ...] = opt((), DEVICE_NAME, "member device", keyword="slave", many=True)
    primary: str | None = opt(None, DEVICE_NAME, "member that lends its settings; default: first")
    numa_node: int = opt(0, Int(0, 63), "node of the members")
    kni_name: str | None = opt(None, _KNI_NAME, "name of the kernel interface, else NAME.kni")
    options: tuple[str, ...] = opt((), Words("KEY=VALUE;..."), "dedicated_queues=on or off")

    @property
    def leader(self) -> str | None:
        """Name of the member that lends its settings to the bond."""
        return self.primary or next(iter(self.slaves), None)


@dataclass(frozen=True)
class NetifDefs:
    """Block netif_defs."""

    pktpool_size: int = opt(
        65535, Int(1023, 134217727, "", floor_pow2_less_1), "packet buffers per NUMA node"
    )
    pktpool_cache: int = opt(256, Int(32, 8192, "", floor_pow2), "packet buffers cached per lcore")
    fdir_mode: str = opt(
        "perfect", Choice(("perfect", "signature")), "accepted; no flow director tables are used"
    )
    devices: tuple[Device, ...] = blocks("device", Device, "one network port, in port order")
    bondings: tuple[Bonding, ...] = blocks(
        "bonding", Bonding, "one bond", inert=f"{NOT_YET}; the bond is its primary member alone"
    )
