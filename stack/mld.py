"""Multicast listener discovery, a host's part (RFC 3810): report our groups, answer queries.

Switches with MLD snooping send a group only where somebody reported it.  One worker of all reports
changes; a query is answered by the worker whose queue it came to.  Reports are never suppressed
because another host sent one (RFC 2710 4 allows it): snooping switches want each host's own.
"""

from __future__ import annotations

from runtime.jit import compiled
from stack.context import Stack
from stack.dad import speaks
from stack.drops6 import MLD_FULL
from stack.mld_send import (
    DONE1,
    IS_EXCLUDE,
    RECORDS,
    REPORT1,
    TO_EXCLUDE,
    TO_INCLUDE,
    add_record,
    begin_report,
    send_report,
    send_v1,
    source_of_reports,
)
from stack.mld_table import (
    FREE,
    LEAVING,
    MEMBER,
    Group,
    Listener,
    MldTable,
    find_group,
    listener_of,
    new_group,
    passed,
    random_below,
)
from stack.neigh import count_drop

UNSOLICITED_MS = 1000  # longest time between reports of one change (RFC 3810 9.11)
V1_PRESENT_MS = 260_000  # RFC 3810 9.12: 2 query intervals of 125 s and a response interval


@compiled
def _due(stack, slot):
    """Type of the record that is to be sent of a group now, 0 for none; what is left is noted."""
    s = Stack(stack)
    g = Group(slot)
    kind = 0
    if g.answer and passed(s.now, g.answer_at):
        g.answer = 0
        kind = IS_EXCLUDE
    if g.changes and passed(s.now, g.change_at):
        kind = TO_EXCLUDE if g.state == MEMBER else TO_INCLUDE
        g.changes -= 1
        g.change_at = (s.now + 1 + random_below(s.mld, UNSOLICITED_MS)) & 0xFFFFFFFF
    if g.changes or g.answer:
        Listener(listener_of(stack, g.port)).armed = 1
    elif g.state == LEAVING:
        g.state = FREE
    return kind


@compiled
def report(stack, port):
    """Send all that is due on a port."""
    t = MldTable(Stack(stack).mld)
    me = t.listener[port]
    me.armed = 0
    mbuf = 0
    count = 0
    for i in range(t.high):
        g = t.group[i]
        if g.state == FREE or g.port != port:
            continue
        kind = _due(stack, g.ptr)
        if kind == 0:
            continue
        if me.v1:
            send_v1(stack, port, DONE1 if kind == TO_INCLUDE else REPORT1, g.low)
            continue
        if mbuf == 0:
            mbuf = begin_report(stack, port)
            if mbuf == 0:
                return 0
        add_record(mbuf, count, kind, g.low)
        count += 1
        if count == RECORDS:
            send_report(stack, port, mbuf, count)
            mbuf = 0
            count = 0
    if mbuf != 0:
        send_report(stack, port, mbuf, count)
    return 0


@compiled
def _changed(stack, slot, state):
    """A group's new state is to be reported, from now on."""
    g = Group(slot)
    me = Listener(listener_of(stack, g.port))
    g.state = state
    g.changes = 0
    if state == LEAVING:
        g.answer = 0
    if speaks(stack, g.port):
        # A done of version 1 is sent once (RFC 2710 4).
        g.changes = 1 if (me.v1 and state == LEAVING) else me.robustness
        g.change_at = Stack(stack).now
        me.armed = 1
    elif state == LEAVING:
        g.state = FREE
    return 0


@compiled
def join(stack, port, low):
    """Begin to listen to a group and report it at once; 1, or 0 when there is no room."""
    s = Stack(stack)
    slot = find_group(s.mld, port, low)
    if slot != 0 and Group(slot).state == MEMBER:
        return 1
    if slot == 0:
        slot = new_group(s.mld, port, low)
    if slot == 0:
        count_drop(stack, MLD_FULL)
        return 0
    _changed(stack, slot, MEMBER)
    report(stack, port)
    return 1


@compiled
def leave(stack, port, low):
    """Listen no longer to a group, and report it at once."""
    slot = find_group(Stack(stack).mld, port, low)
    if slot != 0 and Group(slot).state == MEMBER:
        _changed(stack, slot, LEAVING)
        report(stack, port)
    return 0


@compiled
def report_again(stack, port):
    """Report all groups of a port anew: its link came up, or it got a link-local address."""
    t = MldTable(Stack(stack).mld)
    t.listener[port].nameless = 0
    for i in range(t.high):
        g = t.group[i]
        if g.state == MEMBER and g.port == port:
            _changed(stack, g.ptr, MEMBER)
    return 0


@compiled
def forget_plans(stack, port):
    """The querier's version changed: whatever was to be sent is not (RFC 3810 8.2.1)."""
    t = MldTable(Stack(stack).mld)
    for i in range(t.high):
        g = t.group[i]
        if g.port == port and g.state != FREE:
            g.changes = 0
            g.answer = 0
            if g.state == LEAVING:
                g.state = FREE
    return 0


@compiled
def age_mld(stack):
    """Send what is due; forget queriers of version 1 that are gone."""
    s = Stack(stack)
    for port in range(s.port_count):
        me = Listener(listener_of(stack, port))
        if me.v1 and (s.now - me.since) & 0xFFFFFFFF >= V1_PRESENT_MS:
            me.v1 = 0
            forget_plans(stack, port)
        if me.nameless and source_of_reports(stack, port) != 0:
            report_again(stack, port)
        if me.armed:
            report(stack, port)
    return 0
