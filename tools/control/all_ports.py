"""Services on port 0: they take all ports of an address that have no service of their own.

Their real servers are reached on the port that the client asked for, so they have none themselves.
"""

from __future__ import annotations

from collections.abc import Iterable

from .errors import Code, ControlError
from .inettypes import Address
from .laddrs import LocalPools
from .matches import MatchKey
from .services import AnyKey, DestKey, Service


def takes_all_ports(key: AnyKey) -> bool:
    """Whether it is such a service; match services have no port either."""
    return key.port == 0 and not isinstance(key, MatchKey)


def check_service(key: AnyKey, persistent: int, pools: LocalPools) -> None:
    """INVAL for one without persistence, or on an address whose ports FullNAT or SNAT uses."""
    if not takes_all_ports(key):
        return
    if not persistent:
        raise ControlError(
            Code.INVAL, "Zero port specified for no-match and non-persistent service"
        )
    if pools.of(key.addr) is not None:
        raise ControlError(
            Code.INVAL,
            f"{key.addr} is configured with sapool: its ports are for connections to real "
            "servers, and no service can take all of them",
        )


def check_dest(svc: AnyKey, key: DestKey) -> None:
    """INVAL for a real server that lacks a port, or has one where it means nothing."""
    if takes_all_ports(svc) and key.port != 0:
        raise ControlError(
            Code.INVAL,
            f"real server {key} of {svc}, a service of all ports, is reached on the port that "
            "the client asks for: give it port 0",
        )
    if svc.port != 0 and key.port == 0:
        raise ControlError(Code.INVAL, f"real server {key} needs a port")


def check_pool(addr: Address, services: Iterable[Service]) -> None:
    """INVAL for a new sapool address all of whose ports a service takes."""
    for service in services:
        if takes_all_ports(service.key) and service.key.addr == addr:
            raise ControlError(
                Code.INVAL, f"{addr} cannot have sapool: service {service.key} takes all its ports"
            )
