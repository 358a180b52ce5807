"""Multicast listener queries (RFC 3810 5.1, 6.2; version 1: RFC 2710): checked, then planned for.

A query about sources of a group is answered like one about the group: we take any source.
"""

from __future__ import annotations

from netdev.abi import Mbuf
from runtime.intrinsics import load8, load64
from runtime.jit import compiled
from stack.address6 import MULTICAST_LINK_HIGH, is_link_local6, is_multicast6
from stack.context import Stack
from stack.drops6 import MLD_ALERT, MLD_DONE, MLD_FORMAT, MLD_HOP_LIMIT, MLD_OTHER, MLD_SENDER
from stack.events import MLD_QUERIER, emit
from stack.exthdr import HOP_BY_HOP, NEXT_AT, PAD1, ROUTER_ALERT, header_size
from stack.headers import ETHER_LEN, IP6_LEN, IP6_SRC, Icmp, Ipv6
from stack.mld import forget_plans
from stack.mld_send import MLD_HOPS, QUERY
from stack.mld_table import (
    MEMBER,
    ROBUSTNESS,
    Group,
    Listener,
    MldTable,
    find_group,
    listener_of,
    passed,
    random_below,
)

QUERY1_LEN = 24
QUERY2_LEN = 28
GROUP_AT = 8
ROBUSTNESS_AT = 24
SOURCES_AT = 26
TELL_EVERY_MS = 5000


@compiled
def is_alerted(l3):
    """1 when the hop-by-hop header, checked before, has the router alert option of MLD."""
    if load8(l3 + NEXT_AT) != HOP_BY_HOP:
        return 0
    at = l3 + IP6_LEN
    end = at + header_size(at, HOP_BY_HOP)
    at += 2
    while at < end:
        kind = load8(at)
        if kind == PAD1:
            at += 1
            continue
        if kind == ROUTER_ALERT:
            return 1 if load8(at + 1) == 2 and load8(at + 2) | load8(at + 3) == 0 else 0
        at += 2 + load8(at + 1)
    return 0


@compiled
def longest_delay(message, size):
    """Maximum response delay of a query in ms (RFC 3810 5.1.3; plain milliseconds in RFC 2710)."""
    code = Icmp(message).rest >> 16
    if size == QUERY1_LEN or code < 0x8000:
        return code
    return ((code & 0xFFF) | 0x1000) << (((code >> 12) & 7) + 3)


@compiled
def note_querier(stack, port, v1, robustness):
    """A querier was heard, by this worker or another; 1 when that changed something."""
    me = Listener(listener_of(stack, port))
    changed = 0
    if v1:
        me.since = Stack(stack).now
        if me.v1 == 0:
            me.v1 = 1
            forget_plans(stack, port)
            changed = 1
    elif me.robustness != robustness:
        me.robustness = robustness
        changed = 1
    return changed


@compiled
def _hear(stack, port, message, size):
    """Note who asks; the other workers hear of it through the master, not too often."""
    s = Stack(stack)
    me = Listener(listener_of(stack, port))
    v1 = 1 if size == QUERY1_LEN else 0
    robustness = ROBUSTNESS
    if v1 == 0 and load8(message + ROBUSTNESS_AT) & 7:
        robustness = load8(message + ROBUSTNESS_AT) & 7
    changed = note_querier(stack, port, v1, robustness)
    late = v1 and (s.now - me.told) & 0xFFFFFFFF >= TELL_EVERY_MS
    if s.workers > 1 and (changed or late):
        me.told = s.now
        emit(s.events, MLD_QUERIER, port, v1, robustness)
    return 0


@compiled
def _plan(stack, slot, moment):
    """Answer about a group at ``moment``, unless that is planned for an earlier one."""
    g = Group(slot)
    if g.answer == 0 or passed(g.answer_at, moment):
        g.answer_at = moment
    g.answer = 1
    Listener(listener_of(stack, g.port)).armed = 1
    return 0


@compiled
def _plan_all(stack, port, longest):
    """Answer about all groups of a port: in one report, or (version 1) each at its own moment."""
    s = Stack(stack)
    t = MldTable(s.mld)
    delay = random_below(s.mld, longest + 1)
    for i in range(t.high):
        g = t.group[i]
        if g.state != MEMBER or g.port != port:
            continue
        if t.listener[port].v1:
            delay = random_below(s.mld, longest + 1)
        _plan(stack, g.ptr, (s.now + delay) & 0xFFFFFFFF)
    return 0


@compiled
def check_query(l3, message, size):
    """0 when a query may be looked at, else a drop reason."""
    if Ipv6(l3).hops != MLD_HOPS:
        return MLD_HOP_LIMIT
    if is_link_local6(load64(l3 + IP6_SRC)) == 0:
        return MLD_SENDER
    if is_alerted(l3) == 0:
        return MLD_ALERT
    if Icmp(message).code != 0 or (size != QUERY1_LEN and size < QUERY2_LEN):
        return MLD_FORMAT
    if size >= QUERY2_LEN:
        sources = (load8(message + SOURCES_AT) << 8) | load8(message + SOURCES_AT + 1)
        if QUERY2_LEN + sources * 16 > size:
            return MLD_FORMAT
    high = load64(message + GROUP_AT)
    if high | load64(message + GROUP_AT + 8) != 0 and is_multicast6(high) == 0:
        return MLD_FORMAT
    return 0


@compiled
def receive_mld(stack, mbuf, data, offset):
    """A listener message, checksum right, ``offset`` bytes behind the IPv6 header's begin.

    All of them end here: returns a drop reason, MLD_DONE when all was well.
    """
    s = Stack(stack)
    l3 = data + ETHER_LEN
    message = l3 + offset
    if Icmp(message).type != QUERY:
        return MLD_OTHER
    size = IP6_LEN + Ipv6(l3).payload - offset
    reason = check_query(l3, message, size)
    if reason != 0:
        return reason
    port = Mbuf(mbuf).port
    _hear(stack, port, message, size)
    high = load64(message + GROUP_AT)
    low = load64(message + GROUP_AT + 8)
    longest = longest_delay(message, size)
    if high | low == 0:
        _plan_all(stack, port, longest)
        return MLD_DONE
    slot = find_group(s.mld, port, low) if high == MULTICAST_LINK_HIGH else 0
    if slot != 0 and Group(slot).state == MEMBER:
        _plan(stack, slot, (s.now + random_below(s.mld, longest + 1)) & 0xFFFFFFFF)
    return MLD_DONE
