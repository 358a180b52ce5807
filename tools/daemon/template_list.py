"""Read the templates of persistence for the operator, as rows of the connection list."""

from __future__ import annotations

import ipaddress
from typing import Any

from ipvs.context import Ipvs
from ipvs.dest import DEST_SIZE, Dest
from ipvs.service import Service, service_at
from ipvs.templates import SLOTS, Bucket, Record, Templates, bucket_at, record_at, used_at
from runtime.intrinsics import load8
from stack.address6 import text
from stack.context import Stack
from tools.daemon.listing import PROTOCOLS, STATES, matches

SCAN_LIMIT = 20000  # buckets looked at per request
SHARED = 0  # stands where other rows have their worker: templates belong to all


def _address(record: Any) -> str:
    """Address of a service or real server, from the fields both have."""
    if record.wide:
        return text(record.high, record.low)
    return str(ipaddress.IPv4Address(record.address))


def _network(wide: int, record: Any) -> str:
    if wide:
        return text(record.high, record.low)
    return str(ipaddress.IPv4Address((record.low & 0xFFFFFFFF).to_bytes(4, "little")))


def template_row(ipvs: int, record: int, now: int) -> dict[str, Any] | None:
    """One template as the control API shows it; None when its service is gone.

    It has no ports on the clients' side.
    """
    w = Ipvs(ipvs)
    r = Record(record)
    service = Service(service_at(w.services, r.service))
    left = (r.expires - now) & 0xFFFFFFFF
    if not service.present or left >= 0x80000000:
        return None
    dest = Dest(w.dests + r.dest * DEST_SIZE)
    client = _network(service.wide, r)
    return {
        "cid": SHARED,
        "proto": PROTOCOLS.get(service.proto, "--"),
        "state": STATES.get(service.proto, ("NONE",))[0],
        "expire": (left + 999) // 1000,
        "caddr": client,
        "cport": 0,
        "vaddr": _address(service),
        "vport": service.port,
        "laddr": client,
        "lport": 0,
        "daddr": _address(dest),
        "dport": dest.port,
        "dest": r.dest,
        "mode": dest.mode,
    }


def templates(ipvs: int, cursor: int, limit: int, wanted: dict[str, Any] | None) -> dict[str, Any]:
    """About ``limit`` templates (whole buckets) from bucket ``cursor`` on; ``cursor`` 0 in the
    answer: no more.

    Workers go on meanwhile; a template that changes just now may be missed.
    """
    w = Ipvs(ipvs)
    table, now = w.templates, Stack(w.stack).now
    count = Templates(table).count
    rows: list[dict[str, Any]] = []
    at = cursor
    while at < count and at < cursor + SCAN_LIMIT and len(rows) + SLOTS <= max(limit, SLOTS):
        if load8(used_at(table, at)):
            bucket = bucket_at(table, at)
            for slot in range(SLOTS):
                row = Bucket(bucket).tag[slot] and template_row(ipvs, record_at(bucket, slot), now)
                if row and (wanted is None or matches(row, wanted)):
                    rows.append(row)
        at += 1
    return {"conns": rows, "cursor": at if at < count else 0}
