"""SNAT of IPv6: inside hosts leave with an address and port of ours, every byte against scapy."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
)
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from ipvs.laddr import LADDR_SIZE, Laddr, Replica
from ipvs.rules import in_order
from ipvs.table import entry_of
from stack.address6 import words
from tests import oracle
from tests.audit import audit
from tests.fragments6 import cut6, joined6
from tests.rig import Rig, connect
from tests.topology6 import (
    FROM_CLIENT,
    SERVERS6,
    TO_CLIENT,
    dest6,
    frame6,
    from_server,
    network6,
    service6,
    to_server,
)
from tools.daemon.listing import connection_row

WAN, LAN = 0, 1
FAR, OUTSIDE = "2001:db8:9::7", "2001:db8:1::99"
PROTOS = ("tcp", "udp", "icmpv6", "sctp")
EVERYTHING = ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
INSIDE = ("2001:db8:2::", "2001:db8:2::ffff")


def rule(rig, number=0, proto="tcp", order=0, **match):
    """A match service whose only real server is the outside address."""
    ranges = {"src": EVERYTHING, "dst": EVERYTHING, "sport": (0, 65535), "dport": (0, 65535)}
    match = ranges | {"iif": LAN, "oif": None, "order": order} | match
    server = dest6(number, addr=OUTSIDE, port=0, mode="snat", pool=8)
    service6(rig, [server], id=number, proto=proto, addr="::", port=0, match=match, laddrs=[])


def outside(rig, addr=OUTSIDE):
    rig.apply("route.set", dst=addr, plen=128, kind="local", dev=WAN)
    rig.apply("laddr.set", id=8, addr=addr, dev=WAN)
    return rig


def snat_rig(protos=PROTOS, **options):
    rig = outside(network6(Rig(now=1_000_000, **options)))
    for number, proto in enumerate(protos):
        rule(rig, number, proto)
    return rig


def exchange(rig, port, *frames):
    """What (wan, lan) sent at once; the rig's clock stands still."""
    rig.push(port, *frames)
    return rig.at(rig.stack.now)


def layer(proto, sport, dport, flags="S", payload=b""):
    if proto == "icmpv6":
        return ICMPv6EchoRequest(id=sport, seq=dport) / Raw(payload)
    return oracle.segment(proto, sport, dport, flags, payload)


def number_of(frame):
    """The port, or echo identifier, that a sent frame has for the inside host."""
    return struct.unpack_from(">H", frame, 54 + (4 if frame[20] == 58 else 0))[0]


def translated(frame, macs, src, dst, step=0, **fields):
    """What must leave for ``frame``: scapy computes the checksum of it anew."""
    ip = Ether(bytes(frame))[IPv6]
    ip = IPv6(bytes(ip)[: 40 + ip.plen])
    ip.src, ip.dst, ip.hlim = src, dst, ip.hlim - step
    l4 = ip
    while not isinstance(l4, (TCP, UDP, SCTP, ICMPv6EchoRequest, ICMPv6EchoReply)):
        l4 = l4.payload
    for name, value in fields.items():
        setattr(l4, name, value)
    if isinstance(l4, (TCP, UDP, SCTP)):
        del l4.chksum
    else:
        del l4.cksum
    return bytes(Ether(src=macs[0], dst=macs[1]) / ip)


def go_out(rig, proto, sport, dst=FAR, dport=443, host=0, payload=b"", header=None, step=0, **ip):
    """An inside host sends; the frame that left is exactly right.  Returns its number."""
    l4 = layer(proto, sport, dport, payload=payload)
    l4 = header / l4 if header is not None else l4
    frame = frame6(from_server(host), (SERVERS6[host], dst), l4, **ip)
    wan, lan = exchange(rig, LAN, frame)
    assert lan == [] and len(wan) == 1, rig.drops()
    at = wan[0] if header is None else wan[0][:20] + wan[0][54:55] + wan[0][21:54] + wan[0][62:]
    number = number_of(at)
    fields = {"id": number} if proto == "icmpv6" else {"sport": number}
    assert wan == [translated(frame, TO_CLIENT, OUTSIDE, dst, step, **fields)]
    return number


def come_back(rig, proto, number, sport, src=FAR, dport=443, host=0, payload=b"", step=0, **ip):
    """The outside host answers; the frame that reaches the inside host is exactly right."""
    if proto == "icmpv6":
        l4, fields = ICMPv6EchoReply(id=number, seq=dport) / Raw(payload), {"id": sport}
    else:
        l4, fields = layer(proto, dport, number, "SA", payload), {"dport": sport}
    frame = frame6(FROM_CLIENT, (src, OUTSIDE), l4, **ip)
    wan, lan = exchange(rig, WAN, frame)
    wanted = translated(frame, to_server(host), src, SERVERS6[host], step, **fields)
    assert (wan, lan) == ([], [wanted]), rig.drops()


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


def test_rfc5508_req1_two_hosts_with_one_identifier_do_not_collide():
    rig = snat_rig()
    first = go_out(rig, "icmpv6", 7, host=0, dport=1)
    second = go_out(rig, "icmpv6", 7, host=1, dport=1)
    assert first != second
    come_back(rig, "icmpv6", second, 7, dport=1, host=1)
    come_back(rig, "icmpv6", first, 7, dport=1, host=0)
    # A request from outside to the mapped identifier is for us, not for the inside host.
    ping = frame6(FROM_CLIENT, (FAR, OUTSIDE), ICMPv6EchoRequest(id=first))
    (reply,), lan = exchange(rig, WAN, ping)
    assert lan == [] and reply[54] == 129
    # An answer nobody asked for.
    exchange(rig, WAN, frame6(FROM_CLIENT, ("2001:db8:9::1", OUTSIDE), ICMPv6EchoReply(id=first)))
    assert rig.drops() == {"icmp6_type": 1} and audit(rig.address) == []


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
    assert exchange(rig, WAN, back) == [[], []]
    assert rig.drops() == {"no_service": 1}


def test_only_syn_opens_and_not_from_our_own_addresses():
    rig = snat_rig()
    ack = frame6(from_server(), (SERVERS6[0], FAR), layer("tcp", 5, 443, "A"))
    loop = frame6(from_server(), ("2001:db8:2::1", FAR), layer("udp", 5, 443))
    pinged = frame6(from_server(), ("2001:db8:2::1", FAR), layer("icmpv6", 5, 4))
    assert exchange(rig, LAN, ack, loop, pinged) == [[], []]
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
        wan, lan = exchange(rig, LAN, frame6(from_server(), ends, layer("udp", 5, 6)))
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
        sent[name] = len(exchange(rig, LAN, frame)[0])
    other = frame6(FROM_CLIENT, (FAR, SERVERS6[0]), layer("udp", 5, 99))
    sent["iif"] = len(exchange(rig, WAN, other)[1])
    assert sent == {"right": 1, "port": 0, "protocol": 0, "family": 0, "oif": 0, "iif": 0}
    assert set(rig.drops()) == {"ip6_not_forwarded", "ip_not_forwarded"}
    # A later rule without servers makes an exception.
    rule(rig, 1, "udp", order=1, dport=(99, 99))
    rig.apply("svc.set", id=1, af="inet6", proto="udp", addr="::", port=0, sched="rr", flags=[],
              dests=[], laddrs=[], match={"src": EVERYTHING, "dst": EVERYTHING, "order": 1,
                                          "sport": (0, 65535), "dport": (99, 99)})  # fmt: skip
    frame = frame6(from_server(1), (SERVERS6[1], FAR), layer("udp", 6, 99))
    assert exchange(rig, LAN, frame) == [[], []] and rig.drops()["no_dest"] == 1


def test_no_pool_or_one_of_the_other_family():
    rig = snat_rig()
    rig.apply("laddr.del", id=8)
    frame = frame6(from_server(), (SERVERS6[0], FAR), layer("udp", 5, 443))
    assert exchange(rig, LAN, frame) == [[], []]
    rig.apply("laddr.set", id=8, addr="198.18.0.9", dev=WAN)
    assert exchange(rig, LAN, frame) == [[], []]
    assert rig.drops() == {"no_laddr": 2} and audit(rig.address) == []


def test_a_full_table_and_ports_that_are_somebody_elses():
    rig = snat_rig(capacity=4)
    go_out(rig, "udp", 1)
    frame = frame6(from_server(), (SERVERS6[0], FAR), layer("udp", 2, 443))
    assert exchange(rig, LAN, frame) == [[], []] and rig.drops() == {"conn_full": 1}
    rig = snat_rig()
    head = Replica(Laddr(rig.w.laddrs + 8 * LADDR_SIZE).heads)
    first = go_out(rig, "udp", 1)
    service6(rig, [], id=5, proto="udp", addr=OUTSIDE, port=first + 1)
    assert go_out(rig, "udp", 2) == first + 2, "a service has the next port"
    assert head.taken == 3


# ICMPv6 errors


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("message", [ICMPv6TimeExceeded(code=0), ICMPv6PacketTooBig(mtu=1300)])
def test_errors_from_outside_reach_the_inside_host(proto, message):
    """Quoted as the host sent it; the router outside keeps its address (RFC 5508 REQ-4)."""
    rig = snat_rig()
    number = go_out(rig, proto, 77, payload=b"abcd")
    quoted = IPv6(src=OUTSIDE, dst=FAR) / layer(proto, number, 443, payload=b"abcd")
    router = "2001:db8:7::1"
    frame = frame6(FROM_CLIENT, (router, OUTSIDE), message / quoted)
    wan, (out,) = exchange(rig, WAN, frame)
    sent = IPv6(src=SERVERS6[0], dst=FAR) / layer(proto, 77, 443, payload=b"abcd")
    wanted = frame6(to_server(), (router, SERVERS6[0]), message.copy() / sent)
    assert (wan, out) == ([], wanted), rig.drops()


@pytest.mark.parametrize("proto", PROTOS)
def test_errors_from_inside_reach_the_outside_host(proto):
    rig = snat_rig()
    number = go_out(rig, proto, 77)
    answers = {"icmpv6": ICMPv6EchoReply}
    back = answers[proto](id=77, seq=443) if proto in answers else layer(proto, 443, 77)
    seen = answers[proto](id=number, seq=443) if proto in answers else layer(proto, 443, number)
    message = ICMPv6PacketTooBig(mtu=1400)
    quoted = IPv6(src=FAR, dst=SERVERS6[0]) / back
    frame = frame6(from_server(), (SERVERS6[0], FAR), message / quoted)
    (out,), lan = exchange(rig, LAN, frame)
    quoted = IPv6(src=FAR, dst=OUTSIDE) / seen
    wanted = frame6(TO_CLIENT, (OUTSIDE, FAR), message.copy() / quoted)
    assert (out, lan) == (wanted, []), rig.drops()


# Fragments


@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp"])
def test_fragments_go_out_and_come_back(proto):
    rig = snat_rig()
    number = go_out(rig, proto, 1000)
    l4 = layer(proto, 1000, 443, "A", bytes(range(200)))
    frame = frame6(from_server(), (SERVERS6[0], FAR), l4)
    wan, _ = exchange(rig, LAN, *reversed(cut6(frame, [8, 16], 5)))
    assert joined6(wan, 5) == translated(frame, TO_CLIENT, OUTSIDE, FAR, sport=number)
    l4 = layer(proto, 443, number, "A", bytes(range(200)))
    frame = frame6(FROM_CLIENT, (FAR, OUTSIDE), l4)
    _, lan = exchange(rig, WAN, *reversed(cut6(frame, [8, 16], 6)))
    assert joined6(lan, 6) == translated(frame, to_server(), FAR, SERVERS6[0], dport=1000)
    assert rig.drops() == {}


# Several workers


def go_round(rigs):
    out = [[], []]
    for each in rigs * 3:
        for all_, new in zip(out, each.at(each.stack.now, 2), strict=True):
            all_ += new
    return out


@pytest.mark.parametrize("proto", PROTOS)
def test_answers_reach_the_worker_that_opened(proto):
    rigs = [snat_rig(workers=3)]
    rigs += [snat_rig(index=n, workers=3, pool=rigs[0].pool) for n in (1, 2)]
    kept = connect(rigs)
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
    assert [rig.drops() for rig in rigs] == [{}] * 3 and kept
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
    rigs = [snat_rig(workers=3)]
    rigs += [snat_rig(index=n, workers=3, pool=rigs[0].pool) for n in (1, 2)]
    kept = connect(rigs)
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
    assert [rig.drops() for rig in rigs] == [{}] * 3 and kept
    assert sum(rig.applier.connections() for rig in rigs) == 1
