"""The listing of services and their real servers (-L), in its five variants."""

from collections.abc import Iterator
from typing import Any

from tools.cli.ipvs_line import Line
from tools.cli.ipvs_names import (
    SERVER_WIDTH,
    SERVICE_WIDTH,
    AddressPort,
    address_port,
    service_order,
    service_proto,
    service_title,
)
from tools.cli.ipvs_suffixes import service_suffixes
from tools.cli.literals import sort_value
from tools.cli.session import Session
from tools.client import ControlError

NOT_EXIST = -4

_COUNTS = ("conns", "inpkts", "outpkts", "inbytes", "outbytes")
_RATES = ("cps", "inpps", "outpps", "inbps", "outbps")
_FORWARDS = {
    "nat": "Masq",
    "local": "Local",
    "tunnel": "Tunnel",
    "dr": "Route",
    "fullnat": "FullNat",
    "snat": "SNAT",
}
_PLAIN_TITLE = (
    "Prot LocalAddress:Port Scheduler Flags\n"
    "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
)
_TITLE_COLUMNS = {
    "stats": (">8", ("Conns", "InPkts", "OutPkts", "InBytes", "OutBytes")),
    "rate": (">8", ("CPS", "InPPS", "OutPPS", "InBPS", "OutBPS")),
    "thresholds": ("<10", ("Uthreshold", "Lthreshold", "ActiveConn", "InActConn")),
}


def list_services(session: Session, line: Line) -> int:
    """Print all services, or the one the line names."""
    entries = fetch_services(session, line)
    if line.service is None:
        info = session.transport.call("info")
        session.out.write(
            f"IP Virtual Server version {info['version']} (size={info.get('size', 0)})\n"
        )
    session.out.write(title(line.view))
    write = address_port(session.names, "numeric" in line.given)
    for entry in entries:
        session.out.writelines(service_lines(entry, line, write))
    return 0


def fetch_services(session: Session, line: Line) -> list[dict[str, Any]]:
    """The services a line asks for, sorted unless it forbids that.

    Raises ControlError when the line names a service that does not exist.
    """
    fields: dict[str, Any] = {}
    if line.service is not None:
        fields["svc"] = line.service
    if "cpu" in line.given:
        fields["cpu"] = line.cpu
    entries = list(session.transport.call("svc.list", **fields))
    if line.service is not None and not entries:
        raise ControlError(NOT_EXIST, "not exist", "No such service")
    if "nosort" not in line.given:
        entries.sort(key=lambda entry: service_order(entry["svc"]))
        for entry in entries:
            entry["dests"].sort(key=lambda dest: (sort_value(dest["addr"]), dest["port"]))
    return entries


def title(view: str | None) -> str:
    """The two column title lines of a variant."""
    if view is None:
        return _PLAIN_TITLE
    if view == "persistent-conn":
        columns = f"{'Weight':<9} {'PersistConn':<11} {'ActiveConn':<10} {'InActConn':<10}"
    else:
        layout, names = _TITLE_COLUMNS[view]
        columns = " ".join(format(name, layout) for name in names)
    return f"{'Prot LocalAddress:Port':<{SERVICE_WIDTH}} {columns}\n  -> RemoteAddress:Port\n"


def service_lines(entry: dict[str, Any], line: Line, write: AddressPort) -> Iterator[str]:
    """The line of a service and those of its real servers."""
    service, exact = entry["svc"], "exact" in line.given
    name = service_title(service, write)
    if line.view == "stats":
        numbers = "".join(large(_total(entry, key), exact) for key in _COUNTS)
        yield f"{name:<{SERVICE_WIDTH}}{numbers}\n"
    elif line.view == "rate":
        if limit := entry.get("bps"):
            name += f" bps {limit}M"
        numbers = "".join(large(entry["rates"][key], exact) for key in _RATES)
        yield f"{name:<{SERVICE_WIDTH}}{numbers}\n"
    else:
        yield f"{name} {entry['sched']}{service_suffixes(entry)}\n"
    proto = service_proto(service)
    cut = None if service.get("af") == "inet6" else SERVER_WIDTH
    for dest in entry["dests"]:
        shown = write(dest["addr"], dest["port"], proto)[:cut]
        yield f"  -> {shown:<{SERVER_WIDTH}}{_columns(dest, line.view, exact)}\n"


def _total(entry: dict[str, Any], key: str) -> int:
    """A counter of a service. What its present servers counted is part of it in any case."""
    return max(entry["stats"][key], sum(dest["stats"][key] for dest in entry["dests"]))


def _columns(dest: dict[str, Any], view: str | None, exact: bool) -> str:
    """What follows the address of a real server."""
    counts = f" {dest['active']:<10d} {dest['inactive']:<10d}"
    if view == "stats":
        return "".join(large(dest["stats"][key], exact) for key in _COUNTS)
    if view == "rate":
        rates = dest["rates"]
        packets = "".join(f" {rates[key]:>8d}" for key in _RATES[:3])
        return packets + "".join(large(rates[key], exact) for key in _RATES[3:])
    if view == "thresholds":
        return f" {dest['u_thresh']:<10d} {dest['l_thresh']:<10d}{counts}"
    if view == "persistent-conn":
        return f" {dest['weight']:<9d} {dest['persist']:<11d}{counts}"
    marks = ",".join(mark for mark in ("inhibited", "overload") if dest.get(mark))
    return f" {_FORWARDS[dest['mode']]:<7} {dest['weight']:<6d}{counts}" + (marks and f" {marks}")


def large(number: int, exact: bool) -> str:
    """A counter in a column of 9, scaled by powers of ten unless exact."""
    if exact:
        return f" {number:>8d}"
    for limit, divisor, unit in (
        (10**8, 1, ""),
        (10**9, 10**3, "K"),
        (10**11, 10**6, "M"),
        (10**14, 10**9, "G"),
    ):
        if number < limit:
            return f"{number // divisor}{unit}".rjust(9)
    return f"{number // 10**12}T".rjust(9)
