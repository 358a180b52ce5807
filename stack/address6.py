"""IPv6 addresses in compiled code: two raw 64-bit words, ``high`` (bytes 0..7) and ``low``.

A word is what a load of eight address bytes gives, so bit masks here are in wire byte order read
as little endian: the first byte of the address is the lowest byte of ``high``.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

from runtime.intrinsics import shr, wrap
from runtime.jit import compiled, inlined

LINK_LOCAL_HIGH = 0x80FE  # fe80::/64
MULTICAST_LINK_HIGH = 0x02FF  # ff02::
ALL_NODES_LOW = 1 << 56  # ::1 as low word
ALL_ROUTERS_LOW = 2 << 56
SOLICITED_LOW = 0xFF01000000  # ::1:ff00:0 (RFC 4291 2.7.1)
SOLICITED_MASK = 0xFFFFFFFFFF


def words(address: str | ipaddress.IPv6Address) -> tuple[int, int]:
    """(high, low) of an address; ValueError for anything else."""
    high, low = struct.unpack("<qq", packed(str(address)))
    return high, low


def packed(text: str) -> bytes:
    """Bytes of an address of either family; ValueError for anything else.

    Much faster than ipaddress: a million routes are four million addresses.
    """
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except OSError:
        raise ValueError(f"not an address: {text!r}") from None


def masked_words(text: str, plen: int) -> tuple[int, int]:
    """(high, low) of a network: the bits behind its prefix cleared."""
    host = 128 - plen
    number = int.from_bytes(packed(text), "big") >> host << host
    high, low = struct.unpack("<qq", number.to_bytes(16, "big"))
    return high, low


def text(high: int, low: int) -> str:
    """The address of two raw words as text."""
    raw = b"".join((word & (1 << 64) - 1).to_bytes(8, "little") for word in (high, low))
    return str(ipaddress.IPv6Address(raw))


@inlined
def is_multicast6(high):
    """1 for ff00::/8."""
    return 1 if high & 0xFF == 0xFF else 0


@inlined
def is_link_local6(high):
    """1 for fe80::/10: valid on one link only."""
    return 1 if high & 0xC0FF == 0x80FE else 0


@inlined
def is_unspecified6(high, low):
    """1 for ::."""
    return 1 if high | low == 0 else 0


@compiled
def is_never_sent(high, low):
    """1 for addresses no packet may carry: ::1 (RFC 4291 2.5.3), ::ffff:0:0/96 (RFC 4038 4.2)."""
    if high != 0:
        return 0
    return 1 if (low == ALL_NODES_LOW or low & 0xFFFFFFFF == 0xFFFF0000) else 0


@inlined
def solicited_low(low):
    """Low word of the solicited-node multicast address of an address (RFC 4291 2.7.1)."""
    return (low & ~SOLICITED_MASK) | SOLICITED_LOW


@inlined
def multicast_mac6(low):
    """MAC address of a multicast address (RFC 2464 section 7), low 48 bits."""
    return 0x3333 | (shr(low, 32) << 16)


@compiled
def eui64_low(mac):
    """Low word of the link-local address of a MAC address (RFC 4291 appendix A)."""
    front = (mac & 0xFFFFFF) ^ 2
    return wrap(front | 0xFEFF000000 | (((mac >> 24) & 0xFFFFFF) << 40))
