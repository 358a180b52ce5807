"""Requests about routes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from . import support
from .context import Context, Handler
from .errors import Code, ControlError
from .fields import Fields
from .inettypes import Address, family, network_of, parse_address
from .routes import Route

_ANY: dict[str, Address] = {"inet": IPv4Address(0), "inet6": IPv6Address(0)}
_SCOPES = ("host", "kni_host", "link", "global")


def _parse_prefix(text: str) -> tuple[Address, int]:
    """address/length or a lone address; ValueError otherwise."""
    address_text, slash, length_text = text.partition("/")
    address = parse_address(address_text)
    full = 32 if isinstance(address, IPv4Address) else 128
    if not slash:
        return address, full
    if not (length_text.isascii() and length_text.isdigit() and int(length_text) <= full):
        raise ValueError("not a prefix length")
    return address, int(length_text)


def _read_route(context: Context, fields: Fields) -> tuple[Route, str | None]:
    """The route a request describes, over device 0 when it names none, and the device's name.

    The scope asked for only tells local (host) routes from others: link and global follow from
    the gateway. Host bits of a network are cleared.
    """
    af = fields.optional_choice("af", ("inet", "inet6")) or "inet"
    text = fields.text("dst")
    dst, plen = (
        (_ANY[af], 0)
        if text == "default"
        else fields.parsed("dst", _parse_prefix, "a prefix such as 192.0.2.0/24, or default")
    )
    scope = fields.optional_choice("scope", _SCOPES)
    support.route_scope(scope)
    via, src = fields.optional_address("via"), fields.optional_address("src")
    name = fields.optional_text("dev")
    dev = 0 if name is None else context.state.inet.devices.named(name).id
    route = Route(
        dst=network_of(dst, plen),
        plen=plen,
        dev=dev,
        local=scope == "host",
        # 0.0.0.0 is how the original's tools say that there is none
        via=None if via is None or via.is_unspecified else via,
        src=None if src is None or src.is_unspecified else src,
        mtu=fields.integer("mtu", 0, 65535, default=0),
        metric=fields.integer("metric", 0, 255, default=0),
    )
    fields.done()
    return route, name


def _route_add(context: Context, fields: Fields) -> None:
    route, name = _read_route(context, fields)
    routing = context.state.inet.routing
    if name is None:
        if route.via is None:
            raise ControlError(Code.INVAL, "a route needs a device or a gateway")
        route.dev = routing.device_towards(route.via)
    routing.add(route)


def _route_del(context: Context, fields: Fields) -> None:
    route, name = _read_route(context, fields)
    dev = None if name is None else route.dev
    context.state.inet.routing.delete(route.dst, route.plen, route.local, dev, route.via)


def _route_flush(context: Context, fields: Fields) -> None:
    device = context.state.inet.devices.named(fields.text("dev"))
    af = fields.optional_choice("af", ("inet", "inet6"))
    fields.done()
    context.state.inet.routing.flush(device.id, af)


def _row(context: Context, route: Route) -> dict[str, Any]:
    device = context.state.inet.devices[route.dev]
    return {
        "af": family(route.dst),
        "dst": str(route.dst),
        "plen": route.plen,
        "via": None if route.via is None else str(route.via),
        "src": None if route.src is None else str(route.src),
        "dev": device.name,
        "mtu": route.mtu or device.mtu,
        "tos": 0,
        "scope": route.scope,
        "metric": route.metric,
    }


def _route_show(context: Context, fields: Fields) -> list[dict[str, Any]]:
    af = fields.optional_choice("af", ("inet", "inet6"))
    dev = context.read_device_filter(fields)
    fields.done()
    routes = context.state.inet.routes
    chosen = routes if dev is None else routes.on(dev)
    return [_row(context, route) for route in chosen if af in (None, family(route.dst))]


HANDLERS: dict[str, Handler] = {
    "route.add": _route_add,
    "route.del": _route_del,
    "route.flush": _route_flush,
    "route.show": _route_show,
}
