"""SCTP associations that hosts behind SNAT open: states, timeouts, and their ports."""

from __future__ import annotations

import pytest

from ipvs.entry import ACTIVE, Entry
from ipvs.laddr import LADDR_STATS_SIZE, LaddrStats
from ipvs.table import entry_of
from tests import sctp_oracle
from tests.pathrig import FAR, LAN, MACS, OUTSIDE, WAN, Rig, server, server_mac
from tests.sctp_oracle import chunk, data
from tools.daemon.listing import connection_row

INIT, INIT_ACK, HEARTBEAT, ABORT, SHUTDOWN, SHUTDOWN_ACK = 1, 2, 4, 6, 7, 8
COOKIE_ECHO, COOKIE_ACK, SHUTDOWN_COMPLETE = 10, 11, 14


def frame(macs, source, target, packet):
    """An Ethernet frame with an SCTP packet, the IP header made by hand."""
    ends = bytes(map(int, f"{source}.{target}".split(".")))
    head = b"\x45\0" + (20 + len(packet)).to_bytes(2, "big") + b"\0\x07\0\0\x40\x84\0\0" + ends
    total = sum(int.from_bytes(head[i : i + 2], "big") for i in range(0, 20, 2))
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    ether = bytes.fromhex("".join(reversed(macs)).replace(":", "")) + b"\x08\0"
    return ether + head[:10] + total.to_bytes(2, "big") + head[12:] + packet


class Association:
    """One from an inside host's port 5000 to port 9 outside, and what its entry says."""

    def __init__(self, **more):
        self.rig = Rig(static=True)
        self.rig.snat(0, "sctp", **more)
        self.outside = 0

    def inside(self, *chunks):
        """The inside host sends; exactly the same leaves with our address and port."""
        sent = sctp_oracle.packet(5000, 9, *chunks)
        made = frame((server_mac(0), MACS[LAN]), server(0), FAR, sent)
        (out,), lan = self.rig.exchange(LAN, made)
        self.outside = int.from_bytes(out[34:36], "big")
        left = sctp_oracle.packet(self.outside, 9, *chunks)
        macs = (MACS[WAN], "02:aa:00:00:00:fe")
        assert (out, lan) == (frame(macs, OUTSIDE, FAR, left), [])
        return self

    def far(self, *chunks):
        """The outside host answers."""
        sent = sctp_oracle.packet(9, self.outside, *chunks)
        made = frame(("02:aa:00:00:00:fe", MACS[WAN]), FAR, OUTSIDE, sent)
        back = sctp_oracle.packet(9, 5000, *chunks)
        wanted = frame((MACS[LAN], server_mac(0)), FAR, server(0), back)
        assert self.rig.exchange(WAN, made) == [[], [wanted]]
        return self

    @property
    def entry(self):
        return Entry(entry_of(self.rig.w.table, 1))

    @property
    def state(self):
        row = connection_row(self.entry.ptr, self.rig.now, 1)
        return row["state"], self.entry.timeout

    def open(self):
        self.inside(chunk(INIT, bytes(16))).far(chunk(INIT_ACK, bytes(16)))
        return self.inside(chunk(COOKIE_ECHO, b"cookie")).far(chunk(COOKIE_ACK))


def test_an_association_opens_and_the_inside_host_shuts_it_down():
    """The states of an association that the server's side opens, as the reference has them."""
    one = Association()
    stats = LaddrStats(one.rig.w.laddr_stats + 8 * LADDR_STATS_SIZE)
    free = stats.free
    assert one.inside(chunk(INIT, bytes(16))).state == ("SCTP_COOKIE_WAIT", 61)
    assert one.far(chunk(INIT_ACK, bytes(16))).state == ("SCTP_COOKIE", 61)
    assert one.inside(chunk(COOKIE_ECHO, b"cookie")).state == ("SCTP_COOKIE_ECHOED", 61)
    assert one.far(chunk(COOKIE_ACK)).state == ("SCTP_ESTABLISHED", 900)
    assert one.entry.flags & ACTIVE and stats.used == 1
    assert one.inside(data(100)).far(data(1000)).far(chunk(HEARTBEAT)).state[1] == 900
    assert one.inside(chunk(SHUTDOWN, bytes(4))).state == ("SCTP_SHUTDOWN_SENT", 61)
    assert one.far(chunk(SHUTDOWN_ACK)).state == ("SCTP_CLOSED", 61)
    assert one.inside(chunk(SHUTDOWN_COMPLETE)).state == ("SCTP_CLOSED", 61)
    assert not one.entry.flags & ACTIVE
    one.rig.sleep(64_000, 2000)
    assert one.rig.connections() == 0 and (stats.used, stats.free) == (0, free)
    assert one.rig.drops() == {} and one.rig.clean()


def test_the_outside_host_shuts_it_down():
    one = Association().open()
    assert one.far(chunk(SHUTDOWN, bytes(4))).state == ("SCTP_SHUTDOWN_RECEIVED", 61)
    assert one.inside(chunk(SHUTDOWN_ACK)).state == ("SCTP_SHUTDOWN_ACK_SENT", 61)
    assert one.far(chunk(SHUTDOWN_COMPLETE)).state == ("SCTP_CLOSED", 61)


def test_refusals_aborts_and_a_new_beginning():
    one = Association().inside(chunk(INIT, bytes(16))).far(chunk(ABORT))
    assert one.state == ("SCTP_REJECTED", 4)
    port = one.outside
    assert one.inside(chunk(INIT, bytes(16))).state == ("SCTP_COOKIE_WAIT", 61)
    assert one.outside == port
    assert Association().open().far(chunk(ABORT)).state == ("SCTP_CLOSED", 61)
    assert Association().open().inside(chunk(ABORT)).state == ("SCTP_CLOSED", 61)


@pytest.mark.parametrize("match", [{"dport": (10, 20)}, {"sport": (1, 4999)}, {"iif": WAN}])
def test_rules_for_other_packets(match):
    one = Association(**match)
    packet = sctp_oracle.packet(5000, 9, chunk(INIT, bytes(16)))
    made = frame((server_mac(0), MACS[LAN]), server(0), FAR, packet)
    assert one.rig.exchange(LAN, made) == [[], []]
    assert one.rig.drops() == {"ip_not_forwarded": 1} and one.rig.clean()


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_damaged_packets_and_answers_to_nothing(where):
    one = Association().open()
    inside = where == "inside"
    packet = bytearray(sctp_oracle.packet(*((5000, 9) if inside else (9, one.outside)), data(50)))
    packet[40] ^= 1
    macs = (server_mac(0), MACS[LAN]) if inside else ("02:aa:00:00:00:fe", MACS[WAN])
    ends = (server(0), FAR) if inside else (FAR, OUTSIDE)
    assert one.rig.exchange(LAN if inside else WAN, frame(macs, *ends, bytes(packet))) == [[], []]
    assert one.rig.drops() == {"sctp_checksum": 1}
    stray = frame(("02:aa:00:00:00:fe", MACS[WAN]), FAR, OUTSIDE,
                  sctp_oracle.packet(10, one.outside, data(50)))  # fmt: skip
    assert one.rig.exchange(WAN, stray) == [[], []]
    assert one.rig.drops() == {"sctp_checksum": 1, "no_service": 1} and one.rig.clean()
