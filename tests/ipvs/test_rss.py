"""Receive-side scaling: the hash against its published vectors, ports against queues."""

from __future__ import annotations

import ctypes
import functools
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipvs import rss
from tests import oracle
from tests.memory import aligned
from tests.rig import Rig
from tests.topology import GATEWAY_MAC, LOCAL, SERVERS, VIP, WAN_MAC, dest, network, service
from tests.wire import tuple_of

# Microsoft, "Verifying the RSS hash calculation": IPv4 with TCP.
VECTORS = (
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x51CCC178),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xC626B0EA),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0x5C2B394A),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0xAFC7327F),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x10E828A2),
)


# The same for IPv6 with TCP.
VECTORS6 = (
    ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x40207D3D),
    ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0xDDE51BBF),
    (
        "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024,
        0x02D1FEEF,
    ),
)  # fmt: skip


def number(text):
    return int(ipaddress.IPv4Address(text))


def definition(key, data):
    """For every set bit of the input, from the left: xor the leftmost 32 bits of the key, which
    moves left by one bit each time."""
    bits, result = int.from_bytes(key, "big"), 0
    width = 8 * len(key)
    for i in range(8 * len(data)):
        if data[i // 8] >> (7 - i % 8) & 1:
            result ^= (bits << i >> (width - 32)) & 0xFFFFFFFF
    return result


@functools.cache
def tables(key=rss.DEFAULT_KEY):
    memory, address = aligned(ctypes.sizeof(rss.RssStruct))
    rss.fill_tables(address, key)
    return memory, address


@pytest.mark.parametrize(("src", "sport", "dst", "dport", "expected"), VECTORS)
def test_published_vectors(src, sport, dst, dport, expected):
    at = tables()[1]
    assert rss.rss_hash(at, number(src), number(dst), sport, dport) == expected
    data = number(src).to_bytes(4, "big") + number(dst).to_bytes(4, "big")
    data += sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
    assert rss.toeplitz(rss.DEFAULT_KEY, data) == expected


@pytest.mark.parametrize(("src", "sport", "dst", "dport", "expected"), VECTORS6)
def test_published_vectors_of_ipv6(src, sport, dst, dport, expected):
    at = tables()[1]
    addresses = b"".join(ipaddress.IPv6Address(text).packed for text in (src, dst))
    memory = ctypes.create_string_buffer(addresses)
    ports = int.from_bytes(sport.to_bytes(2, "big") + dport.to_bytes(2, "big"), "little")
    assert rss.rss_hash6(at, ctypes.addressof(memory), ports) == expected
    without = rss.rss_hash6(at, ctypes.addressof(memory), ports & 0xFFFF)
    assert rss.with_port(at, without, rss.PORT_AT6, dport) == expected


OTHER_KEY = bytes(range(7, 47))


@given(st.binary(min_size=12, max_size=12), st.sampled_from([rss.DEFAULT_KEY, OTHER_KEY]))
def test_tables_equal_the_definition(data, key):
    src, dst, sport, dport = (
        int.from_bytes(data[a:b], "big") for a, b in ((0, 4), (4, 8), (8, 10), (10, 12))
    )
    expected = definition(key, data)
    assert rss.rss_hash(tables(key)[1], src, dst, sport, dport) == expected
    assert rss.toeplitz(key, data) == expected


def test_queue_is_read_from_the_indirection_table():
    memory, at = tables()
    rss.set_indirection(at, 3, [5, 6, 7, 8])
    for src, sport, dst, dport, hashed in VECTORS:
        queue = rss.queue_of(at, 3, number(src), number(dst), sport, dport)
        assert queue == 5 + hashed % 4
    del memory


@pytest.mark.parametrize("size", [3, 100, 1024])
def test_impossible_indirection_tables(size):
    with pytest.raises(ValueError, match=f"{size} entries"):
        rss.set_indirection(tables()[1], 0, [0] * size)


def test_short_key():
    with pytest.raises(ValueError, match="shorter"):
        rss.fill_tables(tables()[1], b"short")


@pytest.mark.parametrize("worker", [0, 1, 2])
def test_replies_return_to_the_queue_of_their_worker(worker):
    """Of three workers behind a NIC whose RSS is known."""
    rig = Rig(index=worker, workers=3)
    rss.fill_tables(rig.w.rss, rss.DEFAULT_KEY)
    rss.set_indirection(rig.w.rss, 1, [i % 3 for i in range(128)])
    network(rig)
    service(rig, [dest(i) for i in range(4)])
    frames = [
        oracle.frame(
            (GATEWAY_MAC, WAN_MAC), ("203.0.113.7", VIP), oracle.segment("tcp", 1000 + i, 80, "S")
        )
        for i in range(60)
    ]
    _, lan = rig.exchange(0, *frames)
    assert len(lan) == 60 and len({tuple_of(raw) for raw in lan}) == 60
    for raw in lan:
        t = tuple_of(raw)
        assert t.src == LOCAL and t.dst in SERVERS
        data = number(t.dst).to_bytes(4, "big") + number(t.src).to_bytes(4, "big")
        data += t.dport.to_bytes(2, "big") + t.sport.to_bytes(2, "big")
        assert definition(rss.DEFAULT_KEY, data) % 128 % 3 == worker
