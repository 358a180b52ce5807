"""What a load balancer should send, worked out the slow way: scapy takes packets apart and puts
them together again, all checksums computed from nothing."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Raw


def segment(proto, sport, dport, flags="S", payload=b"", **fields):
    """A TCP or UDP layer with payload; of SCTP that is the data of its only chunk."""
    if proto == "sctp":
        layer = SCTP(sport=sport, dport=dport, tag=9, **fields)
        return layer / SCTPChunkData(data=payload)
    if proto == "tcp":
        layer = TCP(sport=sport, dport=dport, flags=flags, **fields)
    else:
        layer = UDP(sport=sport, dport=dport, **fields)
    return layer / Raw(payload) if payload else layer


def frame(macs, addresses, layer, **ip):
    """Bytes of an Ethernet frame; ``macs`` and ``addresses`` are (source, destination)."""
    made = Ether(src=macs[0], dst=macs[1]) / IP(src=addresses[0], dst=addresses[1], **ip) / layer
    return bytes(made)


def rewritten(raw, macs, source, destination, ttl_step=0):
    """The frame ``raw`` with other MACs and tuple ((address, port) each), built anew.

    Bytes behind the end of the IP packet are not part of the result.
    """
    old = Ether(raw)[IP]
    old = IP(bytes(old)[: old.len])
    l4 = old.payload.copy()
    unchecked = isinstance(l4, UDP) and l4.chksum == 0
    l4.sport, l4.dport = source[1], destination[1]
    if not unchecked:
        del l4.chksum
    ip = old.copy()
    ip.remove_payload()
    ip.src, ip.dst, ip.ttl = source[0], destination[0], old.ttl - ttl_step
    del ip.chksum
    return bytes(Ether(src=macs[0], dst=macs[1]) / ip / l4)
