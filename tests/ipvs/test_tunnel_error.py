"""RFC 2003 section 4: what routers inside of a tunnel say about it is told to the client."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    FAR,
    LAN,
    LAN_ADDR,
    MACS,
    ROUTER_MAC,
    VIP,
    WAN,
    WAN_ADDR,
    Rig,
    from_client,
    server,
    server_mac,
)
from tests.rig import crew

ROUTER = "198.51.100.9"  # somewhere between us and the real server


def tunnel_rig(**options):
    rig = Rig(static=True, **options)
    rig.service(0, "tunnel", "tcp")
    rig.service(1, "tunnel", "udp", dests=[{"id": 1}])
    rig.service(2, "nat", "udp", port=81, dests=[{"id": 2}])
    return rig


def complaint(sent, kind=3, code=4, mtu=1300, cut=None, **outer):
    """The router's error about a frame that we sent into the tunnel."""
    about = IP(sent[14:])
    for name, value in outer.items():
        setattr(about, name, value)
    icmp = ICMP(type=kind, code=code, nexthopmtu=mtu if (kind, code) == (3, 4) else 0)
    head = IP(src=ROUTER, dst=LAN_ADDR) / icmp
    return bytes(Ether(src=server_mac(3), dst=MACS[LAN]) / head / Raw(bytes(about)[:cut]))


def told(rig, frame, code, mtu=0, quoted=548):
    """What the sender of ``frame`` must hear."""
    inner = bytes(frame)[14:][:quoted]
    client = frame[IP].src
    mac = CLIENT_MAC if client == CLIENT else ROUTER_MAC
    ip = IP(src=VIP, dst=client, tos=0xC0, ttl=64, id=rig.stack.ip_id)
    icmp = ICMP(type=3, code=code, nexthopmtu=mtu)
    return bytes(Ether(src=MACS[WAN], dst=mac) / ip / icmp / Raw(inner))


def opened(rig, proto="udp", client=CLIENT, size=40, **ip):
    """A client's frame, and what left for the real server."""
    l4 = TCP(sport=5000, dport=80, flags="S") if proto == "tcp" else UDP(sport=5000, dport=80)
    frame = Ether(bytes(from_client(l4 / Raw((bytes(range(256)) * 6)[:size]), src=client, **ip)))
    _, (sent,) = rig.exchange(WAN, frame)
    return frame, sent


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("client", [CLIENT, FAR])
@pytest.mark.parametrize("size", [0, 40, 1400])
def test_rfc2003_5_1_datagram_too_big_is_relayed_less_the_outer_header(proto, client, size):
    rig = tunnel_rig()
    frame, sent = opened(rig, proto, client, size, flags="DF", id=9)
    out = rig.exchange(LAN, complaint(sent))
    assert out == [[told(rig, frame, 4, 1280)], []]
    assert rig.drops() == {} and rig.clean()


@pytest.mark.parametrize(("mtu", "room"), [(0, 986), (68, 68), (80, 68), (600, 580), (1500, 1480)])
def test_rfc2003_5_1_the_mtu_told(mtu, room):
    """None told: the plateau below the packet (RFC 1191 7); never below what every link takes."""
    rig = tunnel_rig()
    frame, sent = opened(rig, size=1200)
    assert rig.exchange(LAN, complaint(sent, mtu=mtu)) == [[told(rig, frame, 4, room)], []]


RELAYED = {(3, 0): 1, (3, 1): 1, (3, 2): 1, (11, 0): 1}


def test_rfc2003_4_what_is_relayed_as_what():
    """4.1: unreachable; 4.4: an expired TTL is host unreachable.  Of all others the client could
    not make sense: port unreachable, failed source routes, reassembly, parameter problems."""
    rig = tunnel_rig()
    frame, sent = opened(rig)
    lost = 0
    for kind, code in [*((3, code) for code in range(16) if code != 4), *((11, c) for c in (0, 1)),
                       (4, 0), (12, 0)]:  # fmt: skip
        rig.stack.icmp_tokens = 100
        out = rig.exchange(LAN, complaint(sent, kind, code))
        if (kind, code) in RELAYED:
            assert out == [[told(rig, frame, RELAYED[kind, code])], []]
        else:
            lost += 1
            assert out == [[], []]
    assert rig.drops() == {"icmp_unrelated": lost} and rig.clean()


def test_rfc2003_4_the_quotation_must_have_the_inner_ports():
    """Routers that quote no more than RFC 792 asks for do not tell who was meant."""
    rig = tunnel_rig()
    frame, sent = opened(rig)
    for cut in (28, 47):
        assert rig.exchange(LAN, complaint(sent, cut=cut)) == [[], []]
    assert rig.drops() == {"icmp_quote": 2}
    out = rig.exchange(LAN, complaint(sent, cut=48))
    assert out == [[told(rig, frame, 4, 1280, 28)], []]


def test_inner_packets_that_are_nobodys():
    rig = tunnel_rig()
    _, sent = opened(rig, size=10)
    stranger = Ether(sent)
    stranger[UDP].sport = 4999
    assert rig.exchange(LAN, complaint(bytes(stranger))) == [[], []]
    # Of a connection that goes through no tunnel.
    nat = from_client(UDP(sport=5000, dport=81) / Raw(b"x"))
    rig.exchange(WAN, nat)
    forged = bytes(Ether() / IP(src=LAN_ADDR, dst=server(0), proto=4) / nat[IP])
    assert rig.exchange(LAN, complaint(forged)) == [[], []]
    # The outer packet is not ours.
    assert rig.exchange(LAN, complaint(sent, src=server(2), chksum=None)) == [[], []]
    for broken in (b"\x65", b"\x44", b"\x4f"):
        bad = sent[:34] + broken + sent[35:]
        assert rig.exchange(LAN, complaint(bad)) == [[], []]
    assert rig.drops() == {"icmp_unrelated": 3, "icmp_quote": 3} and rig.clean()


def test_inner_packets_that_lie():
    """Later fragments have no ports; a length that leaves no room for them."""
    rig = tunnel_rig()
    _, sent = opened(rig, size=100)
    for at, value in ((40, b"\0\1"), (36, b"\0\x14"), (36, b"\0\x1b")):
        bad = sent[:at] + value + sent[at + 2 :]
        assert rig.exchange(LAN, complaint(bad)) == [[], []]
    assert rig.drops() == {"icmp_quote": 3} and rig.clean()


def test_bytes_behind_the_inner_packet_are_no_part_of_it():
    rig = tunnel_rig()
    frame, sent = opened(rig, size=10)
    out = rig.exchange(LAN, complaint(sent + bytes(60), 3, 1))
    assert out == [[told(rig, frame, 1)], []]


def test_who_makes_an_error_up_must_know_the_real_server_and_not_be_us():
    rig = tunnel_rig()
    _, sent = opened(rig)
    assert rig.exchange(LAN, complaint(sent, dst=server(3), chksum=None)) == [[], []]
    ours = Ether(complaint(sent))
    ours[IP].src = WAN_ADDR
    del ours[IP].chksum
    assert rig.exchange(LAN, bytes(ours)) == [[], []]
    assert rig.drops() == {"icmp_unrelated": 1, "ip_loop": 1} and rig.clean()


def test_they_are_limited_in_rate():
    rig = tunnel_rig()
    _, sent = opened(rig)
    wan, _ = rig.exchange(LAN, *[complaint(sent)] * 130)
    assert len(wan) == 100 and rig.drops() == {"icmp_rate": 30} and rig.clean()


@pytest.mark.parametrize("workers", [2, 3])
def test_the_worker_that_owns_the_connection_is_found(workers):
    rigs = crew(tunnel_rig, workers)
    frame, sent = opened(rigs[-1])
    for arrives in rigs:
        arrives.push(LAN, complaint(sent))
        rounds = [rig.run() for _ in range(workers + 1) for rig in rigs]
        assert [one for wan, _ in rounds for one in wan] == [told(rigs[-1], frame, 4, 1280)]
    stranger = Ether(sent)
    stranger[UDP].sport = 4999
    rigs[0].push(LAN, complaint(bytes(stranger)))
    assert not any(any(rig.run()) for _ in range(workers + 2) for rig in rigs)
    assert sum(rig.drops().get("icmp_unrelated", 0) for rig in rigs) == 1
    assert rigs[0].in_flight() == 0
