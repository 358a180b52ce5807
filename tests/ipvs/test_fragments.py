"""IPv4 fragments: whatever is cut up, the receiver puts together what it would have got whole."""

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP, IPOption
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.datagram_queue import WAIT_ALL, WAIT_EACH
from ipvs.datagrams import LIFE_MS, PARTS, SETS, WAYS, Datagrams
from ipvs.expire import end_now
from ipvs.table import Table
from tests import oracle
from tests.fragments import cut, headed, joined, packet_of
from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    LAN,
    LAN_ADDR,
    MACS,
    VIP,
    WAN,
    WAN_ADDR,
    Rig,
    from_client,
    from_server,
    server,
    server_mac,
)
from tests.rig import connect

PROTOS = ("tcp", "udp", "sctp")
WAYS_OF = [("fullnat", WAN), ("fullnat", LAN), ("nat", WAN), ("nat", LAN), ("dr", WAN)]
ADDRESS = IPOption(b"\x94\x04\x00\x00")  # router alert: copied into every fragment
TIMESTAMP = IPOption(b"\x44\x0c\x05\x00" + bytes(8))  # in the first only
_ports = itertools.count(1024)
_ids = itertools.count(1)


def text(size):
    return bytes(i * 7 + (i >> 8) & 255 for i in range(size))


def content(size):
    return Raw(text(size))


class Flow:
    """A connection: whole packets in either direction and what must come of them."""

    def __init__(self, rig, mode, proto, number=None):
        self.rig, self.mode, self.proto = rig, mode, proto
        number = numbers()[mode, proto] if number is None else number
        self.vport, self.cport = 80 + number, next(_ports)
        frame = from_client(oracle.segment(proto, self.cport, self.vport, "S"))
        out = Ether(rig.exchange(WAN, frame)[LAN][0])
        self.local, self.sport, self.dport = out[IP].src, out.sport, out.dport

    def whole(self, port, size=64, **ip):
        """A packet arriving on ``port``, and the frame it would be on the other side."""
        ip.setdefault("id", next(_ids) & 0xFFFF)
        if port == WAN:
            layer = oracle.segment(self.proto, self.cport, self.vport, "A", text(size))
            frame = from_client(layer, **ip)
            ends = (self.local, self.sport), (server(0), self.dport)
            if self.mode == "dr":
                ends = (CLIENT, self.cport), (VIP, self.vport)
            macs = MACS[LAN], server_mac(0)
        else:
            layer = oracle.segment(self.proto, self.dport, self.sport, "A", text(size))
            frame = from_server(layer, dst=self.local, **ip)
            ends, macs = ((VIP, self.vport), (CLIENT, self.cport)), (MACS[WAN], CLIENT_MAC)
        frame = bytes(frame)
        return frame, oracle.rewritten(frame, macs, *ends)


@functools.cache
def numbers():
    return {way: n for n, way in enumerate(itertools.product(("fullnat", "nat", "dr"), PROTOS))}


def rig_with_services(**more):
    rig = Rig(static=True, **more)
    for (mode, proto), number in numbers().items():
        port = 80 + number if mode == "dr" else 8000 + number
        rig.service(number, mode, proto, port=80 + number, dests=[{"id": number, "port": port}])
    return rig


@pytest.fixture(scope="module")
def shared():
    rig = rig_with_services()
    yield rig
    assert rig.clean()


@pytest.fixture
def rig():
    rig = rig_with_services()
    yield rig
    rig.sleep(3 * LIFE_MS)
    assert rig.waiting() == 0 and rig.clean()


def held(rig):
    """How many datagrams the rig remembers."""
    table = Datagrams(rig.w.datagrams)
    return sum(1 for i in range(SETS * WAYS) if table.datagram[i].state)


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("mode,port", WAYS_OF)
@settings(max_examples=20)
@given(data=st.data())
def test_rfc791_any_split_in_any_order(shared, mode, port, proto, data):
    """The fragments put together are the very packet that the unfragmented path sends."""
    flow = Flow(shared, mode, proto)
    size = data.draw(st.integers(40, 8000) | st.integers(40, 200))
    options = data.draw(st.sampled_from(([], [ADDRESS], [TIMESTAMP, ADDRESS])))
    flags = data.draw(st.sampled_from(["", "DF"]))
    frame, wanted = flow.whole(port, size, options=options, flags=flags)
    packet = packet_of(frame)
    blocks = (len(packet) - (packet[0] & 15) * 4 - 1) // 8  # where a cut leaves content behind
    at = data.draw(st.sets(st.integers(5, blocks), min_size=1, max_size=12))
    at |= set(range(180, blocks, 180))
    frames = data.draw(st.permutations(cut(frame, at)))
    before = shared.drops()
    shared.push(port, *frames)
    out = shared.run(2)
    assert out[port] == [] and len(out[1 - port]) == len(frames)
    assert joined(out[1 - port]) == wanted
    assert shared.drops() == before and held(shared) == 0


@pytest.mark.parametrize("mode", ["fullnat", "nat", "dr"])
def test_rfc4787_req14_a_fragment_may_open_a_connection_and_come_out_of_order(rig, mode):
    number = numbers()[mode, "udp"]
    frame = from_client(UDP(sport=9, dport=80 + number) / content(3000), id=77)
    frames = cut(frame, [100, 200, 300])
    assert rig.exchange(WAN, *frames[1:]) == [[], []]
    assert rig.connections() == 0 and rig.waiting() == 3
    _, out = rig.exchange(WAN, frames[0])
    whole = Ether(joined(out))
    again = Ether(bytes(whole))
    del again[UDP].chksum, again[IP].chksum
    assert bytes(again) == bytes(whole) and bytes(whole[Raw]) == bytes(content(3000))
    assert rig.connections() == 1 and rig.drops() == {}
    assert int.from_bytes(out[0][20:22], "big") == 0x2000  # the first one first


def test_a_datagram_in_flight_does_not_disturb_another(rig):
    """Same addresses, other identification or protocol: another datagram (RFC 791)."""
    flows = [Flow(rig, "nat", "udp"), Flow(rig, "nat", "tcp"), Flow(rig, "nat", "udp")]
    pairs = [flow.whole(WAN, 300, id=5 + i // 2) for i, flow in enumerate(flows)]
    pieces = [cut(frame, [8, 16]) for frame, _ in pairs]
    sent = []
    for turn in ((2, 0, 1), (1, 1, 2), (0, 2, 0)):
        sent += rig.exchange(WAN, *[pieces[i][part] for i, part in enumerate(turn)])[LAN]
    by_packet = {(f[18:20], f[23]): [] for f in sent}
    for f in sent:
        by_packet[f[18:20], f[23]].append(f)
    assert sorted(map(joined, by_packet.values())) == sorted(wanted for _, wanted in pairs)


# Bad fragments


def part(flow, begin, length, more=1, proto=17, ident=9):
    """A fragment of a packet of the flow, at ``begin`` bytes with any content."""
    frame, _ = flow.whole(WAN, 3000, id=ident)
    packet = packet_of(frame)
    body = packet[20:][begin : begin + length].ljust(length, b"x")
    return frame[:14] + headed(packet[:20], body, more << 13 | begin // 8)


BAD = {
    "tcp header cut": ("frag_tiny", "tcp", [(0, 16)]),
    "tcp options cut": ("frag_tiny", "tcp", [(0, 16)]),
    "no content": ("frag_form", "udp", [(8, 0)]),
    "odd length": ("frag_form", "udp", [(0, 13)]),
    "beyond 65535 bytes": ("frag_form", "udp", [(65528, 64, 0)]),
}


@pytest.mark.parametrize("name", BAD)
def test_fragments_that_no_honest_stack_sends(rig, name):
    reason, proto, parts = BAD[name]
    flow = Flow(rig, "fullnat", proto)
    assert rig.exchange(WAN, *[part(flow, *p) for p in parts]) == [[], []]
    assert rig.drops() == {reason: len(parts)}
    assert rig.waiting() == 0


def test_rfc1858_tiny_first_fragment_with_tcp_options(rig):
    """20 bytes of header that say 24: the rest of the header must not come separately."""
    flow = Flow(rig, "nat", "tcp")
    frame = bytearray(part(flow, 0, 24))
    frame[34 + 12] = 0x70
    assert rig.exchange(WAN, bytes(frame)) == [[], []]
    frame[34 + 12] = 0x40
    assert rig.exchange(WAN, bytes(frame)) == [[], []]
    assert rig.drops() == {"frag_tiny": 1, "tcp_offset": 1}


def test_a_udp_length_that_ends_in_the_first_fragment_is_a_lie(rig):
    flow = Flow(rig, "nat", "udp")
    frame = bytearray(part(flow, 0, 64))
    frame[38:40] = b"\0\x40"
    assert rig.exchange(WAN, bytes(frame)) == [[], []]
    assert rig.drops() == {"udp_length": 1}


@pytest.mark.parametrize("first_last", [False, True])
@pytest.mark.parametrize("begin,length", [(8, 16), (16, 48), (0, 32), (0, 128)])
def test_rfc1858_rfc3128_nothing_writes_over_the_header(rig, begin, length, first_last):
    """An overlapping fragment is dropped with all that follow, whichever comes first."""
    flow = Flow(rig, "nat", "tcp")
    good, evil = part(flow, 0, 64), part(flow, begin, length)
    frames = [evil, good] if first_last and begin else [good, evil]
    out = rig.exchange(WAN, *frames, part(flow, 1024, 64, more=0))
    assert len(out[LAN]) == (0 if first_last and begin else 1) and out[WAN] == []
    drops = rig.drops()
    assert drops.pop("frag_overlap") == 1
    assert drops == {"frag_refused": 2 if first_last and begin else 1}


@pytest.mark.parametrize(
    "evil", [(64, 64, 1), (72, 8, 1), (120, 16, 1), (56, 80, 1), (200, 8, 0), (320, 8, 1)]
)
def test_rfc5722_overlap_ends_the_datagram(rig, evil):
    flow = Flow(rig, "nat", "udp")
    frames = [part(flow, 0, 64), part(flow, 64, 72), part(flow, 256, 64, more=0)]
    assert len(rig.exchange(WAN, *frames)[LAN]) == 3
    assert rig.exchange(WAN, part(flow, *evil), part(flow, 136, 120)) == [[], []]
    assert rig.drops() == {"frag_overlap": 1, "frag_refused": 1}


def test_rfc8200_an_exact_duplicate_is_dropped_and_nothing_else(rig):
    flow = Flow(rig, "fullnat", "udp")
    frame, wanted = flow.whole(WAN, 500)
    frames = cut(frame, [10, 20, 40])
    _, out = rig.exchange(WAN, frames[0], frames[2], frames[0], frames[2], frames[1], frames[3])
    assert joined(out) == wanted
    assert rig.drops() == {"frag_duplicate": 2}
    # Complete: the identification may be used for another datagram at once (RFC 6864).
    _, out = rig.exchange(WAN, *frames)
    assert joined(out) == wanted


def test_fragments_of_a_dropped_packet_are_dropped(rig):
    frame = from_client(UDP(sport=9, dport=7) / content(500), id=3)
    frames = cut(frame, [10, 20])
    assert rig.exchange(WAN, frames[2], frames[0], frames[1]) == [[], []]
    assert rig.drops() == {"no_service": 1, "frag_refused": 2}


def test_fragment_of_a_connection_that_is_gone(rig):
    flow = Flow(rig, "nat", "udp")
    frames = cut(flow.whole(WAN, 500)[0], [10])
    rig.exchange(WAN, frames[0])
    rig.apply("svc.del", id=numbers()["nat", "udp"])
    end_now(rig.address, Table(rig.w.table).high)
    assert rig.exchange(WAN, frames[1]) == [[], []]
    assert rig.drops() == {"frag_lost": 1}


# Bounds in number and time


def test_rfc8900_waiting_fragments_are_given_up_in_time(rig):
    flow = Flow(rig, "fullnat", "udp")
    frames = cut(flow.whole(WAN, 500)[0], [10, 20])
    rig.exchange(WAN, *frames[1:])
    assert rig.after(LIFE_MS - 1, rounds=20) == [[], []] and rig.waiting() == 2
    rig.after(1, rounds=20)
    assert rig.waiting() == 0 and rig.drops() == {"frag_timeout": 2}
    # Too late: the first one goes, but no other will.
    assert len(rig.exchange(WAN, frames[0])[LAN]) == 1


@pytest.mark.long
def test_waiting_fragments_are_bounded(rig):
    flow = Flow(rig, "fullnat", "udp")
    rig.exchange(WAN, *[part(flow, 64 + 8 * i, 8) for i in range(WAIT_EACH + 3)])
    assert rig.drops() == {"frag_queue": 3} and rig.waiting() == WAIT_EACH
    for ident in range(100, 100 + 2 * WAIT_ALL):
        rig.exchange(WAN, part(flow, 64, 8, ident=ident))
    # The hash is keyed anew for each table: a set that overflows late lets all go that one held.
    assert WAIT_ALL - WAIT_EACH <= rig.waiting() <= WAIT_ALL
    assert set(rig.drops()) <= {"frag_queue", "frag_evicted"}


@pytest.mark.long
def test_a_flood_of_datagrams_evicts_the_oldest(rig):
    flow = Flow(rig, "fullnat", "udp")
    rig.exchange(WAN, part(flow, 64, 8, ident=1))
    rig.now += 1
    for ident in range(2, 2 * SETS * WAYS):
        rig.push(WAN, part(flow, 0, 64, ident=ident))
        if ident % 64 == 0:
            rig.run(2)
    rig.run(4)
    assert held(rig) <= SETS * WAYS
    # The hash is keyed anew for each table: very seldom the flood leaves one set half empty.
    assert set(rig.drops().items()) <= {("frag_evicted", 1)}


def test_a_datagram_has_only_so_many_fragments(rig):
    flow = Flow(rig, "fullnat", "udp")
    rig.exchange(WAN, *[part(flow, 8 * i, 8) for i in range(PARTS + 2)])
    assert rig.drops() == {"frag_many": 2}


# Several workers


def crew(workers, **more):
    rigs = [rig_with_services(workers=workers)]
    rigs += [rig_with_services(index=n, workers=workers, pool=rigs[0].pool)
             for n in range(1, workers)]  # fmt: skip
    return rigs, connect(rigs)


def go_round(rigs):
    out = [[], []]
    for each in rigs * (len(rigs) + 1):
        for all_, new in zip(out, each.run(2), strict=True):
            all_ += new
    return out


@pytest.mark.parametrize("workers,proto", [(2, "udp"), (3, "udp"), (3, "sctp")])
@pytest.mark.parametrize("mode,port", WAYS_OF)
def test_fragments_reach_the_owner_wherever_they_arrive(workers, proto, mode, port):
    """RSS knows only their addresses; first and others come to one worker, often the wrong one."""
    rigs, kept = crew(workers)
    number = numbers()[mode, proto]
    rigs[0].push(WAN, from_client(oracle.segment(proto, 9, 80 + number)))
    first = Ether(go_round(rigs)[LAN][0])
    (owner,) = [each for each in rigs if each.connections()]
    flow = Flow.__new__(Flow)
    flow.rig, flow.mode, flow.proto, flow.vport, flow.cport = owner, mode, proto, 80 + number, 9
    flow.local, flow.sport, flow.dport = first[IP].src, first.sport, first.dport
    for arrives in rigs:
        for order in ((0, 1, 2), (2, 1, 0)):
            frame, wanted = flow.whole(port, 900)
            frames = cut(frame, [40, 80])
            arrives.push(port, *[frames[i] for i in order])
            out = go_round(rigs)
            assert out[port] == [] and joined(out[1 - port]) == wanted
    assert [each.drops() for each in rigs] == [{}] * workers
    assert sum(each.connections() for each in rigs) == 1
    assert rigs[0].in_flight() == 0 and kept


@pytest.mark.parametrize("proto", ["udp", "sctp"])
@pytest.mark.parametrize("mode", ["fullnat", "nat"])
def test_fragments_that_nobody_knows_open_one_connection(mode, proto):
    rigs, kept = crew(3)
    number = numbers()[mode, proto]
    for ident in range(3):
        frame = from_client(oracle.segment(proto, 9, 80 + number, payload=text(900)), id=ident)
        rigs[1].push(WAN, *cut(frame, [40, 80]))
        out = go_round(rigs)
        whole = joined(out[LAN])
        ends = [(Ether(whole)[IP].src, Ether(whole).sport), (server(0), Ether(whole).dport)]
        macs = MACS[LAN], server_mac(0)
        assert whole == oracle.rewritten(bytes(frame), macs, *ends)
    assert [each.drops() for each in rigs] == [{}] * 3
    assert sum(each.connections() for each in rigs) == 1
    assert rigs[0].in_flight() == 0 and kept


# Fragmentation on output


def narrow(rig, port, mtu):
    rig.apply("dev.set", id=port, mac=MACS[port], mtu=mtu)


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("mode,port", WAYS_OF)
@settings(max_examples=10)
@given(data=st.data())
def test_rfc791_what_exceeds_the_mtu_is_fragmented(shared, mode, port, proto, data):
    """Options go where they belong, every fragment fits; a fragment is cut up further."""
    flow = Flow(shared, mode, proto)
    mtu = data.draw(st.integers(84, 1500))
    size = data.draw(st.integers(0, 1400))
    options = data.draw(st.sampled_from(([], [ADDRESS], [TIMESTAMP, ADDRESS])))
    frame, wanted = flow.whole(port, size, options=options)
    frames = cut(frame, {5 + size // 32}) if size > 100 and data.draw(st.booleans()) else [frame]
    narrow(shared, 1 - port, mtu)
    shared.push(port, *frames)
    out = shared.run(1)
    narrow(shared, 1 - port, 1500)
    assert out[port] == [] and max(map(len, out[1 - port])) <= 14 + mtu
    if len(packet_of(frame)) <= mtu and len(frames) == 1:
        assert out[1 - port] == [wanted]
    else:
        assert joined(out[1 - port]) == wanted
    assert shared.complete()


@pytest.mark.parametrize("mode,port", WAYS_OF)
def test_rfc1191_with_df_the_sender_is_told(rig, mode, port):
    flow = Flow(rig, mode, "udp")
    narrow(rig, 1 - port, 1000)
    frame, _ = flow.whole(port, 1200, flags="DF")
    out = rig.exchange(port, frame)
    assert out[1 - port] == [] and len(out[port]) == 1
    error = Ether(out[port][0])
    about = flow.local if port == LAN and mode == "fullnat" else VIP if port == WAN else LAN_ADDR
    assert (error[IP].src, error[IP].dst) == (about, IP(packet_of(frame)).src)
    message = bytes(error[IP].payload)
    assert message[:2] == b"\x03\x04" and message[4:8] == b"\0\0\x03\xe8"
    assert message[8:] == packet_of(frame)[:548]
    assert rig.drops() == {"ip_too_big": 1}
    # Later fragments are never told about (RFC 1122 3.2.2).
    out = rig.exchange(port, *cut(flow.whole(port, 2400, flags="DF")[0], [8, 150]))
    assert out[port] == [] and len(out[1 - port]) == 1
    assert rig.drops() == {"ip_too_big": 3}


def test_rfc1812_5_2_6_a_router_fragments_too(rig):
    rig.apply("param.set", forwarding=1)
    narrow(rig, LAN, 600)
    frame = bytes(from_client(UDP(sport=1, dport=2) / content(1400), dst=server(0), id=5))
    _, out = rig.exchange(WAN, frame)
    again = Ether(frame)
    again.src, again.dst, again[IP].ttl = MACS[LAN], server_mac(0), 63
    del again[IP].chksum
    assert len(out) == 3 and joined(out) == bytes(again)
    # Fragments of others pass, in order, as soon as the first was seen.
    narrow(rig, LAN, 1500)
    frames = cut(frame, [40, 80])
    _, out = rig.exchange(WAN, frames[1], frames[0], frames[2])
    assert joined(out) == bytes(again)
    assert rig.drops() == {}


def test_no_buffers_for_fragments(rig):
    flow = Flow(rig, "nat", "udp")
    narrow(rig, LAN, 500)
    rig.push(WAN, flow.whole(WAN, 1200)[0])
    kept = [rig.pool.free.popleft() for _ in range(len(rig.pool.free) - 2)]
    out = rig.run()
    rig.pool.free.extend(kept)
    assert len(out[LAN]) == 1 and rig.drops() == {"split_mbuf": 1}


def test_fragments_to_our_own_addresses_and_of_other_protocols(rig):
    """Nothing of ours takes them: echo requests in fragments and unknown protocols."""
    for dst, proto in ((WAN_ADDR, 1), (VIP, 47)):
        frame = Ether(dst=MACS[WAN], src=CLIENT_MAC) / IP(src=CLIENT, dst=dst, proto=proto, id=4)
        for piece in cut(frame / content(200), [8]):
            assert rig.exchange(WAN, piece) == [[], []]
    assert rig.drops() == {"ip_fragment": 4} and rig.waiting() == 0
