"""What a load balancer must make of a frame, computed the slow way.

The oracle knows services, real servers and neighbours only as texts and numbers.  Given a frame
of a connection whose ends are known it predicts the port and the exact bytes of the frame that
leaves; every checksum is computed from scratch with scapy's functions, never by difference.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, field

from scapy.layers.inet import IP, in4_chksum
from scapy.utils import checksum

TCP_CHECK, UDP_CHECK = 16, 6  # where the checksum lies in the L4 header


@dataclass(frozen=True)
class End:
    """Address and port of one participant."""

    addr: str
    port: int

    @property
    def raw(self) -> bytes:
        return ipaddress.IPv4Address(self.addr).packed


@dataclass
class Connection:
    """The four ends; ``local`` is the FullNAT local address, or None."""

    mode: str
    client: End
    virtual: End
    server: End
    local: End | None = None

    def leaves(self, forward: bool) -> tuple[End, End]:
        """(source, destination) of a packet on its way out: towards the server, or the client."""
        if not forward:
            return self.virtual, self.client
        if self.mode == "dr":
            return self.client, self.virtual
        if self.mode == "nat":
            return self.client, self.server
        assert self.local is not None
        return self.local, self.server

    def arrives(self, forward: bool) -> tuple[End, End]:
        """(source, destination) of a packet on its way in."""
        if forward:
            return self.client, self.virtual
        if self.mode == "dr":
            raise ValueError("replies of a DR server do not come back")
        return self.server, self.client if self.mode == "nat" else self.local


@dataclass
class Oracle:
    """The network around the balancer: per port our MAC, its prefix, and the neighbours there."""

    macs: list[str]
    networks: list[str]
    neighbours: dict[str, str] = field(default_factory=dict)
    gateway: tuple[int, str] | None = None  # of the default route: port and address
    xmit_ttl: bool = False

    def next_hop(self, addr: str) -> tuple[int, bytes]:
        """(port, MAC) that packets to ``addr`` are sent to."""
        for port, network in enumerate(self.networks):
            if ipaddress.IPv4Address(addr) in ipaddress.IPv4Network(network):
                return port, mac(self.neighbours[addr])
        assert self.gateway is not None
        return self.gateway[0], mac(self.neighbours[self.gateway[1]])

    def predict(self, frame: bytes, known: Connection, forward: bool) -> tuple[int, bytes]:
        """(port, frame) that leaves when ``frame`` of connection ``known`` came in."""
        l3 = bytearray(frame[14 : 14 + struct.unpack_from(">H", frame, 16)[0]])
        size = (l3[0] & 15) * 4
        source, destination = known.arrives(forward)
        assert bytes(l3[12:20]) == source.raw + destination.raw, "not of this connection"
        assert struct.unpack_from(">HH", l3, size) == (source.port, destination.port)
        new_source, new_destination = known.leaves(forward)
        l3[12:20] = new_source.raw + new_destination.raw
        struct.pack_into(">HH", l3, size, new_source.port, new_destination.port)
        if self.xmit_ttl and known.mode != "dr":
            l3[8] -= 1
        fill_checksums(l3)
        hop = known.server.addr if known.mode == "dr" and forward else new_destination.addr
        port, target = self.next_hop(hop)
        return port, target + mac(self.macs[port]) + b"\x08\x00" + bytes(l3)


def mac(text: str) -> bytes:
    """Six bytes of a MAC address."""
    return bytes.fromhex(text.replace(":", ""))


def fill_checksums(l3: bytearray) -> None:
    """Compute the IPv4 and the TCP or UDP checksum anew (a UDP checksum of 0 means: none)."""
    size = (l3[0] & 15) * 4
    l3[10:12] = b"\0\0"
    struct.pack_into(">H", l3, 10, checksum(bytes(l3[:size])))
    proto = l3[9]
    end = len(l3)
    if proto == 17:
        if l3[size + UDP_CHECK : size + UDP_CHECK + 2] == b"\0\0":
            return
        end = size + struct.unpack_from(">H", l3, size + 4)[0]
    at = size + (TCP_CHECK if proto == 6 else UDP_CHECK)
    l3[at : at + 2] = b"\0\0"
    source, destination = (str(ipaddress.IPv4Address(bytes(l3[i : i + 4]))) for i in (12, 16))
    pseudo = IP(src=source, dst=destination)
    value = in4_chksum(proto, pseudo, bytes(l3[size:end]))
    if proto == 17 and value == 0:
        value = 0xFFFF
    struct.pack_into(">H", l3, at, value)
