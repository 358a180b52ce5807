"""Match services of one worker: rules that select traffic by ranges of addresses and devices.

They are looked at when a packet of no known connection is neither for us nor for a virtual
service: one after the other, the newest first, so a later rule makes an exception of an earlier.
"""

from __future__ import annotations

import ctypes

from ipvs.context import Ipvs, Packet
from ipvs.service import service_at
from netdev.abi import Mbuf
from runtime.jit import compiled
from runtime.pointers import view
from stack.headers import ETHER_LEN, Ipv4
from stack.route import Route

MAX_RULES = 256
ANY = -1


class RuleStruct(ctypes.Structure):
    """One rule, 32 bytes: host-order numbers, ends of ranges included."""

    _fields_ = [
        ("src_low", ctypes.c_uint32),
        ("src_high", ctypes.c_uint32),
        ("dst_low", ctypes.c_uint32),
        ("dst_high", ctypes.c_uint32),
        ("sport_low", ctypes.c_uint16),
        ("sport_high", ctypes.c_uint16),
        ("dport_low", ctypes.c_uint16),
        ("dport_high", ctypes.c_uint16),
        ("iif", ctypes.c_int16),  # port index a packet came in by, ANY
        ("oif", ctypes.c_int16),  # port index of the route to its destination, ANY
        ("service", ctypes.c_uint16),
        ("proto", ctypes.c_uint16),
    ]


class RulesStruct(ctypes.Structure):
    """All rules in the order they are looked at."""

    _fields_ = [("count", ctypes.c_int64), ("rule", RuleStruct * MAX_RULES)]


Rule = view(RuleStruct)
Rules = view(RulesStruct)
RULES_AT = RulesStruct.rule.offset
RULE_SIZE = ctypes.sizeof(RuleStruct)
if RULE_SIZE != 32:
    raise AssertionError(f"match rule is {RULE_SIZE} bytes")


@compiled
def _applies(rule, l3, sport, dport, iif, oif):
    r = Rule(rule)
    ip = Ipv4(l3)
    if r.proto != ip.proto or ip.src < r.src_low or ip.src > r.src_high:
        return 0
    if ip.dst < r.dst_low or ip.dst > r.dst_high:
        return 0
    if sport < r.sport_low or sport > r.sport_high:
        return 0
    if dport < r.dport_low or dport > r.dport_high:
        return 0
    if r.iif != ANY and r.iif != iif:
        return 0
    return 1 if (r.oif == ANY or r.oif == oif) else 0


@compiled
def find_rule(ipvs, packet, route, sport, dport):
    """Service of the first rule that applies to a packet that leaves by ``route``, or 0."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    count = Rules(w.rules).count
    if count == 0 or route == 0:
        return 0
    l3 = k.data + ETHER_LEN
    iif = Mbuf(k.mbuf).port
    oif = Route(route).port
    for i in range(count):
        rule = w.rules + RULES_AT + i * RULE_SIZE
        if _applies(rule, l3, sport, dport, iif, oif):
            return service_at(w.services, Rule(rule).service)
    return 0
