"""IPv6 frames of the benchmarks and their oracle, against scapy."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from perf import network, network6, traffic
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


def test_commands_name_every_host_once():
    lines = network6.commands([("udp", network6.VIP, 80)], "fullnat")
    assert len(lines) == len(set(lines)) == 3 + 17 + 1 + 16 + 17
    assert f"ipvsadm -A -u [{network6.VIP}]:80 -s rr" in lines
