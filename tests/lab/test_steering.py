"""The tap's steering program, run by the kernel on single frames, against the Toeplitz hash."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import random
import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, Ether

from ipvs.rss import DEFAULT_KEY, toeplitz
from netdev.steering import SYS_BPF, TABLE, load, program

pytestmark = pytest.mark.lab
TEST_RUN = 10


def answers(frames):
    """What the program says of each frame."""
    fd = load(program(DEFAULT_KEY))
    libc = ctypes.CDLL(None, use_errno=True)
    found = []
    for frame in frames:
        # The kernel takes an Ethernet header off before a program of this kind runs.
        data = ctypes.create_string_buffer(bytes(14) + frame, 14 + len(frame))
        fields = (fd, 0, len(data), 0, ctypes.addressof(data), 0, 1, 0, 0, 0, 0, 0)
        attributes = ctypes.create_string_buffer(struct.pack("<IIIIQQIIIIQQ", *fields), 128)
        assert libc.syscall(SYS_BPF[os.uname().machine], TEST_RUN, attributes, 80) == 0
        found.append(struct.unpack_from("<I", attributes, 4)[0])
    os.close(fd)
    return found


def test_queue_of_both_families_is_the_hash_and_of_the_rest_0():
    rng = random.Random(4)
    frames, expected = [], []
    for turn in range(80):
        size, ip = (4, IP) if turn % 2 else (16, IPv6)
        kind = (ipaddress.IPv4Address, ipaddress.IPv6Address)[size == 16]
        ends = [kind(rng.randbytes(size)) for _ in range(2)]
        ports = [rng.randrange(1, 65536) for _ in range(2)]
        l4 = (TCP, UDP)[turn // 2 % 2](sport=ports[0], dport=ports[1])
        frames.append(
            bytes(Ether() / ip(src=str(ends[0]), dst=str(ends[1])) / l4 / rng.randbytes(4))
        )
        data = ends[0].packed + ends[1].packed + struct.pack(">HH", *ports)
        expected.append(toeplitz(DEFAULT_KEY, data) % TABLE)
    rest = [
        IP(dst="192.0.2.1", frag=3) / UDP(), IP(dst="192.0.2.1") / ICMP(), ARP(),
        IPv6(dst="2001:db8::1") / IPv6ExtHdrDestOpt() / TCP(),
        IPv6(dst="2001:db8::1") / ICMPv6EchoRequest(),
    ]  # fmt: skip
    assert answers(frames + [bytes(Ether() / packet) for packet in rest]) == expected + [0] * 5
