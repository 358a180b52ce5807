"""QUIC-LB server ids: what a service says about them, and what its servers may have."""

from __future__ import annotations

import re

from .errors import Code, ControlError
from .services import DestKey, Service


def quic_lb_numbers(text: str | None) -> tuple[int, int] | None:
    """Length (1..15 bytes) and configuration (0..6) from "LENGTH[,CONFIGURATION]"; None if wrong.

    A server id and a nonce of four bytes fit an id of 20; configuration 7 is the clients'.
    """
    found = re.fullmatch(r"([1-9]|1[0-5])(?:,([0-6]))?", text or "", re.ASCII)
    return None if found is None else (int(found[1]), int(found[2] or 0))


def check_server_id(service: Service, quic_lb: str | None, key: DestKey, server_id: str) -> None:
    """INVAL for a server id that does not fit the service (with that ``quic_lb``), or that another
    of its real servers has."""
    if not server_id:
        return
    numbers = quic_lb_numbers(quic_lb)
    if numbers is None:
        raise ControlError(Code.INVAL, f"{key} has a server id, which needs quic-lb")
    if len(server_id) != 2 * numbers[0]:
        raise ControlError(
            Code.INVAL, f"server id {server_id} of {key} must have {numbers[0]} bytes"
        )
    for other in service.dests.values():
        if other.key != key and other.options.server_id == server_id:
            raise ControlError(Code.INVAL, f"server id {server_id} is already that of {other.key}")
