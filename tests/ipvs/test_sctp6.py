"""SCTP of IPv6 and NAT64: bytes and CRC32c against scapy, both directions; bad packets."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkData, SCTPChunkInit, SCTPChunkInitAck

from tests.audit import audit
from tests.rig import Rig
from tests.topology import LOCAL, dest
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    LOCAL6,
    SERVERS6,
    TO_CLIENT,
    VIP6,
    balancer6,
    dest6,
    frame6,
    from_server,
    network6,
    service6,
    to_server,
)
from tests.topology64 import SERVER, encapsulated
from tools.daemon.listing import connections

MODES = ("fullnat", "nat", "dr", "nat64")


def sctp_rig(mode):
    return balancer6(mode, "sctp", capacity=8192)


rig_of = functools.cache(sctp_rig)


def packet(*chunks, sport=1234, dport=80, tag=99):
    made = SCTP(sport=sport, dport=dport, tag=tag)
    for chunk in chunks:
        made = made / chunk
    return made


def data(size):
    return SCTPChunkData(data=bytes(i & 255 for i in range(size)), tsn=7)


def exchanged(rig, port, frame):
    """The only frame that comes out of the other port."""
    out = rig.exchange(port, frame)
    (sent,) = out[1 - port]
    assert out[port] == [] and rig.in_flight() == 0
    return sent


@settings(max_examples=40)
@given(
    mode=st.sampled_from(MODES), size=st.integers(0, 1200), sport=st.integers(1, 65535),
    tc=st.integers(0, 255), hlim=st.integers(2, 255), step=st.booleans(),
)  # fmt: skip
def test_packets_of_both_directions(mode, size, sport, tc, hlim, step):
    """Every byte as scapy builds it; and what comes back is for whom it came from."""
    rig, step = rig_of(mode), int(step)
    rig.apply("param.set", xmit_ttl=step)
    frame = frame6(FROM_CLIENT, (CLIENT6, VIP6), packet(data(size), sport=sport), tc=tc, hlim=hlim)
    sent = exchanged(rig, 0, frame)
    if mode == "dr":
        assert (
            sent == bytes(Ether(src=to_server()[0], dst=to_server()[1], type=0x86DD)) + frame[14:]
        )
        return
    local = Ether(sent)[SCTP].sport if mode != "nat" else sport
    layer = packet(data(size), sport=local, dport=8080)
    if mode == "nat64":
        total = 20 + len(bytes(layer))
        ip = IP(src=LOCAL, dst=SERVER, tos=tc, ttl=hlim - step, id=Ether(sent)[IP].id, proto=132,
                flags="DF" if total > 1260 else "")  # fmt: skip
        wanted = bytes(Ether(src=to_server()[0], dst=to_server()[1]) / ip / layer)
        reply = Ether(src=from_server()[0], dst=from_server()[1]) / IP(
            src=SERVER, dst=LOCAL, tos=tc, ttl=hlim, flags="DF"
        )
    else:
        source = LOCAL6 if mode == "fullnat" else CLIENT6
        ip = {"tc": tc, "hlim": hlim - step}
        wanted = frame6(to_server(), (source, SERVERS6[0]), layer, **ip)
        reply = Ether(src=from_server()[0], dst=from_server()[1]) / IPv6(
            src=SERVERS6[0], dst=source, tc=tc, hlim=hlim
        )
    assert sent == wanted
    reply = reply / packet(data(size), sport=8080, dport=local, tag=3)
    back = exchanged(rig, 1, bytes(reply))
    layer = packet(data(size), sport=80, dport=sport, tag=3)
    assert back == frame6(TO_CLIENT, (VIP6, CLIENT6), layer, tc=tc, hlim=hlim - step)


def test_all_tables_agree_afterwards():
    for mode in MODES:
        assert audit(rig_of(mode).address) == []


@pytest.mark.parametrize("kind", ["6in6", "6in4"])
def test_tunnels(kind):
    rig = network6(Rig(), ipv4=True)
    server = (dest if kind == "6in4" else dest6)(0, mode="tunnel", port=80)
    service6(rig, [server], proto="sctp", laddrs=[])
    frame = frame6(FROM_CLIENT, (CLIENT6, VIP6), packet(SCTPChunkInit()))
    sent = exchanged(rig, 0, frame)
    assert sent == encapsulated(kind, frame, sent)


@pytest.mark.parametrize("mode", ["fullnat", "nat", "nat64"])
def test_associations_have_states_and_are_listed(mode):
    rig = sctp_rig(mode)
    frame = frame6(FROM_CLIENT, (CLIENT6, VIP6), packet(SCTPChunkInit(init_tag=5)))
    sent = Ether(exchanged(rig, 0, frame))
    (row,) = connections(rig.address, 0, 10, None)["conns"]
    assert (row["proto"], row["state"], row["caddr"]) == ("sctp", "SCTP_INIT1", CLIENT6)
    ip = sent[IP if mode == "nat64" else IPv6]
    answer = type(ip)(src=ip.dst, dst=ip.src) / packet(
        SCTPChunkInitAck(), sport=8080, dport=sent[SCTP].sport
    )
    exchanged(rig, 1, bytes(Ether(src=sent.dst, dst=sent.src) / answer))
    (row,) = connections(rig.address, 0, 10, None)["conns"]
    assert row["state"] not in ("SCTP_NONE", "SCTP_INIT1") and audit(rig.address) == []


def test_bad_packets_and_extension_headers():
    rig = sctp_rig("fullnat")
    layer = packet(SCTPChunkInit(init_tag=5))
    frame = frame6(FROM_CLIENT, (CLIENT6, VIP6), layer)
    wrong = bytearray(frame)
    wrong[-1] ^= 1
    empty = frame6(FROM_CLIENT, (CLIENT6, VIP6), packet())
    short = frame6(FROM_CLIENT, (CLIENT6, VIP6), bytes(11), nh=132)
    assert rig.exchange(0, bytes(wrong), empty, short) == [[], []]
    assert rig.drops() == {"sctp_checksum": 1, "sctp_chunk": 1, "l4_short": 1}
    behind = frame6(FROM_CLIENT, (CLIENT6, VIP6), IPv6ExtHdrDestOpt() / layer)
    local = Ether(exchanged(rig, 0, behind))[SCTP].sport
    wanted = IPv6ExtHdrDestOpt() / packet(SCTPChunkInit(init_tag=5), sport=local, dport=8080)
    assert exchanged(rig, 0, behind) == frame6(to_server(), (LOCAL6, SERVERS6[0]), wanted)
    assert rig.applier.connections() == 1


def test_packets_beyond_the_mtu_are_answered():
    rig = sctp_rig("nat")
    frame = frame6(FROM_CLIENT, (CLIENT6, VIP6), packet(data(1445)))
    (error,), lan = rig.exchange(0, frame)
    assert lan == [] and Ether(error)[ICMPv6PacketTooBig].mtu == 1500
    assert rig.drops() == {"ip6_too_big": 1}
