"""TCP segments of IPv6 clients by hand, through FullNAT to IPv6 servers or NAT64 to IPv4 ones."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from scapy.layers.inet import IP, in4_chksum
from scapy.layers.inet6 import IPv6, in6_chksum

from tests.frame_oracle import mac
from tests.rig import Rig
from tests.stream_rig import ACK, MASK, SYN, Segment
from tests.stream_rig import take_apart as take_apart4
from tests.topology import LOCAL, dest
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    LOCAL6,
    SERVERS6,
    TO_CLIENT,
    VIP6,
    dest6,
    from_server,
    network6,
    service6,
    to_server,
)
from tests.topology64 import SERVER

SPORT, DPORT, RPORT = 1234, 80, 8080
KINDS = ("fullnat", "nat64")


def six_rig(kind, toa=0, new_isn=0, uoa=0, in_ip=0, rig=None, **changes):
    """A balancer with one service and the settings of the client's address."""
    rig = network6(rig or Rig(now=1_000_000), ipv4=True)
    server = dest(0) if kind == "nat64" else dest6(0)
    service6(rig, [server], laddrs=[0, 1], **changes)
    rig.w.toa, rig.w.new_isn, rig.w.uoa_packets, rig.w.uoa_in_ip = toa, new_isn, uoa, in_ip
    return rig


def frame_of(macs, ends, proto, l4, hops=64, ident=0, between=b""):
    """A frame with an L4 header whose checksum is computed here; ``ends``: addresses.

    ``between``: a header of protocol 248 in front of it.
    """
    src, dst = ends
    at = 16 if proto == 6 else 6
    l4 = l4[:at] + b"\0\0" + l4[at + 2 :]
    six = ":" in src
    if six:
        value = in6_chksum(proto, IPv6(src=src, dst=dst), l4)
    else:
        value = in4_chksum(proto, IP(src=src, dst=dst), l4)
    l4 = l4[:at] + struct.pack(">H", value or 0xFFFF) + l4[at + 2 :]
    carried, body = (248 if between else proto), between + l4
    if six:
        l3 = struct.pack(">IHBB", 6 << 28, len(body), carried, hops)
        l3 += IPv6Address(src).packed + IPv6Address(dst).packed
    else:
        frag = 0x4000 if 20 + len(body) > 1260 else 0
        made = IP(src=src, dst=dst)
        made.id, made.ttl, made.proto, made.len = ident, hops, carried, 20 + len(body)
        made.flags = "DF" if frag else 0
        l3 = bytes(made)
    kind = b"\x86\xdd" if six else b"\x08\x00"
    return mac(macs[1]) + mac(macs[0]) + kind + l3 + body


def segment(ports, seq, ack, flags, payload=b"", options=b""):
    """A TCP header without checksum, and data."""
    head = struct.pack(
        ">HHIIBBHHH", *ports, seq & MASK, ack & MASK, (20 + len(options)) // 4 << 4, flags,
        0xF000, 0, 0,
    )  # fmt: skip
    return head + options + payload


def take_apart(frame):
    """The segment in a frame of either family; its lengths and checksums must be right."""
    if frame[12:14] == b"\x08\x00":
        return take_apart4(frame)
    l3 = frame[14:]
    assert len(l3) == 40 + int.from_bytes(l3[4:6], "big") and l3[6] == 6
    src, dst = (str(IPv6Address(l3[at : at + 16])) for at in (8, 24))
    l4 = l3[40:]
    again = frame_of(FROM_CLIENT, (src, dst), 6, l4)[54:]
    assert again == l4, "wrong checksum"
    sport, dport, seq, ack, offset, flags = struct.unpack_from(">HHIIBB", l4)
    size = (offset >> 4) * 4
    return Segment(src, dst, sport, dport, seq, ack, flags, l4[20:size], l4[size:], frame)


class Talk6:
    """One IPv6 client, its real server, and the balancer between them."""

    def __init__(self, rig, kind, sport=SPORT, isn=1_000, server_isn=500_000):
        self.rig, self.kind, self.sport = rig, kind, sport
        self.isn, self.server_isn, self.lport = isn, server_isn, 0
        self.inside = (LOCAL, SERVER) if kind == "nat64" else (LOCAL6, SERVERS6[0])

    def client_frame(self, flags, seq, ack=0, payload=b"", options=b"", **more):
        l4 = segment((self.sport, DPORT), seq, ack, flags, payload, options)
        return frame_of(FROM_CLIENT, (CLIENT6, VIP6), 6, l4, **more)

    def server_frame(self, flags, seq, ack=0, payload=b"", options=b"", **more):
        l4 = segment((RPORT, self.lport), seq, ack, flags, payload, options)
        return frame_of(from_server(), self.inside[::-1], 6, l4, **more)

    def arrives(self, out, *args):
        """The frame a server gets, built anew; the identification is that of ``out``."""
        ident = int.from_bytes(out[18:20], "big")
        l4 = segment((self.lport, RPORT), *args)
        return frame_of(to_server(), self.inside, 6, l4, ident=ident)

    def returns(self, *args):
        """The frame the client gets, built anew."""
        return frame_of(TO_CLIENT, (VIP6, CLIENT6), 6, segment((DPORT, self.sport), *args))

    def up(self, *args, **more):
        """The client sends; segments that the server gets."""
        wan, lan = self.rig.at_once(0, self.client_frame(*args, **more))
        segments = [take_apart(frame) for frame in lan]
        for got in segments:
            self.lport = self.lport or got.sport
            assert (got.src, got.dst) == self.inside
            assert (got.sport, got.dport) == (self.lport, RPORT)
        assert wan == []
        return segments

    def down(self, *args, **more):
        """The server sends; segments that the client gets."""
        wan, lan = self.rig.at_once(1, self.server_frame(*args, **more))
        segments = [take_apart(frame) for frame in wan]
        for got in segments:
            assert (got.src, got.dst) == (VIP6, CLIENT6)
            assert (got.sport, got.dport) == (DPORT, self.sport)
        assert lan == []
        return segments

    def open(self, syn_options=b"", answer_options=b"\x02\x04\x05\xb4"):
        """SYN and SYN-ACK; returns both as they came out.  The client's ACK is the caller's."""
        (syn,) = self.up(SYN, self.isn, options=syn_options)
        (answer,) = self.down(SYN | ACK, self.server_isn, syn.seq + 1, options=answer_options)
        return syn, answer


def option(addr=CLIENT6, port=SPORT, kind=254):
    """The option that tells a client (254: TOA, 31: UOA)."""
    packed = IPv6Address(addr).packed if ":" in addr else IPv4Address(addr).packed
    return struct.pack(">BBH", kind, 4 + len(packed), port) + packed
