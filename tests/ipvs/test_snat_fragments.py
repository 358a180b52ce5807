"""Pings of more than a packet through SNAT, both families; every byte against scapy."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    PadN,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.datagram_queue import WAIT_EACH
from ipvs.datagrams import LIFE_MS, Datagrams
from tests import fragments, oracle
from tests.audit import audit
from tests.fragments6 import cut6, fragment, joined6, packet_of
from tests.rig import MACS, Rig, connect, go_round
from tests.topology import GATEWAY_MAC, SERVER_MACS, SERVERS
from tests.topology6 import FROM_CLIENT, SERVERS6, dest6, frame6, from_server, network6, service6

WAN, LAN = 0, 1
FAMILIES = (4, 6)
FAR = {4: "203.0.113.9", 6: "2001:db8:9::7"}
OUTSIDE = {4: "198.18.0.9", 6: "2001:db8:1::99"}
PLEN = {4: 32, 6: 128}
SMALL = 80  # the least size of a ping that is cut below
ORDERS = list(itertools.permutations(range(3)))
_idents = itertools.count(0x10001)


def text(size):
    return bytes(i * 7 + (i >> 8) & 255 for i in range(size))


def snat_rig(proto4="icmp", proto6="icmpv6", **options):
    """SNAT of both families behind one outside address each."""
    rig = network6(Rig(now=1_000_000, **options), ipv4=True)
    for number, (family, proto) in enumerate(zip(FAMILIES, (proto4, proto6), strict=True)):
        rig.apply("route.set", dst=OUTSIDE[family], plen=PLEN[family], kind="local", dev=WAN)
        rig.apply("laddr.set", id=8 + number, addr=OUTSIDE[family], dev=WAN)
        least, most = {4: ("0.0.0.0", "255.255.255.255"), 6: ("::", "ffff:" * 7 + "ffff")}[family]
        match = {"src": (least, most), "dst": (least, most), "sport": (0, 65535),
                 "dport": (0, 65535), "iif": LAN, "oif": None, "order": 0}  # fmt: skip
        server = dest6(number, addr=OUTSIDE[family], port=0, mode="snat", pool=8 + number)
        service6(rig, [server], id=number, af={4: "inet", 6: "inet6"}[family], proto=proto,
                 addr={4: "0.0.0.0", 6: "::"}[family], port=0, match=match, laddrs=[])  # fmt: skip
    return rig


class Ping:
    """A ping of one family: whole frames of either direction, and their fragments."""

    def __init__(self, family, size=300, ident=77, host=0, seq=1, datagram=None):
        self.family, self.ident, self.host, self.size = family, ident, host, size
        self.seq, self.datagram = seq, next(_idents) if datagram is None else datagram
        self.inside = (SERVERS if family == 4 else SERVERS6)[host]

    def layer(self, ident, answer):
        if self.family == 4:
            return ICMP(type=0 if answer else 8, id=ident, seq=self.seq) / Raw(text(self.size))
        kind = ICMPv6EchoReply if answer else ICMPv6EchoRequest
        return kind(id=ident, seq=self.seq, data=text(self.size))

    def frame(self, macs, ends, ident, answer, headers=(), **ip):
        """One with scapy's checksums; ``macs`` and ``ends`` are (source, destination)."""
        layer = self.layer(ident, answer)
        for header in reversed(headers):
            layer = header / layer
        if self.family == 4:
            return oracle.frame(macs, ends, layer, **({"id": self.datagram & 0xFFFF} | ip))
        return frame6(macs, ends, layer, **ip)

    def cut(self, frame, at, before=0):
        if self.family == 4:
            return fragments.cut(frame, at)
        return cut6(frame, at, self.datagram, before)

    def joined(self, frames):
        return fragments.joined(frames) if self.family == 4 else joined6(frames, self.datagram)

    def out(self, ident=None, **more):
        """The request as the inside host sends it, or with an identifier as it leaves."""
        if ident is None:
            ends = self.inside, FAR[self.family]
            return self.frame(from_server(self.host), ends, self.ident, 0, **more)
        macs, ends = (MACS[WAN], GATEWAY_MAC), (OUTSIDE[self.family], FAR[self.family])
        return self.frame(macs, ends, ident, 0, **more)

    def back(self, ident, reached=False, **more):
        """The answer as the outside sends it, or as it reaches the inside host."""
        if reached:
            macs, ends = (MACS[LAN], SERVER_MACS[self.host]), (FAR[self.family], self.inside)
            return self.frame(macs, ends, self.ident, 1, **more)
        return self.frame(FROM_CLIENT, (FAR[self.family], OUTSIDE[self.family]), ident, 1, **more)

    def parts(self, at=(10, 20)):
        return self.cut(self.out(), at)

    def answers(self, ident, at=(10, 20)):
        return self.cut(self.back(ident), at)

    def identifier(self, whole):
        """The identifier in a frame that left."""
        got = Ether(whole)
        return got[ICMP].id if self.family == 4 else got[ICMPv6EchoRequest].id


def go_out(rig, ping, frames, **more):
    """The fragments leave as the whole would; the identifier they leave with."""
    wan, lan = rig.at_once(LAN, *frames)
    assert lan == [] and len(wan) == len(frames), rig.drops()
    whole = ping.joined(wan)
    ident = ping.identifier(whole)
    assert whole == ping.out(ident, **more)
    return ident


def is_clean(rig):
    assert Datagrams(rig.w.datagrams).waiting == Datagrams(rig.w.datagrams).kept == 0
    return audit(rig.address) == [] and rig.in_flight() == 0


@functools.cache
def shared():
    return snat_rig(capacity=8192)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=30)
@given(data=st.data())
def test_rfc4787_req14_rfc5508_req1_any_split_in_any_order_both_ways(family, data):
    """The identifier is in the first fragment alone; the checksum is of the whole."""
    rig = shared()
    size = data.draw(st.integers(SMALL, 6000) | st.integers(SMALL, 200))
    ping = Ping(family, size, data.draw(st.integers(0, 0xFFFF)), data.draw(st.integers(0, 3)))
    options = {}
    if family == 4:
        options = {"options": data.draw(st.sampled_from([[], [b"\x94\x04\x00\x00"]]))}
    drops = rig.drops()
    for turn in range(2):
        at = data.draw(st.sets(st.integers(2, size // 8), min_size=1, max_size=9))
        at |= set(range(150, size // 8, 150))
        if turn == 0:
            frames = data.draw(st.permutations(ping.cut(ping.out(**options), at)))
            ident = go_out(rig, ping, frames, **options)
        else:
            frames = data.draw(st.permutations(ping.cut(ping.back(ident, **options), at)))
            wan, lan = rig.at_once(WAN, *frames)
            assert wan == [] and len(lan) == len(frames)
            assert ping.joined(lan) == ping.back(ident, reached=True, **options)
    assert rig.drops() == drops and is_clean(rig)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fragment_may_open_a_connection_and_whole_pings_are_of_the_same(family):
    rig = snat_rig()
    ping, small = Ping(family), Ping(family, size=20, seq=2)
    one, two, three = ping.parts()
    assert rig.at_once(LAN, two, three) == [[], []]
    assert rig.applier.connections() == 0 and Datagrams(rig.w.datagrams).waiting == 2
    wan, _ = rig.at_once(LAN, one)
    ident = ping.identifier(ping.joined(wan))
    assert ping.joined(wan) == ping.out(ident)
    assert wan[0][20:22] == b"\x20\0" if family == 4 else wan[0][56:58] == b"\0\1", "first first"
    assert rig.at_once(LAN, small.out()) == [[small.out(ident)], []]
    assert rig.at_once(WAN, small.back(ident)) == [[], [small.back(ident, reached=True)]]
    assert rig.applier.connections() == 1 and rig.drops() == {} and is_clean(rig)


@pytest.mark.parametrize("family", FAMILIES)
def test_rfc5508_req1_fragmented_pings_of_two_hosts_with_one_identifier(family):
    """The same identification too: the fragments are told apart by their addresses."""
    rig = snat_rig()
    pings = [Ping(family, host=host, datagram=5 + host) for host in (0, 1)]
    pieces = [ping.parts() for ping in pings]
    sent = []
    for turn in ((0, 2), (1, 0), (2, 1)):
        sent += rig.at_once(LAN, *[pieces[i][part] for i, part in enumerate(turn)])[WAN]
    place = 18 if family == 4 else 58
    length = 2 if family == 4 else 4
    mine = [[raw for raw in sent if raw[place : place + length] == number.to_bytes(length, "big")]
            for number in (5, 6)]  # fmt: skip
    idents = [each.identifier(each.joined(raw)) for each, raw in zip(pings, mine, strict=True)]
    assert idents[0] != idents[1]
    for ping, ident, raw in zip(pings, idents, mine, strict=True):
        assert ping.joined(raw) == ping.out(ident)
    back = [p.answers(i) for p, i in zip(pings, idents, strict=True)]
    _, lan = rig.at_once(WAN, *itertools.chain(*zip(*back, strict=True)))
    for ping, ident in zip(pings, idents, strict=True):
        told = [raw for raw in lan if raw[:6].hex(":") == SERVER_MACS[ping.host]]
        assert ping.joined(told) == ping.back(ident, reached=True)
    assert rig.drops() == {} and is_clean(rig)


@pytest.mark.parametrize("family", FAMILIES)
def test_rfc5722_overlap_ends_the_datagram(family):
    rig = snat_rig()
    ping = Ping(family)
    evil = Ping(family, datagram=ping.datagram).parts((9, 15))[1]
    one, two, three = ping.parts()
    wan, _ = rig.at_once(LAN, one, two)
    assert len(wan) == 2
    assert rig.at_once(LAN, evil, three) == [[], []]
    assert rig.drops() == {"frag_overlap": 1, "frag_refused": 1}
    # Before the first: nothing of it leaves, and no connection is opened for it.
    other = Ping(family, ident=78)
    evil = Ping(family, ident=78, datagram=other.datagram).parts((9, 15))[1]
    one, two, _ = other.parts()
    assert rig.at_once(LAN, two, evil, one) == [[], []]
    assert rig.drops() == {"frag_overlap": 2, "frag_refused": 3}
    # An exact duplicate is dropped and nothing else.
    third = Ping(family, ident=79)
    one, two, three = third.parts()
    wan, _ = rig.at_once(LAN, one, one, two, two, three)
    assert third.joined(wan) == third.out(third.identifier(third.joined(wan)))
    assert rig.drops() == {"frag_overlap": 2, "frag_refused": 3, "frag_duplicate": 2}
    assert rig.applier.connections() == 2 and is_clean(rig)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_waits_for_its_first_fragment_is_bounded_in_number_and_time(family):
    rig = snat_rig()
    ping = Ping(family, 8 * WAIT_EACH + 100)
    frames = ping.parts(range(2, WAIT_EACH + 5))[1:]
    assert rig.at_once(LAN, *frames) == [[], []]
    assert rig.drops() == {"frag_queue": len(frames) - WAIT_EACH}
    assert Datagrams(rig.w.datagrams).waiting == WAIT_EACH
    rig.at(rig.stack.now + LIFE_MS, rounds=20)
    assert rig.drops()["frag_timeout"] == WAIT_EACH and rig.applier.connections() == 0
    assert is_clean(rig)


IGNORED = {4: "ip_fragment", 6: "ip6_fragment"}


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_nobody_asked_for_and_pings_to_ourselves(family):
    """The outside address takes fragments of answers alone; nobody puts others together."""
    rig = snat_rig()
    ping = Ping(family)
    for frames in (ping.answers(4711), Ping(family).answers(4711)[::-1]):
        assert rig.at_once(WAN, *frames) == [[], []]
    ours = {4: "198.18.0.1", 6: "2001:db8:1::1"}[family]
    for number, target in enumerate((OUTSIDE[family], ours)):
        asked = Ping(family, datagram=100 + number)
        frame = asked.frame(FROM_CLIENT, (FAR[family], target), 9, 0)
        assert rig.at_once(WAN, *asked.cut(frame, (10,))) == [[], []]
    assert rig.drops() == {IGNORED[family]: 2 + 1 + 2, "frag_refused": 4 + 1}
    assert rig.applier.connections() == 0 and is_clean(rig)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_echoes_are_translated(family):
    """Fragments of other messages, and of pings without a rule, are a router's business."""
    rig = snat_rig(proto4="tcp", proto6="tcp")
    rig.apply("param.set", forwarding=1, forwarding6=1)
    ping = Ping(family, 900)
    whole = Ether(ping.out())
    whole.src, whole.dst = MACS[WAN], GATEWAY_MAC
    if family == 4:
        whole[IP].ttl -= 1
        del whole[IP].chksum
    else:
        whole[IPv6].hlim -= 1
    wan, _ = rig.at_once(LAN, *ping.parts((40, 80))[::-1])
    assert ping.joined(wan) == bytes(whole)
    kind = 34 if family == 4 else 54
    for code in (13, 3) if family == 4 else (130, 1):
        other = bytearray(Ping(family, 900).out())
        other[kind] = code
        frames = Ping(family, datagram=code).cut(bytes(other), (40, 80))
        wan, _ = rig.at_once(LAN, *frames[1:], frames[0])
        assert len(wan) == 3 and {raw[26:30] if family == 4 else raw[22:38] for raw in wan} == {
            bytes(other)[26:30] if family == 4 else bytes(other)[22:38]
        }
    assert rig.drops() == {} and rig.applier.connections() == 0 and is_clean(rig)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_too_big_for_the_way_out(family):
    """IPv4 fragments are cut up further; IPv6 senders are told the MTU (RFC 8201).

    Not about a later fragment: it might be of an error (RFC 4443 2.4 e).
    """
    rig = snat_rig()
    rig.apply("dev.set", id=WAN, mac=MACS[WAN], mtu=1300)
    ping = Ping(family, 2600)
    wan, lan = rig.at_once(LAN, *ping.parts((8, 178)))
    assert lan == [] and max(len(raw) for raw in wan) <= 1314
    if family == 4:
        whole = ping.joined(wan)
        assert len(wan) == 4 and whole == ping.out(ping.identifier(whole)) and is_clean(rig)
        return
    assert len(wan) == 2 and rig.drops() == {"ip6_too_big": 1}
    large, *rest = Ping(family, 2600).parts((170, 180))
    wan, (error,) = rig.at_once(LAN, large, *rest)
    message = Ether(error)[ICMPv6PacketTooBig]
    assert message.mtu == 1300 and bytes(message.payload) == packet_of(large)[:1232]
    assert wan == [] and rig.drops() == {"ip6_too_big": 2, "frag_refused": 2} and is_clean(rig)


def test_rfc7112_the_echo_is_in_the_first_fragment():
    """Behind options before the fragment header, and inside of what is fragmented."""
    rig = snat_rig()
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    ping = Ping(6, 300)
    frames = ping.cut(ping.out(headers=[options]), (10, 20), 1)
    assert go_out(rig, ping, frames[::-1], headers=[options])
    ping = Ping(6, 300)
    frames = ping.cut(ping.out(headers=[options]), (10, 20))
    assert go_out(rig, ping, frames[1:] + frames[:1], headers=[options])
    # Cut in front of the echo: nothing tells what it is.
    bad = ping.cut(ping.out(headers=[options]), (1, 20))
    assert rig.at_once(LAN, *bad) == [[], []]
    assert rig.drops() == {"frag_tiny": 1}
    rig.at(rig.stack.now + LIFE_MS, rounds=20)
    assert rig.drops() == {"frag_tiny": 1, "frag_timeout": 2} and is_clean(rig)


def test_malformed_fragments_of_echoes():
    rig = snat_rig()
    body = packet_of(Ping(6).out())[40:]
    for begin, content, more in ((0, body[:13], 1), (8, b"", 1), (65528, bytes(64), 0)):
        frame = fragment(Ping(6).out(), 0, begin, content, more, 9)
        assert rig.at_once(LAN, frame) == [[], []]
    whole = fragments.packet_of(Ping(4).out())
    for begin, length, more in ((0, 13, 1), (8, 0, 1), (65528, 64, 0)):
        made = fragments.headed(whole[:20], bytes(length), more << 13 | begin // 8)
        assert rig.at_once(LAN, Ping(4).out()[:14] + made) == [[], []]
    assert rig.drops() == {"frag_form": 6} and is_clean(rig)


# Several workers


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_fragments_reach_the_owner_wherever_they_arrive(family, workers):
    """One connection, whichever worker the request came to; answers are found by identifier."""
    rigs = [snat_rig(workers=workers)]
    rigs += [snat_rig(index=n, workers=workers, pool=rigs[0].pool) for n in range(1, workers)]
    kept = connect(rigs)

    idents = set()
    for arrives, order in itertools.product(rigs[::-1], ORDERS[::2]):
        ping = Ping(family)
        arrives.push(LAN, *[ping.parts()[i] for i in order])
        wan, lan = go_round(rigs)
        idents.add(ping.identifier(ping.joined(wan)))
        (ident,) = idents
        assert lan == [] and ping.joined(wan) == ping.out(ident)
        arrives.push(WAN, *[ping.answers(ident)[i] for i in order])
        wan, lan = go_round(rigs)
        assert wan == [] and ping.joined(lan) == ping.back(ident, reached=True)
    assert [each.drops() for each in rigs] == [{}] * workers and kept
    assert sum(each.applier.connections() for each in rigs) == 1
    assert all(is_clean(each) for each in rigs)
