"""UDP connections whose first packets tell the real server who the client is."""

from __future__ import annotations

from ipvs.drops import PROXY_ORDER
from ipvs.entry import PROXY_DONE, S_PROXY, S_UOA, SPECIAL, Entry
from ipvs.front import header_of, payload_of
from ipvs.proxy import decide
from ipvs.proxy_stream import put_front
from ipvs.room import in_parts, l3_of
from ipvs.uoa import uoa_to_server
from runtime.jit import compiled
from stack.headers import PROTO_UDP


@compiled
def _proxy(ipvs, packet, entry, hop, l4, mtu):
    """The first packet gets the header; the connection is an ordinary one from there on."""
    e = Entry(entry)
    l3 = l3_of(packet)
    if in_parts(l3, l4):
        return -PROXY_ORDER
    at = l4 + header_of(l4, PROTO_UDP)
    # What was decided for one that could not be sent does not hold for this one.
    e.marks = e.marks & ~PROXY_DONE
    decide(ipvs, entry, l3, l4, at, payload_of(l3, l4, PROTO_UDP), PROTO_UDP)
    if e.ours != 0:
        l4 = put_front(ipvs, packet, entry, hop, l4, mtu, PROTO_UDP)
        if l4 < 0:
            return l4
    e.special = e.special & ~S_PROXY
    if e.special == 0:
        e.flags = e.flags & ~SPECIAL
    return l4


@compiled
def datagram_from_client(ipvs, packet, entry, hop, l4, mtu):
    """Change a client's packet; address of its UDP header now, or minus a drop reason."""
    e = Entry(entry)
    if e.special & S_PROXY:
        return _proxy(ipvs, packet, entry, hop, l4, mtu)
    if e.special & S_UOA:
        return uoa_to_server(ipvs, packet, entry, hop, l4, mtu)
    return l4
