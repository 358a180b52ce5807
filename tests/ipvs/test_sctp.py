"""SCTP through every mode: bytes and CRC32c against scapy, association states, bad packets."""

from __future__ import annotations

import ctypes
import functools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.layers.sctp import (
    SCTP,
    SCTPChunkAbort,
    SCTPChunkCookieAck,
    SCTPChunkCookieEcho,
    SCTPChunkData,
    SCTPChunkHeartbeatReq,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkShutdown,
    SCTPChunkShutdownAck,
    SCTPChunkShutdownComplete,
    crc32c,
)

from ipvs.entry import ACTIVE, Entry
from ipvs.table import entry_of
from stack.sctp import change_ports, checksum, multiply, over_zeros
from tests import sctp_oracle
from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    LADDR,
    LAN,
    LAN_ADDR,
    MACS,
    VIP,
    WAN,
    Rig,
    from_client,
    from_server,
    server,
    server_mac,
)
from tools.daemon.listing import connection_row

MODES = ("fullnat", "nat", "dr", "tunnel")


def sctp_rig(mode, **more):
    rig = Rig()
    rig.service(0, mode, "sctp", **more)
    return rig


@functools.cache
def shared_rig(mode):
    return sctp_rig(mode)


def data(size=20):
    return SCTPChunkData(data=bytes(i & 255 for i in range(size)), tsn=7)


def packet(*chunks, sport=1234, dport=80, tag=99):
    made = SCTP(sport=sport, dport=dport, tag=tag)
    for chunk in chunks or (SCTPChunkInit(init_tag=5),):
        made = made / chunk
    return made


def exchanged(rig, port, frame):
    """The only frame that comes out of the other port."""
    out = rig.exchange(port, bytes(frame))
    (sent,) = out[1 - port]
    assert out[port] == [] and rig.clean()
    return sent


@given(st.binary(min_size=12, max_size=200))
@settings(max_examples=60)
def test_rfc9260_appendix_a_checksum(raw):
    """Against scapy's; the field itself counts as zero, and is stored low byte first."""
    memory = ctypes.create_string_buffer(raw, len(raw) + 8)
    wanted = struct.pack(">I", crc32c(raw[:8] + bytes(4) + raw[12:]))
    assert struct.pack("<I", checksum(ctypes.addressof(memory), len(raw))) == wanted


@settings(max_examples=100)
@given(
    length=st.integers(16, 65535) | st.integers(16, 64), ports=st.binary(min_size=4, max_size=4),
    seed=st.binary(max_size=64), damage=st.integers(0, 16),
)  # fmt: skip
def test_a_checksum_follows_the_ports_and_only_them(length, ports, seed, damage):
    """As if computed anew, whatever the length; only the header is there.  Damage stays damage."""
    packet = sctp_oracle.checked((seed * (65535 // (len(seed) or 1) + 1)).ljust(65535)[:length])
    damaged = packet[:8] + bytes([packet[8] ^ damage]) + packet[9:]
    memory = ctypes.create_string_buffer(damaged[:12], 12)
    at = ctypes.addressof(memory)
    change_ports(at, int.from_bytes(ports, "little"), length)
    wanted = sctp_oracle.checked(ports + packet[4:])
    assert memory.raw == wanted[:8] + bytes([wanted[8] ^ damage]) + wanted[9:12]


@given(st.integers(0, 70_000), st.integers(0, 70_000), st.integers(0, 0xFFFFFFFF))
@settings(max_examples=60)
def test_runs_of_zeros_add_up(first, second, state):
    assert over_zeros(over_zeros(state, first), second) == over_zeros(state, first + second)
    assert multiply(state, 1 << 31) == state == multiply(1 << 31, state)


@settings(max_examples=30)
@given(
    mode=st.sampled_from(MODES), size=st.integers(0, 1300), sport=st.integers(1, 65535),
    tos=st.integers(0, 255), options=st.booleans(),
)  # fmt: skip
def test_packets_of_both_directions(mode, size, sport, tos, options):
    """Every byte as scapy builds it; and what comes back is for whom it came from."""
    rig = shared_rig(mode)
    more = {"options": [b"\x07\x07\x04\x00\x00\x00\x00\x00"]} if options else {}
    layer = packet(data(size), sport=sport)
    sent = exchanged(rig, WAN, from_client(layer, tos=tos, **more))
    if mode in ("dr", "tunnel"):
        inner = Ether(sent)[IP] if mode == "dr" else Ether(sent)[IP].payload
        assert bytes(inner) == bytes(from_client(layer, tos=tos, **more)[IP])
        assert Ether(sent).dst == server_mac(0)
        return
    source = (LADDR, Ether(sent)[SCTP].sport) if mode == "fullnat" else (CLIENT, sport)
    wanted = Ether(src=MACS[LAN], dst=server_mac(0)) / IP(
        src=source[0], dst=server(0), tos=tos, **more
    ) / packet(data(size), sport=source[1], dport=8000)  # fmt: skip
    assert sent == bytes(wanted)
    reply = packet(data(size), sport=8000, dport=source[1], tag=3)
    back = exchanged(rig, LAN, from_server(reply, dst=source[0], tos=tos))
    assert back == bytes(
        Ether(src=MACS[WAN], dst=CLIENT_MAC) / IP(src=VIP, dst=CLIENT, tos=tos)
        / packet(data(size), sport=80, dport=sport, tag=3)
    )  # fmt: skip


class Association:
    """One association through FullNAT, and what its entry says."""

    def __init__(self, mode="fullnat", **more):
        self.rig = sctp_rig(mode, **more)
        self.local = 0

    def client(self, *chunks):
        sent = exchanged(self.rig, WAN, from_client(packet(*chunks)))
        self.local = Ether(sent)[SCTP].sport
        return self

    def server(self, *chunks):
        layer = packet(*chunks, sport=8000, dport=self.local)
        exchanged(self.rig, LAN, from_server(layer))
        return self

    @property
    def entry(self):
        return Entry(entry_of(self.rig.w.table, 1))

    @property
    def state(self):
        row = connection_row(self.entry.ptr, self.rig.now, 1)
        assert row["proto"] == "sctp"
        return row["state"], self.entry.timeout

    def open(self):
        self.client(SCTPChunkInit()).server(SCTPChunkInitAck())
        return self.client(SCTPChunkCookieEcho()).server(SCTPChunkCookieAck())


def test_an_association_opens_and_shuts_down():
    one = Association()
    assert one.client(SCTPChunkInit()).state == ("SCTP_INIT1", 4)
    assert one.server(SCTPChunkInitAck()).state == ("SCTP_COOKIE_SENT", 61)
    assert one.client(SCTPChunkCookieEcho()).state == ("SCTP_COOKIE_REPLIED", 61)
    assert one.server(SCTPChunkCookieAck()).state == ("SCTP_ESTABLISHED", 900)
    assert one.entry.flags & ACTIVE
    assert one.client(data()).server(SCTPChunkHeartbeatReq()).state == ("SCTP_ESTABLISHED", 900)
    assert one.client(SCTPChunkShutdown()).state == ("SCTP_SHUTDOWN_RECEIVED", 61)
    assert one.server(SCTPChunkShutdownAck()).state == ("SCTP_SHUTDOWN_ACK_SENT", 61)
    assert one.client(SCTPChunkShutdownComplete()).state == ("SCTP_CLOSED", 61)
    assert not one.entry.flags & ACTIVE
    one.rig.sleep(64_000, 2000)
    assert one.rig.connections() == 0 and one.rig.clean()


def test_aborts_and_refusals():
    assert Association().open().server(SCTPChunkAbort()).state == ("SCTP_CLOSED", 61)
    assert Association().open().client(SCTPChunkAbort()).state == ("SCTP_CLOSED", 61)
    refused = Association().client(SCTPChunkInit()).server(SCTPChunkAbort())
    assert refused.state == ("SCTP_REJECTED", 4)


def test_a_cookie_bundled_with_an_abort_is_an_abort():
    one = Association().client(SCTPChunkInit()).server(SCTPChunkInitAck())
    cookie = SCTPChunkCookieEcho(cookie=b"12345")  # padded to 8
    assert one.client(cookie, SCTPChunkAbort()).state == ("SCTP_CLOSED", 61)


def test_a_service_may_have_its_own_timeout():
    assert Association(conn_timeout=77).open().state == ("SCTP_ESTABLISHED", 77)


def broken(frame, at, value):
    raw = bytearray(bytes(frame))
    raw[at] = value
    return bytes(raw)


def short(size):
    """A packet with ``size`` bytes behind the IP header, CRC right when it has room for one."""
    layer = bytes(packet(data()))[:size]
    if size >= 12:
        fixed = layer[:8] + bytes(4) + layer[12:]
        layer = layer[:8] + struct.pack(">I", crc32c(fixed)) + layer[12:]
    return from_client(layer, proto=132)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (short(11), "l4_short"),
        (short(12), "sctp_chunk"),
        (short(15), "sctp_chunk"),
        (short(20), "sctp_chunk"),  # the chunk is longer than that
        (broken(from_client(packet(data())), 14 + 20 + 12 + 10, 0xEE), "sctp_checksum"),
        (from_client(packet(), dst=VIP, src=VIP), "ip_loop"),
        (from_client(packet(sport=0)), "l4_port_zero"),
        (from_client(packet(dport=81)), "no_service"),
        (from_client(packet(data(1500)), flags="DF"), "ip_too_big"),
    ],
)  # fmt: skip
def test_bad_packets_are_counted(frame, reason):
    rig = sctp_rig("fullnat")
    rig.push(WAN, bytes(frame))
    rig.run()
    assert rig.drops() == {reason: 1}, rig.drops()
    assert rig.clean()


def test_ttl_is_lowered_where_we_are_a_router():
    rig = sctp_rig("nat")
    rig.w.xmit_ttl = 1
    sent = exchanged(rig, WAN, from_client(packet(), ttl=9))
    assert Ether(sent).ttl == 8
    out = rig.exchange(WAN, bytes(from_client(packet(), ttl=1)))
    assert Ether(out[WAN][0])["ICMP"].type == 11 and rig.drops() == {"ip_ttl": 1}
    assert LAN_ADDR
