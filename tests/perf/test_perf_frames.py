"""Frames, generator and oracle of the benchmarks, against scapy and against each other."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from perf import generator, network, traffic
from perf.errors import PerfError
from perf.oracle import Oracle, ends_of, rewritten

MAC = bytes.fromhex("02aa00000001")
VIP = network.number(network.VIP)
flow_numbers = st.integers(0, 10_000_000)
protos = st.sampled_from(["udp", "tcp"])


def recomputed(frame: bytes) -> bytes:
    """The frame with both checksums as scapy computes them."""
    packet = Ether(frame)
    del packet[IP].chksum
    for layer in (UDP, TCP):
        if packet.haslayer(layer):
            del packet[layer].chksum
    return bytes(packet)


@given(flow_numbers, protos, st.sampled_from([traffic.SYN, traffic.DATA]))
def test_frames_have_right_checksums(flow, proto, flags):
    frame = traffic.forward(np.array([flow]), proto, MAC, flags)[0].tobytes()
    assert len(frame) == 60
    assert recomputed(frame) == frame
    ip = Ether(frame)[IP]
    assert (ip.dst, ip.dport, ip.proto) == (network.VIP, network.PORT, network.PROTOCOLS[proto])


@given(st.lists(flow_numbers, min_size=2, max_size=30, unique=True))
def test_flows_are_distinct(flows):
    src, sport = traffic.clients(np.array(flows))
    assert len(set(zip(src.tolist(), sport.tolist(), strict=True))) == len(flows)


@given(flow_numbers, protos)
def test_compiled_generator_writes_the_same_frames(flow, proto):
    source = object.__new__(generator.Source)
    source.state = generator.GeneratorStruct()
    source.address = ctypes.addressof(source.state)
    source.proto, source.mac = proto, MAC
    source.data()
    room = (ctypes.c_uint8 * 64)()
    generator.write_frame(source.address, ctypes.addressof(room), flow)
    assert bytes(room)[:60] == traffic.forward(np.array([flow]), proto, MAC)[0].tobytes()


@given(flow_numbers, protos, st.integers(0, 0xFFFFFFFF), st.integers(1, 65535))
def test_oracle_rewrites_as_scapy_does(flow, proto, address, port):
    frame = traffic.forward(np.array([flow]), proto, MAC)[0].tobytes()
    to, sender = bytes.fromhex("020000000002"), MAC
    packet = Ether(frame)
    packet.dst, packet.src = to.hex(":"), sender.hex(":")
    packet[IP].dst = ".".join(str(byte) for byte in address.to_bytes(4, "big"))
    packet[IP].payload.dport = port
    src, _, sport, _ = ends_of(frame)
    assert rewritten(frame, (src, address, sport, port), to, sender) == recomputed(bytes(packet))


def sent_for(frame: bytes, mode: str, server: str = network.SERVERS[3], lport: int = 5000) -> bytes:
    src, dst, sport, dport = ends_of(frame)
    ends = {
        "fullnat": (network.number(network.LOCALS[0]), network.number(server), lport, dport),
        "nat": (src, network.number(server), sport, dport),
        "dr": (src, dst, sport, dport),
    }.get(mode)
    if mode == "tunnel":
        addresses = {"src": network.ADDRESS, "dst": server}
        outer = IP(**addresses, id=77, flags="DF", ttl=frame[22], proto=4)
        return bytes(Ether(src=MAC, dst=network.mac_of(server)) / outer / frame[14:])
    return rewritten(frame, ends, network.mac_of(server), MAC)


@pytest.mark.parametrize("mode", network.MODES)
def test_oracle_accepts_right_output_and_its_reply(mode):
    oracle = Oracle(mode, {(VIP, network.PORT)}, MAC)
    frame = traffic.forward(np.array([5]), "udp", MAC)[0].tobytes()
    sent = sent_for(frame, mode)
    oracle.check(frame, sent)
    if mode in ("dr", "tunnel"):
        return
    out = np.frombuffer(sent, np.uint8).reshape(1, -1)
    reply = traffic.replies_to(out, "udp", MAC, traffic.DATA)[0].tobytes()
    src, dst, sport, dport = ends_of(frame)
    back = rewritten(reply, (dst, src, dport, sport), network.mac_of(network.GATEWAY), MAC)
    oracle.check(reply, back)
    with pytest.raises(PerfError, match="wrong output"):
        oracle.check(reply, reply)


@pytest.mark.parametrize("mode", network.MODES)
@given(at=st.integers(0, 59), bit=st.integers(0, 7))
def test_oracle_notices_any_changed_bit(mode, at, bit):
    frame = traffic.forward(np.array([5]), "udp", MAC)[0].tobytes()
    sent = bytearray(sent_for(frame, mode))
    sent[at] ^= 1 << bit
    # With DR the MAC address alone tells which real server was chosen.
    assume(mode != "dr" or at > 5 or bytes(sent[:6]) not in map(network.mac_of, network.SERVERS))
    oracle = Oracle(mode, {(VIP, network.PORT)}, MAC)
    with pytest.raises(PerfError):
        oracle.check(frame, bytes(sent))


def test_oracle_notices_flows_that_change_or_share_addresses():
    oracle = Oracle("fullnat", {(VIP, network.PORT)}, MAC)
    first, second = (f.tobytes() for f in traffic.forward(np.arange(2), "udp", MAC))
    oracle.check(first, sent_for(first, "fullnat"))
    with pytest.raises(PerfError, match="different addresses"):
        oracle.check(first, sent_for(first, "fullnat", lport=5001))
    with pytest.raises(PerfError, match="share"):
        oracle.check(second, sent_for(second, "fullnat"))


@given(st.integers(1, 40), st.integers(1, 4), st.booleans())
def test_rounds_visit_every_flow_once(flows, rounds, shuffled):
    for order in traffic.orders(flows, rounds, shuffled):
        assert sorted(order.tolist()) == list(range(flows))


@given(st.integers(traffic.BLOCK, 1000))
def test_replies_stand_a_burst_behind(count):
    first = np.arange(count).reshape(-1, 1)
    mixed = traffic.interleave(first, first + count)[:, 0].tolist()
    assert sorted(mixed) == list(range(2 * count))
    assert all(mixed.index(i + count) - mixed.index(i) >= 32 for i in range(0, count, 7))


def test_too_few_frames_cannot_be_interleaved():
    with pytest.raises(ValueError, match="fewer"):
        traffic.interleave(np.zeros((3, 60)), np.zeros((3, 60)))


def test_capture_files_are_read_back(tmp_path):
    frames = traffic.forward(np.arange(7), "tcp", MAC, traffic.SYN)
    traffic.write_pcap(tmp_path / "a.pcap", frames)
    assert traffic.read_frames(tmp_path / "a.pcap") == [frame.tobytes() for frame in frames]
    assert len(traffic.read_frames(tmp_path / "a.pcap", 3)) == 3
    with pytest.raises(PerfError):
        traffic.write_pcap(tmp_path / "none" / "a.pcap", frames)
