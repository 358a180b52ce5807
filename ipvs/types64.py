"""Which ICMP error of the other family an error becomes (RFC 7915 4.2 and 5.2)."""

from __future__ import annotations

from runtime.jit import compiled
from stack.headers import Icmp

NO_ERROR = -1  # this one has no counterpart


@compiled
def pointer6(pointer):
    """The byte of an IPv6 header with the field at ``pointer`` of an IPv4 one, or NO_ERROR."""
    if pointer <= 1:
        return pointer
    if pointer <= 3:
        return 4  # total length
    if pointer == 8:
        return 7  # TTL
    if pointer == 9:
        return 6  # protocol
    if 12 <= pointer <= 15:
        return 8
    if 16 <= pointer <= 19:
        return 24
    return NO_ERROR


@compiled
def pointer4(pointer):
    """The byte of an IPv4 header with the field at ``pointer`` of an IPv6 one, or NO_ERROR."""
    if pointer <= 1:
        return pointer
    if pointer == 4 or pointer == 5:
        return 2  # payload length
    if pointer == 6:
        return 9  # next header
    if pointer == 7:
        return 8  # hop limit
    if 8 <= pointer <= 23:
        return 12
    if 24 <= pointer <= 39:
        return 16
    return NO_ERROR


@compiled
def plateau(total):
    """The MTU to suppose where a router told none about a packet of ``total`` bytes (RFC 1191 7).

    What is below makes no difference to IPv6, what is above no port takes.
    """
    if total > 8166:
        return 8166
    if total > 4352:
        return 4352
    if total > 2002:
        return 2002
    return 1492 if total > 1492 else 1006


@compiled
def to_type6(icmp):
    """ICMPv6 type << 8 | code of an ICMPv4 error, or NO_ERROR."""
    told = Icmp(icmp)
    kind = told.type
    code = told.code
    if kind == 11:
        return 3 << 8 | code
    if kind == 12:
        known = (code == 0 or code == 2) and pointer6(told.rest >> 24) != NO_ERROR
        return 4 << 8 if known else NO_ERROR
    if kind != 3:
        return NO_ERROR  # source quench is obsolete
    if code == 2:
        return 4 << 8 | 1
    if code == 3:
        return 1 << 8 | 4
    if code == 4:
        return 2 << 8
    if code == 9 or code == 10 or code == 13 or code == 15:
        return 1 << 8 | 1
    if code == 14 or code > 15:
        return NO_ERROR
    return 1 << 8


@compiled
def to_type4(icmp):
    """ICMPv4 type << 8 | code of an ICMPv6 error, or NO_ERROR."""
    told = Icmp(icmp)
    kind = told.type
    code = told.code
    if kind == 1:
        if code == 1:
            return 3 << 8 | 10
        return 3 << 8 | (3 if code == 4 else 1)
    if kind == 2:
        return 3 << 8 | 4
    if kind == 3:
        return 11 << 8 | code
    if code == 0:
        return 12 << 8 if pointer4(told.rest) != NO_ERROR else NO_ERROR
    return 3 << 8 | 2 if code == 1 else NO_ERROR
