"""What routers inside of a tunnel with IPv6 say about it is told to the client.

RFC 2473 section 8 (6 in 6, 4 in 6), RFC 4213 3.4 (6 in 4).  IPv4 in IPv4: test_tunnel_error.py.
"""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests import oracle
from tests.audit import audit
from tests.rig import Rig, connect
from tests.topology import SERVERS, VIP, dest, service
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    SERVERS6,
    TO_CLIENT,
    VIP6,
    dest6,
    error_frame,
    frame6,
    from_server,
    network6,
    service6,
)

CLIENT4 = "203.0.113.7"
ROUTER, ROUTER6 = "198.51.100.9", "2001:db8:abcd::1"  # between us and the real server
ENTRY, ENTRY6 = "198.19.0.1", "2001:db8:2::1"  # our end of the tunnel
KINDS = ("6in6", "4in6", "6in4")
OUTER = {"6in6": 40, "4in6": 40, "6in4": 20}
each_kind = pytest.mark.parametrize("kind", KINDS)
over_ipv6 = pytest.mark.parametrize("kind", KINDS[:2])


def tunnels(kind, **options):
    """A rig with a service of TCP, and one of UDP, in tunnels of a kind."""
    rig = network6(Rig(**options), ipv4=True)
    for number, proto in enumerate(("tcp", "udp")):
        server = (dest if kind == "6in4" else dest6)(number, mode="tunnel", port=80)
        add = service if kind == "4in6" else service6
        add(rig, [server], id=number, proto=proto, laddrs=[])
    return rig


@functools.cache
def rig_of(kind):
    return tunnels(kind)


def fresh(kind):
    """The kind's rig, with tokens for all the errors of a test."""
    rig = rig_of(kind)
    rig.stack.icmp_tokens = 100
    return rig


def opened(rig, kind, proto="udp", size=40, sport=5000, **ip):
    """A client's frame, and what left for the real server."""
    layer = oracle.segment(proto, sport, 80, "S", payload=(bytes(range(256)) * 6)[:size])
    if kind == "4in6":
        frame = oracle.frame(FROM_CLIENT, (CLIENT4, VIP), layer, **ip)
    else:
        frame = frame6(FROM_CLIENT, (CLIENT6, VIP6), layer, **ip)
    _, (sent,) = rig.exchange(0, frame)
    return frame, sent


def too_big(kind, mtu):
    return ICMP(type=3, code=4, nexthopmtu=mtu) if kind == "6in4" else ICMPv6PacketTooBig(mtu=mtu)


def unreachable(kind):
    return ICMP(type=3, code=0) if kind == "6in4" else ICMPv6DestUnreach(code=0)


def complaint(sent, error, cut=None, router=None, us=None):
    """A router's error about a packet that we sent into the tunnel (``sent``: its frame)."""
    quoted = sent[14:][:cut]
    if isinstance(error, ICMP):
        head = IP(src=router or ROUTER, dst=us or ENTRY) / error / Raw(quoted)
        macs = from_server()
        return bytes(Ether(src=macs[0], dst=macs[1]) / head)
    return error_frame(from_server(), (router or ROUTER6, us or ENTRY6), error, quoted)


def told(rig, frame, mtu=None, quoted=None):
    """What the sender of ``frame`` must hear: what the tunnel takes, or that it is broken."""
    inner = Raw(frame[14:][: quoted or (548 if frame[14] >> 4 == 4 else 1232)])
    macs = Ether(src=TO_CLIENT[0], dst=TO_CLIENT[1])
    if frame[14] >> 4 == 4:
        icmp = ICMP(type=3, code=1) if mtu is None else ICMP(type=3, code=4, nexthopmtu=mtu)
        ip = IP(src=VIP, dst=CLIENT4, tos=0xC0, ttl=64, id=rig.stack.ip_id)
        return bytes(macs / ip / icmp / inner)
    icmp = ICMPv6DestUnreach(code=3) if mtu is None else ICMPv6PacketTooBig(mtu=mtu)
    return bytes(macs / IPv6(src=VIP6, dst=CLIENT6, hlim=64) / icmp / inner)


def more(rig, before):
    """Drops counted since ``before``."""
    return {name: n - before.get(name, 0) for name, n in rig.drops().items()
            if n != before.get(name, 0)}  # fmt: skip


@each_kind
@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("size", [1260, 1300, 1400])
def test_rfc2473_8_too_big_is_relayed_less_the_tunnel_header(kind, proto, size):
    rig, before = fresh(kind), rig_of(kind).drops()
    frame, sent = opened(rig, kind, proto, size)
    out = rig.exchange(1, complaint(sent, too_big(kind, 1400)))
    assert out == [[told(rig, frame, 1400 - OUTER[kind])], []]
    assert more(rig, before) == {} and rig.in_flight() == 0


@each_kind
@settings(max_examples=25)
@given(
    mtu=st.integers(1280, 1500) | st.integers(1280, 0xFFFFFFFF), size=st.integers(1241, 1400),
    cut=st.integers(88, 1500), sport=st.integers(1, 65535),
)  # fmt: skip
def test_any_mtu_and_any_length_of_the_quotation(kind, mtu, size, cut, sport):
    rig = fresh(kind)
    mtu = min(mtu, 0xFFFF) if kind == "6in4" else mtu
    frame, sent = opened(rig, kind, size=size, sport=sport)
    (wan, lan), before = rig.exchange(1, complaint(sent, too_big(kind, mtu), cut)), rig.drops()
    room = mtu - OUTER[kind]
    room = min(room, 0xFFFF) if kind == "4in6" else max(room, 1280)
    longest = 548 if kind == "4in6" else 1232
    assert wan == [told(rig, frame, room, min(cut - OUTER[kind], longest))]
    assert lan == [] and more(rig, before) == {}


@pytest.mark.parametrize("flags", ["", "DF"])
def test_rfc2473_8_3_ipv4_senders_are_told_with_df_or_without(flags):
    """We make no fragments of a tunnel's packets, as tunnel6._inner4 tells of our own links."""
    rig = fresh("4in6")
    frame, sent = opened(rig, "4in6", size=1300, flags=flags)
    assert rig.exchange(1, complaint(sent, too_big("4in6", 1300))) == [[told(rig, frame, 1260)], []]


def test_rfc2473_8_2_ipv6_senders_of_1280_bytes_are_not_told():
    """Nobody may be told to send less; but a byte more is too big (RFC 2473 7.1)."""
    for kind in ("6in6", "6in4"):
        rig, before = fresh(kind), rig_of(kind).drops()
        _, sent = opened(rig, kind, size=1280 - 48)
        assert rig.exchange(1, complaint(sent, too_big(kind, 1290))) == [[], []]
        assert more(rig, before) == {"tunnel_mtu": 1}
        frame, sent = opened(rig, kind, size=1280 - 47)
        assert rig.exchange(1, complaint(sent, too_big(kind, 1290)))[0] == [told(rig, frame, 1280)]


@over_ipv6
def test_rfc8201_4_less_than_every_link_takes_is_a_lie(kind):
    rig, before = fresh(kind), rig_of(kind).drops()
    _, sent = opened(rig, kind, size=1400)
    for mtu in (0, 68, 1279):
        assert rig.exchange(1, complaint(sent, too_big(kind, mtu))) == [[], []]
    assert more(rig, before) == {"icmp_low_mtu": 3}


@pytest.mark.parametrize(("mtu", "room"), [(0, 1280), (68, 1280), (1340, 1320), (1500, 1480)])
def test_rfc4213_3_2_2_an_ipv4_router_may_tell_little_or_nothing(mtu, room):
    """Nothing told: the plateau below the packet (RFC 1191 7)."""
    rig = fresh("6in4")
    frame, sent = opened(rig, "6in4", size=1400)
    assert rig.exchange(1, complaint(sent, too_big("6in4", mtu))) == [[told(rig, frame, room)], []]


ERRORS6 = [
    *(ICMPv6DestUnreach(code=code) for code in (0, 1, 2, 3, 5, 6)),
    ICMPv6TimeExceeded(code=0),
]
NOT_RELAYED6 = [
    *(ICMPv6DestUnreach(code=code) for code in (4, 7, 255)),
    *(ICMPv6TimeExceeded(code=code) for code in (1, 255)),
    *(ICMPv6ParamProblem(code=code, ptr=6) for code in range(3)),
]
ERRORS4 = [*(ICMP(type=3, code=code) for code in (0, 1, 2)), ICMP(type=11, code=0)]
NOT_RELAYED4 = [*(ICMP(type=3, code=code) for code in (3, 5, 13)), ICMP(type=11, code=1),
                ICMP(type=4), ICMP(type=12)]  # fmt: skip


@each_kind
def test_rfc2473_8_what_is_relayed_as_unreachable(kind):
    """8.1: unreachable nodes and expired hop limits (8.2: address, 8.3: host unreachable).  We
    send no encapsulation limit, so of parameter problems the client could not make sense; nor of
    ports and reassembly."""
    rig, before = fresh(kind), rig_of(kind).drops()
    frame, sent = opened(rig, kind)
    for error in ERRORS4 if kind == "6in4" else ERRORS6:
        assert rig.exchange(1, complaint(sent, error)) == [[told(rig, frame)], []], error
    assert more(rig, before) == {}
    others = NOT_RELAYED4 if kind == "6in4" else NOT_RELAYED6
    for error in others:
        assert rig.exchange(1, complaint(sent, error)) == [[], []], error
    assert more(rig, before) == {"icmp_unrelated": len(others)} and rig.in_flight() == 0


@each_kind
def test_the_quotation_must_have_the_inner_ports(kind):
    rig, before = fresh(kind), rig_of(kind).drops()
    frame, sent = opened(rig, kind)
    error = unreachable(kind)
    least = OUTER[kind] + (28 if kind == "4in6" else 48)
    cuts = (OUTER[kind] + 8, OUTER[kind] + 20, least - 1)
    for cut in cuts:
        assert rig.exchange(1, complaint(sent, error, cut)) == [[], []]
    assert more(rig, before) == {"icmp_quote": len(cuts)}
    out = rig.exchange(1, complaint(sent, error, least))
    assert out == [[told(rig, frame, quoted=least - OUTER[kind])], []]


@over_ipv6
def test_bytes_behind_the_inner_packet_are_no_part_of_it(kind):
    """Padding, or extensions behind the quotation (RFC 4884)."""
    rig = fresh(kind)
    frame, sent = opened(rig, kind, size=10)
    out = rig.exchange(1, complaint(sent + bytes(60), ERRORS6[0]))
    assert out == [[told(rig, frame)], []]


@over_ipv6
def test_extension_headers_in_front_of_the_inner_packet(kind):
    """A router on the way may have put them in; they are part of what the tunnel adds."""
    rig = fresh(kind)
    frame, sent = opened(rig, kind, size=1300)
    ip = IPv6(sent[14:])
    outer = IPv6(src=ip.src, dst=ip.dst) / IPv6ExtHdrDestOpt(nh=ip.nh)
    longer = sent[:14] + bytes(outer) + sent[54:]
    out = rig.exchange(1, complaint(longer, too_big(kind, 1400)))
    assert out == [[told(rig, frame, 1352)], []]


def test_extension_headers_inside():
    rig = fresh("6in6")
    layer = IPv6ExtHdrDestOpt() / UDP(sport=5001, dport=80) / Raw(bytes(1300))
    frame = frame6(FROM_CLIENT, (CLIENT6, VIP6), layer)
    _, (sent,) = rig.exchange(0, frame)
    assert rig.exchange(1, complaint(sent, too_big("6in6", 1400)))[0] == [told(rig, frame, 1360)]


BAD6 = {
    "version": lambda inner: b"\x45" + inner[1:],
    "payload of nothing": lambda inner: inner[:4] + b"\0\0" + inner[6:],
    "payload less than ports": lambda inner: inner[:4] + b"\0\7" + inner[6:],
    "later fragment": lambda inner: bytes(
        IPv6(src=CLIENT6, dst=VIP6) / IPv6ExtHdrFragment(nh=17, offset=8) / Raw(bytes(40))
    ),
    "extension header behind the end": lambda inner: inner[:6] + b"\x3c" + inner[7:40] + b"\x11\xff"
    + inner[42:],
    "endless extension headers": lambda inner: inner[:6] + b"\x3c" + inner[7:40]
    + (b"\x3c" + bytes(7)) * 20,
}  # fmt: skip
BAD4 = {
    "version": lambda inner: b"\x65" + inner[1:],
    "header of 16 bytes": lambda inner: b"\x44" + inner[1:],
    "header behind the end": lambda inner: (b"\x4f" + inner[1:])[:60],
    "total of a header": lambda inner: inner[:2] + b"\0\x14" + inner[4:],
    "total less than ports": lambda inner: inner[:2] + b"\0\x1b" + inner[4:],
    "later fragment": lambda inner: inner[:6] + b"\x00\x01" + inner[8:],
}


@pytest.mark.parametrize(
    ("kind", "name"), [*(("6in6", n) for n in BAD6), *(("6in4", n) for n in BAD6),
                       *(("4in6", n) for n in BAD4)],
)  # fmt: skip
def test_inner_packets_that_nobody_sent(kind, name):
    rig, before = fresh(kind), rig_of(kind).drops()
    _, sent = opened(rig, kind, size=100)
    at = 14 + OUTER[kind]
    bad = sent[:at] + (BAD4 if kind == "4in6" else BAD6)[name](sent[at:])
    error = unreachable(kind)
    assert rig.exchange(1, complaint(bad, error)) == [[], []]
    assert more(rig, before) == {"icmp_quote": 1} and rig.in_flight() == 0


@each_kind
def test_quotations_of_packets_that_we_did_not_send(kind):
    rig = tunnels(kind)
    nat = dest6(8, mode="nat")
    service6(rig, [nat], id=2, port=81, proto="udp", laddrs=[])
    _, sent = opened(rig, kind)
    error = unreachable(kind)
    ip = IP if kind == "6in4" else IPv6
    outer = ip(sent[14:][: OUTER[kind]])
    inner = sent[14 + OUTER[kind] :]

    def forged(inner=inner, **changes):
        made = outer.copy()
        for name, value in changes.items():
            setattr(made, name, value)
        return bytes(Ether() / made / Raw(inner))

    stranger = bytearray(inner)
    stranger[(20 if kind == "4in6" else 40) + 1] ^= 1  # another port of the client's
    other = bytearray(inner)
    other[15 if kind == "4in6" else 23] ^= 1  # another client
    back = from_server(), (SERVERS6[0], CLIENT6), UDP(sport=8080, dport=5000)
    nat_frame = frame6(FROM_CLIENT, (CLIENT6, VIP6), UDP(sport=5000, dport=81) / Raw(b"x"))
    rig.exchange(0, nat_frame)
    for frame in (
        forged(bytes(stranger)),
        forged(bytes(other)),
        forged(dst=SERVERS[3] if kind == "6in4" else SERVERS6[3]),  # not its real server
        forged(nat_frame[14:], **({"proto": 41} if kind == "6in4" else {"nh": 41})),
        forged(frame6(*back)[14:], **({"proto": 41} if kind == "6in4" else {"nh": 41})),
        forged(src=SERVERS[3] if kind == "6in4" else SERVERS6[3]),  # not our end of the tunnel
    ):
        assert rig.exchange(1, complaint(frame, error)) == [[], []]
    assert rig.drops() == {"icmp_unrelated": 6} and audit(rig.address) == []


@over_ipv6
def test_errors_that_are_wrong_themselves(kind):
    rig, before = fresh(kind), rig_of(kind).drops()
    _, sent = opened(rig, kind)
    broken = bytearray(complaint(sent, ERRORS6[0]))
    broken[-1] ^= 1
    assert rig.exchange(1, bytes(broken)) == [[], []]
    assert rig.exchange(1, complaint(sent, ERRORS6[0], router=ENTRY6)) == [[], []]
    assert more(rig, before) == {"icmp6_checksum": 1, "ip6_loop": 1}


def test_errors_about_other_hosts_tunnels_are_forwarded():
    """Whatever is wrong with them: a router does not look."""
    rig = network6(Rig(), ipv4=True)
    rig.apply("param.set", forwarding6=1)
    about = IPv6(src=CLIENT6, dst=ROUTER6, nh=41) / IPv6(src="2001:db8:77::1", dst=VIP6) / Raw(b"?")
    frame = complaint(bytes(14) + bytes(about), ERRORS6[0], us=CLIENT6)
    frame = frame[:-1] + b"!"
    (out,), lan = rig.exchange(1, frame)
    assert out[14:21] + out[22:] == frame[14:21] + frame[22:] and out[21] == frame[21] - 1
    assert lan == [] and rig.drops() == {}


def test_a_client_of_the_link_alone_is_not_told_through_another_one():
    rig = tunnels("6in6")
    frame = frame6(FROM_CLIENT, ("fe80::7", VIP6), UDP(sport=5000, dport=80))
    _, (sent,) = rig.exchange(0, frame)
    assert rig.exchange(1, complaint(sent, ERRORS6[0])) == [[], []]
    assert rig.drops() == {"ip6_scope": 1}


@each_kind
def test_they_are_limited_in_rate(kind):
    rig = tunnels(kind, now=1000)
    _, sent = opened(rig, kind)
    error = unreachable(kind)
    rig.push(1, *[complaint(sent, error)] * 130)
    wan, _ = rig.at(rig.stack.now, rounds=6)
    assert len(wan) == 100 and rig.drops() == {"icmp_rate": 30} and rig.in_flight() == 0


@each_kind
@pytest.mark.parametrize("workers", [2, 3])
def test_the_worker_that_owns_the_connection_is_found(kind, workers):
    first = tunnels(kind, workers=workers)
    rigs = [first, *(tunnels(kind, index=i, workers=workers, pool=first.pool)
                     for i in range(1, workers))]  # fmt: skip
    kept = connect(rigs)
    frame, sent = opened(rigs[-1], kind, size=1300)
    error = too_big(kind, 1400)
    for arrives in rigs:
        arrives.push(1, complaint(sent, error))
        rounds = [rig.run() for _ in range(workers + 1) for rig in rigs]
        right = told(rigs[-1], frame, 1400 - OUTER[kind])
        assert [one for wan, _ in rounds for one in wan] == [right]
    stranger = sent.replace(b"\x13\x88\0\x50", b"\x13\x89\0\x50", 1)
    assert stranger != sent
    first.push(1, complaint(stranger, error))
    assert not any(any(rig.run()) for _ in range(workers + 2) for rig in rigs)
    assert sum(rig.drops().get("icmp_unrelated", 0) for rig in rigs) == 1
    assert first.in_flight() == 0 and kept
