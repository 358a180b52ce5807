"""Copies of the frames a port receives and sends, taken at the driver's burst functions."""

from __future__ import annotations

import ctypes

from netdev.abi import FastPathStruct, Mbuf
from netdev.mbuf import data_of
from netdev.port import Port
from perf.balancer import Bench
from perf.errors import PerfError
from perf.oracle import Oracle

_Burst = ctypes.CFUNCTYPE(ctypes.c_uint16, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint16)


class Tap:
    """While open, everything that goes through the driver of ``port`` is kept, in order."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.received: list[bytes] = []
        self.sent: list[bytes] = []
        self._fast = int(Port(port).fast)
        self._copy = FastPathStruct.from_buffer_copy(
            ctypes.string_at(self._fast, ctypes.sizeof(FastPathStruct))
        )
        self._rx, self._tx = _Burst(self._copy.rx_burst), _Burst(self._copy.tx_burst)
        self._kept = _Burst(self._receive), _Burst(self._send)
        for name, function in zip(("rx_burst", "tx_burst"), self._kept, strict=True):
            setattr(self._copy, name, ctypes.cast(function, ctypes.c_void_p).value)

    def _receive(self, queue: int, array: int, count: int) -> int:
        got = int(self._rx(queue, array, count))
        self.received += self._frames(array, got)
        return got

    def _send(self, queue: int, array: int, count: int) -> int:
        self.sent += self._frames(array, count)
        return int(self._tx(queue, array, count))

    def _frames(self, array: int, count: int) -> list[bytes]:
        mbufs = (ctypes.c_int64 * count).from_address(array)
        return [ctypes.string_at(int(data_of(m)), int(Mbuf(m).pkt_len)) for m in mbufs]

    def __enter__(self) -> Tap:
        Port(self._port).fast = ctypes.addressof(self._copy)
        return self

    def __exit__(self, *_: object) -> None:
        Port(self._port).fast = self._fast


def check_sample(bench: Bench, oracle: Oracle, bursts: int) -> int:
    """Run ``bursts`` iterations with a tap and compare every frame; returns how many.

    Raises PerfError for a frame that was lost or is not what the oracle says.
    """
    with Tap(bench.port) as tap:
        bench.run(bursts)
    if not tap.received or len(tap.received) != len(tap.sent):
        raise PerfError(f"{len(tap.received)} frames came in, {len(tap.sent)} went out")
    for received, sent in zip(tap.received, tap.sent, strict=True):
        oracle.check(received, sent)
    return len(tap.received)
