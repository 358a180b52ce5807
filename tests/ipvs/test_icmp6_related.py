"""ICMPv6 errors about connections, and ICMP errors between the families (NAT64)."""

from __future__ import annotations

import functools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.rig import Rig, crew, go_round
from tests.topology import SERVERS
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    LOCAL6,
    SERVERS6,
    TO_CLIENT,
    VIP6,
    balancer6,
    conversation,
    dest6,
    error_frame,
    frame6,
    from_server,
    network6,
    service6,
    to_server,
)

ROUTER6 = "2001:db8:abcd::1"
ERRORS = {
    "unreachable": ICMPv6DestUnreach(code=4),
    "too big": ICMPv6PacketTooBig(mtu=1300),
    "time exceeded": ICMPv6TimeExceeded(),
    "parameter": ICMPv6ParamProblem(code=1, ptr=6),
}


rig_of = functools.cache(balancer6)


@pytest.mark.parametrize("mode", ["fullnat", "nat"])
@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp"])
@settings(max_examples=12)
@given(
    error=st.sampled_from(list(ERRORS.values())),
    cut=st.integers(0, 60),
    sport=st.integers(1, 65535),
)
def test_rfc4443_errors_reach_the_sender_and_quote_what_it_sent(mode, proto, error, cut, sport):
    """Both directions; quotations cut anywhere behind the ports."""
    rig = rig_of(mode, proto)
    raw, out, answer, back = conversation(rig, proto, sport, bytes(range(50)))
    before = rig.drops()
    size = max(48, len(out) - 14 - cut)
    assume(proto != "sctp" or not 48 < size < 52)
    assume(proto != "tcp" or size != 40 + 17)  # half a checksum is left as it came
    # About the client's packet, from the server itself: the client hears it from the service.
    sent_to = LOCAL6 if mode == "fullnat" else CLIENT6
    frame = error_frame(from_server(), (SERVERS6[0], sent_to), error, out[14:][:size])
    right = error_frame(TO_CLIENT, (VIP6, CLIENT6), error, quoted_like(out, raw, size))
    assert rig.exchange(1, frame) == [[right], []]
    # About the server's answer, from a router near the client.
    frame = error_frame(FROM_CLIENT, (ROUTER6, VIP6), error, back[14:][:size])
    seen = LOCAL6 if mode == "fullnat" else ROUTER6
    right = error_frame(to_server(), (seen, SERVERS6[0]), error, quoted_like(back, answer, size))
    assert rig.exchange(0, frame) == [[], [right]]
    assert rig.drops() == before and rig.in_flight() == 0


@pytest.mark.parametrize("kind", ERRORS)
def test_a_dr_server_gets_errors_about_its_answers_as_they_came(kind):
    """Its kernel knows its own packet in the quotation, or path MTU discovery fails."""
    rig = rig_of("dr")
    opening = frame6(FROM_CLIENT, (CLIENT6, VIP6), TCP(sport=999, dport=80))
    rig.exchange(0, opening)
    quoted = bytes(IPv6(src=VIP6, dst=CLIENT6) / TCP(sport=80, dport=999) / bytes(1100))
    frame = error_frame(FROM_CLIENT, (ROUTER6, VIP6), ERRORS[kind], quoted)
    right = error_frame(to_server(), (ROUTER6, VIP6), ERRORS[kind], quoted)
    assert rig.exchange(0, frame) == [[], [right]]


def quoted_like(forwarded, original, size):
    """The original packet, but hop limit and all that we leave alone as forwarded."""
    assert Ether(forwarded)[IPv6].hlim == Ether(original)[IPv6].hlim
    return original[14:][:size]


def test_errors_that_are_nobodys():
    rig = balancer6("fullnat")
    raw, out, _, back = conversation(rig)
    error = ERRORS["too big"]
    bad = bytearray(error_frame(FROM_CLIENT, (ROUTER6, VIP6), error, back[14:]))
    bad[-1] ^= 1
    nested = IPv6(src=VIP6, dst=CLIENT6) / ICMPv6TimeExceeded() / Raw(bytes(48))
    for frame, reason in (
        (bytes(bad), "icmp6_checksum"),
        (error_frame(FROM_CLIENT, (ROUTER6, VIP6), error, back[14:][:47]), "icmp_quote"),
        (error_frame(FROM_CLIENT, (ROUTER6, VIP6), error, raw[14:]), "icmp_unrelated"),
        (error_frame(FROM_CLIENT, (ROUTER6, VIP6), error, bytes(nested)), "icmp_nested"),
        (error_frame(FROM_CLIENT, (VIP6, VIP6), error, back[14:]), "ip6_loop"),
    ):
        before = rig.drops().get(reason, 0)
        assert rig.exchange(0, frame) == [[], []]
        assert rig.drops().get(reason, 0) == before + 1, reason
    stranger = error_frame(
        from_server(), (SERVERS6[0], LOCAL6), error, bytes(out[14:16]) + bytes(60)
    )
    assert rig.exchange(1, stranger) == [[], []] and rig.in_flight() == 0


def test_an_error_at_the_wrong_worker_reaches_the_owner():
    rigs = crew(Rig, 3)
    for rig in rigs:
        network6(rig, ipv4=True)
        service6(rig, [dest6(0)], laddrs=[1])
    raw, out, answer, back = conversation(rigs[1])
    error = ERRORS["too big"]
    for arrives in rigs:
        for port, frame in (
            (0, error_frame(FROM_CLIENT, (ROUTER6, VIP6), error, back[14:])),
            (1, error_frame(from_server(), (SERVERS6[0], LOCAL6), error, out[14:])),
        ):
            arrives.push(port, frame)
            wan, lan = go_round(rigs)
            (left,) = wan + lan
            assert left.endswith(answer[14:] if port == 0 else raw[14:])
    assert [rig.drops() for rig in rigs] == [{}] * 3


TO_SIX = [
    ((3, 0), (1, 0)), ((3, 1), (1, 0)), ((3, 2), (4, 1)), ((3, 3), (1, 4)), ((3, 4), (2, 0)),
    ((3, 9), (1, 1)), ((3, 13), (1, 1)), ((3, 14), None), ((4, 0), None), ((11, 0), (3, 0)),
    ((11, 1), (3, 1)), ((12, 0), (4, 0)), ((12, 1), None),
]  # fmt: skip


@pytest.mark.parametrize(("four", "six"), TO_SIX)
@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp"])
def test_rfc7915_4_2_errors_to_ipv6(proto, four, six):
    """Type, code, MTU plus 20, and 4.3: the quoted header is translated too."""
    rig = rig_of("nat64", proto)
    raw, out, _, _ = conversation(rig, proto, 2000 + 16 * four[0] + four[1], b"payload")
    icmp = ICMP(type=four[0], code=four[1], nexthopmtu=1400 if four == (3, 4) else 0)
    quoted = IP(out[14:])
    head = IP(src="198.19.0.254", dst=quoted.src, ttl=50) / icmp / Raw(bytes(quoted))
    wan, lan = rig.exchange(1, bytes(Ether(src=from_server()[0], dst=from_server()[1]) / head))
    assert lan == []
    if six is None:
        assert wan == []
        return
    made = {
        1: ICMPv6DestUnreach(code=six[1]), 2: ICMPv6PacketTooBig(mtu=1420),
        3: ICMPv6TimeExceeded(code=six[1]), 4: ICMPv6ParamProblem(code=six[1], ptr=6 * six[1]),
    }[six[0]]  # fmt: skip
    right = IPv6(src=VIP6, dst=CLIENT6, hlim=50) / made / Raw(raw[14:])
    assert wan == [bytes(Ether(src=TO_CLIENT[0], dst=TO_CLIENT[1]) / right)]


@pytest.mark.parametrize(
    ("six", "four"),
    [
        (ICMPv6DestUnreach(code=0), (3, 1)), (ICMPv6DestUnreach(code=1), (3, 10)),
        (ICMPv6DestUnreach(code=3), (3, 1)), (ICMPv6DestUnreach(code=4), (3, 3)),
        (ICMPv6PacketTooBig(mtu=1300), (3, 4)), (ICMPv6TimeExceeded(code=0), (11, 0)),
        (ICMPv6ParamProblem(code=1), (3, 2)), (ICMPv6ParamProblem(code=0, ptr=0), (12, 0)),
        (ICMPv6ParamProblem(code=2), None),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("proto", "payload"), [("udp", b"payload"), ("udp", bytes(1200)), ("sctp", b"payload")]
)
def test_rfc7915_5_2_errors_to_ipv4(six, four, proto, payload):
    """MTU less 20 (path MTU discovery of the server); at most 576 bytes of error (RFC 1812)."""
    rig = rig_of("nat64", proto)
    _, _, answer, back = conversation(rig, proto, 3000 + six.type * 16 + six.code, payload)
    frame = error_frame(FROM_CLIENT, (ROUTER6, VIP6), six, back[14:])
    wan, lan = rig.exchange(0, frame)
    assert wan == []
    if four is None:
        assert lan == []
        return
    (sent,) = lan
    got, asked = Ether(sent)[IP], IP(answer[14:])
    icmp = ICMP(type=four[0], code=four[1], nexthopmtu=1280 if four == (3, 4) else 0)
    quoted = IP(bytes(asked))
    quoted.id, quoted.flags = 0, "DF"  # what the IPv6 packet does not tell
    del quoted.chksum
    outer = IP(src=asked.dst, dst=SERVERS[0], ttl=60, id=got.id, flags="", tos=0)
    right = bytes(outer / icmp / Raw(bytes(quoted)[: 576 - 28]))
    assert bytes(got) == right
