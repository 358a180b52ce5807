"""IPv6 input checks that need no route (RFC 8200, RFC 4291), one reason each.  Compiled."""

from __future__ import annotations

from netdev.abi import Mbuf
from netdev.mbuf import set_length
from netdev.port import Port
from runtime.intrinsics import load64
from runtime.jit import compiled
from stack.address6 import (
    is_multicast6,
    is_never_sent,
    is_unspecified6,
    multicast_mac6,
)
from stack.context import Stack
from stack.drops import ETH_OTHERHOST, IP_BROADCAST
from stack.drops6 import (
    IP6_DESTINATION,
    IP6_DISABLED,
    IP6_LENGTH,
    IP6_LOOP,
    IP6_SHORT,
    IP6_SOURCE,
    IP6_VERSION,
)
from stack.headers import (
    ETHER_LEN,
    IP6_DST,
    IP6_LEN,
    IP6_SRC,
    Ipv6,
)
from stack.nd_send import MAC_MASK


@compiled
def check_addresses6(l3):
    """0 when both addresses may appear on the wire, else a drop reason."""
    src = load64(l3 + IP6_SRC)
    src_low = load64(l3 + IP6_SRC + 8)
    dst = load64(l3 + IP6_DST)
    dst_low = load64(l3 + IP6_DST + 8)
    if is_multicast6(src) or is_never_sent(src, src_low):
        return IP6_SOURCE
    if is_unspecified6(src, src_low) and is_multicast6(dst) == 0:
        return IP6_SOURCE
    if is_unspecified6(dst, dst_low) or is_never_sent(dst, dst_low):
        return IP6_DESTINATION
    # Scopes 0 and 1 do not leave a host (RFC 4291 2.7).
    if is_multicast6(dst) and (dst >> 8) & 0xF <= 1:
        return IP6_DESTINATION
    if src == dst and src_low == dst_low:
        return IP6_LOOP
    return 0


@compiled
def check_header6(mbuf, l3, length):
    """All RFC 8200 checks of a fixed header with ``length`` bytes of frame behind the Ethernet
    header; cuts link padding off.  0 or a drop reason."""
    if length < IP6_LEN:
        return IP6_SHORT
    ip = Ipv6(l3)
    if ip.flow >> 28 != 6:
        return IP6_VERSION
    total = IP6_LEN + ip.payload
    if total > length:
        return IP6_LENGTH
    if total < length:
        set_length(mbuf, ETHER_LEN + total)
    return check_addresses6(l3)


@compiled
def frame_class6(stack, data, port):
    """0 when the frame is for our MAC or for the group its packet is for (RFC 2464 7)."""
    mac = load64(data) & MAC_MASK
    if mac == Port(Stack(stack).ports[port]).mac:
        return 0
    if mac & 1 == 0:
        return ETH_OTHERHOST
    l3 = data + ETHER_LEN
    group = multicast_mac6(load64(l3 + IP6_DST + 8))
    if is_multicast6(load64(l3 + IP6_DST)) and mac == group:
        return 0
    return IP_BROADCAST


@compiled
def check_ipv6(stack, mbuf, data):
    """Everything about a frame that does not depend on routes; 0 or a drop reason."""
    m = Mbuf(mbuf)
    if Stack(stack).disabled6:
        return IP6_DISABLED
    reason = check_header6(mbuf, data + ETHER_LEN, m.pkt_len - ETHER_LEN)
    if reason != 0:
        return reason
    return frame_class6(stack, data, m.port)
