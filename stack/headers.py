"""Wire headers as typed pointers (big-endian fields are read and written in host order)."""

from __future__ import annotations

import ctypes

from runtime.pointers import view

ETHER_LEN = 14
ETHER_IPV4 = 0x0800
ETHER_ARP = 0x0806
ETHER_IPV6 = 0x86DD

PROTO_ICMP = 1
PROTO_IPIP = 4
PROTO_TCP = 6
PROTO_UDP = 17
PROTO_IPV6 = 41
PROTO_ICMP6 = 58
PROTO_SCTP = 132
PROTO_OPTIONS = 248  # of UOA, see ipvs/uoa.py

IP6_LEN = 40
IP6_SRC = 8  # where the addresses lie in the header: two raw 64-bit words each
IP6_DST = 24
FRAGMENT_LEN = 8
IP6_MIN_MTU = 1280  # RFC 8200 section 5
IP_MIN_MTU = 68  # every link carries so much (RFC 791); an error never asks for less

IP_DF = 0x4000
IP_MF = 0x2000
IP_OFFSET = 0x1FFF
IP6_OFFSET = 0xFFF8  # in ``place`` of a fragment header
IP6_MF = 1


class EtherStruct(ctypes.BigEndianStructure):
    """IEEE 802.3 header, 14 bytes."""

    _pack_ = 1
    _fields_ = [
        ("dst", ctypes.c_uint8 * 6),
        ("src", ctypes.c_uint8 * 6),
        ("type", ctypes.c_uint16),
    ]


class ArpStruct(ctypes.BigEndianStructure):
    """RFC 826 packet for Ethernet and IPv4, 28 bytes, behind the Ethernet header."""

    _pack_ = 1
    _fields_ = [
        ("hardware", ctypes.c_uint16),
        ("protocol", ctypes.c_uint16),
        ("hardware_len", ctypes.c_uint8),
        ("protocol_len", ctypes.c_uint8),
        ("op", ctypes.c_uint16),
        ("sender_mac", ctypes.c_uint8 * 6),
        ("sender_ip", ctypes.c_uint32),
        ("target_mac", ctypes.c_uint8 * 6),
        ("target_ip", ctypes.c_uint32),
    ]


class Ipv4Struct(ctypes.BigEndianStructure):
    """RFC 791 header without options, 20 bytes."""

    _pack_ = 1
    _fields_ = [
        ("ver_ihl", ctypes.c_uint8),
        ("tos", ctypes.c_uint8),
        ("total", ctypes.c_uint16),
        ("id", ctypes.c_uint16),
        ("frag", ctypes.c_uint16),
        ("ttl", ctypes.c_uint8),
        ("proto", ctypes.c_uint8),
        ("check", ctypes.c_uint16),
        ("src", ctypes.c_uint32),
        ("dst", ctypes.c_uint32),
    ]


class Ipv6Struct(ctypes.BigEndianStructure):
    """RFC 8200 header, 40 bytes.  Addresses are read as raw words, see IP6_SRC and IP6_DST."""

    _pack_ = 1
    _fields_ = [
        ("flow", ctypes.c_uint32),  # version, traffic class, flow label
        ("payload", ctypes.c_uint16),  # bytes behind this header
        ("next", ctypes.c_uint8),
        ("hops", ctypes.c_uint8),
        ("src", ctypes.c_uint8 * 16),
        ("dst", ctypes.c_uint8 * 16),
    ]


class FragmentStruct(ctypes.BigEndianStructure):
    """RFC 8200 4.5 header, 8 bytes; ``place`` is the offset in bytes, and 1 when more follow."""

    _pack_ = 1
    _fields_ = [
        ("next", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8),
        ("place", ctypes.c_uint16),
        ("id", ctypes.c_uint32),
    ]


class IcmpStruct(ctypes.BigEndianStructure):
    """RFC 792 header, 8 bytes; ``rest`` is id and sequence, or the next-hop MTU (RFC 1191)."""

    _pack_ = 1
    _fields_ = [
        ("type", ctypes.c_uint8),
        ("code", ctypes.c_uint8),
        ("check", ctypes.c_uint16),
        ("rest", ctypes.c_uint32),
    ]


class TcpStruct(ctypes.BigEndianStructure):
    """RFC 9293 header without options, 20 bytes."""

    _pack_ = 1
    _fields_ = [
        ("sport", ctypes.c_uint16),
        ("dport", ctypes.c_uint16),
        ("seq", ctypes.c_uint32),
        ("ack", ctypes.c_uint32),
        ("offset", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("window", ctypes.c_uint16),
        ("check", ctypes.c_uint16),
        ("urgent", ctypes.c_uint16),
    ]


class UdpStruct(ctypes.BigEndianStructure):
    """RFC 768 header, 8 bytes."""

    _pack_ = 1
    _fields_ = [
        ("sport", ctypes.c_uint16),
        ("dport", ctypes.c_uint16),
        ("length", ctypes.c_uint16),
        ("check", ctypes.c_uint16),
    ]


Ether = view(EtherStruct)
Arp = view(ArpStruct)
Ipv4 = view(Ipv4Struct)
Ipv6 = view(Ipv6Struct)
Fragment = view(FragmentStruct)
Icmp = view(IcmpStruct)
Tcp = view(TcpStruct)
Udp = view(UdpStruct)
