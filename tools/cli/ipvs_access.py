"""Black and white lists of a service: -U -V -B and -O -Y -W."""

from collections.abc import Callable
from typing import Any

from tools.cli.ipvs_line import Line
from tools.cli.ipvs_names import address_port, service_order
from tools.cli.session import Session

_KINDS = {"blklst": "BLACKLIST", "whtlst": "WHITELIST"}
_PROTOCOLS = {"icmpv6": "ICMPv6"}


def change_list(kind: str, action: str) -> Callable[[Session, Line], int]:
    """The command that adds an entry to a list or deletes one."""

    def command(session: Session, line: Line) -> int:
        session.transport.call(f"{kind}.{action}", svc=line.service, entry=line.entry)
        return 0

    return command


def show_list(kind: str) -> Callable[[Session, Line], int]:
    """The command that prints a list, of one service or of all."""

    def command(session: Session, line: Line) -> int:
        fields: dict[str, Any] = {} if line.service is None else {"svc": line.service}
        entries = list(session.transport.call(f"{kind}.list", **fields))
        entries.sort(key=lambda entry: service_order(entry["svc"]))
        write = address_port(session.names, numeric=True)
        session.out.write(f"{'PROTO':<8} {'VIP:VPORT':<30} {_KINDS[kind]:<30}\n")
        for entry in entries:
            service = entry["svc"]
            proto = _PROTOCOLS.get(service["proto"], service["proto"].upper())
            name = write(service["addr"], service["port"], service["proto"])
            session.out.write(f"{proto:<8} {name:<30} {entry['entry']:<30}\n")
        return 0

    return command
