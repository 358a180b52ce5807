"""Frames without a file: a compiled receive function that fills net_null's buffers.

It stands where a driver's receive burst stands (rte_eth_fp_ops), so the worker loop is unchanged.
net_null hands out mbufs of the right length; the generator writes a complete frame into each,
with the checksums of its flow.  Frame data is warm in the cache then, as a NIC with direct cache
access would leave it.
"""

from __future__ import annotations

import ctypes

import numpy as np

from netdev.abi import FastPath, FastPathStruct, Mbuf
from netdev.port import Port
from perf import network, network6, traffic
from runtime.intrinsics import call3, load64, mulhi, store16, store32, store64, wrap
from runtime.jit import c_address, compiled
from runtime.pointers import view
from stack.checksum import fold, sum_bytes

IN_ORDER, RANDOM = 0, 1
LCG_A, LCG_C = 6364136223846793005, 1442695040888963407  # Knuth's MMIX
HOSTS, FIRST_CLIENT, FIRST_PORT = traffic.HOSTS, traffic.FIRST_CLIENT, traffic.FIRST_PORT


class GeneratorStruct(ctypes.Structure):
    """State of a generator; DPDK would call it a receive queue."""

    _fields_ = [
        ("template", ctypes.c_uint8 * 80),  # source address, port and checksums zero
        ("burst", ctypes.c_int64),  # the driver's receive function and queue
        ("queue", ctypes.c_int64),
        ("order", ctypes.c_int64),
        ("flows", ctypes.c_int64),
        ("position", ctypes.c_int64),  # next flow, or state of the random numbers
        ("l3_sum", ctypes.c_int64),
        ("l4_sum", ctypes.c_int64),
        ("check_at", ctypes.c_int64),  # of the L4 checksum
        ("limit", ctypes.c_int64),  # frames still to come, in order only
        ("six", ctypes.c_int64),  # 1: IPv6 frames
    ]


Generator = view(GeneratorStruct)


@compiled
def _swap16(value):
    return ((value & 0xFF) << 8) | (value >> 8)


@compiled
def write_frame(generator, data, flow):
    """A whole 60-byte frame of ``flow`` at ``data`` (64 bytes are written)."""
    g = Generator(generator)
    for word in range(8):
        store64(data + word * 8, load64(generator + word * 8))
    address = FIRST_CLIENT + flow % HOSTS
    port = _swap16(FIRST_PORT + flow // HOSTS)
    high = _swap16(address >> 16)
    low = _swap16(address & 0xFFFF)
    store32(data + 26, high | (low << 16))
    store16(data + 34, port)
    store16(data + 24, fold(g.l3_sum + high + low) ^ 0xFFFF)
    check = fold(g.l4_sum + high + low + port) ^ 0xFFFF
    store16(data + g.check_at, check if check != 0 else 0xFFFF)
    return 0


@compiled
def write_frame6(generator, data, flow):
    """A whole 80-byte IPv6 frame of ``flow`` at ``data``."""
    g = Generator(generator)
    for word in range(10):
        store64(data + word * 8, load64(generator + word * 8))
    address = FIRST_CLIENT + flow % HOSTS
    port = _swap16(FIRST_PORT + flow // HOSTS)
    high = _swap16(address >> 16)
    low = _swap16(address & 0xFFFF)
    store32(data + 34, high | (low << 16))
    store16(data + 54, port)
    check = fold(g.l4_sum + high + low + port) ^ 0xFFFF
    store16(data + g.check_at, check if check != 0 else 0xFFFF)
    return 0


@compiled
def generate(generator, array, count):
    """Receive up to ``count`` mbufs of the driver and fill them; returns how many."""
    g = Generator(generator)
    if g.order == IN_ORDER and count > g.limit:
        count = g.limit
        if count == 0:
            return 0
    got = call3(g.burst, g.queue, array, count) & 0xFFFF
    position = g.position
    flows = g.flows
    for i in range(got):
        if g.order == IN_ORDER:
            flow = position
            position = position + 1 if position + 1 < flows else 0
        else:
            position = wrap(position * LCG_A + LCG_C)
            flow = mulhi(position, flows)
        m = Mbuf(load64(array + i * 8))
        if g.six:
            write_frame6(generator, m.buf_addr + m.data_off, flow)
        else:
            write_frame(generator, m.buf_addr + m.data_off, flow)
    g.position = position
    g.limit -= got
    return got


@compiled
def receive_burst(queue, array, count):
    """``generate`` as a driver has it: of ``count`` 16 bits count."""
    return generate(queue, array, count & 0xFFFF)


class Source:
    """A generator in place of the receive function of ``port`` (a worker's view of a null port).

    Only the receive side changes; sending stays the driver's.
    """

    def __init__(self, port: int, proto: str, mac: bytes) -> None:
        self.state = GeneratorStruct()
        self.address = ctypes.addressof(self.state)
        self.proto, self.mac = proto, mac
        was = FastPath(int(Port(port).fast))
        self._queues = (ctypes.c_int64 * 1)(self.address)
        self._fast = FastPathStruct.from_buffer_copy(
            ctypes.string_at(int(was.ptr), ctypes.sizeof(FastPathStruct))
        )
        g = Generator(self.address)
        g.burst = was.rx_burst
        g.queue = load64(was.rx_queues + int(Port(port).rx_queue) * 8)
        self._fast.rx_burst = c_address(receive_burst)
        self._fast.rx_queues = ctypes.addressof(self._queues)
        Port(port).fast = ctypes.addressof(self._fast)
        self.opening()

    def _template(self, flags: int) -> None:
        frame = traffic.forward(np.zeros(1, np.int64), self.proto, self.mac, flags)[0].tobytes()
        at = 50 if self.proto == "tcp" else 40
        self._put(frame.ljust(64, b"\0"), ((24, 26), (26, 30), (34, 36), (at, at + 2)), at)
        g = Generator(self.address)
        g.l3_sum = sum_bytes(self.address + 14, 20)
        total = int.from_bytes(frame[16:18], "big")
        pseudo = network.PROTOCOLS[self.proto] + total - 20
        g.l4_sum = sum_bytes(self.address + 26, 8) + sum_bytes(self.address + 34, total - 20)
        g.l4_sum += _swap16(pseudo)

    def _put(self, frame: bytes, zero: tuple[tuple[int, int], ...], check_at: int) -> None:
        """Make a frame the template, with what varies between flows set to zero."""
        blank = bytearray(frame)
        for begin, end in zero:
            blank[begin:end] = bytes(end - begin)
        ctypes.memmove(self.address, bytes(blank), len(blank))
        Generator(self.address).check_at = check_at

    def opening(self) -> None:
        """Frames that open connections: TCP SYN; UDP has no difference."""
        self._template(traffic.SYN)

    def data(self) -> None:
        """Frames of open connections."""
        self._template(traffic.DATA)

    def in_order(self, first: int, count: int) -> None:
        """Next come flows ``first`` to ``first + count - 1``, once each; then nothing."""
        g = Generator(self.address)
        g.order, g.flows, g.position, g.limit = IN_ORDER, 1 << 40, first, count

    def random(self, flows: int, seed: int = 1) -> None:
        """From now on flows below ``flows`` in random order."""
        g = Generator(self.address)
        g.order, g.flows, g.limit = RANDOM, flows, 0
        g.position = seed * 0x5851F42D4C957F2D & 0x7FFFFFFFFFFFFFFF


class Source6(Source):
    """The same with IPv6 frames."""

    def _template(self, flags: int) -> None:
        frame = network6.client_frame(self.proto, self.mac, flags)
        at = network6.L4 + (16 if self.proto == "tcp" else 6)
        self._put(frame, ((34, 38), (54, 56)), at)
        g = Generator(self.address)
        length = int.from_bytes(frame[18:20], "big")
        g.six = 1
        g.l4_sum = sum_bytes(self.address + 22, 32) + sum_bytes(self.address + 54, length)
        g.l4_sum += _swap16(network.PROTOCOLS[self.proto]) + _swap16(length)
