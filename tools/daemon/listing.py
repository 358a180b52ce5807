"""Read a worker's tables for the operator: connections and neighbours (between polls)."""

from __future__ import annotations

import ipaddress
from typing import Any

from ipvs.context import Ipvs
from ipvs.dest import DEST_SIZE, Dest
from ipvs.entry import LIVE, MODE_DR, MODE_TUNNEL, Entry
from ipvs.expire import remaining_ms
from ipvs.sctp_states import SCTP_STATES
from ipvs.table import Table, entry_of
from ipvs.tcp import TCP_STATES, UDP_STATES
from ipvs.wide_entry import SIX, WIDE_AT, Wide
from runtime.intrinsics import load64
from stack import neigh
from stack.address6 import text
from stack.context import Stack
from stack.neigh6 import address6_at

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
ICMP_STATES = ("ICMP_NORMAL",)
STATES = {1: ICMP_STATES, 6: TCP_STATES, 17: UDP_STATES, 58: ICMP_STATES, 132: SCTP_STATES}
SCAN_LIMIT = 20000  # entries looked at per request: tens of milliseconds at most


def _address(raw: int) -> str:
    return str(ipaddress.IPv4Address((raw & 0xFFFFFFFF).to_bytes(4, "little")))


def _endpoints(entry: int, side: int) -> tuple[str, str]:
    """Source and destination of the packets that arrive on one side."""
    at = Entry(entry).side[side]
    if not at.ports & SIX:
        return _address(at.addresses), _address(at.addresses >> 32)
    wide = Wide(entry + WIDE_AT).side[side]
    return text(wide.src_high, wide.src_low), text(wide.dst_high, wide.dst_low)


def _port(raw: int) -> int:
    return int.from_bytes((raw & 0xFFFF).to_bytes(2, "little"), "big")


def connection_row(entry: int, now: int, cid: int, dests: int = 0) -> dict[str, Any]:
    """One connection as the control API shows it; ``dests``: address of the worker's real servers.

    Direct routing rewrites nothing, so there the real server is not in the tuples; a tunnel's own
    address is not of the connection.
    """
    e = Entry(entry)
    client, server = e.side[0], e.side[1]
    proto = (client.ports >> 32) & 0xFF
    names = STATES.get(proto, ())
    caddr, vaddr = _endpoints(entry, 0)
    daddr, laddr = _endpoints(entry, 1)
    dport = _port(server.ports)
    if e.mode == MODE_DR and dests:
        dest = Dest(dests + e.dest * DEST_SIZE)
        four = str(ipaddress.IPv4Address(dest.address))
        daddr, dport = text(dest.high, dest.low) if dest.wide else four, dest.port
    laddr = caddr if e.mode == MODE_TUNNEL else laddr
    return {
        "cid": cid,
        "proto": PROTOCOLS.get(proto, "--"),
        "state": names[e.state] if e.state < len(names) else "UNKOWN",
        "expire": (int(remaining_ms(entry, now)) + 999) // 1000,
        "caddr": caddr,
        "cport": _port(client.ports),
        "vaddr": vaddr,
        "vport": _port(client.ports >> 16),
        "laddr": laddr,
        "lport": _port(server.ports >> 16),
        "daddr": daddr,
        "dport": dport,
        "dest": e.dest,
        "mode": e.mode,
    }


def matches(row: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a row is the connection of ``ipvsadm --sockpair`` (client and virtual side)."""
    pairs = {
        "proto": "proto",
        "saddr": "caddr",
        "sport": "cport",
        "daddr": "vaddr",
        "dport": "vport",
    }
    return all(
        wanted.get(field) is None or row[name] == wanted[field] for field, name in pairs.items()
    )


def connections(
    ipvs: int, cursor: int, limit: int, wanted: dict[str, Any] | None
) -> dict[str, Any]:
    """Up to ``limit`` connections from entry ``cursor`` on; ``cursor`` 0 in the answer: no more."""
    w = Ipvs(ipvs)
    table, now, cid = Table(w.table), Stack(w.stack).now, w.worker + 1
    rows: list[dict[str, Any]] = []
    at = max(1, cursor)
    scanned = 0
    while at <= table.high and len(rows) < limit and scanned < SCAN_LIMIT:
        entry = entry_of(w.table, at)
        if Entry(entry).live == LIVE:
            row = connection_row(entry, now, cid, w.dests)
            if wanted is None or matches(row, wanted):
                rows.append(row)
        at += 1
        scanned += 1
    return {"conns": rows, "cursor": at if at <= table.high else 0}


def _neighbour_address(table: int, n: Any) -> str:
    if not n.ipv6:
        return str(ipaddress.IPv4Address(n.address))
    at = address6_at(table, n.ptr)
    return text(load64(at), load64(at + 8))


def neighbours(ipvs: int) -> list[dict[str, Any]]:
    """All neighbours of a worker."""
    w = Ipvs(ipvs)
    address = Stack(w.stack).neighbours
    rows = []
    for number in range(neigh.NeighbourTable(address).count):
        n = neigh.Neighbour(neigh.entry_at(address, number))
        usable = n.state >= neigh.USABLE
        mac = ":".join(f"{n.header[i]:02x}" for i in range(6))
        rows.append(
            {
                "addr": _neighbour_address(address, n),
                "dev": n.port,
                "mac": mac if usable else None,
                "state": neigh.STATE_NAMES[n.state],
                "static": bool(n.permanent),
            }
        )
    return rows
