"""Every forwarding mode, protocol and direction against the oracle: not one byte may differ."""

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.frame_oracle import Connection, End, Oracle
from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    FAR,
    LADDR,
    LAN,
    MACS,
    ROUTER,
    ROUTER_MAC,
    VIP,
    WAN,
    Rig,
    server,
    server_mac,
)

MODES, PROTOS = ("fullnat", "nat", "dr"), ("tcp", "udp")
NUMBER = {(m, p): i for i, (m, p) in enumerate(itertools.product(MODES, PROTOS))}
CONTENT = bytes(range(256)) * 6
CASES = [(m, p, s) for m in MODES for p in PROTOS for s in (0, 1) if not (m == "dr" and s)]


class Both:
    """A rig with a service of every mode and protocol, and the oracle beside it."""

    def __init__(self):
        self.rig = Rig()
        for (mode, proto), number in NUMBER.items():
            self.rig.service(
                number, mode, proto, port=80 + number, dests=[{"id": number, "addr": server(1)}]
            )
        self.oracle = Oracle(
            list(MACS),
            ["198.18.0.0/24", "198.19.0.0/24"],
            {CLIENT: CLIENT_MAC, ROUTER: ROUTER_MAC, server(1): server_mac(1)},
            (WAN, ROUTER),
        )
        self.ports = itertools.count(1024)
        self.known = {}

    def connection(self, mode, proto, client=CLIENT):
        """An open connection; a new one for every 50th call."""
        uses, known = self.known.get((mode, proto, client), (0, None))
        if known is None or uses > 50:
            known, uses = self.open(mode, proto, client), 0
        self.known[mode, proto, client] = (uses + 1, known)
        return known

    def open(self, mode, proto, client):
        number = NUMBER[mode, proto]
        sport = 1024 + next(self.ports) % 60000
        l4 = (
            TCP(sport=sport, dport=80 + number)
            if proto == "tcp"
            else UDP(sport=sport, dport=80 + number)
        )
        out = self.rig.exchange(WAN, self.frame(WAN, IP(src=client, dst=VIP) / l4))
        assert [len(frames) for frames in out] == [0, 1], self.rig.drops()
        sent = Ether(out[LAN][0])
        layer = TCP if proto == "tcp" else UDP
        known = Connection(
            mode,
            End(client, sport),
            End(VIP, 80 + number),
            End(server(1), sent[layer].dport if mode != "dr" else 80 + number),
            End(LADDR, sent[layer].sport) if mode == "fullnat" else None,
        )
        port, expected = self.oracle.predict(
            bytes(self.frame(WAN, IP(src=client, dst=VIP) / l4)), known, True
        )
        assert (port, expected) == (LAN, out[LAN][0])
        return known

    @staticmethod
    def frame(port, packet):
        return Ether(dst=MACS[port], src="02:cc:00:00:00:01") / packet

    def check(self, frame, known, forward):
        """Send ``frame`` in; exactly the predicted one must come out."""
        port, expected = self.oracle.predict(frame, known, forward)
        out = self.rig.exchange(WAN if forward else LAN, frame)
        assert out[1 - port] == [] and out[port] == [expected], self.rig.drops()
        assert self.rig.complete()


@pytest.fixture(scope="module")
def both():
    return Both()


def packet_of(known, forward, proto, **ip):
    source, destination = known.arrives(forward)
    layer = TCP(flags="A") if proto == "tcp" else UDP()
    layer.sport, layer.dport = source.port, destination.port
    return IP(src=source.addr, dst=destination.addr, **ip) / layer


@pytest.mark.parametrize("mode,proto,side", CASES)
@pytest.mark.parametrize("client", [CLIENT, FAR])
@pytest.mark.parametrize("ttl", [False, True])
def test_every_size_and_padding(both, mode, proto, side, client, ttl):
    both.rig.w.xmit_ttl = both.oracle.xmit_ttl = int(ttl)
    known = both.connection(mode, proto, client)
    head = 40 if proto == "tcp" else 28
    for size in (0, 1, 2, 3, 5, 17, 18, 19, 64, 1399, 1500 - head):
        for padding in (0, 1, 6, 18):
            packet = packet_of(known, not side, proto, ttl=2 + size % 200)
            frame = bytes(both.frame(side, packet / Raw(CONTENT[:size])))
            both.check(frame + bytes([0x55]) * padding, known, not side)


@pytest.fixture(scope="module", autouse=True)
def _restore(both):
    yield
    assert both.rig.clean()


OPTIONS = (
    b"\x07\x07\x04\x00\x00\x00\x00\x00",  # record route
    b"\x01\x01\x01\x00",
    b"\x44\x08\x05\x00\x00\x00\x00\x00",  # timestamp
    b"\x94\x04\x00\x00" * 10,  # router alert, header full
)


@pytest.mark.parametrize("mode,proto,side", CASES)
@pytest.mark.parametrize("options", OPTIONS)
def test_ip_options_stay_and_the_l4_header_is_found(both, mode, proto, side, options):
    both.rig.w.xmit_ttl = both.oracle.xmit_ttl = 0
    known = both.connection(mode, proto)
    plain = bytes(packet_of(known, not side, proto) / Raw(b"hello"))
    for padding in (b"", b"\0" * 9):
        l3 = bytearray(plain[:20] + options + plain[20:])
        l3[0] = 0x45 + len(options) // 4
        struct.pack_into(">H", l3, 2, len(l3))
        l3[10:12] = b"\0\0"
        l3 = IP(bytes(l3))
        del l3.chksum
        both.check(bytes(both.frame(side, l3)) + padding, known, not side)


@st.composite
def packets(draw):
    mode, proto, side = draw(st.sampled_from(CASES))
    payload = draw(st.binary(max_size=200))
    ip = {
        "tos": draw(st.integers(0, 255)),
        "id": draw(st.integers(0, 65535)),
        "ttl": draw(st.integers(2, 255)),
        "flags": draw(st.sampled_from(["", "DF"])),
    }
    return mode, proto, side, payload, ip, draw(st.booleans()), draw(st.integers(0, 0xFFFFFFFF))


@given(packets())
def test_any_content(both, drawn):
    mode, proto, side, payload, ip, ttl, number = drawn
    both.rig.w.xmit_ttl = both.oracle.xmit_ttl = int(ttl)
    known = both.connection(mode, proto)
    packet = packet_of(known, not side, proto, **ip)
    if proto == "tcp":
        packet[TCP].seq, packet[TCP].ack = number, ~number & 0xFFFFFFFF
        packet[TCP].window = number & 0xFFFF
        packet[TCP].options = [("Timestamp", (number, 0)), ("NOP", None), ("NOP", None)]
    both.check(bytes(both.frame(side, packet / Raw(payload))), known, not side)


@pytest.mark.parametrize("mode,side", [("fullnat", 0), ("fullnat", 1), ("nat", 0), ("dr", 0)])
def test_udp_without_checksum_stays_without(both, mode, side):
    both.rig.w.xmit_ttl = both.oracle.xmit_ttl = 0
    known = both.connection(mode, "udp")
    packet = packet_of(known, not side, "udp")
    packet[UDP].chksum = 0
    frame = bytes(both.frame(side, packet / Raw(b"abc")))
    both.check(frame, known, not side)


@pytest.mark.parametrize("mode,side", [("fullnat", 0), ("fullnat", 1), ("nat", 1), ("dr", 0)])
def test_udp_checksum_that_comes_out_as_zero_is_sent_as_ones(both, mode, side):
    both.rig.w.xmit_ttl = both.oracle.xmit_ttl = 0
    known = both.connection(mode, "udp")
    packet = packet_of(known, not side, "udp")
    frame = bytearray(bytes(both.frame(side, packet / Raw(b"\0\0"))))
    _, out = both.oracle.predict(bytes(frame), known, not side)
    # Adding the predicted checksum to the data makes the sum of everything all ones.
    frame[-2:] = out[14 + 26 : 14 + 28]
    again = Ether(bytes(frame))
    del again[UDP].chksum
    _, out = both.oracle.predict(bytes(again), known, not side)
    assert out[14 + 26 : 14 + 28] == b"\xff\xff"
    both.check(bytes(again), known, not side)


@pytest.mark.parametrize("mode,side", [("fullnat", 0), ("nat", 1), ("dr", 0)])
def test_all_ones_udp_checksum_on_input(both, mode, side):
    both.rig.w.xmit_ttl = both.oracle.xmit_ttl = 0
    known = both.connection(mode, "udp")
    packet = packet_of(known, not side, "udp")
    frame = bytearray(bytes(both.frame(side, packet / Raw(b"\0\0"))))
    frame[-2:] = frame[14 + 26 : 14 + 28]
    again = Ether(bytes(frame))
    del again[UDP].chksum
    assert bytes(again)[14 + 26 : 14 + 28] == b"\xff\xff"
    both.check(bytes(again), known, not side)


@pytest.mark.parametrize("proto", PROTOS)
def test_a_wrong_l4_checksum_is_not_made_right(both, proto):
    """The balancer must not hide corruption from the server: the error stays in the sum."""
    both.rig.w.xmit_ttl = both.oracle.xmit_ttl = 0
    known = both.connection("fullnat", proto)
    frame = bytearray(bytes(both.frame(WAN, packet_of(known, True, proto) / Raw(b"data"))))
    frame[-1] ^= 1
    out = both.rig.exchange(WAN, bytes(frame))[LAN][0]
    _, right = both.oracle.predict(bytes(frame), known, True)
    at = 14 + 20 + (16 if proto == "tcp" else 6)
    assert out[:at] == right[:at] and out[at + 2 :] == right[at + 2 :]
    assert out[at : at + 2] != right[at : at + 2]


@settings(max_examples=30)
@given(st.integers(0, 0xFFFF), st.booleans())
def test_ttl_step_for_any_header_checksum(both, ident, forward):
    """Among the ids are those for which RFC 1141's shortcut gives the other zero."""
    both.rig.w.xmit_ttl = both.oracle.xmit_ttl = 1
    known = both.connection("nat", "tcp")
    both.check(
        bytes(both.frame(WAN if forward else LAN, packet_of(known, forward, "tcp", id=ident))),
        known,
        forward,
    )


def test_ttl_step_for_the_checksum_where_the_shortcut_fails(both):
    both.rig.w.xmit_ttl = both.oracle.xmit_ttl = 1
    known = both.connection("nat", "tcp")
    packet = packet_of(known, True, "tcp", id=0)
    base = struct.unpack_from(">H", bytes(packet), 10)[0]
    # Choose the id that makes the header checksum 0xfeff: one step of TTL later it is zero.
    packet.id = (base - 0xFEFF) % 0xFFFF
    assert struct.unpack_from(">H", bytes(packet), 10)[0] == 0xFEFF
    both.check(bytes(both.frame(WAN, packet)), known, True)
