"""Timeouts of all connections: --set changes them, -L --timeout shows them."""

from tools.cli.ipvs_line import Line
from tools.cli.session import Session


def set_timeouts(session: Session, line: Line) -> int:
    """--set TCP TCPFIN UDP; 0 leaves one as it is."""
    tcp, tcpfin, udp = line.timeouts
    session.transport.call("timeout.set", tcp=tcp, tcpfin=tcpfin, udp=udp)
    return 0


def show_timeouts(session: Session, line: Line) -> int:
    """-L --timeout"""
    now = session.transport.call("timeout.show")
    session.out.write(f"Timeout (tcp tcpfin udp): {now['tcp']} {now['tcpfin']} {now['udp']}\n")
    return 0
