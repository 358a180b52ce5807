"""DPDK structures that compiled code or control code reads, per ABI version.

Only what is inline in DPDK's headers (and therefore not callable) needs a layout.  ABI 23 is
DPDK 22.11.  ``netdev/verify.py`` checks these numbers against what the loaded library really does
before any packet is touched.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from runtime.pointers import view


def _padded(size: int, *fields: tuple[str, int, type]) -> list[tuple[str, type]]:
    """ctypes fields at the given byte offsets, gaps filled, up to ``size`` bytes."""
    result: list[tuple[str, type]] = []
    at = 0
    for name, offset, kind in fields:
        if offset > at:
            result.append((f"pad{at}", ctypes.c_uint8 * (offset - at)))
        result.append((name, kind))
        at = offset + ctypes.sizeof(kind)
    if size > at:
        result.append((f"pad{at}", ctypes.c_uint8 * (size - at)))
    return result


class MbufStruct(ctypes.Structure):
    """struct rte_mbuf (ABI 23), 128 bytes; lengths in bytes."""

    _pack_ = 1
    _fields_ = _padded(
        128,
        ("buf_addr", 0, ctypes.c_int64),
        ("buf_iova", 8, ctypes.c_int64),
        ("data_off", 16, ctypes.c_uint16),
        ("refcnt", 18, ctypes.c_uint16),
        ("nb_segs", 20, ctypes.c_uint16),
        ("port", 22, ctypes.c_uint16),
        ("ol_flags", 24, ctypes.c_int64),
        ("packet_type", 32, ctypes.c_uint32),
        ("pkt_len", 36, ctypes.c_uint32),
        ("data_len", 40, ctypes.c_uint16),
        ("vlan_tci", 42, ctypes.c_uint16),
        ("rss", 44, ctypes.c_uint32),
        ("buf_len", 54, ctypes.c_uint16),
        ("pool", 56, ctypes.c_int64),
        ("next", 64, ctypes.c_int64),
        ("tx_offload", 72, ctypes.c_int64),
        ("priv_size", 88, ctypes.c_uint16),
    )


class FastPathStruct(ctypes.Structure):
    """struct rte_eth_fp_ops (ABI 23), 128 bytes: one element per port of rte_eth_fp_ops[]."""

    _pack_ = 1
    _fields_ = _padded(
        128,
        ("rx_burst", 0, ctypes.c_int64),
        ("rx_queues", 24, ctypes.c_int64),
        ("tx_burst", 64, ctypes.c_int64),
        ("tx_queues", 88, ctypes.c_int64),
    )


class MempoolStruct(ctypes.Structure):
    """struct rte_mempool (ABI 23): what is needed to allocate without a header's inline code."""

    _pack_ = 1
    _fields_ = _padded(
        192,
        ("size", 64, ctypes.c_uint32),
        ("cache_size", 68, ctypes.c_uint32),
        ("elt_size", 72, ctypes.c_uint32),
        ("header_size", 76, ctypes.c_uint32),
        ("ops_index", 88, ctypes.c_int32),
        ("local_cache", 96, ctypes.c_int64),
    )


class MemzoneStruct(ctypes.Structure):
    """struct rte_memzone (ABI 23)."""

    _pack_ = 1
    _fields_ = _padded(
        72,
        ("name", 0, ctypes.c_uint8 * 32),
        ("iova", 32, ctypes.c_int64),
        ("addr", 40, ctypes.c_int64),
        ("len", 48, ctypes.c_int64),
        ("hugepage_sz", 56, ctypes.c_int64),
        ("socket_id", 64, ctypes.c_int32),
    )


class DevInfoStruct(ctypes.Structure):
    """struct rte_eth_dev_info (ABI 23)."""

    _pack_ = 1
    _fields_ = _padded(
        512,
        ("driver_name", 8, ctypes.c_int64),
        ("if_index", 16, ctypes.c_uint32),
        ("min_mtu", 20, ctypes.c_uint16),
        ("max_mtu", 22, ctypes.c_uint16),
        ("min_rx_bufsize", 32, ctypes.c_uint32),
        ("max_rx_pktlen", 36, ctypes.c_uint32),
        ("max_rx_queues", 44, ctypes.c_uint16),
        ("max_tx_queues", 46, ctypes.c_uint16),
        ("max_mac_addrs", 48, ctypes.c_uint32),
        ("max_hash_addrs", 52, ctypes.c_uint32),
        ("max_vfs", 56, ctypes.c_uint16),
        ("max_vmdq_pools", 58, ctypes.c_uint16),
        ("rx_offload_capa", 72, ctypes.c_int64),
        ("tx_offload_capa", 80, ctypes.c_int64),
        ("reta_size", 104, ctypes.c_uint16),
        ("hash_key_size", 106, ctypes.c_uint8),
        ("flow_type_rss", 112, ctypes.c_int64),
        ("vmdq_queue_base", 256, ctypes.c_uint16),
        ("vmdq_queue_num", 258, ctypes.c_uint16),
        ("vmdq_pool_base", 260, ctypes.c_uint16),
        ("rx_desc_max", 262, ctypes.c_uint16),
        ("rx_desc_min", 264, ctypes.c_uint16),
        ("rx_desc_align", 266, ctypes.c_uint16),
        ("tx_desc_max", 272, ctypes.c_uint16),
        ("tx_desc_min", 274, ctypes.c_uint16),
        ("tx_desc_align", 276, ctypes.c_uint16),
        ("speed_capa", 284, ctypes.c_uint32),
        ("nb_rx_queues", 288, ctypes.c_uint16),
        ("nb_tx_queues", 290, ctypes.c_uint16),
    )


class EthConfStruct(ctypes.Structure):
    """struct rte_eth_conf (ABI 23): the fields we set; the rest stays zero."""

    _pack_ = 1
    _fields_ = _padded(
        4096,
        ("link_speeds", 0, ctypes.c_uint32),
        ("rx_mq_mode", 8, ctypes.c_uint32),
        ("rx_mtu", 12, ctypes.c_uint32),
        ("rx_offloads", 24, ctypes.c_int64),
        ("tx_offloads", 72, ctypes.c_int64),
        ("rss_key", 128, ctypes.c_int64),
        ("rss_key_len", 136, ctypes.c_uint8),
        ("rss_hf", 144, ctypes.c_int64),
    )


class EthStatsStruct(ctypes.Structure):
    """struct rte_eth_stats: the port totals (the per-queue arrays behind them are unused)."""

    _fields_ = [
        ("ipackets", ctypes.c_int64),
        ("opackets", ctypes.c_int64),
        ("ibytes", ctypes.c_int64),
        ("obytes", ctypes.c_int64),
        ("imissed", ctypes.c_int64),
        ("ierrors", ctypes.c_int64),
        ("oerrors", ctypes.c_int64),
        ("rx_nombuf", ctypes.c_int64),
        ("queues", ctypes.c_int64 * 80),
    ]


Mbuf = view(MbufStruct)
FastPath = view(FastPathStruct)
Mempool = view(MempoolStruct)
Memzone = view(MemzoneStruct)

HEADROOM = 128  # RTE_PKTMBUF_HEADROOM
MAX_LCORE = 128
MAX_PORTS = 32
PORT_INVALID = 0xFFFF


@dataclass(frozen=True)
class Abi:
    """Numbers of one DPDK ABI that are not structures."""

    number: int
    release: str
    ops_table_offset: int  # of element 0 in rte_mempool_ops_table
    ops_size: int
    ops_dequeue: int  # offset of the dequeue pointer in one element
    mq_rss: int  # RTE_ETH_MQ_RX_RSS
    rss_ip: int
    rss_tcp: int
    rss_udp: int


# RTE_ETH_RSS_*: IPV4 bit 2, FRAG 3, NONFRAG_TCP 4, NONFRAG_UDP 5, IPV6 8, TCP6 10, UDP6 11
ABIS = {
    23: Abi(
        number=23,
        release="22.11",
        ops_table_offset=64,
        ops_size=128,
        ops_dequeue=56,
        mq_rss=1,
        rss_ip=(1 << 2) | (1 << 8),
        rss_tcp=(1 << 4) | (1 << 10),
        rss_udp=(1 << 5) | (1 << 11),
    )
}
