"""Requests that list services with their statistics, local addresses and connections."""

from __future__ import annotations

from typing import Any

from .context import Context, Handler
from .errors import Code
from .fields import Fields
from .ipvs_fields import read_optional_key
from .matches import MatchKey
from .providers import DestCounters
from .rates import Rates
from .services import AnyKey, Dest, Service
from .traffic import add_up

MAX_CONNECTIONS = 2000


def key_map(key: AnyKey) -> dict[str, Any]:
    """A service key as requests and replies carry it."""
    if isinstance(key, MatchKey):
        return {"match": key.map()}
    return {"af": key.af, "proto": key.proto, "addr": str(key.addr), "port": key.port}


def options_map(service: Service) -> dict[str, Any]:
    """The options of a service as requests and replies carry them."""
    options = service.options
    return {
        "sched": options.sched,
        "persistent": options.persistent,
        "netmask": options.netmask,
        "ops": options.ops,
        "synproxy": options.synproxy,
        "conn_timeout": options.conn_timeout,
        "expire_quiescent": options.expire_quiescent,
        "quic": options.quic,
        "quic_lb": options.quic_lb,
        "proxy_protocol": options.proxy_protocol,
        "hash_target": options.hash_target,
        "sched_flags": list(options.sched_flags),
        "slow_start": options.slow_start,
        "dest_check": list(options.dest_check),
    }


def dest_map(dest: Dest) -> dict[str, Any]:
    """Identity and options of a real server as requests and replies carry them."""
    return {
        "addr": str(dest.key.addr),
        "port": dest.key.port,
        "mode": dest.options.mode,
        "weight": dest.options.weight,
        "u_thresh": dest.options.u_thresh,
        "l_thresh": dest.options.l_thresh,
        "server_id": dest.options.server_id,
    }


def _stats_map(counters: DestCounters) -> dict[str, int]:
    return {name: getattr(counters, name) for name in DestCounters._fields[:5]}


def _service_row(context: Context, service: Service, cpu: int) -> dict[str, Any]:
    traffic = context.state.traffic
    rows, counted, rates = [], [traffic.past(service.id, cpu)], []
    for dest in service.newest_first():
        now, rate = traffic.dest(dest.id, cpu), traffic.rates(dest.id, cpu)
        counted.append(now)
        rates.append(rate)
        row = {
            **dest_map(dest),
            "active": now.active,
            "inactive": now.inactive,
            "persist": max(0, now.templates),
            "inhibited": dest.inhibited,
            "overload": traffic.overloaded(dest.id, dest.options.u_thresh, cpu),
            "stats": _stats_map(now),
            "rates": rate._asdict(),
        }
        if dest.inhibited:
            row["weight"] = 0
        rows.append(row)
    total = Rates(*map(sum, zip(*rates, strict=True))) if rates else Rates()
    return {
        "svc": key_map(service.key),
        **options_map(service),
        "stats": _stats_map(add_up(counted)),
        "rates": total._asdict(),
        "dests": rows,
    }


def _chosen(context: Context, key: AnyKey | None, missing: Code) -> list[Service]:
    services = context.state.ipvs.services
    return list(services) if key is None else [services.find(key, missing)]


def _svc_list(context: Context, fields: Fields) -> list[dict[str, Any]]:
    key, cpu = read_optional_key(fields), context.read_cpu(fields)
    fields.done()
    services = _chosen(context, key, Code.NOTEXIST)
    return [_service_row(context, service, cpu) for service in services]


def _laddr_row(context: Context, service: Service, cpu: int) -> dict[str, Any]:
    state = context.state
    rows = []
    for ref in service.laddrs:
        pool = state.pools.usable(ref.addr, ref.dev)
        used, _, miss = (0, 0, 0) if pool is None else state.traffic.laddr(pool.id, cpu)
        row = {"addr": str(ref.addr), "dev": state.inet.devices[ref.dev].name}
        rows.append({**row, "conns": used, "conflicts": miss})
    return {"svc": key_map(service.key), "laddrs": rows}


def _laddr_list(context: Context, fields: Fields) -> list[dict[str, Any]]:
    key, cpu = read_optional_key(fields), context.read_cpu(fields)
    fields.done()
    services = _chosen(context, key, Code.NOSERV)
    return [_laddr_row(context, service, cpu) for service in services]


def _read_match(fields: Fields) -> dict[str, Any]:
    """Field filter: any of proto, saddr, sport, daddr, dport."""
    match: dict[str, Any] = {}
    inner = fields.nested("filter")
    for name in ("saddr", "daddr"):
        if inner.has(name):
            match[name] = str(inner.address(name))
    for name in ("sport", "dport"):
        if inner.has(name):
            match[name] = inner.integer(name, 0, 65535)
    if inner.has("proto"):
        match["proto"] = inner.choice("proto", ("tcp", "udp", "sctp", "icmp", "icmpv6"))
    inner.done()
    return match


async def _conn_list(context: Context, fields: Fields) -> dict[str, Any]:
    cursor = fields.integer("cursor", 0, (1 << 63) - 1, default=0)
    limit = fields.integer("limit", 1, MAX_CONNECTIONS, default=MAX_CONNECTIONS)
    match = _read_match(fields) if fields.has("filter") else None
    fleet = context.fleet
    listed = fleet.templates if fields.flag("templates", default=False) else fleet.connections
    fields.done()
    page = await listed(cursor, limit, match)
    return {"conns": [dict(row) for row in page.conns], "cursor": page.cursor}


HANDLERS: dict[str, Handler] = {
    "svc.list": _svc_list,
    "laddr.list": _laddr_list,
    "conn.list": _conn_list,
}
