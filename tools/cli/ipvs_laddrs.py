"""Local addresses: add (-P), delete (-Q), list (-G).

Adding one is two requests, because the address must also exist on the device, with a pool of
source ports. Either both are done or neither is.
"""

import contextlib
from typing import Any

from tools.cli.ipvs_line import Line
from tools.cli.ipvs_names import address_port, service_order
from tools.cli.literals import PREFIX_BITS, family_of
from tools.cli.session import Session
from tools.client import ControlError, DaemonDown

ALREADY_EXIST = -3
NOT_EXIST = -4
BUSY = -13

_TITLE = f"{'VIP:VPORT':<20} {'TOTAL':<8} {'SNAT_IP':<20} {'CONFLICTS':<10} {'CONNS':<10}\n"


def add_laddr(session: Session, line: Line) -> int:
    """Give the address to the device and to the service."""
    address = _interface_address(line)
    added = True
    try:
        session.transport.call(
            "addr.add",
            **address,
            broadcast=None,
            scope="global",
            valid_lft=0,
            preferred_lft=0,
            sapool=True,
        )
    except ControlError as fault:
        if fault.code != ALREADY_EXIST:
            raise
        added = False
    try:
        session.transport.call("laddr.add", svc=line.service, addr=line.laddr, dev=line.ifname)
    except (ControlError, DaemonDown):
        if added:
            # The first failure is the one to report.
            with contextlib.suppress(ControlError, DaemonDown):
                session.transport.call("addr.del", **address)
        raise
    return 0


def del_laddr(session: Session, line: Line) -> int:
    """Take the address from the service, then from the device.

    The reference deletes in the other order, and so drops an address whose service it then fails
    to find.
    """
    session.transport.call("laddr.del", svc=line.service, addr=line.laddr, dev=line.ifname)
    try:
        session.transport.call("addr.del", **_interface_address(line))
    except ControlError as fault:
        # Gone already, or still the local address of another service: nothing left to do here.
        if fault.code not in (NOT_EXIST, BUSY):
            raise
    return 0


def _interface_address(line: Line) -> dict[str, Any]:
    bits = PREFIX_BITS[family_of(line.laddr)]
    return {"addr": line.laddr, "plen": bits, "dev": line.ifname}


def list_laddrs(session: Session, line: Line) -> int:
    """Print the local addresses of one service or of all."""
    fields: dict[str, Any] = {}
    if line.service is not None:
        fields["svc"] = line.service
    if "cpu" in line.given:
        fields["cpu"] = line.cpu
    entries = list(session.transport.call("laddr.list", **fields))
    if line.service is not None and not entries:
        raise ControlError(NOT_EXIST, "not exist", "No such service")
    entries.sort(key=lambda entry: service_order(entry["svc"]))
    write = address_port(session.names, numeric=True)
    if entries:
        session.out.write(_TITLE)
    for entry in entries:
        service = entry["svc"]
        name = write(service.get("addr") or "0.0.0.0", service.get("port") or 0, "")
        session.out.write(f"{name:<20} {len(entry['laddrs']):<8d} \n")
        for laddr in entry["laddrs"]:
            session.out.write(
                f"{'':<20} {'':<8} {laddr['addr']:<20} "
                f"{laddr['conflicts']:<10d} {laddr['conns']:<10d}\n"
            )
    return 0
