"""SNAT of ICMP: echo by its identifier, and errors about connections of every protocol."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.table import entry_of
from tests.pathrig import CLIENT, FAR, LAN, MACS, OUTSIDE, ROUTER_MAC, WAN, server, server_mac
from tests.snat_rig import (
    PROTOS,
    come_back,
    from_inside,
    from_outside,
    go_out,
    layer,
    number_of,
    snat_rig,
)
from tools.daemon.listing import connection_row


def test_rfc5508_req1_two_hosts_with_one_identifier_do_not_collide():
    rig = snat_rig()
    first = go_out(rig, "icmp", 7, host=0, dport=1)
    second = go_out(rig, "icmp", 7, host=1, dport=1)
    assert first != second
    come_back(rig, "icmp", second, 7, dport=1, host=1)
    come_back(rig, "icmp", first, 7, dport=1, host=0)
    # A request from outside to the mapped identifier is for us, not for the inside host.
    wan, lan = rig.exchange(WAN, from_outside(ICMP(type=8, id=first)))
    assert lan == [] and Ether(wan[0])[ICMP].type == 0
    # An answer nobody asked for, and one to another identifier.
    rig.exchange(WAN, from_outside(ICMP(type=0, id=first), src=CLIENT))
    assert rig.drops() == {"icmp_type": 1}
    # Other queries than echo are not translated (and not forwarded, forwarding being off).
    rig.exchange(LAN, from_inside(ICMP(type=13, id=9)))
    assert rig.drops() == {"icmp_type": 1, "ip_not_forwarded": 1} and rig.clean()


def test_rfc5508_req2_query_sessions_last_300_seconds_from_the_last_packet():
    rig = snat_rig()
    number = go_out(rig, "icmp", 7)
    rig.sleep(200_000, 5000)
    come_back(rig, "icmp", number, 7)
    rig.sleep(290_000, 5000)
    assert rig.connections() == 1
    rig.sleep(15_000, 5000)
    assert rig.connections() == 0 and rig.clean()


def test_a_damaged_echo_does_not_become_whole():
    rig = snat_rig()
    frame = bytearray(bytes(from_inside(ICMP(type=8, id=3, seq=4) / Raw(b"data"))))
    frame[-1] ^= 1
    wan, _ = rig.exchange(LAN, bytes(frame))
    stored = Ether(wan[0])[ICMP].chksum
    again = Ether(wan[0])
    del again[ICMP].chksum
    assert Ether(bytes(again))[ICMP].chksum != stored


@pytest.mark.parametrize("proto", PROTOS)
def test_rfc5508_req4_errors_from_outside_reach_the_inside_host(proto):
    """The quotation is what the inside host sent; the router's address stays, for traceroute."""
    rig = snat_rig()
    frame = from_inside(layer(proto, 5000, 443, payload=b"some data"), ttl=3)
    (sent,), _ = rig.exchange(LAN, frame)
    for router, kind in (("203.0.113.200", 11), (FAR, 3)):
        quoted = Raw(sent[14:])
        wan, lan = rig.exchange(WAN, from_outside(ICMP(type=kind, code=1) / quoted, src=router))
        error = IP(src=router, dst=server(0)) / ICMP(type=kind, code=1) / Raw(bytes(frame)[14:])
        wanted = Ether(src=MACS[LAN], dst=server_mac(0)) / error
        assert (wan, lan) == ([], [bytes(wanted)])
    # From inside: no inside address gets out, in neither header (REQ-5).
    number = number_of(sent)
    back = layer(proto, 443, number, "SA", b"answer")
    if proto == "icmp":
        back = ICMP(type=0, id=number) / Raw(b"answer")
    answer = from_outside(back)
    _, (came,) = rig.exchange(WAN, answer)
    refusal = from_inside(ICMP(type=3, code=3) / Raw(came[14:]))
    wan, lan = rig.exchange(LAN, refusal)
    error = IP(src=OUTSIDE, dst=FAR) / ICMP(type=3, code=3) / Raw(bytes(answer)[14:])
    assert (wan, lan) == ([bytes(Ether(src=MACS[WAN], dst=ROUTER_MAC) / error)], [])
    # About an identifier or port that is nobody's.
    forged = IP(src=OUTSIDE, dst=FAR) / layer(proto, number + 1, 443)
    rig.exchange(WAN, from_outside(ICMP(type=3, code=3) / Raw(bytes(forged))))
    assert rig.drops() == {"icmp_unrelated": 1} and rig.clean()


def test_an_echo_is_listed_as_the_reference_does():
    rig = snat_rig(("icmp",))
    number = go_out(rig, "icmp", 7)
    row = connection_row(entry_of(rig.w.table, 1), rig.now, 1)
    assert (row["proto"], row["state"], row["expire"]) == ("icmp", "ICMP_NORMAL", 300)
    assert (row["caddr"], row["vport"], row["daddr"], row["dport"]) == (FAR, number, server(0), 7)
