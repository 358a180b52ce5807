"""An IPv6 network around a rig, and frames by scapy for it.

Wan is 2001:db8:1::/64 with a client and a gateway to 2001:db8:9::/48, lan is 2001:db8:2::/64 with
a server; every port has its link-local address.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLQuery,
    ICMPv6MLQuery2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
    in6_getnsma,
    in6_getnsmac,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils6 import in6_mactoifaceid

from stack import neigh
from stack.address6 import words
from stack.neigh6 import find6
from tests.rig import MACS, Rig

WAN, LAN = 0, 1
WAN6, LAN6, VIP6 = "2001:db8:1::1", "2001:db8:2::1", "2001:db8:100::1"
CLIENT6, CLIENT_MAC = "2001:db8:1::2", "02:aa:00:00:00:02"
SERVER6, SERVER_MAC = "2001:db8:2::b", "02:bb:00:00:00:0b"
GATEWAY6, GATEWAY_MAC, REMOTE6 = "2001:db8:1::fe", "02:aa:00:00:00:fe", "2001:db8:9:8::7"
ALL_NODES, ALL_MAC = "ff02::1", "33:33:00:00:00:01"
ALERT = RouterAlert(value=0)  # multicast listener discovery (RFC 2711)
START = 1_000_000


def link_local(mac):
    """The link-local address of a MAC address."""
    return str(IPv6Address(f"fe80::{in6_mactoifaceid(mac)}"))


OURS = tuple(link_local(mac) for mac in MACS)


def network(now=START, **options):
    """A rig with addresses, no neighbours, forwarding on."""
    rig = Rig(now=now, **options)
    rig.clock = now
    for dev, address in ((WAN, WAN6), (WAN, VIP6), (LAN, LAN6), (WAN, OURS[0]), (LAN, OURS[1])):
        rig.apply("route.set", dst=address, plen=128, kind="local", dev=dev)
    rig.apply("route.set", dst="2001:db8:1::", plen=64, kind="link", dev=WAN, src=WAN6)
    rig.apply("route.set", dst="2001:db8:2::", plen=64, kind="link", dev=LAN, src=LAN6)
    rig.apply("route.set", dst="2001:db8:9::", plen=48, kind="gateway", via=GATEWAY6, dev=WAN)
    for dev, address in enumerate(OURS):
        rig.apply("addr.set", addr=address, dev=dev, plen=64)
    rig.at(now)  # what announces them
    rig.apply("param.set", forwarding6=1)
    return rig


def know(rig):
    """The hosts of the network are neighbours."""
    for address, dev, mac in (
        (CLIENT6, WAN, CLIENT_MAC), (GATEWAY6, WAN, GATEWAY_MAC), (SERVER6, LAN, SERVER_MAC),
        (link_local(CLIENT_MAC), WAN, CLIENT_MAC),
    ):  # fmt: skip
        rig.apply("neigh.set", addr=address, dev=dev, mac=mac, static=False)
    return rig


def is_report(frame):
    """Whether a frame is a listener report or done: IPv6 with hop-by-hop options, ICMPv6."""
    return frame[12:14] == b"\x86\xdd" and frame[20] == 0 and frame[62] in (131, 132, 143)


def at(rig, rounds=1):
    """What (wan, lan) send now, without listener reports: these are tests/stack/test_mld.py's."""
    sent = rig.at(rig.clock, rounds=rounds)
    return [[frame for frame in frames if not is_report(frame)] for frames in sent]


def send(rig, port, *frames, after=0):
    """Send frames into a port ``after`` ms from the last call; what (wan, lan) sent then."""
    rig.clock += after
    rig.push(port, *(bytes(frame) for frame in frames))
    return at(rig, rounds=1 + len(frames) // 32)


def wait(rig, ms, step=50):
    """Let time pass in steps; every frame sent by (wan, lan) in between."""
    result = [[], []]
    end = rig.clock + ms
    while rig.clock < end:
        rig.clock = min(end, rig.clock + step)
        for port, frames in enumerate(at(rig)):
            result[port].extend(frames)
    return result


def entry(rig, port, address):
    """Pointer to a neighbour entry, or None."""
    found = find6(rig.stack.neighbours, port, *words(address))
    return neigh.Neighbour(found) if found else None


def state(rig, port, address):
    """Name of a neighbour's state, or None."""
    found = entry(rig, port, address)
    return neigh.STATE_NAMES[found.state] if found else None


def mac_of(rig, port, address):
    """MAC in a neighbour's entry."""
    return bytes(entry(rig, port, address).header[i] for i in range(6)).hex(":")


def frame(payload, src=CLIENT6, dst=WAN6, mac=CLIENT_MAC, to=MACS[WAN], **ip):
    """A frame from the wan side."""
    return Ether(dst=to, src=mac) / IPv6(src=src, dst=dst, **ip) / payload


def ping(size=56, **fields):
    """An echo request from the wan side."""
    return frame(ICMPv6EchoRequest(id=7, seq=9, data=bytes(i & 255 for i in range(size))), **fields)


def solicitation(
    target, src=CLIENT6, mac=CLIENT_MAC, dst=None, to=None, option=True, hlim=255, **fields
):
    """A neighbour solicitation, multicast unless ``dst`` is given."""
    group = in6_getnsma(IPv6Address(target).packed)
    message = ICMPv6ND_NS(tgt=target, **fields)
    if option:
        message /= ICMPv6NDOptSrcLLAddr(lladdr=mac if option is True else option)
    dst = dst or str(IPv6Address(group))
    to = to or in6_getnsmac(group)
    return Ether(src=mac, dst=to) / IPv6(src=src, dst=dst, hlim=hlim) / message


def advertisement(
    target, mac, solicited=1, override=1, src=None, dst=WAN6, to=MACS[WAN], option=True, hlim=255
):
    """A neighbour advertisement to us."""
    message = ICMPv6ND_NA(tgt=target, R=0, S=solicited, O=override)
    if option:
        message /= ICMPv6NDOptDstLLAddr(lladdr=mac if option is True else option)
    return Ether(src=mac, dst=to) / IPv6(src=src or target, dst=dst, hlim=hlim) / message


def query(
    group="::", v1=False, code=0, option=ALERT, to=None, src=None, dst=None, hlim=1, **fields
):
    """A listener query from a router's link-local address, general unless ``group`` is given."""
    dst = dst or (ALL_NODES if group == "::" else group)
    message = (ICMPv6MLQuery if v1 else ICMPv6MLQuery2)(mladdr=group, code=code, **fields)
    if option is not None:
        message = IPv6ExtHdrHopByHop(options=[option]) / message
    to = to or in6_getnsmac(IPv6Address(dst).packed)
    src = src or link_local(GATEWAY_MAC)
    return frame(message, src=src, dst=dst, mac=GATEWAY_MAC, to=to, hlim=hlim)


def raw(size):
    """A payload that no header is taken for."""
    return Raw(bytes(i * 7 & 255 for i in range(size)))
