"""NAT64 (RFC 6146 with the header translation of RFC 7915): IPv6 clients, IPv4 real servers.

Side 0 of the connection is IPv6, side 1 IPv4.  The transport header stays where it is in the
buffer; the IP and Ethernet headers in front of it are written anew.  Ports and the L4 checksum
change by the precomputed difference, which covers both pseudo headers (SCTP has none).

Fragments stay fragments.  What an IPv4 host allows to be fragmented arrives on the IPv6 side in
fragments that fit every link, since no error would ever tell that host of a smaller one.
"""

from __future__ import annotations

from ipvs.client64 import forward_client64
from ipvs.context import Ipvs, Packet
from ipvs.entry import ENTRY_SIZE
from ipvs.server64 import forward_server64
from ipvs.steps import admit
from ipvs.table import Table
from runtime.jit import compiled
from stack.exthdr import upper_of
from stack.headers import ETHER_LEN, FRAGMENT_LEN, IP6_LEN, Ipv4, Ipv6


@compiled
def forward_nat64(ipvs, packet, reference, l4):
    """Forward a packet of a connection between the families; 0 or a drop reason."""
    entry = Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE
    reason = admit(ipvs, reference, entry, l4, (Packet(packet).ports >> 32) & 0xFF)
    if reason != 0:
        return reason
    if reference & 1:
        return forward_server64(ipvs, packet, entry, l4, 1)
    return forward_client64(ipvs, packet, entry, l4, 1)


@compiled
def later_to_ipv4(ipvs, packet, entry):
    """Forward a client's later fragment; 0 or a drop reason."""
    l3 = Packet(packet).data + ETHER_LEN
    found = upper_of(l3, Ipv6(l3).payload + IP6_LEN)
    return forward_client64(ipvs, packet, entry, l3 + (found >> 8) + FRAGMENT_LEN, 0)


@compiled
def later_to_ipv6(ipvs, packet, entry):
    """Forward a real server's later fragment; 0 or a drop reason."""
    l3 = Packet(packet).data + ETHER_LEN
    return forward_server64(ipvs, packet, entry, l3 + (Ipv4(l3).ver_ihl & 15) * 4, 0)
