"""The connection list (-Lc), fetched page by page."""

from typing import Any

from tools.cli.ipvs_line import Line
from tools.cli.ipvs_names import AddressPort, address_port
from tools.cli.session import Session
from tools.client import ControlError

PAGE = 2000

_PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "icmpv6")
# The reference keeps both texts in small buffers; longer ones end where the buffer does.
_STATE_LENGTH = 15
_EXPIRE_LENGTH = 7


def list_connections(session: Session, line: Line) -> int:
    """Print the connections, or with --sockpair the one it names."""
    fields: dict[str, Any] = {"limit": PAGE}
    if line.sockpair is not None:
        fields["filter"] = line.sockpair
    if "persistent-conn" in line.given:
        fields["templates"] = True
    write = address_port(session.names, "numeric" in line.given)
    cursor, found = 0, 0
    while True:
        try:
            page = session.transport.call("conn.list", cursor=cursor, **fields)
        except ControlError as fault:
            if cursor:
                raise ControlError(
                    fault.code, "Fail to fetch all connection entries!", str(fault)
                ) from fault
            raise
        session.out.writelines(connection_line(entry, write) for entry in page["conns"])
        found += len(page["conns"])
        cursor = page["cursor"]
        if not cursor:
            break
    if line.sockpair is not None and not found:
        session.complain("connection specified not found")
    return 0


def connection_line(entry: dict[str, Any], write: AddressPort) -> str:
    """One connection: worker, protocol, time left, state, and its four ends."""
    proto = entry["proto"] if entry["proto"] in _PROTOCOLS else "--"
    expire = f"{entry['expire']}s"[:_EXPIRE_LENGTH]
    client, virtual, local, real = (
        write(entry[f"{end}addr"], entry[f"{end}port"], entry["proto"]) for end in "cvld"
    )
    return (
        f"[{entry['cid']}]{proto:<3} {expire:<6} {entry['state'][:_STATE_LENGTH]:<11} "
        f"{client:<18} {virtual:<18} {local:<18} {real}\n"
    )
