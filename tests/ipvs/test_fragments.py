"""IPv4 fragments: whatever is cut up, the receiver puts together what it would have got whole.

Those that are not forwarded: test_fragments_refused.py.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP, IPOption
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests import oracle
from tests.fragment_flows import (
    PROTOS,
    WAYS_OF,
    Flow,
    checked,
    content,
    held,
    numbers,
    rig_with_services,
    text,
)
from tests.fragments import cut, joined, packet_of
from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    LAN,
    LAN_ADDR,
    MACS,
    VIP,
    WAN,
    WAN_ADDR,
    from_client,
    server,
    server_mac,
)
from tests.rig import connect, go_round

ADDRESS = IPOption(b"\x94\x04\x00\x00")  # router alert: copied into every fragment
TIMESTAMP = IPOption(b"\x44\x0c\x05\x00" + bytes(8))  # in the first only


@pytest.fixture(scope="module")
def shared():
    rig = rig_with_services()
    yield rig
    assert rig.clean()


@pytest.fixture
def rig():
    with checked() as made:
        yield made


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


# Several workers


def crew(workers, **more):
    rigs = [rig_with_services(workers=workers)]
    rigs += [rig_with_services(index=n, workers=workers, pool=rigs[0].pool)
             for n in range(1, workers)]  # fmt: skip
    return rigs, connect(rigs)


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
