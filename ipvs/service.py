"""Virtual services of one worker: lookup by address, port and protocol.

A service on port 0 takes all ports of its address that have no service of their own.
"""

from __future__ import annotations

import ctypes

from runtime.intrinsics import GOLDEN, mum, shr, signed, times
from runtime.jit import compiled
from runtime.pointers import view

MAX_SERVICES = 4096
BUCKETS = 8192
SALT = signed(0x8CB92BA72F3D8DD7)  # any odd number: mixes the low half of an IPv6 address

SCHED_RR, SCHED_WRR, SCHED_WLC, SCHED_CONHASH, SCHED_MH, SCHED_FO, SCHED_USER = range(7)
SCHEDULERS = {
    "rr": SCHED_RR,
    "wrr": SCHED_WRR,
    "wlc": SCHED_WLC,
    "conhash": SCHED_CONHASH,
    "mh": SCHED_MH,
    "fo": SCHED_FO,
}

PERSISTENT = 1  # templates, see ipvs/persist.py
QUIC = 2  # servers named by connection ids, see ipvs/quic.py


class ServiceStruct(ctypes.Structure):
    """One virtual service, 128 bytes.  Lists are addresses of uint32 arrays of ids."""

    _fields_ = [
        ("address", ctypes.c_uint32),  # host order, 0 = IPv6
        ("port", ctypes.c_uint16),
        ("proto", ctypes.c_uint8),
        ("present", ctypes.c_uint8),
        ("next", ctypes.c_uint32),  # hash chain, service id + 1
        ("scheduler", ctypes.c_uint32),
        ("dests", ctypes.c_int64),
        ("dest_count", ctypes.c_int64),
        ("laddrs", ctypes.c_int64),
        ("laddr_count", ctypes.c_int64),
        ("position", ctypes.c_int64),  # rr, wrr: element last chosen, -1 before the first
        ("current_weight", ctypes.c_int64),  # wrr
        ("max_weight", ctypes.c_int64),
        ("gcd_weight", ctypes.c_int64),
        ("laddr_position", ctypes.c_int64),
        ("conn_timeout", ctypes.c_uint32),  # seconds, 0 = protocol's
        ("expire_quiescent", ctypes.c_uint16),
        ("nat", ctypes.c_uint16),  # some real server is in NAT mode
        ("wide", ctypes.c_uint16),  # 1 = IPv6
        ("sticky", ctypes.c_uint16),  # what keeps clients at a real server: bits as below
        ("ops", ctypes.c_uint16),  # one packet each connection
        ("proxy", ctypes.c_uint16),  # PROXY header: version, 16 added when clients are believed
        ("high", ctypes.c_int64),  # IPv6 address, raw halves
        ("low", ctypes.c_int64),
        ("extra", ctypes.c_int64),  # ExtraStruct, see ipvs/extra.py
    ]


class ServiceTableStruct(ctypes.Structure):
    """All services of a worker, hashed."""

    _fields_ = [
        ("count", ctypes.c_int64),
        ("all_ports", ctypes.c_int64),  # how many of them are on port 0
        ("pad", ctypes.c_int64 * 6),
        ("heads", ctypes.c_uint32 * BUCKETS),
        ("service", ServiceStruct * MAX_SERVICES),
    ]


class IdListStruct(ctypes.Structure):
    """Open-ended array of ids."""

    _fields_ = [("id", ctypes.c_uint32 * 0)]


Service = view(ServiceStruct)
ServiceTable = view(ServiceTableStruct)
IdList = view(IdListStruct)
SERVICES_AT = ServiceTableStruct.service.offset
SERVICE_SIZE = ctypes.sizeof(ServiceStruct)
if SERVICE_SIZE != 128:
    raise AssertionError(f"service record is {SERVICE_SIZE} bytes")


@compiled
def service_at(table, number):
    """Address of service ``number``."""
    return table + SERVICES_AT + number * SERVICE_SIZE


@compiled
def number_of(table, service):
    """Id of the service at an address."""
    return (service - table - SERVICES_AT) >> 7


@compiled
def _bucket(address, port, proto):
    return shr(times(address | (port << 32) | (proto << 48), GOLDEN), 48) & (BUCKETS - 1)


@compiled
def _exact(table, address, port, proto):
    t = ServiceTable(table)
    number = t.heads[_bucket(address, port, proto)]
    while number != 0:
        s = Service(service_at(table, number - 1))
        if s.address == address and s.port == port and s.proto == proto:
            return s.ptr
        number = s.next
    return 0


@compiled
def find(table, address, port, proto):
    """Address of the service for a destination (host order): of the port, else of all; or 0."""
    found = _exact(table, address, port, proto)
    if found == 0 and ServiceTable(table).all_ports != 0:
        found = _exact(table, address, 0, proto)
    return found


@compiled
def _bucket6(high, low, port, proto):
    return _bucket(mum(high ^ GOLDEN, low ^ SALT) & 0xFFFFFFFF, port, proto)


@compiled
def _exact6(table, high, low, port, proto):
    t = ServiceTable(table)
    number = t.heads[_bucket6(high, low, port, proto)]
    while number != 0:
        s = Service(service_at(table, number - 1))
        if s.high == high and s.low == low and s.port == port and s.proto == proto and s.wide:
            return s.ptr
        number = s.next
    return 0


@compiled
def find6(table, high, low, port, proto):
    """``find`` for an IPv6 address (raw halves)."""
    found = _exact6(table, high, low, port, proto)
    if found == 0 and ServiceTable(table).all_ports != 0:
        found = _exact6(table, high, low, 0, proto)
    return found


@compiled
def _takes_all_ports(service):
    """1 for a service on port 0; match services have no address either."""
    s = Service(service)
    return 1 if s.port == 0 and (s.address | s.high | s.low) != 0 else 0


@compiled
def _own_bucket(service):
    s = Service(service)
    if s.wide:
        return _bucket6(s.high, s.low, s.port, s.proto)
    return _bucket(s.address, s.port, s.proto)


@compiled
def link(table, number):
    """Put a filled-in service record into the hash."""
    t = ServiceTable(table)
    s = Service(service_at(table, number))
    bucket = _own_bucket(s.ptr)
    s.next = t.heads[bucket]
    t.heads[bucket] = number + 1
    s.present = 1
    t.count += 1
    t.all_ports += _takes_all_ports(s.ptr)
    return 0


@compiled
def unlink(table, number):
    """Take a service out of the hash; nothing happens when it is not in."""
    t = ServiceTable(table)
    s = Service(service_at(table, number))
    if s.present == 0:
        return 0
    bucket = _own_bucket(s.ptr)
    before = 0
    at = t.heads[bucket]
    while at != 0 and at != number + 1:
        before = service_at(table, at - 1)
        at = Service(before).next
    if before == 0:
        t.heads[bucket] = s.next
    else:
        Service(before).next = s.next
    s.present = 0
    t.count -= 1
    t.all_ports -= _takes_all_ports(s.ptr)
    return 1
