"""PROXY headers written and read, against the standard library's texts of addresses."""

from __future__ import annotations

import ctypes
import struct
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipvs.proxy_header import DATAGRAM, STREAM, put_address6, put_decimal, write_v1, write_v2
from ipvs.proxy_parse import WIDE_ADDRESSES, WITH_ADDRESSES, find_header, read_v1
from ipvs.proxy_text import read_address6

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = st.binary(min_size=4, max_size=4)
WORDS = st.lists(st.sampled_from([0, 0, 0, 1, 0xABC, 0xFFFF]), min_size=8, max_size=8)
SIX = st.binary(min_size=16, max_size=16) | WORDS.map(lambda words: struct.pack(">8H", *words))
PORT = st.integers(0, 65535)
ENDS = st.tuples(FOUR, FOUR) | st.tuples(SIX, SIX)


def memory(data=b"", room=256):
    return (ctypes.c_uint8 * room)(*data)


def at(held):
    return ctypes.addressof(held)


def line(src, dst, sport, dport):
    """A version 1 header."""
    kind, text = ("TCP6", IPv6Address) if len(src) == 16 else ("TCP4", IPv4Address)
    return f"PROXY {kind} {text(src)} {text(dst)} {sport} {dport}\r\n".encode()


def binary(src, dst, sport, dport, transport=STREAM, command=0x21):
    """A version 2 header."""
    family = 0x20 if len(src) == 16 else 0x10
    body = src + dst + struct.pack(">HH", sport, dport)
    return SIGNATURE + struct.pack(">BBH", command, family | transport, len(body)) + body


@given(ENDS, PORT, PORT, st.sampled_from([STREAM, DATAGRAM]))
def test_written_headers_are_exact(ends, sport, dport, transport):
    held = [memory(part) for part in (*ends, struct.pack(">HH", sport, dport))]
    wide = int(len(ends[0]) == 16)
    for write, wanted in (
        (lambda to: write_v1(to, wide, *map(at, held)), line(*ends, sport, dport)),
        (
            lambda to: write_v2(to, wide, transport, *map(at, held)),
            binary(*ends, sport, dport, transport),
        ),
    ):
        out = memory()
        size = write(at(out))
        assert bytes(out)[:size] == wanted and not any(bytes(out)[size:])


@pytest.mark.parametrize("number", [0, 9, 10, 99, 100, 999, 1000, 9999, 10000, 65535])
def test_decimal(number):
    out = memory()
    end = put_decimal(at(out), number)
    assert bytes(out)[: end - at(out)] == str(number).encode()


@pytest.mark.parametrize(
    "text",
    [
        "::", "::1", "1::", "2001:db8::1", "1:0:0:2::3", "1::2:0:0:3", "0:1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:0",
    ],
)  # fmt: skip
def test_rfc5952_text_of_an_address(text):
    out, address = memory(), memory(IPv6Address(text).packed)
    end = put_address6(at(out), at(address))
    assert bytes(out)[: end - at(out)].decode() == text


def found(data):
    held = memory(data, max(1, len(data)))
    got = find_header(at(held), len(data))
    return got & 0xFFFF, (got >> 16) & 15, bool(got & WITH_ADDRESSES), bool(got & WIDE_ADDRESSES)


@given(ENDS, PORT, PORT, st.binary(max_size=20))
def test_own_headers_are_found_with_whatever_stands_behind(ends, sport, dport, behind):
    wide = len(ends[0]) == 16
    for version, header in ((1, line(*ends, sport, dport)), (2, binary(*ends, sport, dport))):
        assert found(header + behind) == (len(header), version, True, wide)
        for cut in (1, 5, 11, len(header) - 1):
            assert found(header[:cut]) == (0, 0, False, False)


def test_headers_that_name_nobody():
    assert found(b"PROXY UNKNOWN\r\n") == (15, 1, False, False)
    assert found(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nGET") == (35, 1, False, False)
    local = SIGNATURE + b"\x20\x00\x00\x00"
    assert found(local + b"data") == (16, 2, False, False)
    unix = SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216)
    assert found(unix) == (232, 2, False, False)
    extended = SIGNATURE + b"\x21\x11\x00\x10" + bytes(12) + b"\x04\x00\x01\x00"
    assert found(extended) == (32, 2, True, False), "TLVs belong to the header"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"PROXY", b"PROXY TCP4\r\n", b"GET / HTTP/1.1\r\n\r\n", b"PROXY FOO 1 2 3 4\r\n",
        b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", b"PROXY TCP4 " + b"1" * 97 + b"\r\n",
        SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12), SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
    ],
)  # fmt: skip
def test_other_data_is_no_header(data):
    assert found(data) == (0, 0, False, False)


@given(ENDS, PORT, PORT)
def test_a_line_is_read_back(ends, sport, dport):
    held, out = memory(line(*ends, sport, dport)), memory()
    assert read_v1(at(held), len(ends[0]) == 16, at(out)) == 1
    wanted = b"".join(ends) + struct.pack(">HH", sport, dport)
    assert bytes(out) == wanted + bytes(256 - len(wanted))


@pytest.mark.parametrize(
    "ends",
    [
        b"1.2.3 1.2.3.4 1 2", b"1.2.3.256 1.2.3.4 1 2", b"1.2.3.4 1.2.3.4 1 65536",
        b"1.2.3.4 1.2.3.4 1", b"1.2.3.4  1.2.3.4 1 2", b"a.2.3.4 1.2.3.4 1 2",
        b"1.2.3.4 1.2.3.4 1 2 ", b"1.2.3.4 1.2.3.4  2", b"1.2.3.4 1.2.3.4 0000001 2",
        b"1.2.3.4 1.2.3.04 1 2", b"1.2.3.4 1.2.3.4 01 2", b"1.2.3.4 ::1 1 2", b"", b"1.2.3.4",
    ],
)  # fmt: skip
def test_a_malformed_line_is_refused(ends):
    held, out = memory(b"PROXY TCP4 " + ends + b"\r\n"), memory()
    assert read_v1(at(held), 0, at(out)) == 0


@pytest.mark.parametrize(
    "ends",
    [
        b"::1", b"::1 ", b"::1 ::2", b"::1 ::2 1", b"::1 1.2.3.4 1 2", b"::1  ::2 1 2",
        b"::1 ::2 1 65536", b"::1%1 ::2 1 2", b"[::1] [::2] 1 2", b"::1 ::2 1 2 3", b"::1,::2 1 2",
    ],
)  # fmt: skip
def test_a_malformed_line_of_ipv6_is_refused(ends):
    held, out = memory(b"PROXY TCP6 " + ends + b"\r\n"), memory()
    assert read_v1(at(held), 1, at(out)) == 0


def read6(text):
    """What the compiled reader makes of a text and a blank: sixteen bytes, or None."""
    held, out = memory(text.encode() + b" \r\n"), memory()
    behind = read_address6(at(held), at(out))
    assert behind in (0, at(held) + len(text)) and not any(bytes(out)[16:])
    return bytes(out)[:16] if behind else None


def address_of(text):
    """The same by the standard library."""
    try:
        return IPv6Address(text).packed
    except AddressValueError:
        return None


@st.composite
def spellings(draw):
    """An address in one of its many forms (RFC 4291 2.2)."""
    words = struct.unpack(">8H", draw(SIX))
    groups = [f"{word:0{draw(st.integers(1, 4))}x}" for word in words]
    groups = [group.upper() if draw(st.booleans()) else group for group in groups]
    if draw(st.booleans()):
        groups[6:] = [str(IPv4Address(words[6] << 16 | words[7]))]
    runs = [
        (begin, end) for end in range(len(groups) + 1) for begin in range(end)
        if not any(words[begin:end]) and "." not in "".join(groups[begin:end])
    ]  # fmt: skip
    if runs and draw(st.booleans()):
        begin, end = draw(st.sampled_from(runs))
        return ":".join(groups[:begin]) + "::" + ":".join(groups[end:])
    return ":".join(groups)


@given(spellings())
def test_every_form_of_an_address_is_read(text):
    wanted = address_of(text)
    assert wanted is not None and read6(text) == wanted


ALMOST = st.lists(
    st.sampled_from([":", "::", ".", "0", "1", "00", "01", "ff", "FfFf", "12345", "g", "255",
                     "256", "1.2.3.4", "/", "`", "@", "G", "-"]),
    max_size=18,
).map("".join)  # fmt: skip


@given(ALMOST | spellings().flatmap(lambda text: st.integers(0, len(text)).map(
    lambda cut: text[:cut] + text[cut + 1 :])))  # fmt: skip
def test_what_is_nearly_an_address_is_judged_as_by_the_standard_library(text):
    assert read6(text) == address_of(text)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("::", True), ("::1", True), ("1::", True), ("1:2:3:4:5:6:7::", True),
        ("::2:3:4:5:6:7:8", True), ("1:2:3:4:5:6:7:8", True), ("0001:0:0:0:0:0:0:0", True),
        ("::ffff:1.2.3.4", True), ("1:2:3:4:5:6:1.2.3.4", True), ("1::6:1.2.3.4", True),
        ("::1.2.3.4", True), ("", False), (":", False), (":::", False), ("1::2::3", False),
        ("1:2:3:4:5:6:7", False), ("1:2:3:4:5:6:7:8:9", False), ("1:2:3:4:5:6:7::8", False),
        ("1:2:3:4:5:6:7:8::", False), ("::1:2:3:4:5:6:7:8", False), ("12345::", False),
        ("1:2:3:4:5:6:7:1.2.3.4", False), ("1:2:3:4:5:1.2.3.4", False), ("1.2.3.4", False),
        ("::1.2.3", False), ("::1.2.3.4.5", False), ("::1.2.3.4:5", False), ("::1.2.3.256", False),
        ("::1.2.3.04", False), ("::a.2.3.4", False), ("1:", False), (":1", False), ("1::2:", False),
        ("::g", False), ("::1%2", False), ("1:2:3:4:5:6::1.2.3.4", False),
    ],
)  # fmt: skip
def test_forms_of_an_address(text, right):
    assert read6(text) == address_of(text.replace("%", "g"))
    assert (read6(text) is not None) == right
