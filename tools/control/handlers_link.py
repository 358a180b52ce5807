"""Requests about ports and cores."""

from __future__ import annotations

from typing import Any

from . import support
from .context import Context, Handler
from .devices import Device
from .errors import Code, ControlError
from .fields import Fields
from .inettypes import parse_mac
from .providers import Lcore

#: statistics of a port and of a core, in the order they are shown
PORT_STATS = (
    *("ipackets", "opackets", "ibytes", "obytes", "ierrors", "oerrors", "imissed", "rx_nombuf"),
    *("mbuf_avail", "mbuf_inuse"),
)
CPU_STATS = (
    *("lcore_loop", "pktburst", "zpktburst", "fpktburst", "z2hpktburst", "h2fpktburst", "dropped"),
    *("ipackets", "ibytes", "opackets", "obytes"),
)


def _link_row(context: Context, device: Device, stats: bool, verbose: bool) -> dict[str, Any]:
    info = context.counters.port_info(device.id)
    row: dict[str, Any] = {
        "id": device.id,
        "name": device.name,
        "socket": info.get("socket", 0),
        "mtu": device.mtu,
        "rxq": device.rxq,
        "txq": device.txq,
        "up": info.get("up", False),
        "speed": info.get("speed", 0),
        "duplex": info.get("duplex", "full-duplex"),
        "autoneg": info.get("autoneg", False),
        "flags": [word for word in support.LINK_SWITCHES if word in device.flags],
        "mac": device.mac,
        "offloads": list(info.get("offloads", ())),
        "stats": None,
        "xstats": None,
        "info": None,
        "queues": [],
    }
    if stats:
        counted = context.counters.port_stats(device.id)
        row["stats"] = {name: counted.get(name, 0) for name in PORT_STATS}
    if verbose:
        row["info"] = info.get("info")
        row["queues"] = list(info.get("queues", ()))
        if stats:
            row["xstats"] = info.get("xstats")
    return row


def _link_show(context: Context, fields: Fields) -> list[dict[str, Any]]:
    dev = context.read_device_filter(fields)
    stats = fields.flag("stats", default=False)
    verbose = fields.flag("verbose", default=False)
    fields.done()
    return [
        _link_row(context, device, stats, verbose)
        for device in context.state.inet.devices
        if dev in (None, device.id)
    ]


def _check_value(fields: Fields, item: str) -> str:
    """The value of a supported setting in canonical form."""
    if item == "link":
        return fields.choice("value", ("up", "down"))
    if item == "addr":
        return fields.parsed("value", parse_mac, "a unicast MAC address such as 02:00:00:00:00:01")
    return fields.choice("value", ("on", "off"))


def _link_set(context: Context, fields: Fields) -> None:
    device = context.state.inet.devices.named(fields.text("dev"))
    item = fields.choice("item", support.LINK_ITEMS)
    support.link_item(item)
    value = _check_value(fields, item)
    fields.done()
    context.links.set_link(device.id, item, value)
    if item == "addr":
        context.state.inet.change_device(device, value, device.mtu)
    elif item in support.LINK_SWITCHES:
        (device.flags.add if value == "on" else device.flags.discard)(item)


def _cpu_row(context: Context, lcore: Lcore, stats: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": lcore.cid,
        "cpu": lcore.cpu,
        "socket": lcore.socket,
        "role": lcore.role,
        "queues": list(lcore.queues),
        "stats": None,
    }
    if stats:
        counted = context.counters.cpu_counters(lcore.cid)
        row["stats"] = {name: counted.get(name, 0) for name in CPU_STATS}
    return row


def _cpu_show(context: Context, fields: Fields) -> list[dict[str, Any]]:
    cpu = fields.optional_integer("cpu", 0, 65535)
    stats = fields.flag("stats", default=False)
    fields.done()
    chosen = [lcore for lcore in context.daemon.lcores if cpu in (None, lcore.cpu)]
    if not chosen:
        raise ControlError(Code.NOTEXIST, f"the daemon does not run on cpu{cpu}")
    return [_cpu_row(context, lcore, stats) for lcore in chosen]


HANDLERS: dict[str, Handler] = {
    "link.show": _link_show,
    "link.set": _link_set,
    "cpu.show": _cpu_show,
}
