"""SNAT of IPv6: inside hosts leave with an address and port of ours, every byte against scapy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet6 import IPv6ExtHdrDestOpt

from ipvs.table import entry_of
from tests.audit import audit
from tests.fragments6 import cut6, joined6
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
    translated,
)
from tests.topology6 import FROM_CLIENT, SERVERS6, TO_CLIENT, frame6, from_server, to_server
from tools.daemon.listing import connection_row


@pytest.fixture(scope="module")
def shared():
    rig = snat_rig(capacity=8192)
    yield rig
    assert audit(rig.address) == [] and rig.in_flight() == 0


@settings(max_examples=40)
@given(
    proto=st.sampled_from(PROTOS), sport=st.integers(1, 65535), dport=st.integers(1, 65535),
    host=st.integers(0, 3), dst=st.sampled_from([FAR, "2001:db8:9::8", "2001:db8:ffff::1"]),
    out=st.binary(max_size=50) | st.integers(0, 1400).map(bytes), back=st.binary(max_size=50),
    tc=st.integers(0, 255), fl=st.integers(0, 0xFFFFF), header=st.booleans(), step=st.booleans(),
)  # fmt: skip
def test_rfc3022_reply_restores_the_tuple(
    shared, proto, sport, dport, host, dst, out, back, tc, fl, header, step
):
    """Out and back again, to the last byte; the same port for every packet of a connection."""
    ip, step = {"tc": tc, "fl": fl, "step": int(step)}, int(step)
    shared.apply("param.set", xmit_ttl=step)
    header = IPv6ExtHdrDestOpt() if header else None
    number = go_out(shared, proto, sport, dst, dport, host, out, header, **ip)
    come_back(shared, proto, number, sport, dst, dport, host, back, **ip)
    assert go_out(shared, proto, sport, dst, dport, host, out, **ip) == number
    assert shared.in_flight() == 0 and shared.drops() == {}


@pytest.mark.long
@settings(max_examples=8)
@given(
    st.lists(
        st.tuples(st.sampled_from(PROTOS), st.integers(0, 3), st.integers(1, 5), st.integers(1, 2)),
        min_size=1, max_size=40,
    ),
)  # fmt: skip
def test_no_two_connections_share_a_translated_tuple(sent):
    rig = snat_rig()
    seen = {}
    for proto, host, sport, far in sent:
        dst = f"2001:db8:9::{far}"
        dport = 0 if proto == "icmpv6" else 443
        number = go_out(rig, proto, sport, dst, dport, host)
        whose = (proto, host, sport, dst)
        assert seen.setdefault((proto, dst, number), whose) == whose
        come_back(rig, proto, number, sport, dst, dport, host)
    assert rig.applier.connections() == len(set(seen.values())) and audit(rig.address) == []


def test_states_timeouts_and_listing():
    rig = snat_rig()
    rig.apply("param.set", udp_timeouts={"oneway": 30, "normal": 90})
    echo, udp = go_out(rig, "icmpv6", 7), go_out(rig, "udp", 5000)

    def row(number):
        return connection_row(entry_of(rig.w.table, number), rig.stack.now, 1)

    shown = row(3)
    assert (shown["proto"], shown["state"], shown["expire"]) == ("icmpv6", "ICMP_NORMAL", 300)
    assert (shown["caddr"], shown["vaddr"], shown["vport"]) == (FAR, OUTSIDE, echo)
    assert (shown["laddr"], shown["daddr"], shown["lport"]) == (FAR, SERVERS6[0], 0)
    assert (row(5)["state"], row(5)["expire"]) == ("UDP_ONEWAY", 30)
    come_back(rig, "udp", udp, 5000)
    assert (row(5)["state"], row(5)["expire"]) == ("UDP_NORM", 90)
    come_back(rig, "icmpv6", echo, 7)
    for _ in range(310):
        rig.at(rig.stack.now + 1000)
    assert rig.applier.connections() == 0 and audit(rig.address) == []
    back = frame6(FROM_CLIENT, (FAR, OUTSIDE), layer("udp", 443, udp))
    assert rig.at_once(WAN, back) == [[], []]
    assert rig.drops() == {"no_service": 1}


@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp"])
def test_fragments_go_out_and_come_back(proto):
    rig = snat_rig()
    number = go_out(rig, proto, 1000)
    l4 = layer(proto, 1000, 443, "A", bytes(range(200)))
    frame = frame6(from_server(), (SERVERS6[0], FAR), l4)
    wan, _ = rig.at_once(LAN, *reversed(cut6(frame, [8, 16], 5)))
    assert joined6(wan, 5) == translated(frame, TO_CLIENT, OUTSIDE, FAR, sport=number)
    l4 = layer(proto, 443, number, "A", bytes(range(200)))
    frame = frame6(FROM_CLIENT, (FAR, OUTSIDE), l4)
    _, lan = rig.at_once(WAN, *reversed(cut6(frame, [8, 16], 6)))
    assert joined6(lan, 6) == translated(frame, to_server(), FAR, SERVERS6[0], dport=1000)
    assert rig.drops() == {}
