"""The Internet checksum against its definition (RFC 1071) and full recomputation (RFC 1624)."""

from __future__ import annotations

import ctypes
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.jit import JIT
from stack.checksum import checksum, difference, pseudo_sum, sum_bytes, update
from tests.memory import aligned

WORDS = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=20)


def naive(data):
    """RFC 1071 section 1 in big-endian words; the checksum's two bytes as they go on the wire."""
    if len(data) % 2:
        data += b"\0"
    total = 0
    for (word,) in struct.iter_unpack("!H", data):
        total += word
        if total > 0xFFFF:
            total -= 0xFFFF
    return struct.pack("!H", total ^ 0xFFFF)


def wire(value):
    """A native-order result as it is stored."""
    return struct.pack("=H", value)


@given(st.binary(max_size=200), st.integers(0, 7))
def test_sum_is_that_of_the_definition(data, offset):
    memory, address = aligned(len(data) + 16)
    ctypes.memmove(address + offset, data, len(data))
    assert wire(checksum(address + offset, len(data))) == naive(data)
    del memory


def test_rfc_1071_example():
    data = bytes.fromhex("0001f203f4f5f6f7")
    memory, address = aligned(16)
    ctypes.memmove(address, data, 8)
    assert wire(checksum(address, 8)) == bytes.fromhex("220d")
    del memory


def test_all_ones_over_64_kib():
    memory, address = aligned(65536)
    ctypes.memset(address, 0xFF, 65535)
    assert wire(checksum(address, 65535)) == naive(b"\xff" * 65535)
    del memory


@given(st.binary(min_size=8, max_size=60), st.binary(min_size=8, max_size=8))
def test_update_equals_recomputation(data, new):
    """Replacing the first 8 bytes of a packet by the difference of their sums."""
    changed = new + data[8:]
    if not any(data) or not any(changed):
        return  # all zero: 0 and 0xffff are the same sum, no packet is like that
    memory, address = aligned(80)
    ctypes.memmove(address, data, 8)
    ctypes.memmove(address + 8, new, 8)
    delta = difference(sum_bytes(address, 8), sum_bytes(address + 8, 8))
    if not any(data[8:]):
        return
    check = struct.unpack("=H", naive(data))[0]
    assert wire(update(check, delta)) == naive(changed)
    del memory


def test_rfc_1624_example():
    """Section 4: the checksum that equation 2 gets wrong."""
    native = {v: struct.unpack("=H", struct.pack("!H", v))[0] for v in (0xDD2F, 0x5555, 0x3285)}
    delta = difference(native[0x5555], native[0x3285])
    assert update(native[0xDD2F], delta) == 0


@given(st.binary(min_size=8, max_size=8), st.sampled_from([6, 17]), st.integers(8, 65515))
def test_pseudo_header(addresses, proto, length):
    memory, address = aligned(16)
    total = pseudo_sum(struct.unpack("=q", addresses)[0], proto, length)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    header = addresses + struct.pack("!BBH", 0, proto, length)
    assert wire(total ^ 0xFFFF) == naive(header)
    del memory, address


def ones(total):
    """The one's complement sum of 16-bit words whose plain sum is ``total``."""
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def swapped(word):
    """A 16-bit word as it lies in memory."""
    return (word & 0xFF) << 8 | word >> 8


CHANGES = [(0, 0xFFFF), (0xFFFF, 0), (0, 0), (0xFFFF, 0xFFFF), (0x5555, 0x3285), (0x4006, 0x3F06),
           (1, 0), (0xFFFE, 0xFFFF), (0x8000, 0x7FFF)]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_rfc1624_3_equation_3_for_every_checksum(old, new):
    """A header whose other words run through all sums: never -0 for +0, whatever changes."""
    delta = difference(swapped(old), swapped(new))
    for rest in range(0x4500, 0x4500 + 0x10000, 1 if JIT else 7):
        before, after = ones(rest + old) ^ 0xFFFF, ones(rest + new) ^ 0xFFFF
        assert update(swapped(before), delta) == swapped(after), (rest, before, after)


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=8), st.data())
def test_rfc1624_4_many_changes_one_after_another(words, data):
    """Checksums that are only ever updated, never computed anew, do not drift."""
    check = swapped(ones(0x4500 + sum(words)) ^ 0xFFFF)
    for _ in range(20):
        at = data.draw(st.integers(0, len(words) - 1))
        new = data.draw(st.integers(0, 0xFFFF) | st.sampled_from([0, 0xFFFF]))
        check = update(check, difference(swapped(words[at]), swapped(new)))
        words[at] = new
        assert check == swapped(ones(0x4500 + sum(words)) ^ 0xFFFF)
