"""Every reason to drop a packet: a number, a counter name and a sentence for the operator.

A function of the packet path returns 0 when the packet was consumed (sent, queued, handed over)
or one of these numbers; the caller counts it and frees the mbuf in one place.
"""

from __future__ import annotations

# Layers above the stack add theirs from IPVS_BASE on (ipvs/drops.py), IPv6 from IP6_BASE on
# (stack/drops6.py).
REASONS: dict[int, tuple[str, str]] = {}
IPVS_BASE = 48
IP6_BASE = 128
DROP_SLOTS = 192


def reason(number: int, name: str, text: str) -> int:
    """Register drop reason ``number``; returns it.  Raises ValueError on a number used twice."""
    if number in REASONS or not 0 < number < DROP_SLOTS:
        raise ValueError(f"drop reason {number} ({name}) is taken or out of range")
    REASONS[number] = (name, text)
    return number


SEGMENTED = reason(1, "segmented", "frame spread over several mbufs")
ETH_SHORT = reason(2, "eth_short", "frame shorter than an Ethernet header")
ETH_OTHERHOST = reason(3, "eth_otherhost", "destination MAC is another host's")
ETH_TYPE = reason(4, "eth_type", "EtherType nobody here handles")
IP_SHORT = reason(5, "ip_short", "frame shorter than its IPv4 header")
IP_VERSION = reason(6, "ip_version", "IPv4 EtherType with another IP version")
IP_HEADER_LENGTH = reason(7, "ip_header_length", "IPv4 header length below 20 or beyond the frame")
IP_TOTAL_LENGTH = reason(8, "ip_total_length", "IPv4 total length beyond the frame or below header")
IP_CHECKSUM = reason(9, "ip_checksum", "IPv4 header checksum wrong")
IP_SOURCE = reason(10, "ip_source", "source address that may not be on the wire (RFC 1812 5.3.7)")
IP_DESTINATION = reason(11, "ip_destination", "destination address that may not be on the wire")
IP_LOOP = reason(12, "ip_loop", "source address is one of our own, or equals the destination")
IP_OPTIONS = reason(13, "ip_options", "malformed IPv4 options")
IP_SOURCE_ROUTE = reason(14, "ip_source_route", "IPv4 source route option")
IP_FRAGMENT = reason(15, "ip_fragment", "IPv4 fragment")
IP_PROTOCOL = reason(16, "ip_protocol", "packet to one of our addresses, protocol not handled")
IP_NO_ROUTE = reason(17, "ip_no_route", "no route to the destination")
IP_TTL = reason(18, "ip_ttl", "TTL expired while forwarding (time exceeded was sent)")
IP_TOO_BIG = reason(19, "ip_too_big", "larger than the MTU and DF set (frag needed was sent)")
IP_NOT_FORWARDED = reason(20, "ip_not_forwarded", "not for us and forwarding is off")
IP_BROADCAST = reason(21, "ip_broadcast", "IP packet in a broadcast or multicast frame")
ICMP_SHORT = reason(22, "icmp_short", "ICMP message shorter than its header")
ICMP_CHECKSUM = reason(23, "icmp_checksum", "ICMP checksum wrong")
ICMP_TYPE = reason(24, "icmp_type", "ICMP message type not handled")
ARP_SHORT = reason(25, "arp_short", "ARP packet cut short")
ARP_FORMAT = reason(26, "arp_format", "ARP packet not for Ethernet and IPv4, or unknown operation")
ARP_SENDER = reason(27, "arp_sender", "ARP sender address is ours, zero or multicast")
ARP_TARGET = reason(28, "arp_target", "ARP packet for an address we do not have")
ARP_DONE = reason(29, "arp_done", "ARP packet processed (not a loss)")
NEIGH_QUEUE = reason(30, "neigh_queue", "queue of packets waiting for a neighbour is full")
NEIGH_FULL = reason(31, "neigh_full", "neighbour table full")
NEIGH_FAILED = reason(32, "neigh_failed", "neighbour did not answer")
L4_SHORT = reason(33, "l4_short", "TCP or UDP header cut short")
TCP_OFFSET = reason(34, "tcp_offset", "TCP data offset below 5 or beyond the packet")
UDP_LENGTH = reason(35, "udp_length", "UDP length below 8 or beyond the packet")
NO_MBUF = reason(36, "no_mbuf", "no free mbuf for a control packet")
ICMP_RATE = reason(37, "icmp_rate", "ICMP error not sent: rate limit")
PORT_DOWN = reason(38, "port_down", "output port is down or has no queue here")
TCP_FLAGS = reason(39, "tcp_flags", "TCP flag combination no stack sends (SYN with FIN or RST)")
L4_PORT_ZERO = reason(40, "l4_port_zero", "TCP or UDP port 0")
SPLIT_MBUF = reason(47, "split_mbuf", "no free mbuf for the fragments of a packet beyond the MTU")
