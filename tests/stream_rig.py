"""TCP segments by hand: built and taken apart byte by byte, so that options may be anything."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from tests.frame_oracle import fill_checksums, mac
from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    LADDR,
    LAN,
    MACS,
    VIP,
    WAN,
    Rig,
    server,
    server_mac,
)

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MASK = 0xFFFFFFFF
SPORT, DPORT, RPORT = 1234, 80, 8000


@dataclass(frozen=True)
class Segment:
    """What a frame says; ``raw`` is the frame."""

    src: str
    dst: str
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    options: bytes
    payload: bytes
    raw: bytes


def build(macs, ends, seq, ack, flags, payload=b"", options=b"", ttl=64, ip_options=b""):
    """A frame; ``ends`` is ((address, port), (address, port)); options padded by the caller."""
    (src, sport), (dst, dport) = ends
    size = 20 + len(options)
    head = struct.pack(
        ">HHIIBBHHH", sport, dport, seq & MASK, ack & MASK, size // 4 << 4, flags, 0xF000, 0, 0
    )
    ihl = 20 + len(ip_options)
    total = ihl + size + len(payload)
    ip = struct.pack(">BBHHHBBH", 0x40 | ihl // 4, 0, total, 7, 0x4000, ttl, 6, 0)
    ip += IPv4Address(src).packed + IPv4Address(dst).packed + ip_options
    l3 = bytearray(ip + head + options + payload)
    fill_checksums(l3)
    return mac(macs[1]) + mac(macs[0]) + b"\x08\x00" + bytes(l3)


def take_apart(frame):
    """The segment in a frame; its lengths and checksums must be right."""
    l3 = frame[14:]
    again = bytearray(l3)
    fill_checksums(again)
    assert bytes(again) == l3, "wrong checksum"
    ihl, total = (l3[0] & 15) * 4, struct.unpack_from(">H", l3, 2)[0]
    assert total == len(l3)
    sport, dport, seq, ack, offset, flags = struct.unpack_from(">HHIIBB", l3, ihl)
    size = (offset >> 4) * 4
    src, dst = (str(IPv4Address(l3[at : at + 4])) for at in (12, 16))
    options, payload = l3[ihl + 20 : ihl + size], l3[ihl + size :]
    return Segment(src, dst, sport, dport, seq, ack, flags, options, payload, frame)


class Talk:
    """One client, its real server, and the balancer between them."""

    def __init__(self, rig, sport=SPORT, isn=1_000, server_isn=500_000, dport=DPORT):
        self.rig, self.sport, self.dport = rig, sport, dport
        self.isn, self.server_isn = isn & MASK, server_isn & MASK
        self.lport = 0

    def client_frame(self, flags, seq, ack=0, payload=b"", options=b"", **ip):
        ends = ((CLIENT, self.sport), (VIP, self.dport))
        return build((CLIENT_MAC, MACS[WAN]), ends, seq, ack, flags, payload, options, **ip)

    def server_frame(self, flags, seq, ack=0, payload=b"", options=b"", **ip):
        ends = ((server(0), RPORT), (LADDR, self.lport))
        return build((server_mac(0), MACS[LAN]), ends, seq, ack, flags, payload, options, **ip)

    def up(self, *args, **more):
        """The client sends; segments that the server gets."""
        wan, lan = self.rig.exchange(WAN, self.client_frame(*args, **more))
        segments = [take_apart(frame) for frame in lan]
        for got in segments:
            self.lport = self.lport or got.sport
            assert (got.src, got.sport) == (LADDR, self.lport)
            assert (got.dst, got.dport) == (server(0), RPORT)
        assert wan == []
        return segments

    def down(self, *args, **more):
        """The server sends; segments that the client gets."""
        wan, lan = self.rig.exchange(LAN, self.server_frame(*args, **more))
        segments = [take_apart(frame) for frame in wan]
        for got in segments:
            assert (got.src, got.sport) == (VIP, self.dport)
            assert (got.dst, got.dport) == (CLIENT, self.sport)
        assert lan == []
        return segments

    def open(self, syn_options=b"", answer_options=b"\x02\x04\x05\xb4"):
        """SYN and SYN-ACK; returns both as they came out.  The client's ACK is the caller's."""
        (syn,) = self.up(SYN, self.isn, options=syn_options)
        (answer,) = self.down(SYN | ACK, self.server_isn, syn.seq + 1, options=answer_options)
        return syn, answer


def stream_rig(toa=1, new_isn=0, uoa=0, rig=None, **service):
    """A rig with one FullNAT TCP service and the settings of the client's address."""
    made = rig or Rig(static=True)
    made.service(0, **service)
    made.w.toa, made.w.new_isn = toa, new_isn
    return made


def option(addr=CLIENT, port=SPORT):
    """The TOA option that tells a client."""
    return struct.pack(">BBH", 254, 8, port) + IPv4Address(addr).packed
