"""SNAT over several workers, and over the death of one."""

from __future__ import annotations

import itertools

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.laddr import LADDR_STATS_SIZE, LaddrStats
from tests.fragments import cut, joined
from tests.pathrig import FAR, LAN, MACS, OUTSIDE, ROUTER_MAC, WAN, server
from tests.rig import crew, go_round
from tests.snat_rig import (
    PROTOS,
    come_back,
    from_inside,
    from_outside,
    go_out,
    layer,
    number_of,
    snat_rig,
    translated,
)


def test_snat_goes_on_after_its_worker_died_and_no_port_is_given_twice():
    rig = snat_rig()
    numbers = {proto: go_out(rig, proto, 5000) for proto in PROTOS}
    again = snat_rig(memory=rig.shared, table_memory=rig.table_memory, pool=rig.pool)
    assert again.worker.recovered == len(PROTOS)
    stats = LaddrStats(again.w.laddr_stats + 8 * LADDR_STATS_SIZE)
    assert stats.used == len(PROTOS)
    for proto, number in numbers.items():
        come_back(again, proto, number, 5000)
        assert go_out(again, proto, 5000) == number
    others = {go_out(again, "udp", sport) for sport in range(1, 20)}
    assert not others & set(numbers.values())
    again.sleep(1000_000, 9000)
    assert again.connections() == 0 and stats.used == 0


@pytest.mark.parametrize("nat", [False, True])
def test_answers_reach_the_worker_that_holds_the_connection(nat):
    """Without RSS: the port, or identifier, names the worker; the packet is handed over."""
    rigs = first, second = crew(snat_rig, 2)
    for rig in rigs:
        if nat:  # packets of no connection may be answers of NAT servers: their clients own them
            rig.service(9, "nat", dests=[{"id": 30}])
    owners = set()
    for sport, proto in itertools.product(range(5000, 5006), PROTOS):
        at, dport = rigs[sport & 1], 0 if proto == "icmp" else sport - 4600
        frame = from_inside(layer(proto, sport, dport))
        at.push(LAN, frame)
        sent = [rig.run()[WAN] for rig in (at, *rigs)]
        sent = [made for made in itertools.chain(*sent) if made[12:14] == b"\x08\x00"]
        assert len(sent) == 1
        number = number_of(sent[0])
        owners.add((proto, number & 1))
        if not nat or proto == "icmp":
            assert number & 1 == at.worker.index
        if proto == "icmp":
            back = from_outside(ICMP(type=0, id=number, seq=0))
        else:
            back = from_outside(layer(proto, dport, number, "SA"))
        for wrong in rigs:  # once at the owner, once at the other worker
            wrong.push(WAN, back)
            came = [rig.run()[LAN] for rig in (wrong, *rigs)]
            assert [Ether(made)[IP].dst for made in itertools.chain(*came)] == [server(0)]
    assert owners == {(proto, k) for proto in PROTOS for k in (0, 1)}
    # An answer that no worker knows ends at the owner.
    first.exchange(WAN, from_outside(ICMP(type=0, id=2001, seq=0)))
    second.exchange(WAN)
    assert second.drops().get("handover_lost") == 1


@pytest.mark.parametrize("proto,nat", [("udp", False), ("udp", True), ("sctp", False)])
def test_fragments_and_errors_of_inside_hosts_reach_the_worker_that_opened(proto, nat):
    """RSS knows only their addresses: they arrive anywhere."""
    rigs = crew(snat_rig, 3)
    for rig in rigs:
        if nat:
            rig.service(9, "nat", dests=[{"id": 30}])

    rigs[1].push(LAN, from_inside(layer(proto, 1000, 443)))
    ((out,), _) = go_round(rigs)
    number = number_of(out)
    frame = from_inside(layer(proto, 1000, 443, payload=bytes(range(200))))
    wanted = translated(frame, (MACS[WAN], ROUTER_MAC), OUTSIDE, FAR, number, 443)
    for arrives in rigs:
        arrives.push(LAN, *cut(frame, [8, 16]))
        wan, lan = go_round(rigs)
        assert lan == [] and joined(wan) == wanted
        quoted = IP(src=FAR, dst=server(0)) / layer(proto, 443, 1000)
        arrives.push(LAN, from_inside(ICMP(type=3, code=1) / Raw(bytes(quoted))))
        quoted = IP(src=FAR, dst=OUTSIDE) / layer(proto, 443, number)
        error = IP(src=OUTSIDE, dst=FAR) / ICMP(type=3, code=1) / Raw(bytes(quoted))
        assert go_round(rigs) == [[bytes(Ether(src=MACS[WAN], dst=ROUTER_MAC) / error)], []]
    assert [rig.drops() for rig in rigs] == [{}] * 3
    assert sum(rig.connections() for rig in rigs) == 1
