"""The Internet checksum (RFC 1071) and its incremental update (RFC 1624), compiled.

Sums work on words as they lie in memory (native order): the one's complement sum commutes with
byte swapping, so the result is stored as it comes.
"""

from __future__ import annotations

from runtime.intrinsics import load8, load16, load32, load64
from runtime.jit import compiled, inlined


@inlined
def fold(total):
    """Fold a non-negative sum of less than 2**48 into 16 bits."""
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


@compiled
def sum_bytes(address, size):
    """One's complement sum (not folded to 16 bits, below 2**48) of ``size`` bytes."""
    total = 0
    at = address
    end = address + size
    while at + 4 <= end:
        total += load32(at)
        at += 4
    total = (total & 0xFFFFFFFF) + (total >> 32)
    if at + 2 <= end:
        total += load16(at)
        at += 2
    if at < end:
        total += load8(at)
    return total


@compiled
def checksum(address, size):
    """Checksum to store (native order) of ``size`` bytes whose checksum field is zero."""
    return fold(sum_bytes(address, size)) ^ 0xFFFF


@inlined
def ipv4_header_sum(address):
    """Folded sum of a 20-byte IPv4 header: 0xffff when its checksum is right."""
    low = load64(address)
    mid = load64(address + 8)
    total = (
        (low & 0xFFFFFFFF)
        + ((low >> 32) & 0xFFFFFFFF)
        + (mid & 0xFFFFFFFF)
        + ((mid >> 32) & 0xFFFFFFFF)
        + load32(address + 16)
    )
    return fold(total)


@compiled
def pseudo_sum(src_dst, proto, length):
    """Sum of the IPv4 pseudo header; ``src_dst`` is the raw 8 bytes of both addresses."""
    total = (src_dst & 0xFFFFFFFF) + ((src_dst >> 32) & 0xFFFFFFFF)
    return total + (proto << 8) + ((length & 0xFF) << 8) + (length >> 8)


@compiled
def pseudo_sum6(addresses, proto, length):
    """Sum of the IPv6 pseudo header (RFC 8200 8.1); ``addresses`` is where both lie, 32 bytes."""
    total = sum_bytes(addresses, 32)
    return total + (proto << 8) + ((length & 0xFF) << 8) + ((length >> 8) & 0xFF)


@compiled
def checksum6(l3, l4, proto, length):
    """Folded sum of pseudo header and ``length`` upper-layer bytes: 0xffff when it verifies.

    With the checksum field zero, the complement of this is what to store.
    """
    return fold(pseudo_sum6(l3 + 8, proto, length) + sum_bytes(l4, length))


@inlined
def difference(old, new):
    """16-bit term to add (RFC 1624, eqn. 3: ~m + m') when words summing to ``old`` become ``new``.

    Both are sums as ``sum_bytes`` gives them.
    """
    return fold((fold(old) ^ 0xFFFF) + fold(new))


@inlined
def update(check, delta):
    """New checksum field for the old field ``check`` (native order) and a ``difference``.

    Both are 16 bits, so one fold is enough.
    """
    total = (check ^ 0xFFFF) + delta
    return ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF
