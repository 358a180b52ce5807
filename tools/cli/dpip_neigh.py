"""dpip neigh: link layer addresses of neighbours (ARP and ND)."""

from typing import Any

from tools.cli.dpip_args import (
    Invocation,
    bad,
    read_address,
    read_device,
    read_only_device,
    read_words,
)
from tools.cli.literals import family_of, parse_mac
from tools.cli.session import Session

HELP = """\
Usage: dpip [-4|-6] neigh show [dev DEVICE]
       dpip neigh add ADDRESS lladdr MAC dev DEVICE
       dpip neigh del ADDRESS dev DEVICE
"""

_NO_MAC = "00:00:00:00:00:00"
_UNRESOLVED = ("NONE", "SEND")


def show(session: Session, call: Invocation) -> int:
    """neigh show"""
    for row in session.transport.call("neigh.show", dev=read_only_device(call.words)):
        if call.family in (None, family_of(row["addr"])):
            session.out.write(neighbour_line(row))
    return 0


def neighbour_line(row: dict[str, Any]) -> str:
    """One entry; an unresolved one has no address to show."""
    if row["state"] in _UNRESOLVED:
        state = f"mac:incomplate{'':<23}state: {row['state']:<12}   "
    else:
        state = f"mac: {row['lladdr']}   state: {row['state']:<12}  "
    static = "static" if row.get("static") else ""
    return f"ip: {row['addr']:<48} {state}dev: {row['dev']}  core: {row['cid']}  {static}\n"


def add(session: Session, call: Invocation) -> int:
    """neigh add"""
    found, address = _read(call)
    if "lladdr" not in found:
        raise bad("invalid MAC address: none given (lladdr MAC)")
    mac = parse_mac(found["lladdr"])
    if mac is None:
        raise bad(f"invalid link layer addr: {found['lladdr']}")
    if mac == _NO_MAC:
        raise bad(f"invalid MAC address: {found['lladdr']}")
    session.transport.call("neigh.add", addr=address, lladdr=mac, dev=read_device(found))
    return 0


def delete(session: Session, call: Invocation) -> int:
    """neigh del"""
    found, address = _read(call)
    session.transport.call("neigh.del", addr=address, dev=read_device(found))
    return 0


def _read(call: Invocation) -> tuple[dict[str, str], str]:
    found, subject = read_words(call.words, ("dev", "lladdr"))
    if subject is None:
        raise bad("missing ip address")
    return found, read_address(subject, call.family)[1]
