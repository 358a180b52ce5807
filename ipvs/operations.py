"""The operations that replication records are turned into, executed between two bursts.

Each is short (hundreds of nanoseconds) and leaves the tables whole.  A batch is executed without a
packet in between, so what belongs together changes together.
"""

from __future__ import annotations

import ctypes

from ipvs.context import Ipvs
from ipvs.dest import DEST_SIZE, STATS_SIZE, Dest, DestStats
from ipvs.operations6 import FIRST6, execute6
from ipvs.route_rows import delete_rows, set_rows, sweep_rows
from ipvs.service import SERVICE_SIZE, Service, link, service_at, unlink
from runtime.intrinsics import copy, store8, store16, store32, store64
from runtime.jit import compiled
from runtime.pointers import view
from stack import neigh, route
from stack.arp import announce
from stack.context import Stack, bump_generation

STORE8, STORE16, STORE32, STORE64 = range(1, 5)  # address, value
COPY = 5  # to, from, bytes
ROUTE_SET = 6  # prefix, length, kind, gateway, port, source, mtu, flags
ROUTE_DELETE = 7  # prefix, length
NEIGHBOUR_SET = 8  # port, address, mac, permanent
NEIGHBOUR_DELETE = 9  # port, address
SERVICE_SET = 10  # number, address of the new ServiceStruct, 1: turns go on where they were
SERVICE_DELETE = 11  # number
DEST_SET = 12  # number, address of the new DestStruct
DEST_DELETE = 13  # number
ANNOUNCE = 14  # port, address
ROUTE_ROWS = 15  # address of RouteRowStruct[count], count, IP version
ROUTE_ROWS_DELETE = 16  # the same
ROUTE_SWEEP = 17  # first bucket, count, IP version
# Codes from 64 on: ipvs/operations6.py.

DONE = 1
FULL = 0  # a table had no room; nothing of this operation was done


class OperationStruct(ctypes.Structure):
    """One operation: its code, what became of it (DONE or FULL), its arguments."""

    _fields_ = [
        ("code", ctypes.c_int64),
        ("result", ctypes.c_int64),
        ("a", ctypes.c_int64 * 8),
    ]


Operation = view(OperationStruct)
OPERATION_SIZE = ctypes.sizeof(OperationStruct)


@compiled
def _store(code, at, value):
    if code == STORE8:
        store8(at, value)
    elif code == STORE16:
        store16(at, value)
    elif code == STORE32:
        store32(at, value)
    else:
        store64(at, value)
    return DONE


@compiled
def set_route(stack, operation):
    """Add or replace a route; every connection looks its next hop up again."""
    o = Operation(operation)
    routes = Stack(stack).routes
    if not route.insert(routes, o.a[0], o.a[1], o.a[2], o.a[3], o.a[4], o.a[5], o.a[6]):
        return FULL
    route.Route(route.find_exact(routes, o.a[0], o.a[1])).flags = o.a[7]
    bump_generation(stack)
    return DONE


@compiled
def set_neighbour(stack, port, address, mac, permanent):
    """A neighbour from the operator (permanent) or learnt by another worker."""
    entry = neigh.find_or_add(stack, port, address)
    if entry == 0:
        return FULL
    neigh.tell(stack, entry, mac, permanent)
    return DONE


@compiled
def delete_neighbour(stack, port, address):
    """Forget a neighbour's MAC; none is no error."""
    entry = neigh.find(Stack(stack).neighbours, port, address)
    if entry != 0:
        neigh.remove(stack, entry)
    return DONE


@compiled
def delete_service(ipvs, number):
    """Take a service out; its connections go on until they time out."""
    w = Ipvs(ipvs)
    if unlink(w.services, number):
        w.nat_services -= Service(service_at(w.services, number)).nat
    return DONE


@compiled
def set_service(ipvs, number, image, same):
    """Replace a service by the record at ``image``; with the ``same`` servers turns go on."""
    w = Ipvs(ipvs)
    old = Service(service_at(w.services, number))
    new = Service(image)
    if old.present and same:
        new.position = old.position
        if old.laddr_position < new.laddr_count:
            new.laddr_position = old.laddr_position
        new.current_weight = old.current_weight
    delete_service(ipvs, number)
    copy(old.ptr, image, SERVICE_SIZE)
    w.nat_services += new.nat
    link(w.services, number)
    return DONE


@compiled
def set_dest(ipvs, number, image):
    """Replace a real server by the record at ``image``; overload follows from its connections."""
    w = Ipvs(ipvs)
    at = w.dests + number * DEST_SIZE
    copy(at, image, DEST_SIZE)
    d = Dest(at)
    s = DestStats(w.dest_stats + number * STATS_SIZE)
    d.overload = 1 if (d.upper != 0 and s.active + s.inactive >= d.upper) else 0
    s.overload = d.overload
    d.present = 1
    return DONE


@compiled
def _stack_operation(stack, operation):
    o = Operation(operation)
    code = o.code
    if code == ROUTE_SET:
        return set_route(stack, operation)
    if code == ROUTE_DELETE:
        if route.remove(Stack(stack).routes, o.a[0], o.a[1]):
            bump_generation(stack)
        return DONE
    if code == NEIGHBOUR_SET:
        return set_neighbour(stack, o.a[0], o.a[1], o.a[2], o.a[3])
    if code == NEIGHBOUR_DELETE:
        return delete_neighbour(stack, o.a[0], o.a[1])
    if code == ROUTE_ROWS:
        set_rows(stack, o.a[0], o.a[1], o.a[2])
    elif code == ROUTE_ROWS_DELETE:
        delete_rows(stack, o.a[0], o.a[1], o.a[2])
    elif code == ROUTE_SWEEP:
        sweep_rows(stack, o.a[0], o.a[1], o.a[2])
    else:
        announce(stack, o.a[0], o.a[1])
    return DONE


@compiled
def execute_one(ipvs, operation):
    """Execute one operation; DONE or FULL."""
    o = Operation(operation)
    code = o.code
    if code >= FIRST6:
        return execute6(Ipvs(ipvs).stack, code, o.a.ptr)
    if code <= STORE64:
        return _store(code, o.a[0], o.a[1])
    if code == COPY:
        copy(o.a[0], o.a[1], o.a[2])
        return DONE
    if code == SERVICE_SET:
        return set_service(ipvs, o.a[0], o.a[1], o.a[2])
    if code == SERVICE_DELETE:
        return delete_service(ipvs, o.a[0])
    if code == DEST_SET:
        return set_dest(ipvs, o.a[0], o.a[1])
    if code == DEST_DELETE:
        Dest(Ipvs(ipvs).dests + o.a[0] * DEST_SIZE).present = 0
        return DONE
    return _stack_operation(Ipvs(ipvs).stack, operation)


@compiled
def execute(ipvs, batch, count):
    """Execute a batch in order; it ends at the first operation that finds a table full."""
    for i in range(count):
        at = batch + i * OPERATION_SIZE
        result = execute_one(ipvs, at)
        Operation(at).result = result
        if result == FULL:
            return i
    return count
