"""dpip route: the routing table."""

from typing import Any

from tools.cli.dpip_args import (
    Invocation,
    bad,
    read_address,
    read_device,
    read_integer,
    read_only_device,
    read_words,
)
from tools.cli.literals import PREFIX_BITS
from tools.cli.session import Session

HELP = """\
Usage: dpip [-6] route show [dev DEVICE]
       dpip [-6] [-v] route {add|del} PREFIX [OPTION]...
       dpip route flush dev DEVICE
PREFIX is ADDRESS[/LENGTH] or default.
Options:
    via ADDRESS         the gateway
    dev DEVICE          may be left out when the gateway can be reached already
    scope host|kni_host|link|global
    local               the same as scope host
    src ADDRESS         source address of packets of our own
    mtu NUMBER          metric NUMBER
-v prints the route as it was understood before it is added or deleted.
Examples:
    dpip route add 198.51.100.0/24 dev dpdk0
    dpip route add default via 198.51.100.254
    dpip -6 route add default via 2001:db8::1 dev dpdk0
"""

_SCOPES = ("host", "kni_host", "link", "global")
_ANY = {"inet": "0.0.0.0", "inet6": "::"}
_NO_ADDRESS = (None, "", "0.0.0.0", "::")


def show(session: Session, call: Invocation) -> int:
    """route show"""
    device = read_only_device(call.words)
    for row in session.transport.call("route.show", af=call.family or "inet", dev=device):
        session.out.write(route_line(row))
    return 0


def route_line(row: dict[str, Any]) -> str:
    """One route. The IPv4 line names every attribute, the IPv6 line those that are set."""
    destination = f"{row['dst']}/{row['plen']}"
    if row["af"] == "inet":
        return (
            f"inet {destination} via {row.get('via') or '0.0.0.0'}"
            f" src {row.get('src') or '0.0.0.0'} dev {row.get('dev') or ''} mtu {row['mtu']}"
            f" tos {row.get('tos', 0)} scope {row['scope']} metric {row['metric']} proto auto \n"
        )
    parts = ["inet6", "default" if destination == "::/0" else destination]
    for key in ("via", "src"):
        if row.get(key) not in _NO_ADDRESS:
            parts += [key, row[key]]
    parts += ["dev", row.get("dev") or ""]
    if row["mtu"]:
        parts += ["mtu", str(row["mtu"])]
    return " ".join([*parts, "scope", row["scope"]]) + "\n"


def add(session: Session, call: Invocation) -> int:
    """route add"""
    return _change(session, call, "route.add")


def delete(session: Session, call: Invocation) -> int:
    """route del"""
    return _change(session, call, "route.del")


def _change(session: Session, call: Invocation, request: str) -> int:
    route = read_route(call)
    if call.verbose:
        session.out.write(route_line(_as_row(route)))
    session.transport.call(request, **route)
    return 0


def read_route(call: Invocation) -> dict[str, Any]:
    """The route a command line describes, as the fields of a request; raises UsageError."""
    valued = ("via", "dev", "scope", "src", "mtu", "metric", "tos", "proto")
    found, prefix = read_words(call.words, valued, ("local", "onlink"))
    if prefix is None:
        raise bad("missing prefix")
    family = call.family
    if prefix != "default":
        address, slash, length_text = prefix.partition("/")
        family, address = read_address(address, family)
        bits = PREFIX_BITS[family]
        length = read_integer(length_text, bits, "prefix length") if slash else bits
        prefix = f"{address}/{length}"
    addresses: dict[str, str | None] = {"via": None, "src": None}
    for key in addresses:
        if key in found:
            family, addresses[key] = read_address(found[key], family)
    scope = "host" if "local" in found else found.get("scope")
    if scope is not None and scope not in _SCOPES:
        raise bad(f"invalid scope: {scope} ({', '.join(_SCOPES)})")
    return {
        "af": family or "inet",
        "dst": prefix,
        **addresses,
        "dev": found.get("dev"),
        "scope": scope,
        "mtu": read_integer(found.get("mtu", "0"), 65535, "mtu"),
        "metric": read_integer(found.get("metric", "0"), 2**31 - 1, "metric"),
    }


def _as_row(route: dict[str, Any]) -> dict[str, Any]:
    """The route of a request as the table would show it."""
    family = route["af"]
    if route["dst"] == "default":
        address, length = _ANY[family], "0"
    else:
        address, _, length = route["dst"].partition("/")
    direct = route["via"] in _NO_ADDRESS
    scope = route["scope"] or ("link" if direct else "global")
    return {**route, "dst": address, "plen": length, "scope": scope}


def flush(session: Session, call: Invocation) -> int:
    """route flush"""
    device = read_only_device(call.words)
    family = {"af": call.family} if call.family else {}
    session.transport.call("route.flush", dev=read_device({"dev": device or ""}), **family)
    return 0
