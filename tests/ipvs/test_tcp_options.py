"""The functions that take TCP options apart, against a parser written the plain way."""

from __future__ import annotations

import ctypes
import struct

from hypothesis import given
from hypothesis import strategies as st

from ipvs.sequence import ahead
from stack.tcp_options import blank_option, find_option, gather_options, lower_mss
from tests.ipvs.test_toa import KINDS, OPTION_BYTES, read

ANY = OPTION_BYTES | KINDS
NEEDED = {8}
NEEDED_BY_SYN = {8, 2, 3, 4, 34, 30}


class Header:
    """A TCP header in memory, with a checksum over itself."""

    def __init__(self, options, flags=16):
        raw = struct.pack(">HHIIBBHHH", 1, 2, 3, 4, (20 + len(options)) * 4, flags, 5, 0, 0)
        self.memory = (ctypes.c_uint8 * (len(raw) + len(options)))(*raw, *options)
        self.at = ctypes.addressof(self.memory)
        struct.pack_into(">H", self.memory, 16, 0xFFFF - self.sum())

    def sum(self):
        """One's complement sum in network order: 0xffff when the checksum is right."""
        data = bytes(self.memory)
        total = sum(struct.unpack(f">{len(data) // 2}H", data))
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        return total

    @property
    def options(self):
        return bytes(self.memory)[20:]


@given(ANY, st.sampled_from([2, 4, 5, 8, 254]))
def test_find_what_a_receiver_would_read(options, kind):
    header = Header(options)
    found = find_option(header.at, kind)
    raw = next((raw for other, raw in read(options) if other == kind), None)
    assert (found == 0) == (raw is None)
    if raw is not None:
        assert header.options[found - header.at - 20 :].startswith(raw)


@given(ANY, st.sampled_from([4, 8, 254]))
def test_blank_all_of_a_kind_and_nothing_else(options, kind):
    header = Header(options)
    wanted = read(options)
    count = blank_option(header.at, kind)
    assert count == sum(1 for other, _ in wanted if other == kind)
    assert read(header.options) == [pair for pair in wanted if pair[0] != kind]
    assert header.sum() == 0xFFFF and len(header.options) == len(options)


@given(ANY, st.booleans(), st.booleans())
def test_gather_keeps_order_and_content(options, only_needed, syn):
    header = Header(options, 2 if syn else 16)
    needed = NEEDED_BY_SYN if syn else NEEDED
    wanted = [pair for pair in read(options) if not only_needed or pair[0] in needed]
    kept = gather_options(header.at, int(only_needed))
    assert read(header.options) == wanted
    size = sum(len(raw) for _, raw in wanted)
    assert kept == (size + 3) // 4 * 4 and not any(header.options[size:])
    assert header.sum() == 0xFFFF


@given(st.integers(0, 0xFFFF), st.sampled_from([8, 20]), st.integers(0, 3))
def test_rfc6691_maximum_segment_size(value, by, before):
    options = b"\x01" * before + b"\x02\x04" + struct.pack(">H", value) + b"\x01" * (4 - before)
    header = Header(options, 2)
    lowered = lower_mss(header.at, by)
    assert lowered == (value > by)
    left = value - by if lowered else value
    assert header.options == options.replace(
        b"\x02\x04" + struct.pack(">H", value), b"\x02\x04" + struct.pack(">H", left)
    )
    assert header.sum() == 0xFFFF


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1))
def test_rfc9293_3_4_sequence_arithmetic(number, step):
    assert ahead((number + step) % 2**32, number) == step
