"""Drop reasons of the load balancer (see stack/drops.py for the rule)."""

from __future__ import annotations

from stack.drops import IPVS_BASE, reason

NO_DEST = reason(
    IPVS_BASE, "no_dest", "no usable real server: none, weight 0, or all at the upper threshold"
)
CONN_FULL = reason(IPVS_BASE + 1, "conn_full", "connection table full")
NO_LADDR = reason(IPVS_BASE + 2, "no_laddr", "FullNAT service without a local address")
NO_PORT = reason(IPVS_BASE + 3, "no_port", "no free local port towards the real server")
CONN_CLASH = reason(
    IPVS_BASE + 4, "conn_clash", "another connection already has this tuple on the server's side"
)
NOT_SYN = reason(IPVS_BASE + 5, "not_syn", "TCP packet of no known connection")
NO_SERVICE = reason(IPVS_BASE + 6, "no_service", "TCP, UDP or SCTP to a VIP port without service")
HANDOVER_FULL = reason(IPVS_BASE + 7, "handover_full", "ring to the owning worker full")
HANDOVER_LOST = reason(
    IPVS_BASE + 8, "handover_lost", "packet of no known connection handed over by another worker"
)
DEST_ROUTE = reason(IPVS_BASE + 9, "dest_route", "no route to the real server or client")
TUNNEL_SOURCE = reason(
    IPVS_BASE + 11, "tunnel_source", "no address of ours on the route to the tunnel's real server"
)
NOT_FORWARDED = reason(
    IPVS_BASE + 12, "not_forwarded", "connection of a kind this version does not forward"
)
SCHED_FAULT = reason(
    IPVS_BASE + 13, "sched_fault", "user-written scheduler looped too long or chose no server"
)
DEST_GONE = reason(
    IPVS_BASE + 10, "dest_gone", "connection whose real server is gone (expire-quiescent)"
)
IDLE_END = reason(
    IPVS_BASE + 25,
    "idle_end",
    "segment of a connection that ends because it was idle: its sender is reset (not a loss)",
)
ICMP_QUOTE = reason(
    IPVS_BASE + 30, "icmp_quote", "ICMP error whose quotation is cut short, malformed or a fragment"
)
ICMP_NESTED = reason(IPVS_BASE + 31, "icmp_nested", "ICMP error about an ICMP error or redirect")
ICMP_UNRELATED = reason(
    IPVS_BASE + 32, "icmp_unrelated", "ICMP error about no packet its target sent through us"
)
ICMP_LOW_MTU = reason(
    IPVS_BASE + 44,
    "icmp_low_mtu",
    "packet too big about a tunnel that tells less than every IPv6 link takes (RFC 8201 4)",
)
TUNNEL_MTU = reason(
    IPVS_BASE + 45,
    "tunnel_mtu",
    "error about a tunnel too small for IPv6 packets of 1280 bytes: nobody can be told",
)
SCTP_CHECKSUM = reason(IPVS_BASE + 46, "sctp_checksum", "CRC32c of an SCTP packet is wrong")
SCTP_CHUNK = reason(IPVS_BASE + 47, "sctp_chunk", "SCTP packet without a whole first chunk")
DIGEST_CLASH = reason(
    IPVS_BASE + 60, "digest_clash", "IPv6 packet whose address digest is another connection's"
)
UDP6_CHECKSUM = reason(
    IPVS_BASE + 61, "udp6_checksum", "UDP over IPv6 without checksum (RFC 8200 8.1)"
)
TOA_ROOM = reason(
    IPVS_BASE + 20, "toa_room", "segment sent on without the client's address: no room (not a loss)"
)
PROXY_ORDER = reason(
    IPVS_BASE + 21,
    "proxy_order",
    "client's data before its first, its first in fragments, or cut through its own PROXY header",
)
UOA_ROOM = reason(
    IPVS_BASE + 22, "uoa_room", "packet sent on without the client's address: no room (not a loss)"
)
TEMPLATE_BUSY = reason(
    IPVS_BASE + 14,
    "template_busy",
    "first packet of a persistent client whose template another worker did not let go of",
)
TEMPLATE_FULL = reason(
    IPVS_BASE + 15,
    "template_full",
    "connection opened without persistence: no room for its client (not a loss)",
)
FRAG_TINY = reason(
    IPVS_BASE + 33, "frag_tiny", "first fragment without all headers (RFC 1858, 7112)"
)
FRAG_FORM = reason(
    IPVS_BASE + 34, "frag_form", "fragment without content, of odd length, or beyond 65535 bytes"
)
FRAG_OVERLAP = reason(
    IPVS_BASE + 35, "frag_overlap", "fragment that overlaps another of its datagram (RFC 5722)"
)
FRAG_DUPLICATE = reason(IPVS_BASE + 36, "frag_duplicate", "fragment that was forwarded before")
FRAG_REFUSED = reason(
    IPVS_BASE + 37, "frag_refused", "fragment of a datagram that overlapped or lost its first one"
)
FRAG_TIMEOUT = reason(
    IPVS_BASE + 38,
    "frag_timeout",
    "fragment whose first fragment (of an SCTP packet: last) did not come in time",
)
FRAG_QUEUE = reason(
    IPVS_BASE + 39, "frag_queue", "fragment that would have to wait while too many do already"
)
FRAG_EVICTED = reason(
    IPVS_BASE + 40, "frag_evicted", "waiting fragment given up for those of newer datagrams"
)
FRAG_LOST = reason(IPVS_BASE + 41, "frag_lost", "fragment of a connection that is gone")
FRAG_NAT64 = reason(
    IPVS_BASE + 43,
    "frag_nat64",
    "fragment NAT64 cannot translate: of UDP without checksum, or with headers inside (RFC 7915)",
)
FRAG_MANY = reason(IPVS_BASE + 42, "frag_many", "more fragments than a datagram can need")
