"""The stream that keeps every worker's replica equal to the master's state.

Each accepted change is published as (kind, body) records, in order, to all workers. A body is a
msgpack-able map that nobody may change; addresses and MACs are text, ports host-order integers,
devices, services, real servers and local addresses are ids. A `set` record replaces the whole
object of that id or key (its place in an ordered table stays), a `del` of something unknown is a
no-op.

    dev.set    id name mac mtu
    addr.set   addr plen dev sapool check         addr.del   addr plen dev
    route.set  dst plen kind via dev src mtu      route.del  dst plen dev
    routes.set version rows                       routes.del version rows
    neigh.set  addr dev mac static                neigh.del  addr dev
    laddr.set  id addr dev                        laddr.del  id
    svc.set    id af proto addr port sched flags conn_timeout proxy_protocol persistent netmask
               dests laddrs [match] [table] [quic_lb]
                                                  svc.del    id
    sched.set  name code entry fixups             sched.del  name
    param.set  name: value ...

Of several routes to the same dst/plen only the preferred one is published, so that dst and plen
are a route's key; kind "local" is a /32 or /128 of this host. `via` and `src` may be None.
routes.set and routes.del say the same of very many routes of an IP version, none of them local:
`rows` are bytes (ipvs/route_rows.py).
svc.set's table (of hashing schedulers only) is what clients are looked up in. Its dests are newest
first, each id addr port mode weight u_thresh l_thresh (weight 0 while inhibited; thresholds are
for the whole fleet, a worker takes its share), [server_id], those of mode snat with
the id of their address's pool; laddrs lists pool ids.  A match (addr 0.0.0.0 or ::, port 0) has
ranges src dst sport dport as (first, last), devices iif oif or None, and an order: of several that
match, the highest is meant.
An id deleted and set again for the same address refers to the same pool, ports in use included.

Between these the daemon sends records that are no state and in no snapshot: what workers are to
tell a link (announce addr dev; link.up dev), and what one of them heard there (mld.querier dev v1
robustness).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .addresses import InterfaceAddress
from .devices import Device, DeviceTable
from .hashing import lookup_table
from .inettypes import Address
from .laddrs import LocalPool, LocalPools
from .matches import MatchKey
from .neighbours import Neighbour
from .quic_lb import quic_lb_numbers
from .routes import Route
from .services import Dest, Service

Body = dict[str, Any]
Record = tuple[str, Body]


class Publisher(Protocol):
    """Sends records to all workers, in order and without loss. Must not raise."""

    def publish(self, kind: str, body: Body) -> None:
        """Queue one record."""


def device_set(device: Device) -> Record:
    """A device appeared or its MAC or mtu changed."""
    return "dev.set", {
        "id": device.id,
        "name": device.name,
        "mac": device.mac,
        "mtu": device.mtu,
    }


def address_set(entry: InterfaceAddress, check: bool = False) -> Record:
    """An interface address; its routes and pool come as records of their own.

    `check`: it is new, so an IPv6 one is checked for duplicates (field check).
    """
    body = {"addr": str(entry.address), "plen": entry.plen, "dev": entry.dev}
    fresh = {"check": True} if check and entry.address.version == 6 else {}
    return "addr.set", {**body, "sapool": entry.sapool, **fresh}


def address_del(entry: InterfaceAddress) -> Record:
    """The interface address is gone."""
    return "addr.del", {"addr": str(entry.address), "plen": entry.plen, "dev": entry.dev}


def route_set(route: Route, source: Address | None, mtu: int) -> Record:
    """A route with everything defaulted: mtu from the device, source from its addresses."""
    return "route.set", {
        "dst": str(route.dst),
        "plen": route.plen,
        "kind": route.kind,
        "via": None if route.via is None else str(route.via),
        "dev": route.dev,
        "src": None if source is None else str(source),
        "mtu": mtu,
    }


def route_del(route: Route) -> Record:
    """No route to that destination is left."""
    return "route.del", {"dst": str(route.dst), "plen": route.plen, "dev": route.dev}


def neighbour_set(entry: Neighbour) -> Record:
    """A static or learnt neighbour."""
    return "neigh.set", {
        "addr": str(entry.address),
        "dev": entry.dev,
        "mac": entry.mac,
        "static": entry.static,
    }


def neighbour_del(entry: Neighbour) -> Record:
    """The neighbour is gone."""
    return "neigh.del", {"addr": str(entry.address), "dev": entry.dev}


def laddr_set(pool: LocalPool) -> Record:
    """A local address whose ports connections may use."""
    return "laddr.set", {"id": pool.id, "addr": str(pool.addr), "dev": pool.dev}


def laddr_del(pool: LocalPool) -> Record:
    """No new connection may use the local address."""
    return "laddr.del", {"id": pool.id}


def _dest(dest: Dest, pools: LocalPools, slow_start: int) -> Body:
    """A real server's part of a service; with slow start also since when (monotonic ms)."""
    record = dest.record
    if slow_start:
        record = {**record, "slow_start": slow_start, "since": int(dest.since * 1000)}
    if dest.options.mode != "snat":
        return record
    pool = pools.of(dest.key.addr)
    return {**record, "pool": None if pool is None else pool.id}


def service_set(service: Service, pools: LocalPools, devices: DeviceTable) -> Record:
    """The whole service: options, real servers, usable local addresses."""
    key, options = service.key, service.options
    table = lookup_table(service)
    usable = [pools.usable(ref.addr, ref.dev) for ref in service.laddrs]
    match = key.record(devices, service.order) if isinstance(key, MatchKey) else None
    return "svc.set", {
        **({} if match is None else {"match": match}),
        "id": service.id,
        "af": key.af,
        "proto": key.proto,
        "addr": str(key.addr),
        "port": key.port,
        "sched": options.sched,
        "flags": options.flags,
        "conn_timeout": options.conn_timeout,
        "proxy_protocol": options.proxy_protocol,
        "persistent": options.persistent,
        "netmask": options.netmask,
        **({"quic_lb": numbers} if (numbers := quic_lb_numbers(options.quic_lb)) else {}),
        "dests": [_dest(dest, pools, options.slow_start) for dest in service.newest_first()],
        "laddrs": [pool.id for pool in usable if pool is not None],
        **({} if table is None else {"table": table}),
    }


def service_del(service: Service) -> Record:
    """The service is gone; its connections go on until they time out."""
    return "svc.del", {"id": service.id}


def scheduler_set(scheduler: Any) -> Record:
    """A user-written scheduler (control/schedulers.py) was loaded or replaced."""
    return "sched.set", {
        "name": scheduler.name,
        "code": scheduler.code,
        "entry": scheduler.entry,
        "fixups": list(scheduler.fixups),
    }


def scheduler_del(name: str) -> Record:
    """No service uses the scheduler any more."""
    return "sched.del", {"name": name}


def params_set(params: Mapping[str, Any]) -> Record:
    """Run-time parameters (timeouts, switches); absent names are unchanged."""
    return "param.set", dict(params)
