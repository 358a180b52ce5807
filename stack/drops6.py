"""Drop reasons of the IPv6 stack (see stack/drops.py for the rule)."""

from __future__ import annotations

from stack.drops import IP6_BASE as B
from stack.drops import reason

IP6_DISABLED = reason(B, "ip6_disabled", "IPv6 is switched off (ipv6_defs disable)")
IP6_SHORT = reason(B + 1, "ip6_short", "frame shorter than an IPv6 header")
IP6_VERSION = reason(B + 2, "ip6_version", "IPv6 EtherType with another IP version")
IP6_LENGTH = reason(B + 3, "ip6_length", "IPv6 payload length beyond the frame, or a jumbogram")
IP6_SOURCE = reason(B + 4, "ip6_source", "IPv6 source address that may not be on the wire")
IP6_DESTINATION = reason(
    B + 5, "ip6_destination", "IPv6 destination address that may not be on the wire"
)
IP6_LOOP = reason(
    B + 6, "ip6_loop", "IPv6 source address is one of our own, or equals the destination"
)
IP6_EXT_SHORT = reason(
    B + 7, "ip6_ext_short", "IPv6 extension header or option beyond the end of the packet"
)
IP6_EXT_ORDER = reason(
    B + 8, "ip6_ext_order", "IPv6 hop-by-hop options that are not the first header"
)
IP6_EXT_OPTION = reason(
    B + 9, "ip6_ext_option", "IPv6 option nobody here knows that asks to be dropped for"
)
IP6_EXT_MANY = reason(B + 10, "ip6_ext_many", "more IPv6 extension headers than anybody needs")
IP6_ROUTING = reason(
    B + 11, "ip6_routing", "IPv6 routing header with segments left (type 0: RFC 5095)"
)
IP6_FRAGMENT = reason(B + 12, "ip6_fragment", "IPv6 fragment")
IP6_PROTOCOL = reason(
    B + 13, "ip6_protocol", "IPv6 packet to one of our addresses, next header not handled"
)
IP6_NO_NEXT = reason(B + 14, "ip6_no_next", "IPv6 packet without content (next header 59)")
IP6_NO_ROUTE = reason(B + 15, "ip6_no_route", "no IPv6 route to the destination")
IP6_HOPS = reason(B + 16, "ip6_hops", "hop limit expired while forwarding (time exceeded was sent)")
IP6_TOO_BIG = reason(
    B + 17, "ip6_too_big", "IPv6 packet larger than the MTU (packet too big was sent)"
)
IP6_NOT_FORWARDED = reason(
    B + 18, "ip6_not_forwarded", "IPv6 packet not for us and forwarding is off"
)
IP6_SCOPE = reason(B + 19, "ip6_scope", "link-local IPv6 address that would leave its link")
IP6_GROUP = reason(B + 20, "ip6_group", "IPv6 multicast group nobody here has joined")
IP6_NO_SOURCE = reason(B + 21, "ip6_no_source", "no IPv6 address of ours to answer from")
ICMP6_SHORT = reason(B + 22, "icmp6_short", "ICMPv6 message shorter than its header")
ICMP6_CHECKSUM = reason(B + 23, "icmp6_checksum", "ICMPv6 checksum wrong")
ICMP6_TYPE = reason(B + 24, "icmp6_type", "ICMPv6 message type not handled")
ND_HOP_LIMIT = reason(
    B + 25, "nd_hop_limit", "neighbour discovery from off the link (hop limit not 255)"
)
ND_FORMAT = reason(B + 26, "nd_format", "malformed neighbour discovery message (RFC 4861 7.1)")
ND_SENDER = reason(B + 27, "nd_sender", "neighbour discovery about an address that is ours")
ND_TARGET = reason(B + 28, "nd_target", "neighbour solicitation for an address we do not have")
ND_ROUTER = reason(
    B + 29, "nd_router", "router solicitation, advertisement or redirect: not for a balancer"
)
ND_DONE = reason(B + 30, "nd_done", "neighbour discovery message processed (not a loss)")
MLD_HOP_LIMIT = reason(
    B + 31, "mld_hop_limit", "multicast listener query from off the link (hop limit not 1)"
)
MLD_SENDER = reason(
    B + 32,
    "mld_sender",
    "multicast listener query whose source is not link-local (RFC 3810 5.1.14)",
)
MLD_ALERT = reason(B + 33, "mld_alert", "multicast listener query without router alert option")
MLD_FORMAT = reason(B + 34, "mld_format", "malformed multicast listener query (RFC 3810 5.1, 8.1)")
MLD_OTHER = reason(
    B + 35, "mld_other", "multicast listener report of another host (not a loss: routers read it)"
)
MLD_DONE = reason(B + 36, "mld_done", "multicast listener query processed (not a loss)")
MLD_FULL = reason(
    B + 37, "mld_full", "multicast group not reported: more of them than the table holds"
)
