"""The configuration as the operator commands that would recreate it on a fresh daemon."""

from __future__ import annotations

import shlex

from .addresses import InterfaceAddress
from .inettypes import full_length, is_link_local6, scope_text
from .matches import MatchKey
from .routes import Route, RouteKey
from .services import Dest, Service, endpoint
from .state import ControlState
from .timeouts import timeout_lines

_ROUTE = {4: "dpip route", 6: "dpip -6 route"}
_MODE_SWITCHES = {"fullnat": "-b", "nat": "-m", "dr": "-g", "tunnel": "-i", "snat": "-J"}
_SERVICE_SWITCHES = {
    "tcp": "-t",
    "udp": "-u",
    "sctp": "--sctp-service",
    "icmp": "-q",
    "icmpv6": "-1",
}


def _address_line(state: ControlState, entry: InterfaceAddress) -> str:
    words = [f"dpip addr add {entry.address}/{entry.plen}"]
    words.append(f"dev {state.inet.devices[entry.dev].name}")
    if entry.broadcast is not None:
        words.append(f"broadcast {entry.broadcast}")
    if entry.scope and not is_link_local6(entry.address):
        words.append(f"scope {scope_text(entry.scope)}")
    if entry.expires is not None:
        # the misspelling is the command's own
        left = entry.remaining(state.clock())
        words.append(f"valid_lft {left} prefered_lft {left}")
    return " ".join(words + ["sapool"] * entry.sapool)


def _route_line(state: ControlState, route: Route) -> str:
    words = [f"{_ROUTE[route.dst.version]} add"]
    words += ["default" if route.plen == 0 else f"{route.dst}/{route.plen}"]
    if route.via is not None:
        words.append(f"via {route.via}")
    words.append(f"dev {state.inet.devices[route.dev].name}")
    if route.local:
        words.append("scope host")
    if route.src is not None:
        words.append(f"src {route.src}")
    words += [f"mtu {route.mtu}"] if route.mtu else []
    words += [f"metric {route.metric}"] if route.metric else []
    return " ".join(words)


def _route_removals(state: ControlState) -> list[str]:
    """Routes that the addresses make by themselves but that are not there, or are other ones."""
    made: dict[RouteKey, None] = {}
    for entry in state.inet.addresses:
        full = full_length(entry.address)
        made[True, entry.address, full, entry.dev] = None
        if entry.plen < full:
            made[False, entry.network, entry.plen, entry.dev] = None
    lines = []
    for key in made:
        local, dst, plen, dev = key
        route = state.inet.routes.get(key)
        if route is None and any(
            entry.duplicate and entry.address == dst for entry in state.inet.addresses
        ):
            continue
        if route is None or not route.auto:
            words = f"{_ROUTE[dst.version]} del {dst}/{plen} dev {state.inet.devices[dev].name}"
            lines.append(words + " scope host" * local)
    return lines


def _service_tag(service: Service) -> str:
    key = service.key
    if isinstance(key, MatchKey):
        return f"-H {key.option}"
    return f"{_SERVICE_SWITCHES[key.proto]} {endpoint(key.addr, key.port)}"


def _service_line(service: Service) -> str:
    options = service.options
    words = [f"ipvsadm -A {_service_tag(service)} -s {options.sched}"]
    if options.hash_target:
        words.append(f"--hash-target {options.hash_target}")
    if options.sched_flags:
        words.append(f"--sched-flags {','.join(options.sched_flags)}")
    if options.slow_start:
        words.append(f"--slow-start {options.slow_start}")
    if options.persistent:
        words.append(f"-p {options.persistent}")
    if options.netmask:
        words.append(f"-M {options.netmask}")
    words += ["-o"] * options.ops + ["-j enable"] * options.synproxy
    words += ["--expire-quiescent"] * options.expire_quiescent + ["--quic"] * options.quic
    if options.quic_lb:
        words.append(f"--quic-lb {options.quic_lb}")
    if options.conn_timeout:
        words.append(f"--conn-timeout {options.conn_timeout}")
    if options.proxy_protocol != "disable":
        words.append(f"--proxy-protocol {options.proxy_protocol}")
    return " ".join(words + [f"--dest-check {word}" for word in options.dest_check])


def _dest_line(service: Service, dest: Dest) -> str:
    options = dest.options
    words = [f"ipvsadm -a {_service_tag(service)} -r {dest.key}"]
    words.append(f"{_MODE_SWITCHES[options.mode]} -w {options.weight}")
    if options.u_thresh or options.l_thresh:
        words.append(f"-x {options.u_thresh} -y {options.l_thresh}")
    if options.server_id:
        words.append(f"--server-id {options.server_id}")
    return " ".join(words)


def _laddr_lines(state: ControlState, service: Service) -> list[str]:
    """-P configures the address as a /32 by itself; what that adds too much is taken away."""
    lines = []
    for ref in service.laddrs:
        name = state.inet.devices[ref.dev].name
        lines.append(f"ipvsadm -P {_service_tag(service)} -z {ref.addr} -F {name}")
        addresses = state.inet.addresses.on(ref.dev)
        if not any((entry.address, entry.plen) == (ref.addr, 32) for entry in addresses):
            lines.append(f"dpip addr del {ref.addr}/32 dev {name}")
    return lines


def _service_lines(state: ControlState, service: Service) -> list[str]:
    lines = [_service_line(service), *_laddr_lines(state, service)]
    return lines + [_dest_line(service, dest) for dest in service.dests.values()]


def _routes_in_order(state: ControlState) -> list[Route]:
    """Operator routes, those without gateway first: gateways must be reachable when added."""
    routes = [route for route in state.inet.routes if not route.auto]
    return sorted(routes, key=lambda route: route.via is not None)


def command_lines(state: ControlState) -> list[str]:
    """dpip and ipvsadm command lines to be run in this order.

    Not carried over: the inhibited mark of real servers, which health checks set anew; and the
    order among routes to the same network over different devices. A gateway whose network was
    deleted after the route was added is refused when the commands are run.
    """
    inet = state.inet
    return [
        *(_address_line(state, entry) for entry in inet.addresses if not entry.auto),
        *_route_removals(state),
        *(_route_line(state, route) for route in _routes_in_order(state)),
        *(
            f"dpip neigh add {entry.address} lladdr {entry.mac} dev {inet.devices[entry.dev].name}"
            for entry in inet.neighbours
            if entry.static
        ),
        *(
            f"dpvs scheduler load {shlex.quote(row['path'])} {row['name']}"
            for row in state.schedulers.rows()
            if row["path"]
        ),
        *timeout_lines(state.operator_timeouts),
        *(line for service in state.ipvs.services for line in _service_lines(state, service)),
    ]
