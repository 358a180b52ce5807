"""What is done with damaged frames, against a checker written from the RFCs.

The worker decides in two places, a quick one for the common shape and a thorough one; the checker
knows nothing of that, so whatever the quick one lets pass must be sound.
"""

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IPOption_LSRR, IPOption_RR, IPOption_Timestamp
from scapy.packet import Raw
from scapy.utils import checksum

from tests.frame_oracle import mac
from tests.pathrig import (
    CLIENT,
    FAR,
    LADDR,
    LAN_ADDR,
    MACS,
    TCP,
    UDP,
    VIP,
    WAN,
    WAN_ADDR,
    Rig,
    from_client,
    syn,
)

OURS = {VIP, WAN_ADDR, LAN_ADDR, LADDR}


def text(raw):
    return ".".join(str(byte) for byte in raw)


def options_verdict(options):
    """RFC 791 section 3.1."""
    while options and options[0] != 0:
        if options[0] == 1:
            options = options[1:]
            continue
        if len(options) < 2 or options[1] < 2 or options[1] > len(options):
            return "ip_options"
        if options[0] in (131, 137):
            return "ip_source_route"
        options = options[options[1] :]
    return None


def l3_verdict(l3):
    """RFC 791, RFC 1122 3.2.1, RFC 1812 5.2.2 and 5.3.7."""
    if len(l3) < 20:
        return "ip_short"
    if l3[0] >> 4 != 4:
        return "ip_version"
    size = (l3[0] & 15) * 4
    if size < 20 or size > len(l3):
        return "ip_header_length"
    total = struct.unpack_from(">H", l3, 2)[0]
    if total < size or total > len(l3):
        return "ip_total_length"
    if checksum(l3[:size]) != 0:
        return "ip_checksum"
    if l3[12] in (0, 127) or l3[12] >= 224:
        return "ip_source"
    if l3[16] in (0, 127) or l3[16] >= 240:
        return "ip_destination"
    if l3[12:16] == l3[16:20]:
        return "ip_loop"
    return options_verdict(l3[20:size])


def l4_verdict(proto, l4, source, target):
    """RFC 9293 3.1, RFC 768, and what the balancer promises about its addresses."""
    if len(l4) < (20 if proto == 6 else 8):
        return "l4_short"
    if proto == 6 and ((l4[12] >> 4) * 4 < 20 or (l4[12] >> 4) * 4 > len(l4)):
        return "tcp_offset"
    if proto == 17 and not 8 <= struct.unpack_from(">H", l4, 4)[0] <= len(l4):
        return "udp_length"
    sport, dport = struct.unpack_from(">HH", l4)
    if sport == 0 or dport == 0:
        return "l4_port_zero"
    if (target, dport) == (VIP, 80):
        if proto == 6:
            flags = l4[13]
            if flags & 2 and flags & 5:
                return "tcp_flags"
            if flags & 0b10111 != 2:
                return "not_syn"
        return "ip_loop" if source in OURS else None
    if target in OURS:
        return "no_service"
    return "ip_loop" if source in OURS else "ip_not_forwarded"


FRAGMENT = "of TCP or UDP: what becomes of it depends on others, see test_fragments.py"


def verdict(frame):
    """Name of the drop reason for a frame on the wan port, or None when it is accepted."""
    if len(frame) < 14:
        return "eth_short"
    if frame[12:14] != b"\x08\x00":
        return "eth_type"
    if frame[:6] != mac(MACS[WAN]):
        return "ip_broadcast" if frame[0] & 1 else "eth_otherhost"
    l3 = frame[14:]
    found = l3_verdict(l3)
    if found:
        return found
    size = (l3[0] & 15) * 4
    l3 = l3[: struct.unpack_from(">H", l3, 2)[0]]
    fragment = struct.unpack_from(">H", l3, 6)[0] & 0x3FFF
    if fragment and l3[9] in (6, 17):
        return FRAGMENT
    source, target = text(l3[12:16]), text(l3[16:20])
    if l3[9] in (6, 17):
        return l4_verdict(l3[9], l3[size:], source, target)
    if source in OURS:
        return "ip_loop"
    if target not in OURS:
        return "ip_not_forwarded"
    if fragment:
        return "ip_fragment"
    if l3[9] != 1:
        return "ip_protocol"
    message = l3[size:]
    if len(message) < 8:
        return "icmp_short"
    if checksum(message) != 0:
        return "icmp_checksum"
    if message[0] in (3, 4, 11, 12):
        return "icmp_quote"  # as short as all of ours are
    return None if message[:2] == b"\x08\x00" else "icmp_type"


SEEDS = [
    bytes(frame)
    for frame in (
        syn(),
        syn(sport=7, options=[IPOption_RR(routers=["0.0.0.0"])]),
        syn(sport=8, options=[IPOption_LSRR(routers=["1.2.3.4"])]),
        syn(sport=9, options=[IPOption_Timestamp(internet_address="1.2.3.4")]),
        from_client(TCP(sport=1234, dport=80, flags="A", options=[("NOP", None)] * 8) / b"data"),
        from_client(UDP(sport=5, dport=80) / b"question"),
        from_client(UDP(sport=5, dport=53), dst=LADDR),
        from_client(UDP(sport=5, dport=53), dst=FAR),
        from_client(UDP(sport=5, dport=80) / b"x", src=LAN_ADDR),
        from_client(Raw(b"ospf"), proto=89, frag=3),
        from_client(Raw(b"ospf"), proto=89, flags="MF"),
        from_client(ICMP() / Raw(b"ping"), dst=WAN_ADDR),
        from_client(ICMP() / Raw(b"ping"), dst=FAR),
        from_client(Raw(b"ospf"), proto=89),
        from_client(Raw(b""), proto=6),
        from_client(Raw(b"1234567"), proto=17),
    )
]


@st.composite
def damaged(draw):
    frame = bytearray(draw(st.sampled_from(SEEDS)))
    # Mostly headers, sometimes a whole byte, sometimes one bit.
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, min(len(frame), 60) - 1))
        frame[at] ^= draw(
            st.one_of(st.integers(0, 7).map(lambda bit: 1 << bit), st.integers(1, 255))
        )
    if draw(st.booleans()):
        frame += bytes(draw(st.integers(0, 30)))
    if draw(st.booleans()):
        frame = frame[: draw(st.integers(0, len(frame)))]
    # A right header checksum, so that the checks behind it are reached.
    if len(frame) >= 34 and draw(st.booleans()):
        end = 14 + min(max(20, (frame[14] & 15) * 4), len(frame) - 14)
        frame[24:26] = b"\0\0"
        frame[24:26] = checksum(bytes(frame[14:end])).to_bytes(2, "big")
    return bytes(frame)


@pytest.fixture(scope="module")
def rig():
    rig = Rig(capacity=4096, static=True)
    for number, proto in enumerate(("tcp", "udp")):
        rig.service(number, "nat", proto, dests=[{"id": number}])
    yield rig
    assert rig.clean()


def judge(rig, frame):
    """What the worker made of one frame: a drop reason or None."""
    before = rig.drops()
    out = rig.exchange(WAN, frame)
    after = rig.drops()
    counted = {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name)}
    counted.pop("arp_done", None)
    assert sum(counted.values()) <= 1
    assert rig.complete()
    if counted:
        assert out == [[], []]
    return next(iter(counted), None)


def forget(rig):
    """Let all connections end."""
    rig.now += 400_000
    for _ in range(80):
        rig.run()
    assert rig.connections() == 0


@settings(max_examples=300)
@given(damaged())
@example(SEEDS[0][:54])
@example(SEEDS[5][:42])
def test_any_damage(rig, frame):
    if frame[12:14] == b"\x08\x06":
        frame = frame[:12] + b"\x08\x07" + frame[14:]
    if rig.connections() > 50:
        forget(rig)
    wanted = verdict(frame)
    if wanted is FRAGMENT:
        return
    got = judge(rig, frame)
    if wanted == "not_syn" and got is None:
        return  # a segment of a connection that another example opened
    assert got == wanted


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_every_length_of_every_seed(rig, seed):
    forget(rig)
    for size in range(len(SEEDS[seed]) + 1):
        frame = SEEDS[seed][:size]
        assert judge(rig, frame) == verdict(frame), size


@pytest.mark.parametrize("seed", [0, 5])
def test_every_single_bit_of_a_header(rig, seed):
    forget(rig)
    good = SEEDS[seed]
    for bit in range(8 * (14 + 28)):
        if bit // 8 in (12, 13):
            continue
        frame = bytearray(good)
        frame[bit // 8] ^= 0x80 >> bit % 8
        for fix in (False, True):
            if fix:
                frame[24:26] = b"\0\0"
                frame[24:26] = checksum(bytes(frame[14:34])).to_bytes(2, "big")
            wanted = verdict(bytes(frame))
            if wanted is FRAGMENT:
                continue
            got = judge(rig, bytes(frame))
            assert got == wanted or (wanted == "not_syn" and got is None), bit


def test_padding_of_any_length(rig):
    for padding in (1, 7, 100, 1400):
        assert judge(rig, SEEDS[5] + bytes(padding)) is None


def test_several_segments(rig):
    rig.push(WAN, SEEDS[0], segments=2)
    rig.run()
    assert rig.drops()["segmented"] == 1


def test_sources_that_cannot_be(rig):
    for source in ("0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"):
        assert judge(rig, bytes(from_client(UDP(dport=80), src=source))) == "ip_source"
    for target in ("0.0.0.0", "127.0.0.1", "240.0.0.1", "255.255.255.255"):
        assert judge(rig, bytes(from_client(UDP(dport=80), dst=target))) == "ip_destination"
    assert judge(rig, bytes(from_client(UDP(dport=80), src=CLIENT, dst=CLIENT))) == "ip_loop"
    assert judge(rig, bytes(from_client(UDP(dport=80), dst="239.1.1.1"))) == "ip_not_forwarded"
