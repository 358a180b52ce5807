"""Requests about interface addresses and neighbours."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from .addresses import InterfaceAddress
from .context import Context, Handler
from .errors import Code, ControlError
from .fields import Fields
from .inettypes import Address, family, parse_scope, scope_text
from .ipvs_fields import MAX_TIMEOUT


def _read_identity(context: Context, fields: Fields) -> tuple[int, Address, int]:
    """Device id, address and prefix length of an interface address."""
    address = fields.address("addr")
    fields.matches_family("af", address)
    plen = fields.prefix_length("plen", address)
    device = context.state.inet.devices.named(fields.text("dev"), Code.NOTEXIST)
    return device.id, address, plen


def _read_entry(context: Context, fields: Fields) -> InterfaceAddress:
    dev, address, plen = _read_identity(context, fields)
    broadcast = fields.optional_address("broadcast")
    scope = 0
    if fields.has("scope"):
        scope = fields.parsed("scope", parse_scope, "host, link, global or a number 0..255")
    valid = fields.integer("valid_lft", 0, MAX_TIMEOUT, default=0)
    # read for its errors only: the original forces it to the valid lifetime, and so do we
    fields.integer("preferred_lft", 0, MAX_TIMEOUT, default=0)
    sapool = fields.flag("sapool", default=False)
    fields.done()
    if broadcast is not None and (broadcast.version, address.version) != (4, 4):
        raise ControlError(Code.INVAL, "only an IPv4 address has a broadcast address, of IPv4")
    return InterfaceAddress(
        address=address,
        plen=plen,
        dev=dev,
        broadcast=broadcast,
        scope=scope,
        expires=context.state.inet.lifetime(valid),
        sapool=sapool,
    )


def _addr_add(context: Context, fields: Fields) -> None:
    context.state.inet.add_address(_read_entry(context, fields))


def _addr_set(context: Context, fields: Fields) -> None:
    context.state.inet.set_address(_read_entry(context, fields))


def _addr_del(context: Context, fields: Fields) -> None:
    identity = _read_identity(context, fields)
    fields.done()
    context.state.inet.delete_address(*identity)


def _addr_flush(context: Context, fields: Fields) -> None:
    device = context.state.inet.devices.named(fields.text("dev"), Code.NOTEXIST)
    af = fields.optional_choice("af", ("inet", "inet6"))
    fields.done()
    context.state.inet.flush_addresses(device.id, af)


def _address_row(context: Context, entry: InterfaceAddress, cid: int, stats: bool) -> dict:
    state = context.state
    left = entry.remaining(state.clock())
    row: dict[str, Any] = {
        "af": family(entry.address),
        "addr": str(entry.address),
        "plen": entry.plen,
        "dev": state.inet.devices[entry.dev].name,
        "broadcast": None if entry.broadcast is None else str(entry.broadcast),
        "scope": scope_text(entry.scope),
        "valid_lft": left,
        "preferred_lft": left,
        "sapool": entry.sapool,
        "cid": cid,
    }
    pool = state.pools.usable(entry.address, entry.dev)
    if stats and entry.sapool and pool is not None:
        used, free, miss = state.traffic.laddr(pool.id, cid)
        row.update(sa_used=used, sa_free=free, sa_miss=miss)
    return row


def _addr_show(context: Context, fields: Fields) -> list[dict[str, Any]]:
    dev = context.read_device_filter(fields)
    af = fields.optional_choice("af", ("inet", "inet6"))
    stats = fields.flag("stats", default=False)
    verbose = fields.flag("verbose", default=False)
    fields.done()
    addresses = context.state.inet.addresses
    chosen = list(addresses) if dev is None else addresses.on(dev)
    chosen = [entry for entry in chosen if af in (None, family(entry.address))]
    cids = range(1, context.counters.n_workers + 1) if verbose else (0,)
    return [_address_row(context, entry, cid, stats) for cid in cids for entry in chosen]


def _read_neighbour(context: Context, fields: Fields) -> tuple[int, Address]:
    address = fields.address("addr")
    fields.matches_family("af", address)
    device = context.state.inet.devices.named(fields.text("dev"))
    return device.id, address


def _neigh_add(context: Context, fields: Fields) -> None:
    dev, address = _read_neighbour(context, fields)
    mac = fields.mac("lladdr")
    fields.done()
    context.state.inet.set_neighbour(dev, address, mac)


def _neigh_del(context: Context, fields: Fields) -> None:
    dev, address = _read_neighbour(context, fields)
    fields.done()
    context.state.inet.delete_neighbour(dev, address)


async def _neigh_show(context: Context, fields: Fields) -> list[dict[str, Any]]:
    dev = context.read_device_filter(fields)
    af = fields.optional_choice("af", ("inet", "inet6"))
    fields.done()
    rows = await context.fleet.neighbours()
    devices = context.state.inet.devices
    chosen = [row for row in rows if row.dev in devices and dev in (None, row.dev)]
    chosen = [row for row in chosen if af in (None, family(_parsed(row.address)))]
    chosen.sort(key=lambda row: (row.dev, *_order(row.address), row.cid))
    return [
        {
            "addr": row.address,
            "lladdr": row.mac,
            "state": row.state,
            "dev": devices[row.dev].name,
            "cid": row.cid,
            "static": row.static,
        }
        for row in chosen
    ]


def _parsed(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise ControlError(Code.IO, f"a worker reported the neighbour {text!r}") from error


def _order(text: str) -> tuple[int, int]:
    """IPv4 first, then by number."""
    address = _parsed(text)
    return address.version, int(address)


HANDLERS: dict[str, Handler] = {
    "addr.add": _addr_add,
    "addr.set": _addr_set,
    "addr.del": _addr_del,
    "addr.flush": _addr_flush,
    "addr.show": _addr_show,
    "neigh.add": _neigh_add,
    "neigh.del": _neigh_del,
    "neigh.show": _neigh_show,
}
