"""Typed pointers and intrinsics: compiled code against struct.pack and plain integers."""

import ctypes
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import intrinsics as i
from runtime.jit import compiled
from runtime.pointers import view


class Inner(ctypes.Structure):
    _fields_ = [("a", ctypes.c_uint16), ("b", ctypes.c_int32)]


class Wire(ctypes.BigEndianStructure):
    _pack_ = 1
    _fields_ = [
        ("u8", ctypes.c_uint8),
        ("u16", ctypes.c_uint16),
        ("u32", ctypes.c_uint32),
        ("i64", ctypes.c_int64),
        ("list", ctypes.c_uint16 * 3),
    ]


class Host(ctypes.Structure):
    _fields_ = [
        ("i8", ctypes.c_int8),
        ("i16", ctypes.c_int16),
        ("u32", ctypes.c_uint32),
        ("inner", Inner),
        ("inners", Inner * 4),
    ]


WireView, HostView, InnerView = view(Wire), view(Host), view(Inner)


@compiled
def read_wire(address, index):
    w = WireView(address)
    return w.u8 + w.u16 + w.u32 + w.list[index]


@compiled
def write_wire(address, value):
    w = WireView(address)
    w.u8 = value
    w.u16 = value
    w.u32 = value
    w.i64 = value
    w.list[1] = value
    return w.ptr


@compiled
def walk_host(address):
    h = HostView(address)
    total = h.i8 + h.i16 + h.inner.b
    for k in range(4):
        h.inners[k].a = k + 10
        total += h.inners[k].a
    return total


@given(st.integers(0, 255), st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_reads_match_struct(a, b, c):
    data = bytearray(struct.pack(">BHIqHHH", a, b, c, -1, 1, 2, 3))
    buffer = (ctypes.c_uint8 * len(data)).from_buffer(data)
    assert read_wire(ctypes.addressof(buffer), 2) == a + b + c + 3


@given(st.integers(-(2**63), 2**63 - 1))
def test_stores_truncate_like_c(value):
    data = bytearray(ctypes.sizeof(Wire))
    buffer = (ctypes.c_uint8 * len(data)).from_buffer(data)
    write_wire(ctypes.addressof(buffer), value)
    low = value & 0xFFFF
    assert struct.unpack(">BHIqHHH", data) == (
        value & 0xFF,
        low,
        value & 0xFFFFFFFF,
        value,
        0,
        low,
        0,
    )


def test_nested_structures_and_signs():
    host = Host(i8=-3, i16=-300)
    host.inner.b = -5
    assert walk_host(ctypes.addressof(host)) == -3 - 300 - 5 + 10 + 11 + 12 + 13
    assert [inner.a for inner in host.inners] == [10, 11, 12, 13]


def test_plain_view_checks_bounds():
    host = Host()
    with pytest.raises(IndexError):
        HostView(ctypes.addressof(host)).inners[4]
    assert "inner" in repr(HostView(ctypes.addressof(host)))


def test_unsupported_fields_are_refused():
    class Bad(ctypes.Structure):
        _fields_ = [("x", ctypes.c_uint64)]

    with pytest.raises(TypeError, match="c_int64"):
        view(Bad)


@compiled
def run_mum(a, b):
    return i.mum(a, b)


@compiled
def run_shr(a, n):
    return i.shr(a, n)


@compiled
def run_match(address, tag):
    return i.match16(address, tag)


@compiled
def run_memory(address):
    i.store8(address, 0x1FF)
    i.store16(address + 1, 0x2FFFF)
    i.store32(address + 3, 0x3FFFFFFFF)
    i.store64(address + 7, -2)
    i.copy(address + 16, address, 15)
    narrow = i.load8(address) + i.load16(address + 17) + i.load32(address + 19)
    return narrow + i.load64(address + 7)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_mum_is_folded_product(a, b):
    product = (a % 2**64) * (b % 2**64)
    assert run_mum(a, b) % 2**64 == (product >> 64) ^ (product % 2**64)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 63))
def test_shr_is_unsigned(a, n):
    assert run_shr(a, n) % 2**64 == (a % 2**64) >> n


@given(st.lists(st.integers(0, 3), min_size=16, max_size=16), st.integers(0, 3))
def test_match16(lanes, tag):
    array = (ctypes.c_uint16 * 16)(*lanes)
    expected = sum(1 << k for k, lane in enumerate(lanes) if lane == tag)
    assert run_match(ctypes.addressof(array), tag) == expected


def test_memory_operations():
    buffer = (ctypes.c_uint8 * 64)()
    got = run_memory(ctypes.addressof(buffer))
    assert got == 0xFF + 0xFFFF + 0xFFFFFFFF - 2
    assert bytes(buffer[16:31]) == bytes(buffer[0:15])


@compiled
def run_call(function, a, b):
    return i.call2(function, a, b)


def test_calls_a_c_function():
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    callback = kind(lambda a, b: a * 100 + b)
    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert run_call(address, 7, 5) == 705


@compiled
def run_bits(value, address):
    i.store_release(address, value)
    i.store32_release(address + 8, value)
    i.prefetch(address)
    i.prefetch_write(address)
    i.cpu_pause()
    return i.cttz(i.load_acquire(address)) + i.mulhi(value, 1 << 62) * 0


@given(st.integers(0, 63))
def test_bit_scan_and_atomics(shift):
    buffer = (ctypes.c_int64 * 2)()
    value = 1 << shift
    assert run_bits(value if shift < 63 else -(2**63), ctypes.addressof(buffer)) == shift


def test_clock_advances():
    @compiled
    def clock():
        return i.rdtsc()

    assert clock() < clock()
