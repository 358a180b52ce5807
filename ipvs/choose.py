"""Which real server the first packet of a connection goes to."""

from __future__ import annotations

from ipvs.persist import assign
from ipvs.pick import pick
from ipvs.service import PERSISTENT, Service
from runtime.jit import compiled


@compiled
def choose(ipvs, service, packet):
    """Id of the real server for the first packet of a connection, or minus a drop reason."""
    if Service(service).sticky & PERSISTENT:
        return assign(ipvs, service, packet)
    return pick(ipvs, service, packet)
