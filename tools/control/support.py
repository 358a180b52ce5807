"""What the original can do and this release refuses, in one place.

Words the original does not know either are refused elsewhere, as wrong input. Every check raises
NOTSUPP with a sentence naming what is not supported; lifting a restriction is deleting it here.
"""

from __future__ import annotations

from .errors import Code, ControlError
from .inettypes import Address
from .matches import MatchKey
from .services import AnyKey, DestOptions, ServiceOptions

#: words of the original, and those of them that work
PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "icmpv6")
SCHEDULERS = ("rr", "wrr", "wlc", "conhash", "mh", "fo")
MODES = ("fullnat", "nat", "dr", "tunnel", "snat")
LINK_SWITCHES = ("promisc", "allmulticast", "forward2kni", "lldp", "tc-egress", "tc-ingress")
LINK_ITEMS = (
    *LINK_SWITCHES,
    "link",
    "addr",
    "bond-mode",
    "bond-primary",
    "bond-xmit-policy",
    "bond-monitor-interval",
    "bond-link-down-prop",
    "bond-link-up-prop",
)
#: request areas (the part of the type before the dot) and what they are about
_AREAS = {"blklst": "blacklists are", "whtlst": "whitelists are", "link": "bonding is"}
_PROTOCOLS = ("tcp", "udp", "sctp")
_MODES = ("fullnat", "nat", "dr", "tunnel", "snat")
#: forwarding modes and families (service, real server) other than IPv4 throughout
_FAMILIES = {
    *(("fullnat", (6, n)) for n in (4, 6)), ("nat", (6, 6)), ("dr", (6, 6)), ("snat", (6, 6)),
    *(("tunnel", versions) for versions in ((4, 6), (6, 4), (6, 6))),
}  # fmt: skip
_LINK_ITEMS = ("promisc", "allmulticast", "link", "addr")
_CHECKED_OUTSIDE = ("tcp", "udp", "sctp", "ping")


def _refuse(what: str) -> ControlError:
    return ControlError(Code.NOTSUPP, f"{what} not supported yet")


def request_type(kind: str) -> None:
    """A request type without a handler; other unknown types pass."""
    area = kind.partition(".")[0]
    if area in _AREAS:
        raise _refuse(_AREAS[area])


def family(af: str) -> None:
    """Address family word of a listing or flush."""
    if af != "inet":
        raise _refuse(f"address family {af} is")


def other_service_keys(fwmark: bool) -> None:
    """Services that are identified neither by protocol, address and port, nor by a match."""
    if fwmark:
        raise _refuse("firewall-mark services are")


def service(key: AnyKey, options: ServiceOptions) -> None:
    """A service to be added or its options after an edit."""
    match = isinstance(key, MatchKey)
    if not match and key.proto not in _PROTOCOLS:
        raise _refuse(f"{key.proto} services are")
    if options.synproxy:
        raise _refuse("synproxy is")
    if options.proxy_protocol != "disable" and key.proto == "sctp":
        raise _refuse("proxy protocol for SCTP services is")
    for word in options.dest_check:
        if word not in _CHECKED_OUTSIDE:
            raise _refuse(f"passive destination check ({word}) is")


def dest(service_address: Address, address: Address, options: DestOptions) -> None:
    """A real server to be added to the service of an address, or its options after an edit."""
    if options.mode not in _MODES:
        raise _refuse(f"forwarding mode {options.mode} is")
    versions = (service_address.version, address.version)
    if versions != (4, 4) and (options.mode, versions) not in _FAMILIES:
        raise _refuse(
            f"forwarding mode {options.mode} from an IPv{versions[0]} service to an "
            f"IPv{versions[1]} real server ({address}) is"
        )


def route_scope(scope: str | None) -> None:
    """Requested scope of a route."""
    if scope == "kni_host":
        raise _refuse("a route to the kernel interface (scope kni_host) is")


def link_item(item: str) -> None:
    """A link setting the original has."""
    if item not in _LINK_ITEMS:
        raise _refuse(f"link setting {item} is")
