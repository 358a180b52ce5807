"""Check a whole replication record before anything of it is applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ipvs.dest import MAX_DESTS
from ipvs.entry import MODES
from ipvs.laddr import MAX_LADDRS
from ipvs.netmask import mask_bits
from ipvs.proxy import PROXY_KINDS
from ipvs.route_rows import ROW_SIZE
from ipvs.service import MAX_SERVICES
from stack.address6 import packed

Check = Callable[[Any], bool]


def _number(low: int, high: int) -> Check:
    return lambda value: isinstance(value, int) and low <= value <= high


def _one_of(*names: str) -> Check:
    return lambda value: isinstance(value, str) and value in names


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) < 64


def _any_address(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(packed(value))
    except ValueError:
        return False


def _end(value: Any) -> bool:
    """An address packets are sent to or from; what stands for IPv4 in a record is never ::."""
    return _any_address(value) and (":" not in value or any(packed(value)))


def _mask(value: Any) -> bool:
    return isinstance(value, str) and mask_bits(value) is not None


def _quic_lb(value: Any) -> bool:
    """Length of server ids and number of the configuration."""
    whole = isinstance(value, list | tuple) and len(value) == 2
    return whole and value[0] in range(1, 16) and value[1] in range(7)


def _mac(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(bytes.fromhex(value.replace(":", ""))) == 6
    except ValueError:
        return False


def _version(value: Any) -> bool:
    return isinstance(value, int) and value in (4, 6)


def _rows(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) > 0 and len(value) % ROW_SIZE == 0


def _list(check: Check) -> Check:
    return lambda value: isinstance(value, (list, tuple)) and all(map(check, value))


def _numbers_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(U32, value.values()))


U16, U32 = _number(0, 0xFFFF), _number(0, 0xFFFFFFFF)
LENGTH, DEVICE = _number(0, 128), U16
SERVER: dict[str, Check] = {
    "id": _number(0, MAX_DESTS - 1), "addr": _end, "port": U16, "mode": _one_of(*MODES),
    "weight": _number(-(1 << 31), (1 << 31) - 1), "u_thresh?": U32, "inhibited?": _number(0, 1),
    "pool?": _number(0, MAX_LADDRS - 1),
    "server_id?": lambda value: isinstance(value, bytes) and len(value) < 16,
    "slow_start?": _number(0, 86400), "since?": _number(0, 1 << 62),
}  # fmt: skip


def _range(check: Check) -> Check:
    return lambda value: isinstance(value, list | tuple) and len(value) == 2 and all(
        check(end) for end in value
    )  # fmt: skip


MATCH: dict[str, Check] = {
    "src": _range(_any_address), "dst": _range(_any_address),
    "sport": _range(U16), "dport": _range(U16), "iif?": DEVICE, "oif?": DEVICE, "order": U32,
}  # fmt: skip


def _match(value: Any) -> bool:
    return isinstance(value, dict) and not _wrong(MATCH, value)


def _server(value: Any) -> bool:
    return isinstance(value, dict) and not _wrong(SERVER, value)


# A field whose name ends in "?" may be absent or None.
FIELDS: dict[str, dict[str, Check]] = {
    "dev.set": {"id": DEVICE, "mac": _mac, "mtu": U16},
    "addr.set": {"addr": _any_address, "dev": DEVICE, "plen?": LENGTH},
    "announce": {"addr": _any_address, "dev": DEVICE},
    "addr.del": {"addr": _any_address, "dev": DEVICE, "plen?": LENGTH},
    "link.up": {"dev": DEVICE},
    "mld.querier": {"dev": DEVICE, "v1": _number(0, 1), "robustness": _number(1, 7)},
    "route.set": {
        "dst": _any_address, "plen": LENGTH, "kind": _one_of("local", "link", "gateway"),
        "dev": DEVICE, "via?": _any_address, "src?": _any_address, "mtu?": U16,
    },
    "route.del": {"dst": _any_address, "plen": LENGTH},
    "routes.set": {"version": _version, "rows": _rows},
    "routes.del": {"version": _version, "rows": _rows},
    "neigh.set": {"addr": _any_address, "dev": DEVICE, "mac": _mac},
    "neigh.del": {"addr": _any_address, "dev": DEVICE},
    "laddr.set": {"id": _number(0, MAX_LADDRS - 1), "addr": _end, "dev": DEVICE},
    "laddr.del": {"id": _number(0, MAX_LADDRS - 1)},
    "svc.set": {
        "id": _number(0, MAX_SERVICES - 1), "addr": _any_address, "port": U16,
        "proto": _one_of("tcp", "udp", "sctp", "icmp", "icmpv6"), "match?": _match,
        "sched": _text,
        "dests": _list(_server), "persistent?": U32, "netmask?": _mask,
        "quic_lb?": _quic_lb,
        "laddrs": _list(_number(0, MAX_LADDRS - 1)), "conn_timeout?": U32,
        "proxy_protocol?": _one_of(*PROXY_KINDS),
        "flags?": _list(lambda flag: isinstance(flag, str)),
        "table?": lambda value: isinstance(value, bytes),
    },
    "sched.set": {
        "name": _text, "code": lambda value: isinstance(value, bytes) and len(value) > 0,
        "entry": U32, "fixups": _list(U32),
    },
    "sched.del": {"name": _text},
    "svc.del": {"id": _number(0, MAX_SERVICES - 1)},
    "param.set": {
        "tcp_timeouts?": _numbers_by_name, "udp_timeouts?": _numbers_by_name, "xmit_ttl?": U32,
        "init_timeout?": U32, "forwarding?": U32, "forwarding6?": U32, "disable6?": U32,
        "neigh_timeout?": U32, "neigh_queue?": U32, "template_quiescent?": U32,
        "toa?": U32, "new_isn?": U32, "uoa_packets?": U32, "uoa_in_ip?": U32,
    },
}  # fmt: skip


def _wrong(fields: Mapping[str, Check], body: Mapping[str, Any]) -> list[str]:
    """What is wrong with ``body``, the first thing first."""
    found = []
    for name, check in fields.items():
        plain = name.removesuffix("?")
        value = body.get(plain)
        if value is None and plain != name:
            continue
        if plain not in body:
            found.append(f"field {plain!r} is missing")
        elif not check(value):
            found.append(f"field {plain!r} is impossible: {value!r}"[:200])
    return found


def _families(body: Mapping[str, Any]) -> list[str]:
    """What is wrong with the addresses of a route taken together."""
    wide = ":" in body["dst"]
    if body["plen"] > (128 if wide else 32):
        return [f"field 'plen' is impossible: {body['plen']}"]
    others = (body.get(name) for name in ("via", "src"))
    if any(other and (":" in other) != wide for other in others):
        return ["addresses of both families in one route"]
    return []


def fault(kind: str, body: Mapping[str, Any]) -> str | None:
    """One clear line about the first fault of a record of a known kind, or None."""
    found = _wrong(FIELDS[kind], body)
    if not found and kind in ("route.set", "route.del"):
        found = _families(body)
    if not found and kind == "svc.set" and not (body.get("match") or _end(body["addr"])):
        found = [f"field 'addr' is impossible: {body['addr']}"]
    for text in found:
        return f"{kind}: {text}"
    return None
