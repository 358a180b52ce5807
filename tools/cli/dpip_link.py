"""dpip link show: devices and workers, with their counters once or again and again."""

from typing import Any

from tools.cli.dpip_args import Invocation, bad, read_integer
from tools.cli.dpip_cpu import CpuView
from tools.cli.dpip_nic import NicView
from tools.cli.dpip_tables import rate_table
from tools.cli.session import Session
from tools.client import ControlError

HELP = """\
Usage: dpip [-v] [-s [-i SECONDS [-c COUNT]]] link show [DEVICE [status] | cpu | cpuN]
       dpip link set DEVICE ITEM VALUE
       dpip link {add|del} BOND bond-slave DEVICE
Show:
    -s              counters; with -i as rates over SECONDS, COUNT times (0: until interrupted)
    -v              what the device can do and how its queues are laid out
    -C              alternate the colour of successive samples
    cpu, cpuN       workers instead of devices
    status          the state of a bonding device
Items of set:
    promisc, allmulticast, forward2kni, lldp, tc-egress, tc-ingress     on|off
    link            up|down
    addr            MAC
    bond-mode 0..6, bond-primary DEVICE, bond-xmit-policy layer2|layer23|layer34,
    bond-monitor-interval MS, bond-link-down-prop MS, bond-link-up-prop MS
"""

NOT_EXIST = -4
NO_DEVICE = -27

_BLUE, _GREEN, _RESET = "\033[34m", "\033[32m", "\033[0m"

Row = dict[str, Any]


def show(session: Session, call: Invocation) -> int:
    """link show"""
    view: NicView | CpuView
    if call.words and call.words[0].startswith("cpu"):
        view = _cpu_view(call)
    else:
        view = _nic_view(call)
    if call.stats and call.interval:
        _show_rates(session, call, view)
    else:
        for row in _fetch(session, view):
            counters = view.counters(row) if call.stats else ""
            session.out.write(view.basic(row) + counters + view.details(row))
    return 0


def _nic_view(call: Invocation) -> NicView:
    status = call.words[1:2] == ["status"]
    if len(call.words) > 1 + status:
        raise bad(f"too many arguments: {call.words[1 + status]}")
    return NicView(call.words[0] if call.words else None, call.stats, call.verbose, status)


def _cpu_view(call: Invocation) -> CpuView:
    name, *rest = call.words
    if rest:
        raise bad(f"too many arguments: {rest[0]}")
    number = None if name == "cpu" else read_integer(name.removeprefix("cpu"), 255, "cpu")
    return CpuView(number, call.stats)


def _fetch(session: Session, view: NicView | CpuView) -> list[Row]:
    """The rows a view asks for. Raises ControlError when the one it names does not exist."""
    rows = view.ordered(session.transport.call(view.request, **view.fields()))
    if view.named is not None and not rows:
        if view.request == "link.show":
            raise ControlError(NO_DEVICE, "no such device", str(view.named))
        raise ControlError(NOT_EXIST, "not exist", f"no worker has the number {view.named}")
    return rows


def _show_rates(session: Session, call: Invocation, view: NicView | CpuView) -> None:
    """Print samples of how fast counters grow.

    Of one device the first lines are printed once; of several, every sample names its device.
    """
    rows = _fetch(session, view)
    if not rows:
        return
    if len(rows) == 1:
        session.out.write(view.basic(rows[0]))
    sample = 0
    try:
        while not call.count or sample < call.count:
            session.out.flush()
            session.sleep(call.interval)
            before: dict[int, Row] = {row["id"]: row["stats"] for row in rows}
            rows = _fetch(session, view)
            sample += 1
            if call.color:
                session.out.write(_BLUE if sample % 2 else _GREEN)
            for row in rows:
                if len(rows) > 1:
                    session.out.write(view.basic(row))
                # A device that has just appeared has no rate yet.
                old = before.setdefault(row["id"], row["stats"])
                session.out.write(rate_table(view.rates, old, row["stats"], call.interval))
    finally:
        if call.color:
            session.out.write(_RESET)
    for row in rows:
        session.out.write(view.details(row))
