"""IPv6 frames of the benchmarks and their oracle, against scapy."""

from __future__ import annotations

import ctypes
from ipaddress import IPv6Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from perf import network, network6, network64, network_snat, traffic, traffic6, ways
from perf.errors import PerfError
from perf.generator import Generator, GeneratorStruct, Source6, write_frame6

MAC = bytes.fromhex("02aa00000001")


def frame_of(flow, proto, flags=traffic.DATA):
    """What the generator writes for a flow."""
    source = Source6.__new__(Source6)
    source.state = GeneratorStruct()
    source.address, source.proto, source.mac = ctypes.addressof(source.state), proto, MAC
    source._template(flags)
    assert Generator(source.address).six == 1
    room = (ctypes.c_uint8 * network6.FRAME)()
    write_frame6(source.address, ctypes.addressof(room), flow)
    return bytes(room)


def recomputed(frame):
    packet = Ether(frame)
    ip = IPv6(bytes(packet[IPv6])[: 40 + packet[IPv6].plen])
    del ip.payload.chksum
    return frame[:14] + bytes(ip)


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize("flags", [traffic.SYN, traffic.DATA])
@given(flow=st.integers(0, traffic.MAX_FLOWS - 1))
def test_generated_frames_are_right(proto, flags, flow):
    frame = frame_of(flow, proto, flags)
    right = recomputed(frame)
    assert frame[: len(right)] == right and not any(frame[len(right) :])
    layer = Ether(frame)[TCP if proto == "tcp" else UDP]
    assert (layer.sport, layer.dport) == (traffic.FIRST_PORT + flow // traffic.HOSTS, network.PORT)


@pytest.mark.parametrize("mode", network6.MODES)
@given(at=st.integers(0, 79), bit=st.integers(0, 7))
def test_oracle_accepts_the_right_frame_and_no_other(mode, at, bit):
    frame = frame_of(5, "udp")
    src, dst, sport, dport = network6.ends_of(frame)
    server = network6.number(network6.SERVERS[3])
    ends = {
        "fullnat": (network6.number(network6.LOCALS[0]), server, 5000, dport),
        "nat": (src, server, sport, dport), "dr": (src, dst, sport, dport),
    }[mode]  # fmt: skip
    oracle = network6.Oracle6(mode, MAC)
    sent = oracle.rewrite(frame, ends, network6.mac_of(network6.SERVERS[3]))
    assert sent == recomputed(sent)
    oracle.check(frame, sent)
    wrong = bytearray(sent)
    wrong[at] ^= 1 << bit
    if mode == "dr" and bytes(wrong[:6]) in map(network6.mac_of, network6.SERVERS):
        return  # the MAC address alone tells which real server was chosen
    with pytest.raises(PerfError):
        network6.Oracle6(mode, MAC).check(frame, bytes(wrong))


@given(flow=st.integers(0, traffic.MAX_FLOWS - 1), proto=st.sampled_from(["udp", "tcp"]))
def test_frames_of_capture_files_are_the_generators(flow, proto):
    (made,) = traffic6.forward(np.array([flow]), proto, MAC)
    assert made.tobytes() == frame_of(flow, proto)


def sent_by_nat64(frame, to_ipv6, ends, mac):
    """What scapy makes of a packet that gets a header of the other family."""
    packet = Ether(frame)
    if to_ipv6:
        old = packet[IP]
        new = IPv6(src=ends[0], dst=ends[1], hlim=old.ttl, tc=old.tos)
    else:
        old = packet[IPv6]
        new = IP(src=ends[0], dst=ends[1], ttl=old.hlim, tos=old.tc, id=77)
    upper = old.payload.copy()
    upper.sport, upper.dport = ends[2:]
    del upper.chksum
    if isinstance(upper, UDP):
        upper.len = None
    return bytes(Ether(src=MAC, dst=mac) / new / upper)


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@given(flow=st.integers(0, traffic.MAX_FLOWS - 1), at=st.integers(0, 59), bit=st.integers(0, 7))
def test_oracle_of_nat64(proto, flow, at, bit):
    oracle = ways.oracle("nat64", 6, ways.services_of(proto, 6), MAC, 100)
    frame = frame_of(flow, proto)
    src, dst, sport, dport = network6.ends_of(frame)
    server, local = network.SERVERS[4], network.LOCALS[2]
    sent = sent_by_nat64(frame, False, (local, server, 4242, dport), network.mac_of(server))
    wrong = bytearray(sent)
    wrong[at] ^= 1 << bit
    with pytest.raises(PerfError):
        ways.oracle("nat64", 6, ways.services_of(proto, 6), MAC, 100).check(frame, bytes(wrong))
    oracle.check(frame, sent)
    reply = traffic.replies_to(
        np.frombuffer(sent, np.uint8).reshape(1, -1), proto, MAC, traffic.DATA
    )[0].tobytes()
    ends = tuple(str(IPv6Address(a)) for a in (dst, src)) + (dport, sport)
    back = sent_by_nat64(reply, True, ends, network6.mac_of(network6.GATEWAY))
    oracle.check(reply, back)
    wrong = bytearray(back)
    wrong[at] ^= 1 << bit
    with pytest.raises(PerfError):
        oracle.check(reply, bytes(wrong))


@given(at=st.integers(0, 79), bit=st.integers(0, 7))
def test_oracle_of_snat(at, bit):
    frame = frame_of(5, "udp")
    _, dst, _, dport = network6.ends_of(frame)
    ours = network6.number(network_snat.addresses(6, 100)[3])

    def oracle():
        return ways.oracle("snat", 6, ways.services_of("udp", 6), MAC, 100)

    to = network6.mac_of(network_snat.GATEWAY[6])
    sent = oracle().rewrite(frame, (ours, dst, 4242, dport), to)
    oracle().check(frame, sent)
    wrong = bytearray(sent)
    wrong[at] ^= 1 << bit
    with pytest.raises(PerfError):
        oracle().check(frame, bytes(wrong))
    elsewhere = oracle().rewrite(frame, (ours, dst + 1, 4242, dport), to)
    with pytest.raises(PerfError, match="no snat forwarding"):
        oracle().check(frame, elsewhere)
    not_ours = oracle().rewrite(frame, (ours + (1 << 64), dst, 4242, dport), to)
    with pytest.raises(PerfError, match="no snat forwarding"):
        oracle().check(frame, not_ours)


@pytest.mark.parametrize("family", [4, 6])
def test_addresses_with_ports_do_for_all_connections(family):
    for connections in (1, 2_097_151, 10_000_000):
        found = network_snat.addresses(family, connections)
        assert len(set(found)) == len(found) and len(found) * 64511 >= connections
        assert not {*found} & {*network.SERVERS, *network.LOCALS, network.GATEWAY}


def test_nat64_names_no_ipv4_service():
    lines = network64.commands(ways.services_of("udp", 6))
    assert f"ipvsadm -A -u [{network6.VIP}]:80 -s rr" in lines and len(lines) == len(set(lines))
    assert not any(network.VIP in line for line in lines)


def test_commands_name_every_host_once():
    lines = network6.commands([("udp", network6.VIP, 80)], "fullnat")
    assert len(lines) == len(set(lines)) == 3 + 17 + 1 + 16 + 17
    assert f"ipvsadm -A -u [{network6.VIP}]:80 -s rr" in lines
