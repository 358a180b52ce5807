"""SNAT of ICMPv6: echo by its identifier, and errors about connections of every protocol."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)

from tests.audit import audit
from tests.snat_rig6 import (
    FAR,
    LAN,
    OUTSIDE,
    PROTOS,
    WAN,
    come_back,
    go_out,
    layer,
    snat_rig,
)
from tests.topology6 import FROM_CLIENT, SERVERS6, TO_CLIENT, frame6, from_server, to_server


def test_rfc5508_req1_two_hosts_with_one_identifier_do_not_collide():
    rig = snat_rig()
    first = go_out(rig, "icmpv6", 7, host=0, dport=1)
    second = go_out(rig, "icmpv6", 7, host=1, dport=1)
    assert first != second
    come_back(rig, "icmpv6", second, 7, dport=1, host=1)
    come_back(rig, "icmpv6", first, 7, dport=1, host=0)
    # A request from outside to the mapped identifier is for us, not for the inside host.
    ping = frame6(FROM_CLIENT, (FAR, OUTSIDE), ICMPv6EchoRequest(id=first))
    (reply,), lan = rig.at_once(WAN, ping)
    assert lan == [] and reply[54] == 129
    # An answer nobody asked for.
    rig.at_once(WAN, frame6(FROM_CLIENT, ("2001:db8:9::1", OUTSIDE), ICMPv6EchoReply(id=first)))
    assert rig.drops() == {"icmp6_type": 1} and audit(rig.address) == []


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("message", [ICMPv6TimeExceeded(code=0), ICMPv6PacketTooBig(mtu=1300)])
def test_errors_from_outside_reach_the_inside_host(proto, message):
    """Quoted as the host sent it; the router outside keeps its address (RFC 5508 REQ-4)."""
    rig = snat_rig()
    number = go_out(rig, proto, 77, payload=b"abcd")
    quoted = IPv6(src=OUTSIDE, dst=FAR) / layer(proto, number, 443, payload=b"abcd")
    router = "2001:db8:7::1"
    frame = frame6(FROM_CLIENT, (router, OUTSIDE), message / quoted)
    wan, (out,) = rig.at_once(WAN, frame)
    sent = IPv6(src=SERVERS6[0], dst=FAR) / layer(proto, 77, 443, payload=b"abcd")
    wanted = frame6(to_server(), (router, SERVERS6[0]), message.copy() / sent)
    assert (wan, out) == ([], wanted), rig.drops()


@pytest.mark.parametrize("proto", PROTOS)
def test_errors_from_inside_reach_the_outside_host(proto):
    rig = snat_rig()
    number = go_out(rig, proto, 77)
    answers = {"icmpv6": ICMPv6EchoReply}
    back = answers[proto](id=77, seq=443) if proto in answers else layer(proto, 443, 77)
    seen = answers[proto](id=number, seq=443) if proto in answers else layer(proto, 443, number)
    message = ICMPv6PacketTooBig(mtu=1400)
    quoted = IPv6(src=FAR, dst=SERVERS6[0]) / back
    frame = frame6(from_server(), (SERVERS6[0], FAR), message / quoted)
    (out,), lan = rig.at_once(LAN, frame)
    quoted = IPv6(src=FAR, dst=OUTSIDE) / seen
    wanted = frame6(TO_CLIENT, (OUTSIDE, FAR), message.copy() / quoted)
    assert (out, lan) == (wanted, []), rig.drops()
