"""How far away memory is: cycles to load one cache line out of a block of some size."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

from perf.errors import PerfError
from runtime.intrinsics import load64, rdtsc, store64, wrap
from runtime.jit import compiled

LINE = 64
LOADS = 400_000
KNUTH = 2891336453  # odd: i * KNUTH mod 2**n visits every line once


@compiled
def chase(block, loads, out):
    """Follow pointers: every load waits for the one before."""
    at = block
    began = rdtsc()
    for _ in range(loads):
        at = load64(at)
    store64(out, rdtsc() - began)
    return at


@compiled
def touch(block, mask, loads, out):
    """Loads in random order that do not wait for each other."""
    total = 0
    x = 1
    began = rdtsc()
    for _ in range(loads):
        x = wrap(x * KNUTH + 12345) & 0xFFFFFFFF
        total += load64(block + (((x >> 7) & mask) << 6))
    store64(out, rdtsc() - began)
    return total


@compiled
def change(block, mask, loads, out):
    """Read-modify-write of lines in random order that do not wait for each other."""
    x = 1
    began = rdtsc()
    for _ in range(loads):
        x = wrap(x * KNUTH + 12345) & 0xFFFFFFFF
        at = block + (((x >> 7) & mask) << 6) + 8  # behind the pointer
        store64(at, load64(at) + 1)
    store64(out, rdtsc() - began)
    return x


class Block:
    """``size`` bytes (a power of two) in hugepages, lines linked in random order.

    Raises PerfError when there are too few hugepages.
    """

    def __init__(self, size: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000  # MAP_HUGETLB
        try:
            self._map = mmap.mmap(-1, max(size, 2 << 20), flags)
        except OSError as error:
            raise PerfError(f"no hugepages for a block of {size >> 20} MB: {error}") from error
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.lines = size // LINE
        order = np.random.default_rng(7).permutation(self.lines).astype(np.int64)
        words = np.frombuffer(self._map, np.int64)
        words[order * (LINE // 8)] = self.address + np.roll(order, -1) * LINE

    def changing(self) -> float:
        """Cycles to change a line when nothing waits for it."""
        out = (ctypes.c_int64 * 1)()
        change(self.address, self.lines - 1, LOADS, ctypes.addressof(out))
        return out[0] / LOADS

    def costs(self) -> tuple[float, float, float]:
        """Cycles a line: waiting, not waiting, changing."""
        out = (ctypes.c_int64 * 1)()
        at = ctypes.addressof(out)
        chase(self.address, self.lines, at)
        chase(self.address, LOADS, at)
        waiting = out[0] / LOADS
        touch(self.address, self.lines - 1, LOADS, at)
        return waiting, out[0] / LOADS, self.changing()


NEAR = 32 << 20  # bytes: more than a core's own caches, less than most shared ones


def near_block() -> Block:
    """A block that a large shared cache would hold: is there one, and is it ours?"""
    return Block(NEAR)
