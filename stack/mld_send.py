"""Multicast listener reports: MLDv2 (RFC 3810 5.2), MLDv1 (RFC 2710 3) where a querier asks so."""

from __future__ import annotations

from netdev.mbuf import data_of
from runtime.intrinsics import store32, store64
from runtime.jit import compiled
from stack.address6 import ALL_ROUTERS_LOW, LINK_LOCAL_HIGH, MULTICAST_LINK_HIGH, multicast_mac6
from stack.context import Stack
from stack.dad import find_tentative
from stack.exthdr import HOP_BY_HOP
from stack.headers import ETHER_LEN, IP6_DST, IP6_LEN, IP6_SRC, PROTO_ICMP6, Icmp
from stack.mld_table import Listener, listener_of
from stack.nd_send import blank6, send_icmp6, store_address6

QUERY, REPORT1, DONE1, REPORT2 = 130, 131, 132, 143
IS_EXCLUDE, TO_INCLUDE, TO_EXCLUDE = 2, 3, 4  # record types (RFC 3810 5.2.12)
ALL_MLD2_LOW = 0x16 << 56  # ff02::16
MLD_HOPS = 1
ALERT_LEN = 8
MESSAGE_AT = IP6_LEN + ALERT_LEN
# Hop-by-hop header of ICMPv6: router alert "multicast listener discovery" (RFC 2711), PadN.
ALERT = int.from_bytes(bytes([PROTO_ICMP6, 0, 5, 2, 0, 0, 1, 0]), "little")
RECORD_LEN = 20
RECORDS = 61  # of a report that every link takes: 1280 bytes


@compiled
def source_of_reports(stack, port):
    """Low word of the link-local address we report from; 0 (that is ::) while there is none, or
    its check for duplicates is not over (RFC 3590 4)."""
    low = Stack(stack).link_local[port]
    if low == 0 or find_tentative(stack, port, LINK_LOCAL_HIGH, low):
        return 0
    return low


@compiled
def _message(stack, port, kind, to):
    """A frame with its headers up to a group's low word and an empty message; 0 without mbuf."""
    mbuf = blank6(stack, port, HOP_BY_HOP, MLD_HOPS)
    if mbuf == 0:
        return 0
    l3 = data_of(mbuf) + ETHER_LEN
    low = source_of_reports(stack, port)
    if low == 0:
        Listener(listener_of(stack, port)).nameless = 1
    store_address6(l3, IP6_SRC, LINK_LOCAL_HIGH if low != 0 else 0, low)
    store_address6(l3, IP6_DST, MULTICAST_LINK_HIGH, to)
    store64(l3 + IP6_LEN, ALERT)
    store64(l3 + MESSAGE_AT, kind)
    return mbuf


@compiled
def begin_report(stack, port):
    """An MLDv2 report without records; 0 without an mbuf."""
    return _message(stack, port, REPORT2, ALL_MLD2_LOW)


@compiled
def add_record(mbuf, number, kind, low):
    """Write record ``number`` (0 .. RECORDS - 1) of a report: a group, without sources."""
    at = data_of(mbuf) + ETHER_LEN + MESSAGE_AT + 8 + number * RECORD_LEN
    store32(at, kind)
    store_address6(at, 4, MULTICAST_LINK_HIGH, low)
    return 0


@compiled
def send_report(stack, port, mbuf, records):
    """Send a report that has its records."""
    Icmp(data_of(mbuf) + ETHER_LEN + MESSAGE_AT).rest = records
    mac = multicast_mac6(ALL_MLD2_LOW)
    return send_icmp6(stack, port, mbuf, mac, MESSAGE_AT, 8 + records * RECORD_LEN)


@compiled
def send_v1(stack, port, kind, low):
    """Send an MLDv1 report to its group, or a done to all routers."""
    to = ALL_ROUTERS_LOW if kind == DONE1 else low
    mbuf = _message(stack, port, kind, to)
    if mbuf == 0:
        return 0
    store_address6(data_of(mbuf) + ETHER_LEN, MESSAGE_AT + 8, MULTICAST_LINK_HIGH, low)
    return send_icmp6(stack, port, mbuf, multicast_mac6(to), MESSAGE_AT, 24)
