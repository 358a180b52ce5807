"""QUIC: whoever a connection id names gets the packet, from whatever address it comes."""

from __future__ import annotations

import ctypes
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.packet import Raw

from ipvs.context import PacketStruct
from ipvs.quic import server_of
from ipvs.service import service_at
from tests import topology, topology6
from tests.pathrig import ROUTER_MAC, WAN, Rig, from_client, server, server_mac
from tests.topology6 import CLIENT6, FROM_CLIENT, SERVERS6, VIP6

V1, V2 = b"\0\0\0\x01", bytes.fromhex("6b3343cf")
INITIAL, HANDSHAKE = 0xC0, 0xE0


def connection_id(address, port, size, with_port, length=20, first=0x5A, nonce=0x123456789ABCDEF):
    """An id that names a server, bit by bit."""
    tail = ipaddress.ip_address(address).packed[-size:]
    bits = f"{first:08b}{size - 1:03b}{int(with_port)}"
    bits += "".join(f"{byte:08b}" for byte in tail) + (f"{port:016b}" if with_port else "")
    bits = (bits + f"{nonce:0160b}"[-(length * 8 - len(bits)) :])[: length * 8]
    return int(bits, 2).to_bytes(length, "big")


def named(payload, servers):
    """The oracle: index of the (address, port, weight) that a payload names, or None."""
    if not payload or not payload[0] & 0x40:
        return None
    if payload[0] & 0x80:
        length = payload[5] if len(payload) > 6 else 0
        id_ = payload[6 : 6 + length]
        if length > 20 or len(id_) < length:
            return None
        kind = (payload[0] >> 4) & 3
        first = kind in ((1, 2) if payload[1:5] == V2 else (0, 1))
    else:
        id_, first = payload[1:21], False
    if len(id_) < 7:
        return None
    bits = "".join(f"{byte:08b}" for byte in id_)
    size, with_port = int(bits[8:11], 2) + 1, bits[11] == "1"
    end = 12 + 8 * size
    if len(bits) - end - 16 * with_port < 32:
        return None
    tail, port = int(bits[12:end], 2), int(bits[end : end + 16], 2)
    for index, (address, own_port, weight) in enumerate(servers):
        packed = ipaddress.ip_address(address).packed
        if size <= min(len(packed), 8) and int.from_bytes(packed[-size:], "big") == tail:
            if not with_port or port == own_port:
                return index if weight or not first else None
    return None


def test_the_documented_example():
    id_ = connection_id("192.168.111.222", 8029, 2, True, 10, nonce=0)
    assert id_.hex()[2:11] == "36fde1f5d"


def short(id_):
    return b"\x41" + id_ + b"payload"


def long(id_, kind=HANDSHAKE, version=V1):
    return bytes([kind]) + version + bytes([len(id_)]) + id_ + b"\0rest"


def send(rig, payload, src="203.0.113.9", sport=4433):
    """Index of the server that gets a datagram."""
    frame = from_client(UDP(sport=sport, dport=443) / Raw(payload), src=src, mac=ROUTER_MAC)
    _, (out,) = rig.exchange(WAN, frame)
    assert out.endswith(payload)
    return next(i for i in range(4) if out[:6].hex(":") == server_mac(i))


def quic_rig(dests=4, **more):
    rig = Rig(static=True)
    rig.service(proto="udp", port=443, dests=dests, flags=["quic"], **more)
    return rig


@pytest.mark.parametrize("header", [short, long])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("with_port", [False, True])
def test_a_client_that_moves_stays(header, size, with_port):
    rig = quic_rig()
    for index in (2, 2, 0, 3, 3, 1):
        id_ = connection_id(server(index), 8000 + index, size, with_port)
        for turn in range(3):
            src, sport = f"203.0.{index}.{turn + 1}", 1000 + rig.connections()
            assert send(rig, header(id_), src, sport) == index
    assert rig.drops() == {} and rig.clean()


def test_a_server_that_is_drained_keeps_its_connections():
    weights = [{"weight": 0}, {}, {"u_thresh": 1}]
    rig = quic_rig(weights)
    for turn in range(3):
        for index in (0, 2):
            id_ = connection_id(server(index), 8000 + index, 2, True)
            assert send(rig, short(id_), sport=100 + turn * 4 + index) == index
    # An id that a client invented goes to servers that get new connections.
    first = connection_id(server(0), 8000, 2, True)
    for sport, kind, version in ((1, 0xC0, V1), (2, 0xD0, V1), (3, 0xD0, V2), (4, 0xE0, V2)):
        assert send(rig, long(first, kind, version), sport=sport) == 1
    for sport, kind, version in ((5, 0xE0, V1), (6, 0xF0, V1), (7, 0xF0, V2), (8, 0xC0, V2)):
        assert send(rig, long(first, kind, version), sport=sport) == 0
    # One that is gone is nobody any more.
    rig.service(proto="udp", port=443, flags=["quic"], dests=[{"id": 1, "addr": server(1)}])
    assert send(rig, short(first), sport=9) == 1
    assert rig.drops() == {}


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\x41", short(b"")[:1], b"\x01" + connection_id(server(3), 8003, 2, False),
        b"\x41" + connection_id(server(3), 8003, 2, False, 7)[:6],
        b"\x41" + connection_id(server(3), 8003, 2, False, 20)[:7],  # no room for the nonce
        bytes([INITIAL]) + V1 + b"\x15" + connection_id(server(3), 8003, 1, False) + b"\0",
        bytes([INITIAL]) + V1 + b"\x14" + connection_id(server(3), 8003, 1, False)[:19],
        bytes([INITIAL]) + V1, short(connection_id("198.19.0.99", 8003, 1, False)),
        short(connection_id(server(3), 9999, 2, True)),
    ],
)  # fmt: skip
def test_whoever_names_nobody_is_scheduled(payload):
    rig = quic_rig()
    assert [send(rig, payload, sport=sport) for sport in (1, 2, 3, 4)] == [0, 1, 2, 3]


def test_only_quic_services_read_ids():
    rig = Rig(static=True)
    rig.service(proto="udp", port=443, dests=4)
    id_ = connection_id(server(3), 8003, 2, True)
    assert [send(rig, short(id_), sport=sport) for sport in (1, 2, 3, 4)] == [0, 1, 2, 3]
    rig = quic_rig(persistent=360)
    assert [send(rig, short(id_), sport=sport) for sport in (1, 2, 3, 4)] == [0, 0, 0, 0]


SERVERS = [("198.19.0.11", 443, 1), ("10.1.0.11", 8003, 0), ("10.2.7.12", 443, 1)]
HEADERS = st.one_of(
    st.just(b"\x41"),
    st.builds(
        lambda kind, version, length: bytes([kind]) + version + bytes([length]),
        st.integers(0x80, 255),
        st.sampled_from([V1, V2, b"\0\0\0\0"]),
        st.integers(0, 21),
    ),
)
IDS = st.one_of(
    st.binary(max_size=24),
    st.builds(
        connection_id,
        st.sampled_from([address for address, _, _ in SERVERS]),
        st.sampled_from([443, 8003]),
        st.integers(1, 4),
        st.booleans(),
    ),
)


class Reader:
    """A service of SERVERS, asked about payloads without a packet path around it."""

    def __init__(self):
        self.rig = Rig(static=True)
        dests = [
            {"addr": address, "port": port, "weight": weight, "mode": "nat"}
            for address, port, weight in SERVERS
        ]
        self.rig.service(proto="udp", port=443, dests=dests, flags=["quic"])
        self.memory = ctypes.create_string_buffer(2048)
        self.packet = PacketStruct()
        self.packet.data = ctypes.addressof(self.memory)

    def ask(self, payload):
        frame = bytes(from_client(UDP(sport=1, dport=443) / Raw(payload)))
        # What lies behind the packet must not be read.
        self.memory.raw = frame + b"\xff" * (2048 - len(frame))
        self.packet.ports = 1 | (443 << 16) | (17 << 32)
        at = ctypes.addressof(self.packet)
        return server_of(self.rig.address, service_at(self.rig.w.services, 0), at)


@pytest.fixture(scope="module")
def reader():
    return Reader()


@given(header=HEADERS, id_=IDS, cut=st.integers(0, 30))
def test_like_the_oracle(reader, header, id_, cut):
    payload = (header + id_ + b"\0" * 8)[: len(header) + len(id_) + 8 - cut]
    expected = named(payload, SERVERS)
    assert reader.ask(payload) == (-1 if expected is None else expected)


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("family", [4, 6])
def test_ipv6_clients(size, family):
    """The id names servers of either family; longer ones than an IPv4 address only of IPv6."""
    from tests.rig import Rig as Bare

    rig = topology6.network6(Bare(), ipv4=True)
    dests = [topology.dest(i) if family == 4 else topology6.dest6(i) for i in range(3)]
    topology6.service6(rig, dests, proto="udp", port=443, flags=["quic"], laddrs=[0, 1])
    addresses = topology.SERVERS if family == 4 else SERVERS6
    got = []
    for sport in (1, 2, 3):
        id_ = connection_id(addresses[2], 8080, min(size, 4 if family == 4 else 8), False)
        if size == 8 and family == 4:
            id_ = id_[:1] + bytes([0xE0 | id_[1] & 15]) + id_[2:]
        layer = UDP(sport=sport, dport=443) / Raw(short(id_))
        _, (out,) = rig.exchange(0, topology6.frame6(FROM_CLIENT, (CLIENT6, VIP6), layer))
        got.append(topology.SERVER_MACS.index(out[:6].hex(":")))
    assert got == ([0, 1, 2] if size == 8 and family == 4 else [2, 2, 2])
