"""Which real server the first packet of a connection goes to."""

from __future__ import annotations

from ipvs.persist import assign
from ipvs.pick import pick
from ipvs.quic import server_of
from ipvs.service import PERSISTENT, QUIC, Service
from runtime.jit import compiled


@compiled
def choose(ipvs, service, packet):
    """Id of the real server for the first packet of a connection, or minus a drop reason."""
    sticky = Service(service).sticky
    if sticky & PERSISTENT:
        return assign(ipvs, service, packet)
    if sticky & QUIC:
        number = server_of(ipvs, service, packet)
        if number >= 0:
            return number
    return pick(ipvs, service, packet)
