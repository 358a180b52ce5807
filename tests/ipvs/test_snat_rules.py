"""SNAT: which packets of inside hosts open a connection, and which cannot."""

from __future__ import annotations

import itertools

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from ipvs.laddr import LADDR_SIZE, Laddr, Replica
from tests.pathrig import FAR, LAN, LAN_ADDR, MACS, OUTSIDE, WAN, WAN_ADDR, Rig, server, server_mac
from tests.snat_rig import (
    SECOND,
    come_back,
    from_inside,
    from_outside,
    go_out,
    snat_record,
    snat_rig,
)
from tests.wire import tuple_of


def test_rules_choose_by_every_field_and_the_newest_wins():
    rig = Rig(static=True)
    rules = (
        {"src": (server(0), server(1))},
        {"dst": ("203.0.113.0", "203.0.113.127")},
        {"dport": (80, 90)},
        {"sport": (5000, 5009)},
        {"oif": LAN},
        {"iif": WAN},
        {"iif": None, "oif": WAN, "src": (server(3), server(3))},
    )
    seen = {}
    for index, rule in enumerate(rules):
        rig.snat(7, "tcp", **rule)
        for host, dst, sport, dport in itertools.product(
            (0, 2, 3), (FAR, "203.0.113.200"), (4999, 5009), (79, 80, 90, 91)
        ):
            frame = from_inside(TCP(sport=sport, dport=dport, flags="S"), host, dst)
            wan, _ = rig.exchange(LAN, frame)
            seen[index, host, dst, sport, dport] = bool(wan)
        rig.sleep(40_000, 5000)
        assert rig.connections() == 0
    for (index, host, dst, sport, dport), went in seen.items():
        right = (
            host < 2, dst == FAR, 80 <= dport <= 90, sport == 5009, False, False, host == 3
        )[index]  # fmt: skip
        assert went == right, (rules[index], host, dst, sport, dport)
    # Two rules for the same packets: the later one, whatever the numbers of the services.
    rig.apply("svc.del", id=7)
    rig.snat(3, "tcp", [OUTSIDE, SECOND], order=1)
    rig.snat(2, "tcp", [SECOND], order=5, dest=4)
    pools = rig.applier.pool_memory
    assert pools[8][1] == OUTSIDE and pools[9][1] == SECOND
    rig.apply("svc.set", **snat_record(2, SECOND, 9, order=5))
    wan, _ = rig.exchange(LAN, from_inside(TCP(sport=1, dport=2, flags="S")))
    assert tuple_of(wan[0]).src == SECOND
    rig.apply("svc.del", id=2)
    sources = set()
    for sport in (2, 3):
        wan, _ = rig.exchange(LAN, from_inside(TCP(sport=sport, dport=2, flags="S")))
        sources.add(tuple_of(wan[0]).src)
    assert sources == {OUTSIDE, SECOND} and rig.clean()


def test_what_is_no_new_connection_of_an_inside_host():
    rig = snat_rig(("tcp",))
    for l4, drop in (
        (TCP(sport=1, dport=2, flags="A"), "not_syn"),
        (TCP(sport=1, dport=2, flags="SF"), "tcp_flags"),
        (TCP(sport=0, dport=2, flags="S"), "l4_port_zero"),
        (UDP(sport=1, dport=2), "ip_not_forwarded"),  # no rule for UDP
    ):
        before = rig.drops().get(drop, 0)
        assert rig.exchange(LAN, from_inside(l4)) == [[], []]
        assert rig.drops()[drop] == before + 1
    # Our own addresses are not outside, and their packets do not come in from inside.
    rig.exchange(LAN, from_inside(TCP(sport=1, dport=2, flags="S"), dst=WAN_ADDR))
    forged = Ether(src=server_mac(0), dst=MACS[LAN]) / IP(src=LAN_ADDR, dst=FAR)
    rig.exchange(LAN, forged / TCP(sport=1, dport=2, flags="S"))
    assert rig.drops()["no_service"] == 1 and rig.drops()["ip_loop"] == 1
    # Outside: a packet to the outside address that answers nothing.
    rig.exchange(WAN, from_outside(TCP(sport=443, dport=5000, flags="S")))
    assert rig.drops()["no_service"] == 2
    assert rig.connections() == 0 and rig.clean()


def test_limits_are_drops_with_a_name_and_leave_nothing_behind():
    rig = snat_rig(("tcp", "udp"), capacity=2)
    syn = [from_inside(TCP(sport=1 + i, dport=2, flags="S")) for i in range(3)]
    rig.exchange(LAN, *syn)
    assert rig.drops() == {"conn_full": 1} and rig.connections() == 2
    rig = snat_rig(("tcp",))
    head = Replica(Laddr(rig.w.laddrs + 8 * LADDR_SIZE).heads)
    taken, head.taken = head.taken, head.given
    rig.exchange(LAN, syn[0])
    head.taken = taken
    rig.apply("svc.set", **snat_record(0, OUTSIDE, None))
    rig.exchange(LAN, syn[0])
    rig.apply("svc.set", **snat_record(0, OUTSIDE, 8))
    rig.apply("laddr.del", id=8)
    rig.exchange(LAN, syn[0])
    rig.apply("svc.set", **snat_record(0, OUTSIDE, 8, dests=[]))
    rig.exchange(LAN, syn[0])
    assert rig.drops() == {"no_port": 1, "no_laddr": 2, "no_dest": 1}
    assert rig.connections() == 0 and rig.clean()


def test_ports_of_services_and_other_connections_on_the_outside_address_are_left_alone():
    """An address can be outside address and virtual address at once."""
    rig = snat_rig(("tcp",))
    for port in range(1025, 1031):
        rig.service(port, "dr", addr=OUTSIDE, port=port, dests=[{"id": port}])
    assert go_out(rig, "tcp", 5000) == 1031
    for port in range(1032, 1042):
        rig.service(port, "dr", addr=OUTSIDE, port=port, dests=[{"id": port}])
    rig.exchange(LAN, from_inside(TCP(sport=5001, dport=443, flags="S")))
    assert rig.drops() == {"conn_clash": 1} and rig.connections() == 1 and rig.clean()


def test_rules_go_with_their_service_and_connections_stay():
    rig = snat_rig()
    number = go_out(rig, "udp", 5000)
    rig.apply("svc.del", id=1)
    rig.exchange(LAN, from_inside(UDP(sport=5001, dport=443)))
    assert rig.drops() == {"ip_not_forwarded": 1}
    assert go_out(rig, "udp", 5000) == number
    come_back(rig, "udp", number, 5000)
    assert go_out(rig, "icmp", 1) and rig.clean()


def test_expire_quiescent_ends_snat_connections_whose_address_is_gone():
    rig = Rig()
    rig.snat(0, "udp", flags=["expire_quiescent"])
    go_out(rig, "udp", 5000)
    rig.apply("svc.set", **snat_record(0, OUTSIDE, 8, proto="udp", dests=[]))
    rig.exchange(LAN, from_inside(UDP(sport=5000, dport=443)))
    assert rig.drops() == {"dest_gone": 1} and rig.connections() == 0 and rig.clean()
