"""Tunnel mode, IPv4 in IPv4: every byte of the outer header against scapy, the inner one whole."""

from __future__ import annotations

import functools
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from ipvs.entry import ONE_SIDED, S_TUNNEL, SPECIAL, Entry
from ipvs.table import entry_of
from tests.pathrig import (
    CLIENT,
    FAR,
    LAN,
    LAN_ADDR,
    MACS,
    VIP,
    WAN,
    Rig,
    from_client,
    server,
    server_mac,
)
from tools.daemon.listing import connection_row

OPTIONS = b"\x07\x07\x04\x00\x00\x00\x00\x00"  # record route


def tunnel_rig(**options):
    rig = Rig(**options)
    rig.service(0, "tunnel", "tcp")
    rig.service(1, "tunnel", "udp", dests=[{"id": 1}])
    return rig


@functools.cache
def shared_rig():
    return tunnel_rig()


def encapsulated(inner, sent, source=LAN_ADDR, target=None, mac=None):
    """The frame that must leave with the packet ``inner`` in it; only its id is taken as sent."""
    outer = IP(
        src=source, dst=target or server(0), proto=4, id=struct.unpack_from(">H", sent, 18)[0],
        tos=inner[1], ttl=inner[8], flags="DF" if inner[6] & 0x40 else "",
    )  # fmt: skip
    return bytes(Ether(src=MACS[LAN], dst=mac or server_mac(0)) / outer / Raw(inner))


def datagram(sport=1234, size=10, **ip):
    return from_client(UDP(sport=sport, dport=80) / Raw(bytes(size)), **ip)


def packet_of(frame):
    """The IP packet in a frame, without padding."""
    l3 = bytes(frame)[14:]
    return l3[: struct.unpack_from(">H", l3, 2)[0]]


@settings(max_examples=40)
@given(
    proto=st.sampled_from(["tcp", "udp"]), client=st.sampled_from([CLIENT, FAR]),
    tos=st.integers(0, 255), ttl=st.integers(1, 255), ident=st.integers(0, 65535),
    flags=st.sampled_from(["", "DF"]), options=st.booleans(), padding=st.integers(0, 9),
    payload=st.binary(max_size=60) | st.integers(0, 1440).map(bytes), sport=st.integers(1, 65535),
)  # fmt: skip
def test_rfc2003_3_1_outer_header_and_untouched_inner_packet(
    proto, client, tos, ttl, ident, flags, options, padding, payload, sport
):
    """TOS, DF and TTL are the inner packet's, options are not copied, nothing inside changes."""
    rig = shared_rig()
    rig.w.xmit_ttl = 0
    l4 = TCP(sport=sport, dport=80, flags="S") if proto == "tcp" else UDP(sport=sport, dport=80)
    more = {"options": [OPTIONS]} if options else {}
    if options:
        payload = payload[:1400]
    ip = {"tos": tos, "ttl": ttl, "id": ident, "flags": flags, **more}
    frame = from_client(l4 / Raw(payload), src=client, **ip)
    for _ in range(2):  # as a new and as a known connection
        wan, lan = rig.exchange(WAN, bytes(frame) + bytes(padding))
        assert wan == [] and lan == [encapsulated(packet_of(frame), lan[0])], rig.drops()
        assert rig.clean()


def test_a_tunnelled_connection_has_one_side():
    rig = tunnel_rig()
    rig.exchange(WAN, from_client(TCP(sport=1000, dport=80, flags="S")))
    entry = entry_of(rig.w.table, 1)
    e = Entry(entry)
    assert e.flags == SPECIAL | ONE_SIDED and e.special == S_TUNNEL
    row = connection_row(entry, rig.now, 1, rig.w.dests)
    assert (row["daddr"], row["dport"], row["laddr"], row["lport"]) == (server(0), 80, CLIENT, 1000)
    # The reply does not come back through us, and what pretends to be one matches nothing.
    back = Ether(src=server_mac(0), dst=MACS[LAN]) / IP(src=server(0), dst=LAN_ADDR)
    wan, lan = rig.exchange(LAN, back / TCP(sport=80, dport=1000, flags="SA"))
    assert (wan, lan) == ([], []) and rig.drops() == {"no_service": 1}
    # One-sided states: FIN, then the connection is gone after fin_wait's 7 s.
    rig.exchange(WAN, from_client(TCP(sport=1000, dport=80, flags="A")))
    rig.exchange(WAN, from_client(TCP(sport=1000, dport=80, flags="FA")))
    assert rig.connections() == 1
    rig.sleep(9000)
    assert rig.connections() == 0 and rig.clean()


def test_two_packets_do_not_share_an_id():
    """RFC 6864: the outer ids of one tunnel must not repeat soon (fragments may be on the way)."""
    rig = tunnel_rig()
    _, lan = rig.exchange(WAN, *[datagram(1000 + i % 3) for i in range(40)])
    assert len({frame[18:20] for frame in lan}) == 40
    assert [frame[14 + 20 :] for frame in lan] == [
        packet_of(datagram(1000 + i % 3)) for i in range(40)
    ]


def test_rfc2003_5_1_tunnel_mtu_is_20_bytes_less():
    """Without DF: tests/ipvs/test_tunnel_split.py."""
    rig = tunnel_rig()
    fits, larger = datagram(1000, 1452, flags="DF"), datagram(1000, 1453, flags="DF")
    _, lan = rig.exchange(WAN, fits)
    assert lan == [encapsulated(packet_of(fits), lan[0])] and len(lan[0]) == 1514
    wan, lan = rig.exchange(WAN, larger)
    assert lan == [] and rig.drops() == {"ip_too_big": 1}
    error = Ether(wan[0])
    assert (error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == (3, 4, 1480)
    assert (error[IP].src, error[IP].dst) == (VIP, CLIENT)
    # Quoted as it came, and as much of it as fits (RFC 1812 4.3.2.3).
    assert wan[0][14 + 28 :] == packet_of(larger)[:548]
    assert rig.clean()


def test_rfc1191_route_mtu_counts_less_the_outer_header():
    rig = tunnel_rig()
    rig.route(f"{server(0)}/32", kind="link", dev=LAN, src=LAN_ADDR, mtu=1000)
    wan, lan = rig.exchange(WAN, datagram(1000, 952, flags="DF"), datagram(1000, 953, flags="DF"))
    assert len(lan) == 1 and Ether(wan[0])[ICMP].nexthopmtu == 980
    rig.route(f"{server(0)}/32", kind="link", dev=LAN, src=LAN_ADDR, mtu=68)
    wan, lan = rig.exchange(WAN, datagram(1000, 100, flags="DF"))
    assert lan == [] and Ether(wan[0])[ICMP].nexthopmtu == 68  # RFC 791: never less
    assert rig.clean()


def test_rfc2003_3_1_a_router_lowers_the_inner_ttl():
    rig = tunnel_rig()
    rig.apply("param.set", xmit_ttl=1)
    frame = datagram(1000, ttl=7)
    _, lan = rig.exchange(WAN, frame)
    inner = IP(packet_of(frame))
    inner.ttl = 6
    del inner.chksum
    assert lan == [encapsulated(bytes(inner), lan[0])]
    wan, lan = rig.exchange(WAN, datagram(1000, ttl=1))
    assert lan == [] and rig.drops() == {"ip_ttl": 1}
    assert Ether(wan[0])[ICMP].type == 11 and Ether(wan[0])[IP].dst == CLIENT


def test_the_way_to_the_real_server_may_change():
    """Next hop, source and neighbour are those of the route to the server, at any time."""
    rig = tunnel_rig()
    far = "203.0.113.77"
    rig.service(1, "tunnel", "udp", dests=[{"id": 1, "addr": far}])
    frame = datagram(1000)
    rig.route("203.0.113.77/32", kind="gateway", dev=LAN, via=server(2))
    _, lan = rig.exchange(WAN, frame)
    assert lan == [encapsulated(packet_of(frame), lan[0], target=far, mac=server_mac(2))]
    rig.route("198.19.0.9/32", kind="local", dev=LAN)
    rig.route("203.0.113.77/32", kind="gateway", dev=LAN, via=server(3), src="198.19.0.9")
    _, lan = rig.exchange(WAN, frame)
    assert lan == [encapsulated(packet_of(frame), lan[0], "198.19.0.9", far, server_mac(3))]
    # A route without any address of ours to send from.
    rig.route("203.0.113.77/32", kind="link", dev=LAN)
    wan, lan = rig.exchange(WAN, frame)
    assert (wan, lan) == ([], []) and rig.drops() == {"tunnel_source": 1}
    rig.route("203.0.113.77/32", kind="link", dev=LAN, src=LAN_ADDR)
    _, (question,) = rig.exchange(WAN, frame)
    assert Ether(question)[ARP].pdst == far
    # The packet that waited goes out whole, outer header and all.
    answer = Ether(src="02:bb:00:00:00:99", dst=MACS[LAN]) / ARP(
        op=2, hwsrc="02:bb:00:00:00:99", psrc=far, hwdst=MACS[LAN], pdst=LAN_ADDR
    )
    _, lan = rig.exchange(LAN, answer)
    assert lan == [encapsulated(packet_of(frame), lan[0], LAN_ADDR, far, "02:bb:00:00:00:99")]
    assert rig.clean()


def test_a_tunnel_goes_on_after_its_worker_died():
    rig = tunnel_rig()
    frame = datagram(1000)
    rig.exchange(WAN, frame)
    again = tunnel_rig(memory=rig.shared, table_memory=rig.table_memory, pool=rig.pool)
    assert again.worker.recovered == 1
    _, lan = again.exchange(WAN, frame)
    assert lan == [encapsulated(packet_of(frame), lan[0])] and again.connections() == 1
