"""ICMP errors about connections: the sender must find quoted what it sent, byte for byte.

The oracle needs no knowledge of the translation: a packet goes through, a router behind the
balancer complains about what came out, and the complaint that reaches the packet's sender must
quote the packet as it went in.
"""

import itertools
import struct

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP, IPOption
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import checksum

from ipvs.dest import DestStats
from ipvs.entry import Entry
from ipvs.table import Table, entry_of
from tests import oracle
from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    FAR,
    LADDR,
    LAN,
    LAN_ADDR,
    MACS,
    ROUTER_MAC,
    VIP,
    WAN,
    Rig,
    from_client,
    from_server,
    server,
    server_mac,
)
from tests.rig import crew

PROTOS = ("tcp", "udp", "sctp")
MODES = ("fullnat", "nat", "dr", "tunnel")
ONE_SIDED = ("dr", "tunnel")
# (mode, side the error arrives on): of one-sided connections only the client's side is seen.
WAYS = [("fullnat", 0), ("fullnat", 1), ("nat", 0), ("nat", 1), ("dr", 0), ("tunnel", 0)]
ERRORS = [(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (4, 0), (11, 0), (11, 1), (12, 0)]
_ports = itertools.count(1024)


def layer(proto, sport, dport, flags="S", data=b""):
    more = {"seq": 99, "options": [("MSS", 1460)]} if proto == "tcp" else {}
    return oracle.segment(proto, sport, dport, flags, data, **more)


def l3(frame):
    """The IP packet in a frame, as bytes."""
    raw = bytes(frame)[14:]
    return raw[: int.from_bytes(raw[2:4], "big")]


def aged(packet, ttl):
    """What a router on the way quotes: the packet with the TTL that it had there."""
    raw = bytearray(packet)
    raw[8], raw[10:12] = ttl, b"\0\0"
    raw[10:12] = checksum(bytes(raw[: (raw[0] & 15) * 4])).to_bytes(2, "big")
    return bytes(raw)


def error(macs, src, dst, quoted, kind=3, code=3, rest=0, **ip):
    """An ICMP error as a frame, all checksums computed from nothing; ``rest``: header word 2."""
    message = struct.pack("!BBHI", kind, code, 0, rest) + quoted
    message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    head = IP(src=src, dst=dst, proto=1, **ip)
    return bytes(Ether(src=macs[0], dst=macs[1]) / head / Raw(message))


class Flow:
    """A connection of a mode and protocol, and the packets it had in both directions."""

    def __init__(self, rig, mode, proto, client=CLIENT, data=b"hello"):
        self.rig, self.mode, self.proto, self.client = rig, mode, proto, client
        self.number = MODES.index(mode) * len(PROTOS) + PROTOS.index(proto)
        sport, dport = next(_ports), 80 + self.number
        sent = from_client(layer(proto, sport, dport, data=data), src=client, id=7)
        self.to_server = self.through(WAN, sent)
        if mode not in ONE_SIDED:
            out = Ether(self.to_server[1])
            back = layer(proto, out.dport, out.sport, "SA", data[::-1])
            self.to_client = self.through(LAN, from_server(back, dst=out[IP].src, id=8))

    def through(self, port, frame):
        """(frame that went in, frame that came out)."""
        out = self.rig.exchange(port, frame)
        assert [len(frames) for frames in out] == [port, 1 - port], self.rig.drops()
        return bytes(frame), out[1 - port][0]

    def complaint(self, side, source, cut=None, ttl=1, **fields):
        """An error about the last packet that left on ``side``, and what must become of it."""
        if self.mode in ONE_SIDED:
            # The server's answers go past us: errors about them come to the virtual address.
            sent = IP(l3(self.to_server[0]))
            turned = layer(self.proto, sent.dport, sent.sport, "SA")
            before = after = bytes(IP(src=VIP, dst=self.client) / turned / Raw(b"back"))
        else:
            before, after = map(l3, self.to_server if side == 1 else self.to_client)
        quoted, wanted = aged(after, ttl)[:cut], aged(before, ttl)[:cut]
        here, there = IP(after), IP(before)
        neighbour = server_mac(0) if side else "02:cc:00:00:00:01"
        came = error((neighbour, MACS[side]), source, here.src, quoted, **fields)
        if side == 1:
            seen_from, macs = VIP, (MACS[WAN], CLIENT_MAC if self.client == CLIENT else ROUTER_MAC)
        else:
            seen_from = LADDR if self.mode == "fullnat" else source
            macs = (MACS[LAN], server_mac(0))
        goes = error(macs, seen_from, there.src, wanted, **fields)
        return came, goes if self.mode != "tunnel" else self.tunnelled(goes)

    def tunnelled(self, frame):
        """RFC 2003: the frame's packet inside another one to the real server."""
        inner = IP(l3(frame))
        outer = IP(tos=inner.tos, flags=int(inner.flags) & 2, ttl=inner.ttl, proto=4)
        outer.src, outer.dst, outer.id = LAN_ADDR, server(0), self.rig.stack.ip_id + 1
        return bytes(Ether(frame[:14]) / outer / Raw(bytes(inner)))

    def check(self, side, source, **more):
        """Send the error in; exactly the expected one must come out on the other side."""
        came, wanted = self.complaint(side, source, **more)
        out = self.rig.exchange(side, came)
        assert out[side] == [], self.rig.drops()
        assert out[1 - side] == [wanted]
        return wanted


def rig_with_services():
    rig = Rig(static=True)
    for number, (mode, proto) in enumerate(itertools.product(MODES, PROTOS)):
        port = 80 + number if mode in ONE_SIDED else 8000 + number
        dests = [{"id": number, "port": port}]
        rig.service(number, mode, proto, port=80 + number, dests=dests)
    return rig


@pytest.fixture(scope="module")
def rig():
    rig = rig_with_services()
    yield rig
    assert rig.clean()


@pytest.fixture(autouse=True)
def nothing_kept(rig):
    yield
    assert rig.complete()
    rig.w.xmit_ttl = 0


SOURCES = {0: "203.0.113.77", 1: "198.19.0.99"}


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("mode,side", WAYS)
@pytest.mark.parametrize("kind,code", ERRORS)
def test_rfc5508_req4_req5_error_reaches_the_sender(rig, mode, side, proto, kind, code):
    """Embedded packet restored, type and code unchanged, inside hosts hidden."""
    rest = 1280 if (kind, code) == (3, 4) else 0
    Flow(rig, mode, proto).check(side, SOURCES[side], kind=kind, code=code, rest=rest)


@pytest.mark.parametrize("mode,side", WAYS)
@settings(max_examples=20)
@given(data=st.data())
def test_any_error_is_translated(rig, mode, side, data):
    """Whatever is quoted of it, with IP options outside, after any number of hops."""
    draw = data.draw
    payload = draw(st.binary(max_size=40))
    proto = draw(st.sampled_from(PROTOS))
    flow = Flow(rig, mode, proto, draw(st.sampled_from((CLIENT, FAR))), payload)
    cut = draw(st.none() | st.integers(28, 36) | st.integers(38, 60))
    assume(proto != "sctp" or cut is None or cut in (28, *range(32, 61)))  # whole checksum or none
    flow.check(
        side, draw(st.sampled_from((SOURCES[side], "198.51.100.1"))), cut=cut,
        ttl=draw(st.integers(0, 255)),
        kind=draw(st.sampled_from((3, 4, 11, 12))), code=draw(st.integers(0, 15)),
        rest=draw(st.integers(0, 0xFFFFFFFF)), tos=draw(st.integers(0, 255)),
        options=draw(st.sampled_from(([], [IPOption(b"\x01\x01\x01\x01")]))),
    )  # fmt: skip


def test_a_quoted_fragment_of_sctp_has_its_ports_back_and_our_checksum(rig):
    """How long the packet was it does not tell."""
    flow = Flow(rig, "fullnat", "sctp", data=bytes(range(100)))
    before, after = (bytearray(l3(frame)) for frame in flow.to_server)
    for packet in (before, after):
        packet[6:8] = b"\x20\0"
    before[28:32] = after[28:32]
    flow.to_server = [b"".ljust(14) + aged(packet, 64) for packet in (before, after)]
    flow.check(1, SOURCES[1])


@pytest.mark.parametrize("cut", [cut for cut in range(28, 42) if cut != 37])
def test_rfc792_the_quotation_may_end_behind_64_bits(rig, cut):
    """The TCP checksum at byte 36 is right whenever it is there, and nothing behind is touched.

    Half a checksum (37 bytes) cannot be put right: the carry of its other half is unknown.
    """
    Flow(rig, "fullnat", "tcp").check(1, SOURCES[1], cut=cut, id=5)


def test_rfc768_a_quoted_datagram_without_checksum_stays_without(rig):
    flow = Flow(rig, "nat", "udp")
    sport = next(_ports)
    unchecked = UDP(sport=sport, dport=80 + flow.number, chksum=0)
    flow.to_server = flow.through(WAN, from_client(unchecked))
    wanted = flow.check(1, SOURCES[1])
    assert wanted[14 + 20 + 8 + 20 + 6 :][:2] == b"\0\0"


def test_rfc4884_extensions_behind_the_quotation_are_kept(rig):
    """The length field in the unused word and the objects behind 128 bytes mean nothing to us."""
    flow = Flow(rig, "nat", "udp", data=bytes(200))
    extension = bytes.fromhex("2000dfff0008010100012140")
    came, wanted = flow.complaint(1, SOURCES[1], cut=128, kind=11, code=0, rest=32 << 16)

    def extended(frame):
        head = IP(l3(frame))
        return error(
            (Ether(frame).src, Ether(frame).dst), head.src, head.dst,
            l3(frame)[28:] + extension, kind=11, code=0, rest=32 << 16,
        )  # fmt: skip

    assert rig.exchange(LAN, extended(came)) == [[extended(wanted)], []]


@pytest.mark.parametrize("mode,side", WAYS)
def test_ttl_counts_down_where_the_balancer_is_a_router(rig, mode, side):
    rig.w.xmit_ttl = 1
    flow = Flow(rig, mode, "udp")
    # The packets had their TTL lowered; what is quoted shows the hop that complained.
    came, wanted = flow.complaint(side, SOURCES[side], kind=11, code=0)
    expected = Ether(wanted)
    if mode not in ONE_SIDED:
        expected[IP].ttl = 63
        del expected[IP].chksum
    assert rig.exchange(side, came)[1 - side] == [bytes(expected)]
    if mode not in ONE_SIDED:
        before = rig.drops().get("ip_ttl", 0)
        came, _ = flow.complaint(side, SOURCES[side], ttl=1, kind=11, code=0)
        dying = Ether(came)
        dying[IP].ttl = 1
        del dying[IP].chksum
        assert rig.exchange(side, dying) == [[], []]  # no error about an error
        assert rig.drops()["ip_ttl"] == before + 1


def test_rfc5382_req10_an_error_does_not_end_or_refresh_a_connection(rig):
    flow = Flow(rig, "fullnat", "udp")
    table = Table(rig.w.table)
    entries = [Entry(entry_of(rig.w.table, n)) for n in range(1, table.high + 1)]
    (entry,) = [e for e in entries if (e.side[0].ports & 0xFFFF) == _swapped(flow)]
    stats = DestStats(rig.w.dest_stats + 64 * flow.number)
    before = (entry.last, entry.state, entry.timeout, stats.packets[1], stats.bytes[1])
    rig.now += 1000
    wanted = flow.check(1, SOURCES[1])
    size = len(wanted) - 14
    assert (entry.last, entry.state, entry.timeout) == before[:3]
    assert (stats.packets[1], stats.bytes[1]) == (before[3] + 1, before[4] + size)


def _swapped(flow):
    return int.from_bytes(IP(l3(flow.to_server[0])).sport.to_bytes(2, "big"), "little")


def wrong(flow, **changes):
    """The error about the flow's packet to the server, changed: as ``name=`` (offset, bytes)."""
    came, _ = flow.complaint(1, SOURCES[1])
    frame = bytearray(came)
    for at, data in changes.values():
        frame[at : at + len(data)] = data
    head = IP(l3(frame))
    return error((server_mac(0), MACS[1]), head.src, head.dst, l3(frame)[28:])


QUOTE = 14 + 28  # offset of the quotation in a frame
BAD = {
    "cut short": ("icmp_quote", lambda f: f.complaint(1, SOURCES[1], cut=27)[0]),
    "empty": ("icmp_quote", lambda f: f.complaint(1, SOURCES[1], cut=0)[0]),
    "IPv6 quoted": ("icmp_quote", lambda f: wrong(f, a=(QUOTE, b"\x65"))),
    "header below 20": ("icmp_quote", lambda f: wrong(f, a=(QUOTE, b"\x44"))),
    "header beyond": ("icmp_quote", lambda f: wrong(f, a=(QUOTE, b"\x4f"))),
    "total too small": ("icmp_quote", lambda f: wrong(f, a=(QUOTE + 2, b"\0\x1b"))),
    "later fragment": ("icmp_quote", lambda f: wrong(f, a=(QUOTE + 6, b"\0\x01"))),
    "nested": ("icmp_nested", lambda f: wrong(f, a=(QUOTE + 9, b"\1"), b=(QUOTE + 20, b"\3\3"))),
    "redirect": ("icmp_nested", lambda f: wrong(f, a=(QUOTE + 9, b"\1"), b=(QUOTE + 20, b"\5"))),
    "not ours": ("icmp_unrelated", lambda f: wrong(f, a=(QUOTE + 20, b"\1\1"))),
    "echo": ("icmp_unrelated", lambda f: wrong(f, a=(QUOTE + 9, b"\1"), b=(QUOTE + 20, b"\x08"))),
    "other protocol": ("icmp_unrelated", lambda f: wrong(f, a=(QUOTE + 9, b"\x2f"))),
    "another's": ("icmp_unrelated", lambda f: wrong(f, a=(QUOTE + 12, b"\xc0\0\2\1"))),
    "from ourselves": ("ip_loop", lambda f: f.complaint(1, LAN_ADDR)[0]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_no_error_may_look_like_is_dropped_by_name(rig, name):
    reason, build = BAD[name]
    flow = Flow(rig, "fullnat", "udp")
    before = rig.drops()
    assert rig.exchange(LAN, build(flow)) == [[], []]
    assert rig.drops() == before | {reason: before.get(reason, 0) + 1}


def test_a_wrong_checksum_is_not_made_right(rig):
    came, _ = Flow(rig, "fullnat", "udp").complaint(1, SOURCES[1])
    before = rig.drops().get("icmp_checksum", 0)
    assert rig.exchange(LAN, came[:-1] + bytes([came[-1] ^ 1])) == [[], []]
    assert rig.drops()["icmp_checksum"] == before + 1


def test_rfc1812_errors_about_other_hosts_packets_are_forwarded():
    """The balancer is a router too: what it does not translate passes as it is."""
    rig = rig_with_services()
    rig.apply("param.set", forwarding=1)
    for quoted in (bytes(IP(src=CLIENT, dst="198.51.100.1") / UDP(sport=1, dport=2)), b"junk"):
        came = error((server_mac(0), MACS[LAN]), server(0), CLIENT, quoted)
        wanted = Ether(came)
        wanted.src, wanted.dst, wanted[IP].ttl = MACS[WAN], CLIENT_MAC, 63
        del wanted[IP].chksum
        assert rig.exchange(LAN, came) == [[bytes(wanted)], []]
    assert rig.drops() == {}


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("mode", ["fullnat", "nat"])
@pytest.mark.parametrize("side", [0, 1])
def test_error_finds_the_worker_that_owns_the_connection(workers, mode, side):
    """RSS does not look into ICMP: the error may arrive anywhere."""
    rigs = crew(Rig, workers, static=True)
    for each in rigs:
        each.service(mode=mode, proto="udp", port=80)
    sent = from_client(UDP(sport=5, dport=80) / Raw(b"x"))
    rigs[0].push(WAN, bytes(sent))
    outs = [frame for each in rigs for frame in each.run()[LAN]]
    (owner,) = [each for each in rigs if each.connections()]
    flow = Flow.__new__(Flow)
    flow.rig, flow.mode, flow.proto, flow.client = owner, mode, "udp", CLIENT
    flow.to_server = bytes(sent), outs[0]
    out = Ether(outs[0])
    flow.to_client = flow.through(
        LAN, from_server(UDP(sport=8000, dport=out.sport), dst=out[IP].src)
    )
    came, wanted = flow.complaint(side, SOURCES[side])
    for arrives in rigs:
        arrives.push(side, came)
        rounds = [each.run()[1 - side] for _ in range(workers) for each in rigs]
        assert [frame for frames in rounds for frame in frames] == [wanted]
    unknown = wrong(flow, a=(QUOTE + 20, b"\1\1")) if mode == "fullnat" else None
    for arrives in rigs if unknown else []:
        arrives.push(LAN, unknown)
        assert not any(any(each.run()) for _ in range(workers + 1) for each in rigs)
    lost = sum(each.drops().get("icmp_unrelated", 0) for each in rigs)
    assert lost == (workers if unknown else 0)
    assert rigs[0].in_flight() == 0
