"""SNAT of IPv6: which packets of inside hosts open a connection, and which cannot."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from ipvs.laddr import LADDR_SIZE, Laddr, Replica
from ipvs.rules import in_order
from stack.address6 import words
from tests import oracle
from tests.audit import audit
from tests.rig import Rig
from tests.snat_rig6 import (
    EVERYTHING,
    FAR,
    LAN,
    OUTSIDE,
    WAN,
    go_out,
    layer,
    outside,
    rule,
    snat_rig,
)
from tests.topology6 import FROM_CLIENT, SERVERS6, frame6, from_server, network6, service6

INSIDE = ("2001:db8:2::", "2001:db8:2::ffff")


def test_only_syn_opens_and_not_from_our_own_addresses():
    rig = snat_rig()
    ack = frame6(from_server(), (SERVERS6[0], FAR), layer("tcp", 5, 443, "A"))
    loop = frame6(from_server(), ("2001:db8:2::1", FAR), layer("udp", 5, 443))
    pinged = frame6(from_server(), ("2001:db8:2::1", FAR), layer("icmpv6", 5, 4))
    assert rig.at_once(LAN, ack, loop, pinged) == [[], []]
    assert rig.drops() == {"not_syn": 1, "ip_loop": 2}


@pytest.mark.long
@pytest.mark.parametrize("field", ["src", "dst"])
def test_ranges_compare_whole_addresses(field):
    """Both words, unsigned, in network order; ends are included."""
    low, high = "2001:db8:9:0:8000::fffe", "2001:db8:9:1:7fff:ffff::1"
    inside = (low, "2001:db8:9:0:8000:1::", "2001:db8:9:0:ffff::", "2001:db8:9:1::", high)
    others = ("2001:db8:9:0:8000::fffd", "2001:db8:9:0:7fff::", "2001:db8:9:1:7fff:ffff::2",
              "2001:db8:9:1:8000::", "2001:db8:8:1::", "a001:db8:9:0:9000::")  # fmt: skip
    for address in (*inside, *others):
        rig = outside(network6(Rig()))
        rule(rig, 0, "udp", **{field: (low, high)})
        ends = (address, FAR) if field == "src" else (SERVERS6[0], address)
        wan, lan = rig.at_once(LAN, frame6(from_server(), ends, layer("udp", 5, 6)))
        assert lan == [] and len(wan) == (address in inside), address
    ordered = sorted((*inside, *others), key=lambda text: tuple(map(in_order, words(text))))
    assert ordered == sorted((*inside, *others), key=IPv6Address)


def test_ports_devices_protocols_families_and_the_newest_rule_first():
    rig = outside(network6(Rig(), ipv4=True))
    rule(rig, 0, "udp", src=INSIDE, dport=(53, 99), oif=WAN)
    sent = {}
    for name, frame in {
        "right": frame6(from_server(), (SERVERS6[0], FAR), layer("udp", 5, 99)),
        "port": frame6(from_server(), (SERVERS6[0], FAR), layer("udp", 5, 100)),
        "protocol": frame6(from_server(), (SERVERS6[0], FAR), layer("tcp", 5, 99)),
        "family": oracle.frame(from_server(), ("198.19.0.11", "203.0.113.9"), layer("udp", 5, 99)),
        "oif": frame6(from_server(), (SERVERS6[0], SERVERS6[1]), layer("udp", 5, 99)),
    }.items():
        sent[name] = len(rig.at_once(LAN, frame)[0])
    other = frame6(FROM_CLIENT, (FAR, SERVERS6[0]), layer("udp", 5, 99))
    sent["iif"] = len(rig.at_once(WAN, other)[1])
    assert sent == {"right": 1, "port": 0, "protocol": 0, "family": 0, "oif": 0, "iif": 0}
    assert set(rig.drops()) == {"ip6_not_forwarded", "ip_not_forwarded"}
    # A later rule without servers makes an exception.
    rule(rig, 1, "udp", order=1, dport=(99, 99))
    rig.apply("svc.set", id=1, af="inet6", proto="udp", addr="::", port=0, sched="rr", flags=[],
              dests=[], laddrs=[], match={"src": EVERYTHING, "dst": EVERYTHING, "order": 1,
                                          "sport": (0, 65535), "dport": (99, 99)})  # fmt: skip
    frame = frame6(from_server(1), (SERVERS6[1], FAR), layer("udp", 6, 99))
    assert rig.at_once(LAN, frame) == [[], []] and rig.drops()["no_dest"] == 1


def test_no_pool_or_one_of_the_other_family():
    rig = snat_rig()
    rig.apply("laddr.del", id=8)
    frame = frame6(from_server(), (SERVERS6[0], FAR), layer("udp", 5, 443))
    assert rig.at_once(LAN, frame) == [[], []]
    rig.apply("laddr.set", id=8, addr="198.18.0.9", dev=WAN)
    assert rig.at_once(LAN, frame) == [[], []]
    assert rig.drops() == {"no_laddr": 2} and audit(rig.address) == []


def test_a_full_table_and_ports_that_are_somebody_elses():
    rig = snat_rig(capacity=4)
    go_out(rig, "udp", 1)
    frame = frame6(from_server(), (SERVERS6[0], FAR), layer("udp", 2, 443))
    assert rig.at_once(LAN, frame) == [[], []] and rig.drops() == {"conn_full": 1}
    rig = snat_rig()
    head = Replica(Laddr(rig.w.laddrs + 8 * LADDR_SIZE).heads)
    first = go_out(rig, "udp", 1)
    service6(rig, [], id=5, proto="udp", addr=OUTSIDE, port=first + 1)
    assert go_out(rig, "udp", 2) == first + 2, "a service has the next port"
    assert head.taken == 3
