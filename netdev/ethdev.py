"""Ports through rte_ethdev: find, configure, start, stop, link, statistics (control plane)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from netdev import eal
from netdev.abi import DevInfoStruct, EthConfStruct, EthStatsStruct
from netdev.eal import DpdkError

STAT_NAMES = tuple(row[0] for row in EthStatsStruct._fields_ if row[0] != "queues")


@dataclass
class PortConfig:
    """What one port is started with; ``rss_key`` empty means the driver's default."""

    rx_queues: int = 1
    tx_queues: int = 1
    rx_descriptors: int = 256
    tx_descriptors: int = 512
    mtu: int = 1500
    promiscuous: bool = False
    allmulticast: bool = False
    mac: str = ""
    rss_types: tuple[str, ...] = ("tcp", "udp")
    rss_key: bytes = b""


@dataclass
class PortInfo:
    """What a started port is."""

    port: int
    driver: str
    mac: str
    rx_queues: int
    tx_queues: int
    reta_size: int
    socket: int
    rss_active: bool
    limits: dict[str, int] = field(default_factory=dict)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise DpdkError(f"{what}: {os.strerror(-result)}")


def _mac_text(raw: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in raw)


def port_by_name(name: str) -> int:
    """DPDK port id of a device name such as ``net_tap0`` or ``0000:01:00.0``; DpdkError if none."""
    number = ctypes.c_uint16()
    result = eal.cdll("ethdev").rte_eth_dev_get_port_by_name(name.encode(), ctypes.byref(number))
    if result < 0:
        raise DpdkError(f"DPDK found no port {name}; is the device bound to a DPDK driver?")
    return number.value


def device_info(port: int) -> DevInfoStruct:
    """rte_eth_dev_info of a port."""
    info = DevInfoStruct()
    _check(eal.cdll("ethdev").rte_eth_dev_info_get(port, ctypes.byref(info)), "device info")
    return info


def mac_of(port: int) -> str:
    """Current MAC address of a port."""
    raw = (ctypes.c_uint8 * 6)()
    _check(eal.cdll("ethdev").rte_eth_macaddr_get(port, raw), f"MAC address of port {port}")
    return _mac_text(bytes(raw))


def _eth_conf(info: DevInfoStruct, config: PortConfig, key: ctypes.Array) -> EthConfStruct:
    conf = EthConfStruct()
    conf.rx_mtu = config.mtu
    layout = eal.abi()
    wanted = layout.rss_ip
    wanted |= layout.rss_tcp if "tcp" in config.rss_types else 0
    wanted |= layout.rss_udp if "udp" in config.rss_types else 0
    usable = wanted & info.flow_type_rss
    if config.rx_queues > 1 and usable and info.reta_size:
        conf.rx_mq_mode = layout.mq_rss
        conf.rss_hf = usable
        if config.rss_key and info.hash_key_size in (0, len(config.rss_key)):
            conf.rss_key = ctypes.addressof(key)
            conf.rss_key_len = len(config.rss_key)
    return conf


def start_port(port: int, config: PortConfig, pool: int) -> PortInfo:
    """Configure and start ``port`` with mbufs from ``pool``.

    Raises DpdkError naming the step the driver refused; the port is then stopped again.
    """
    dev = eal.cdll("ethdev")
    info = device_info(port)
    names = [row[0] for row in info._fields_ if not row[0].startswith("pad")]
    limits = {name: int(getattr(info, name)) for name in names}
    if config.rx_queues > info.max_rx_queues or config.tx_queues > info.max_tx_queues:
        raise DpdkError(
            f"port {port} has at most {info.max_rx_queues} rx and {info.max_tx_queues} tx queues"
        )
    key = (ctypes.c_uint8 * max(1, len(config.rss_key)))(*config.rss_key)
    conf = _eth_conf(info, config, key)
    result = dev.rte_eth_dev_configure(port, config.rx_queues, config.tx_queues, ctypes.byref(conf))
    _check(result, f"configure port {port}")
    rx, tx = ctypes.c_uint16(config.rx_descriptors), ctypes.c_uint16(config.tx_descriptors)
    result = dev.rte_eth_dev_adjust_nb_rx_tx_desc(port, ctypes.byref(rx), ctypes.byref(tx))
    _check(result, f"descriptor counts of port {port}")
    socket = dev.rte_eth_dev_socket_id(port)
    for queue in range(config.rx_queues):
        pointer = ctypes.c_void_p(pool)
        result = dev.rte_eth_rx_queue_setup(port, queue, rx, socket, None, pointer)
        _check(result, f"rx queue {queue} of port {port}")
    for queue in range(config.tx_queues):
        result = dev.rte_eth_tx_queue_setup(port, queue, tx, socket, None)
        _check(result, f"tx queue {queue} of port {port}")
    if config.mac:
        raw = (ctypes.c_uint8 * 6)(*bytes.fromhex(config.mac.replace(":", "")))
        _check(dev.rte_eth_dev_default_mac_addr_set(port, raw), f"MAC address of port {port}")
    _check(dev.rte_eth_dev_start(port), f"start port {port}")
    if config.promiscuous:
        _check(dev.rte_eth_promiscuous_enable(port), f"promiscuous mode of port {port}")
    if config.allmulticast:
        _check(dev.rte_eth_allmulticast_enable(port), f"allmulticast mode of port {port}")
    driver = ctypes.cast(info.driver_name, ctypes.c_char_p).value or b""
    return PortInfo(
        port=port,
        driver=driver.decode(),
        mac=mac_of(port),
        rx_queues=config.rx_queues,
        tx_queues=config.tx_queues,
        reta_size=info.reta_size,
        socket=max(socket, 0),
        rss_active=conf.rx_mq_mode != 0 and conf.rss_key != 0,
        limits=limits,
    )


def set_multicast(port: int, macs: Iterable[str]) -> None:
    """Let in exactly these multicast MAC addresses; all of them where the driver cannot choose.

    A driver that filters nothing knows neither; then there is nothing to do.
    """
    raw = [bytes.fromhex(mac.replace(":", "")) for mac in macs]
    dev = eal.cdll("ethdev")
    table = (ctypes.c_uint8 * (6 * len(raw)))(*b"".join(raw))
    if dev.rte_eth_dev_set_mc_addr_list(port, table, len(raw)) < 0 and raw:
        dev.rte_eth_allmulticast_enable(port)


def stop_port(port: int) -> None:
    """Stop and close a port; errors are ignored (it may be gone already)."""
    dev = eal.cdll("ethdev")
    dev.rte_eth_dev_stop(port)
    dev.rte_eth_dev_close(port)


def statistics(port: int) -> dict[str, int]:
    """rte_eth_stats of a port by name (packets, bytes, errors)."""
    stats = EthStatsStruct()
    _check(eal.cdll("ethdev").rte_eth_stats_get(port, ctypes.byref(stats)), "port statistics")
    return {name: int(getattr(stats, name)) for name in STAT_NAMES}


class _XstatName(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 64)]


class _Xstat(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint64), ("value", ctypes.c_uint64)]


def extended_statistics(port: int) -> list[tuple[int, str, int]]:
    """(id, name, value) of the driver's extended statistics; empty when it has none."""
    dev = eal.cdll("ethdev")
    count = dev.rte_eth_xstats_get_names(port, None, 0)
    if count <= 0:
        return []
    names, values = (_XstatName * count)(), (_Xstat * count)()
    got = min(
        dev.rte_eth_xstats_get_names(port, names, count),
        dev.rte_eth_xstats_get(port, values, count),
        count,
    )
    return [(int(values[i].id), names[i].name.decode(), int(values[i].value)) for i in range(got)]


def link(port: int) -> tuple[bool, int, bool, bool]:
    """(up, Mbit/s, full duplex, auto-negotiated) of a port, without waiting."""
    word = (ctypes.c_uint32 * 2)()
    eal.cdll("ethdev").rte_eth_link_get_nowait(port, word)
    bits = word[1]
    return bool(bits & 4), int(word[0]), bool(bits & 1), bool(bits & 2)


def redirection_table(port: int, size: int) -> list[int]:
    """Queue of each entry of the RSS indirection table.  Raises DpdkError if not readable."""

    class Entry(ctypes.Structure):
        _fields_ = [("mask", ctypes.c_uint64), ("reta", ctypes.c_uint16 * 64)]

    groups = (size + 63) // 64
    table = (Entry * groups)()
    for group in table:
        group.mask = (1 << 64) - 1
    result = eal.cdll("ethdev").rte_eth_dev_rss_reta_query(port, table, size)
    _check(result, f"RSS table of port {port}")
    return [int(table[i // 64].reta[i % 64]) for i in range(size)]
