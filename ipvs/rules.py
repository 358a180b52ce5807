"""Match services of one worker: rules that select traffic by ranges of addresses and devices.

They are looked at when a packet of no known connection is neither for us nor for a virtual
service: one after the other, the newest first, so a later rule makes an exception of an earlier.

Addresses of both families are two words here whose order as signed numbers is that of the
addresses; the high word of an IPv4 address is 0.
"""

from __future__ import annotations

import ctypes

from ipvs.context import Ipvs, Packet
from ipvs.family import NO_WAY, is_six
from ipvs.service import service_at
from netdev.abi import Mbuf
from runtime.intrinsics import load64, signed, wrap
from runtime.jit import compiled
from runtime.pointers import view
from stack.byteorder import swap32
from stack.headers import ETHER_LEN, IP6_DST, IP6_SRC, Ipv4

MAX_RULES = 256
ANY = -1
TOP = signed(1 << 63)


class EndStruct(ctypes.Structure):
    """One end of a range of addresses."""

    _fields_ = [("high", ctypes.c_int64), ("low", ctypes.c_int64)]


class RuleStruct(ctypes.Structure):
    """One rule, 80 bytes; ends of ranges included, ports in host order."""

    _fields_ = [
        ("src", EndStruct * 2),  # first, last
        ("dst", EndStruct * 2),
        ("sport_low", ctypes.c_uint16),
        ("sport_high", ctypes.c_uint16),
        ("dport_low", ctypes.c_uint16),
        ("dport_high", ctypes.c_uint16),
        ("iif", ctypes.c_int16),  # port index a packet came in by, ANY
        ("oif", ctypes.c_int16),  # port index of the route to its destination, ANY
        ("service", ctypes.c_uint16),
        ("proto", ctypes.c_uint8),
        ("wide", ctypes.c_uint8),  # 1 = IPv6
    ]


class RulesStruct(ctypes.Structure):
    """All rules in the order they are looked at."""

    _fields_ = [("count", ctypes.c_int64), ("rule", RuleStruct * MAX_RULES)]


End = view(EndStruct)
Rule = view(RuleStruct)
Rules = view(RulesStruct)
RULES_AT = RulesStruct.rule.offset
RULE_SIZE = ctypes.sizeof(RuleStruct)
if RULE_SIZE != 80:
    raise AssertionError(f"match rule is {RULE_SIZE} bytes")


@compiled
def in_order(word):
    """A word of an IPv6 address, as loaded, such that signed comparison is that of addresses."""
    return wrap((swap32(word & 0xFFFFFFFF) << 32) | swap32((word >> 32) & 0xFFFFFFFF)) ^ TOP


@compiled
def _between(high, low, first, last):
    """1 when an address is not before the end at ``first`` nor behind the one at ``last``."""
    a = End(first)
    if high < a.high or (high == a.high and low < a.low):
        return 0
    b = End(last)
    return 0 if (high > b.high or (high == b.high and low > b.low)) else 1


@compiled
def _addresses_apply(rule, l3):
    r = Rule(rule)
    six = is_six(l3)
    if r.wide != six:
        return 0
    if six == 0:
        ip = Ipv4(l3)
        if _between(0, ip.src, r.src[0].ptr, r.src[1].ptr) == 0:
            return 0
        return _between(0, ip.dst, r.dst[0].ptr, r.dst[1].ptr)
    high = in_order(load64(l3 + IP6_SRC))
    if _between(high, in_order(load64(l3 + IP6_SRC + 8)), r.src[0].ptr, r.src[1].ptr) == 0:
        return 0
    high = in_order(load64(l3 + IP6_DST))
    return _between(high, in_order(load64(l3 + IP6_DST + 8)), r.dst[0].ptr, r.dst[1].ptr)


@compiled
def _applies(rule, l3, proto, sport, dport, iif, oif):
    r = Rule(rule)
    if r.proto != proto or _addresses_apply(rule, l3) == 0:
        return 0
    if sport < r.sport_low or sport > r.sport_high:
        return 0
    if dport < r.dport_low or dport > r.dport_high:
        return 0
    if r.iif != ANY and r.iif != iif:
        return 0
    return 1 if (r.oif == ANY or r.oif == oif) else 0


@compiled
def find_rule(ipvs, packet, oif, sport, dport):
    """Service of the first rule that applies to a packet that leaves by port index ``oif``, or 0.

    None does without a route: ``oif`` is NO_WAY.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    count = Rules(w.rules).count
    if count == 0 or oif == NO_WAY:
        return 0
    l3 = k.data + ETHER_LEN
    iif = Mbuf(k.mbuf).port
    proto = (k.ports >> 32) & 0xFF
    for i in range(count):
        rule = w.rules + RULES_AT + i * RULE_SIZE
        if _applies(rule, l3, proto, sport, dport, iif, oif):
            return service_at(w.services, Rule(rule).service)
    return 0
