"""A small network around a rig, and frames by scapy (an independent implementation) for it."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from ipvs.apply import address_number
from stack.neigh import STATE_NAMES, Neighbour, find
from tests.rig import MACS, Rig

WAN, LAN = 0, 1
WAN_IP, LAN_IP, VIP, LOCAL_IP = "198.18.0.1", "198.19.0.1", "192.0.2.100", "198.19.0.200"
CLIENT, CLIENT_MAC = "198.18.0.2", "02:aa:00:00:00:02"
SERVER, SERVER_MAC = "198.19.0.11", "02:bb:00:00:00:0b"
OTHER, OTHER_MAC = "198.19.0.12", "02:bb:00:00:00:0c"
GATEWAY, GATEWAY_MAC, REMOTE = "198.18.0.254", "02:aa:00:00:00:fe", "203.0.113.9"
BROADCAST = "ff:ff:ff:ff:ff:ff"
START = 1_000_000


def network(now=START, **options):
    """A rig with addresses on both ports, a gateway on the wan side and no neighbours."""
    rig = Rig(now=now, **options)
    for address, dev in ((WAN_IP, WAN), (VIP, WAN), (LAN_IP, LAN), (LOCAL_IP, LAN)):
        rig.apply("route.set", dst=address, plen=32, kind="local", dev=dev)
    rig.apply("route.set", dst="198.18.0.0", plen=24, kind="link", dev=WAN, src=WAN_IP)
    rig.apply("route.set", dst="198.19.0.0", plen=24, kind="link", dev=LAN, src=LAN_IP)
    rig.apply("route.set", dst="203.0.113.0", plen=24, kind="gateway", via=GATEWAY, dev=WAN)
    rig.clock = now
    return rig


def know(rig, *pairs):
    """Tell the rig's stack neighbours: (address, MAC) pairs; the port follows from the address."""
    for address, mac in pairs:
        dev = WAN if address.startswith("198.18.") else LAN
        rig.apply("neigh.set", addr=address, dev=dev, mac=mac, static=False)


def know_all(rig):
    """All hosts of the network are neighbours."""
    know(
        rig, (CLIENT, CLIENT_MAC), (SERVER, SERVER_MAC), (OTHER, OTHER_MAC), (GATEWAY, GATEWAY_MAC)
    )


def service(rig, mode="fullnat", proto="tcp", port=80, number=0, servers=(SERVER,), **more):
    """A virtual service at VIP:port with one local address (for FullNAT)."""
    rig.apply("laddr.set", id=0, addr=LOCAL_IP, dev=LAN)
    dests = [
        {"id": number * 8 + i, "addr": server, "port": port if mode != "nat" else 8000 + i}
        | {"mode": mode, "weight": 1, "u_thresh": 0, "l_thresh": 0}
        for i, server in enumerate(servers)
    ]
    for dest in dests:
        dest.update({name: more.pop(name) for name in ("weight", "u_thresh") if name in more})
    body = {"id": number, "af": "inet", "proto": proto, "addr": VIP, "port": port, "sched": "rr"}
    body |= {"flags": [], "conn_timeout": 0, "persistent": 0, "dests": dests, "laddrs": [0]}
    rig.apply("svc.set", **(body | more))


def ether(src=CLIENT_MAC, dst=MACS[WAN], **fields):
    return Ether(src=src, dst=dst, **fields)


def arp(op, sender, sender_mac, target, port=LAN, to=BROADCAST, target_mac="00:00:00:00:00:00"):
    """An ARP frame as bytes."""
    return bytes(
        Ether(src=sender_mac, dst=to)
        / ARP(op=op, psrc=sender, hwsrc=sender_mac, pdst=target, hwdst=target_mac)
    )


def ask(sender, sender_mac, target):
    return arp(1, sender, sender_mac, target)


def answer(sender, sender_mac, target=LAN_IP):
    return arp(2, sender, sender_mac, target, to=MACS[LAN], target_mac=MACS[LAN])


def ping(size=56, src=CLIENT, dst=WAN_IP, kind=8, **fields):
    """An ICMP frame from the wan side, as a scapy packet; ``fields`` of the IP header."""
    return ether() / IP(src=src, dst=dst, **fields) / ICMP(type=kind, id=7, seq=9) / Raw(body(size))


def complaint(about, kind=3, code=3):
    """An ICMP error from the client to us about the packet ``about``."""
    return ether() / IP(src=CLIENT, dst=WAN_IP) / ICMP(type=kind, code=code) / Raw(bytes(about))


def fragment(begin, length, more=1, ident=5):
    """A fragment of a UDP datagram to VIP:53 with zeros behind its header."""
    content = (bytes(UDP(sport=1234, dport=53, len=60000, chksum=0)) + bytes(2000))[begin:]
    head = IP(src=CLIENT, dst=VIP, proto=17, id=ident, flags=more, frag=begin // 8)
    return ether() / head / Raw(content[:length])


def body(size):
    return bytes(i * 7 & 255 for i in range(size))


def syn(sport=1234, dport=80, src=CLIENT, dst=VIP, flags="S", **fields):
    return ether() / IP(src=src, dst=dst, **fields) / TCP(sport=sport, dport=dport, flags=flags)


def udp(sport=1234, dport=53, src=CLIENT, dst=VIP, size=10, **fields):
    return (
        ether() / IP(src=src, dst=dst, **fields) / UDP(sport=sport, dport=dport) / Raw(body(size))
    )


def to_lan(size=10, src=CLIENT, dst=SERVER, **fields):
    """A packet that is to be forwarded from the wan to the lan."""
    return udp(src=src, dst=dst, dport=9, size=size, **fields)


def parse(frame):
    return Ether(frame)


def checked(frame):
    """The frame parsed; its checksums are what scapy would have computed."""
    packet = Ether(frame)
    for layer, field in ((IP, "chksum"), (TCP, "chksum"), (UDP, "chksum"), (ICMP, "chksum")):
        if layer in packet and not (layer is UDP and packet[UDP].chksum == 0):
            again = Ether(frame)
            delattr(again[layer], field)
            assert getattr(Ether(bytes(again))[layer], field) == getattr(packet[layer], field)
            if layer is IP and packet[IP].payload and ICMP in packet:
                continue
    return packet


def neighbour(rig, address):
    """Pointer to a neighbour entry, or None."""
    dev = WAN if address.startswith("198.18.") else LAN
    found = find(rig.stack.neighbours, dev, address_number(address))
    return Neighbour(found) if found else None


def state(rig, address):
    """Name of a neighbour's state, or None."""
    entry = neighbour(rig, address)
    return STATE_NAMES[entry.state] if entry else None


def mac_of(rig, address):
    """MAC in a neighbour's entry as text."""
    return bytes(neighbour(rig, address).header[i] for i in range(6)).hex(":")


def send(rig, port, *frames, after=0):
    """Send frames into a port ``after`` ms from the last call; what (wan, lan) sent then."""
    rig.clock += after
    rig.push(port, *(bytes(frame) for frame in frames))
    return rig.at(rig.clock, rounds=1 + len(frames) // 32)


def wait(rig, ms, step=50):
    """Let time pass in steps; every frame sent by (wan, lan) in between."""
    result = [[], []]
    end = rig.clock + ms
    while rig.clock < end:
        rig.clock = min(end, rig.clock + step)
        for port, frames in enumerate(rig.at(rig.clock)):
            result[port].extend(frames)
    return result
