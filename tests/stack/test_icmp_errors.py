"""ICMP: echo replies, errors, who gets none, how many there are."""

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether
from scapy.packet import Padding, Raw

from tests.pathrig import (
    FAR,
    LADDR,
    LAN,
    LAN_ADDR,
    MACS,
    TCP,
    UDP,
    VIP,
    WAN,
    WAN_ADDR,
    Rig,
    from_client,
    from_server,
    server,
    server_mac,
    syn,
)


@pytest.fixture(scope="module")
def shared():
    return Rig()


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    assert rig.clean()


def test_an_answer_too_big_for_its_way_is_no_error_to_ourselves(rig):
    rig.route("198.18.0.0/24", kind="link", dev=WAN, src=WAN_ADDR, mtu=600)
    ping = from_client(ICMP() / Raw(bytes(900)), dst=VIP, flags="DF")
    assert rig.exchange(WAN, ping) == [[], []]
    assert rig.drops() == {"ip_too_big": 1}


def error_about(frame, source, kind, code, mtu, port, number=1):
    """The error message of RFC 792/1191/1812 about ``frame``, from scratch."""
    about = bytes(frame)[14 : 14 + int.from_bytes(bytes(frame)[16:18], "big")][:548]
    ip = IP(tos=0xC0, id=number, ttl=64, src=source, dst=frame[IP].src)
    message = ip / ICMP(type=kind, code=code) / Raw(about)
    message[ICMP].fields.pop("chksum", None)
    raw = bytearray(bytes(message))
    raw[24:28] = mtu.to_bytes(4, "big")
    raw[22:24] = b"\0\0"
    from scapy.utils import checksum

    raw[22:24] = checksum(bytes(raw[20:])).to_bytes(2, "big")
    return bytes(Ether(dst=frame.src, src=MACS[port], type=0x0800)) + bytes(raw)


@pytest.mark.parametrize("mode", ["fullnat", "nat", "dr"])
@pytest.mark.parametrize("size", [1461, 1465])
def test_a_packet_too_big_for_the_servers_link(rig, mode, size):
    rig.service(mode=mode)

    rig.apply("dev.set", id=LAN, mac=MACS[LAN], mtu=1400)
    rig.exchange(WAN, syn())
    frame = syn(sport=1234, flags="DF")
    frame = Ether(bytes(frame / Raw(bytes(size - 100))))
    out = rig.exchange(WAN, frame)
    assert out == [[error_about(frame, VIP, 3, 4, 1400, WAN)], []]
    assert rig.drops() == {"ip_too_big": 1}


def test_the_links_padding_is_not_quoted(rig):
    rig.service(mode="nat", proto="udp")
    rig.w.xmit_ttl = 1
    frame = from_client(UDP(sport=5, dport=80) / Raw(b"ab"), ttl=1)
    out = rig.exchange(WAN, Ether(bytes(frame)) / Padding(b"\x77" * 20))
    assert out == [[error_about(Ether(bytes(frame)), VIP, 11, 0, 0, WAN)], []]
    assert rig.drops() == {"ip_ttl": 1}


@pytest.mark.parametrize("side", [0, 1])
def test_a_route_with_an_mtu_of_its_own(rig, side):
    """A path known to be narrow: the connection must not send more, whatever its port takes."""
    rig.service(mode="fullnat", proto="udp")
    target = "198.19.0.0/24" if side == 0 else "198.18.0.0/24"
    source = LAN_ADDR if side == 0 else WAN_ADDR
    rig.route(target, kind="link", dev=1 - side, src=source, mtu=1300)
    sent = Ether(rig.exchange(WAN, from_client(UDP(sport=5, dport=80)))[LAN][0])
    big = Raw(bytes(1300 - 27))
    frame = (
        from_client(UDP(sport=5, dport=80) / big, flags="DF")
        if side == 0
        else from_server(UDP(sport=8000, dport=sent[UDP].sport) / big, flags="DF")
    )
    frame = Ether(bytes(frame))
    source = VIP if side == 0 else LADDR
    out = rig.exchange(side, frame)
    assert out[1 - side] == [] and out[side] == [error_about(frame, source, 3, 4, 1300, side)]
    small = Ether(bytes(frame)[:-1])
    small[IP].len -= 1
    small[UDP].len -= 1
    del small[IP].chksum
    assert len(rig.exchange(side, small)[1 - side]) == 1
    # The route becomes wide again: connections notice.
    rig.route(target, kind="link", dev=1 - side, src=WAN_ADDR)
    assert len(rig.exchange(side, frame)[1 - side]) == 1


def test_a_device_whose_mtu_shrinks_counts_at_once(rig):
    rig.service(mode="nat", proto="udp")
    frame = Ether(bytes(from_client(UDP(sport=5, dport=80) / Raw(bytes(1300)), flags="DF")))
    assert len(rig.exchange(WAN, frame)[LAN]) == 1
    rig.apply("dev.set", id=LAN, mac=MACS[LAN], mtu=1000)
    assert rig.exchange(WAN, frame) == [[error_about(frame, VIP, 3, 4, 1000, WAN)], []]


def test_no_error_about_an_icmp_packet_without_content(rig):
    """Its type cannot be known: whatever lies behind it in the buffer must not decide."""
    rig.apply("param.set", forwarding=1)
    frame = bytes(from_client(Raw(b""), dst=FAR, ttl=1, proto=1))
    assert rig.exchange(WAN, frame + b"\x08" * 20) == [[], []]
    assert rig.drops() == {"ip_ttl": 1}


def test_reply_direction_error_comes_from_the_local_address(rig):
    rig.service(mode="fullnat")
    rig.w.xmit_ttl = 1
    sent = Ether(rig.exchange(WAN, syn())[LAN][0])
    frame = from_server(TCP(sport=8000, dport=sent[TCP].sport, flags="SA"), ttl=1)
    frame = Ether(bytes(frame))
    out = rig.exchange(LAN, frame)
    assert out == [[], [error_about(frame, LADDR, 11, 0, 0, LAN)]]
    assert frame.src == server_mac(0) and frame[IP].src == server(0)
