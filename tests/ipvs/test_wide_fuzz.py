"""Mutated IPv6 packets of every kind against services of every mode: each is sent on or counted,
nothing leaks, the tables agree."""

from __future__ import annotations

import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.datagrams import Datagrams
from tests import oracle
from tests.audit import audit
from tests.fragments import cut
from tests.fragments6 import cut6
from tests.rig import Rig
from tests.topology import LAN_MAC, LOCAL, SERVER_MACS, SERVERS, dest
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    LOCAL6,
    SERVERS6,
    VIP6,
    dest6,
    frame6,
    from_server,
    network6,
    service6,
)

MODES = {81: ("fullnat", dest6), 82: ("nat", dest6), 83: ("dr", dest6), 84: ("fullnat", dest),
         85: ("tunnel", dest6), 86: ("tunnel", dest), 87: ("fullnat", dest6),
         88: ("fullnat", dest)}  # fmt: skip
PROXY = {(87, "tcp"): "v2", (88, "tcp"): "v1-insecure"}
HEADERS = (IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, IPv6ExtHdrFragment)


def balancer():
    rig = network6(Rig(capacity=512), ipv4=True)
    for number, (port, (mode, server)) in enumerate(MODES.items()):
        for turn, proto in enumerate(("tcp", "udp")):
            one = server(4 * number + turn, addr=server(0)["addr"], mode=mode, port=port)
            service6(
                rig, [one], id=2 * number + turn, port=port, proto=proto, laddrs=[0, 1],
                proxy_protocol=PROXY.get((port, proto), "disable"),
            )  # fmt: skip
    rig.w.toa = rig.w.new_isn = 1
    rig.w.uoa_packets = 3
    return rig


def seeds(rng):
    """(port, frame) of packets that are right."""
    port, sport = rng.choice(list(MODES)), rng.randrange(1, 40)
    proto = rng.choice(["tcp", "udp"])
    layer = oracle.segment(proto, sport, port, rng.choice(["S", "A", "FA", "R"]), rng.randbytes(9))
    yield 0, frame6(FROM_CLIENT, (CLIENT6, VIP6), layer)
    extra = rng.choice(HEADERS)()
    yield 0, frame6(FROM_CLIENT, (CLIENT6, VIP6), extra / layer)
    long = oracle.segment(proto, sport, port, "A", rng.randbytes(rng.randrange(40, 200)))
    whole = frame6(FROM_CLIENT, (CLIENT6, VIP6), rng.choice([long, IPv6ExtHdrDestOpt() / long]))
    for part in rng.sample(cut6(whole, {5, rng.randrange(4, 7)}, rng.randrange(3)), 2):
        yield 0, part
    local = rng.randrange(1025, 1100)
    back = oracle.segment(proto, port, local, "SA", rng.randbytes(5))
    yield 1, frame6(from_server(), (SERVERS6[0], LOCAL6), back)
    yield 1, oracle.frame((SERVER_MACS[0], LAN_MAC), (SERVERS[0], LOCAL), back)
    more = oracle.segment(proto, port, local, "A", rng.randbytes(rng.randrange(40, 1400)))
    reply = oracle.frame((SERVER_MACS[0], LAN_MAC), (SERVERS[0], LOCAL), more, id=rng.randrange(3))
    yield 1, rng.choice([reply, *cut(reply, {4})])
    kind = UDP if proto == "udp" else TCP
    quoted = IPv6(src=VIP6, dst=CLIENT6) / kind(sport=port, dport=sport) / Raw(bytes(8))
    error = IPv6(src="2001:db8:9::9", dst=VIP6) / ICMPv6PacketTooBig(mtu=1300) / Raw(bytes(quoted))
    yield 0, bytes(Ether(src=FROM_CLIENT[0], dst=FROM_CLIENT[1]) / error)
    quoted = IP(src=LOCAL, dst=SERVERS[0]) / kind(sport=local, dport=port) / Raw(bytes(8))
    error = IP(src=SERVERS[0], dst=LOCAL) / ICMP(type=3, code=4) / Raw(bytes(quoted))
    yield 1, bytes(Ether(src=SERVER_MACS[0], dst=LAN_MAC) / error)


def mutated(rng, frame):
    """The frame with a few bytes changed, a piece cut off or bytes behind it."""
    raw = bytearray(frame)
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        raw[rng.randrange(12, len(raw))] = rng.choice(
            [0, 1, 6, 17, 44, 58, 255, rng.randrange(256)]
        )
    if rng.random() < 0.2:
        raw = raw[: rng.randrange(14, len(raw))]
    return bytes(raw) + rng.randbytes(rng.choice([0, 0, 0, 7]))


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_packets(seed):
    rng = random.Random(seed)
    rig = balancer()
    received = sent = 0
    for turn in range(60):
        rig.apply("param.set", xmit_ttl=turn % 2)
        for port, frame in seeds(rng):
            frames = [frame, *(mutated(rng, frame) for _ in range(3))]
            received += len(frames)
            wan, lan = rig.exchange(port, *frames)
            sent += len(wan) + len(lan)
            waiting = Datagrams(rig.w.datagrams).waiting  # fragments, for their first one
            assert rig.in_flight() - waiting <= 64, "packets that wait for neighbours"
        if turn % 20 == 19:
            assert audit(rig.address) == []
    # What errors and solicitations were sent besides only adds to the left side.
    assert sent + sum(rig.drops().values()) + rig.in_flight() >= received and sent > received / 12
    for _ in range(100):
        rig.at((rig.stack.now + 4000) & 0xFFFFFFFF)
    assert rig.applier.connections() == 0 and audit(rig.address) == []
    assert rig.in_flight() == 0
