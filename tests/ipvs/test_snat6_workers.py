"""SNAT of IPv6 over several workers, and over the death of one."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6

from tests.audit import audit
from tests.fragments6 import cut6, joined6
from tests.rig import crew, go_round
from tests.snat_rig6 import (
    FAR,
    LAN,
    OUTSIDE,
    PROTOS,
    WAN,
    come_back,
    go_out,
    layer,
    number_of,
    snat_rig,
    translated,
)
from tests.topology6 import FROM_CLIENT, SERVERS6, TO_CLIENT, frame6, from_server


@pytest.mark.parametrize("proto", PROTOS)
def test_answers_reach_the_worker_that_opened(proto):
    rigs = crew(snat_rig, 3)
    for owner in rigs:
        frame = frame6(from_server(), (SERVERS6[0], FAR), layer(proto, 7 + owner.w.worker, 443))
        owner.push(LAN, frame)
        ((out,), _) = go_round(rigs)
        number = number_of(out)
        for arrives in rigs:
            l4 = layer(proto, 443, number, "SA")
            if proto == "icmpv6":
                l4 = ICMPv6EchoReply(id=number, seq=1)
            arrives.push(WAN, frame6(FROM_CLIENT, (FAR, OUTSIDE), l4))
            wan, lan = go_round(rigs)
            assert wan == [] and len(lan) == 1
            error = ICMPv6TimeExceeded() / IPv6(src=OUTSIDE, dst=FAR) / layer(proto, number, 443)
            arrives.push(WAN, frame6(FROM_CLIENT, ("2001:db8:7::1", OUTSIDE), error))
            wan, lan = go_round(rigs)
            assert wan == [] and len(lan) == 1
    assert [rig.drops() for rig in rigs] == [{}] * 3
    # Nobody asked for that one.
    frame = frame6(FROM_CLIENT, (FAR, OUTSIDE), layer("udp", 443, 4321))
    rigs[0].push(WAN, frame)
    assert go_round(rigs) == [[], []]
    names = {name for rig in rigs for name in rig.drops()}
    assert names <= {"handover_lost", "no_service"} and len(names) == 1


def test_a_new_worker_goes_on_with_the_connections_of_a_dead_one():
    rig = snat_rig()
    numbers = {proto: go_out(rig, proto, 1000) for proto in PROTOS}
    again = snat_rig(memory=rig.shared, table_memory=rig.table_memory)
    for proto, number in numbers.items():
        come_back(again, proto, number, 1000)
    assert again.applier.connections() == len(PROTOS) and audit(again.address) == []
    fresh = {proto: go_out(again, proto, 1001) for proto in PROTOS}
    assert all(fresh[proto] != numbers[proto] for proto in PROTOS)


@pytest.mark.parametrize("proto", ["udp", "sctp"])
def test_fragments_and_errors_of_inside_hosts_reach_the_worker_that_opened(proto):
    """RSS knows only their addresses: they arrive anywhere."""
    rigs = crew(snat_rig, 3)
    rigs[1].push(LAN, frame6(from_server(), (SERVERS6[0], FAR), layer(proto, 1000, 443)))
    ((out,), _) = go_round(rigs)
    number = number_of(out)
    l4 = layer(proto, 1000, 443, payload=bytes(range(200)))
    frame = frame6(from_server(), (SERVERS6[0], FAR), l4)
    for ident, arrives in enumerate(rigs):
        arrives.push(LAN, *cut6(frame, [8, 16], ident))
        wan, lan = go_round(rigs)
        wanted = translated(frame, TO_CLIENT, OUTSIDE, FAR, sport=number)
        assert lan == [] and joined6(wan) == wanted
        error = ICMPv6PacketTooBig(mtu=1400) / IPv6(src=FAR, dst=SERVERS6[0])
        arrives.push(
            LAN, frame6(from_server(), (SERVERS6[0], FAR), error / layer(proto, 443, 1000))
        )
        error = ICMPv6PacketTooBig(mtu=1400) / IPv6(src=FAR, dst=OUTSIDE)
        wanted = frame6(TO_CLIENT, (OUTSIDE, FAR), error / layer(proto, 443, number))
        assert go_round(rigs) == [[wanted], []]
    assert [rig.drops() for rig in rigs] == [{}] * 3
    assert sum(rig.applier.connections() for rig in rigs) == 1
