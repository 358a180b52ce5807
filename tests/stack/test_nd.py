"""Neighbour discovery byte by byte against scapy: RFC 4861, RFC 4862, RFC 4429."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from stack import neigh
from stack.address6 import text, words
from stack.events import (
    ADDRESS6_CONFLICT,
    ADDRESS6_DUPLICATE,
    NEIGHBOUR6_LEARNT,
    NEIGHBOUR_LEARNT,
    drain,
)
from tests import net6
from tests.net6 import (
    ALL_MAC,
    ALL_NODES,
    CLIENT6,
    CLIENT_MAC,
    OURS,
    SERVER6,
    SERVER_MAC,
    VIP6,
    WAN,
    WAN6,
    advertisement,
    link_local,
    ping,
    send,
    solicitation,
    wait,
)
from tests.rig import MACS
from tools.daemon import listing
from tools.daemon.companion import event_body

OTHER_MAC = "02:cc:00:00:00:0c"


@pytest.fixture
def rig():
    rig = net6.network()
    drain(rig.stack.events)
    yield rig
    assert rig.in_flight() == rig_waiting(rig)


def rig_waiting(rig):
    return neigh.NeighbourTable(rig.stack.neighbours).waiting


def asked(target, source, port=WAN):
    """The multicast solicitation we send (RFC 4861 4.3, 7.2.2)."""
    frame = solicitation(target, src=source, mac=MACS[port])
    return bytes(frame)


def told(target, dst, mac, flags):
    """The advertisement we send (RFC 4861 4.4): flags (S, O)."""
    return bytes(
        Ether(src=MACS[WAN], dst=mac)
        / IPv6(src=target, dst=dst, hlim=255)
        / ICMPv6ND_NA(tgt=target, R=0, S=flags[0], O=flags[1])
        / ICMPv6NDOptDstLLAddr(lladdr=MACS[WAN])
    )


def events(rig):
    """(kind, address, mac, port) of what happened."""
    return [
        (kind, text(a, b), (c & (1 << 48) - 1).to_bytes(6, "little").hex(":"), c >> 48)
        for kind, a, b, c in drain(rig.stack.events)
    ]


@pytest.mark.parametrize("target", [WAN6, VIP6, OURS[0]])
def test_rfc4861_7_2_4_solicitation_is_answered_and_the_asker_learnt(rig, target):
    assert send(rig, WAN, solicitation(target))[0] == [told(target, CLIENT6, CLIENT_MAC, (1, 1))]
    assert net6.state(rig, WAN, CLIENT6) == "REACHABLE"
    assert net6.mac_of(rig, WAN, CLIENT6) == CLIENT_MAC
    assert events(rig) == [(NEIGHBOUR6_LEARNT, CLIENT6, CLIENT_MAC, WAN)]
    # to our address itself, without option: to where the frame came from
    probe = solicitation(target, dst=target, to=MACS[0], option=False)
    assert send(rig, WAN, probe)[0] == [told(target, CLIENT6, CLIENT_MAC, (1, 1))]
    assert rig.drops() == {"nd_done": 2}


@pytest.mark.parametrize("target", [net6.LAN6, OURS[1], "2001:db8:1::77", net6.REMOTE6])
def test_rfc4861_7_2_3_only_addresses_of_the_port_are_answered_for(rig, target):
    assert send(rig, WAN, solicitation(target)) == [[], []]
    assert rig.drops() == {"nd_target": 1}
    assert net6.entry(rig, WAN, CLIENT6) is None


BAD = {
    "7_1_1_hop_limit": ("nd_hop_limit", solicitation(WAN6, hlim=64)),
    "7_1_1_code": ("nd_format", solicitation(WAN6, code=3)),
    "7_1_1_multicast_target": (
        "nd_format",
        solicitation("ff02::5", dst=WAN6, to=MACS[0]),
    ),
    "7_1_1_from_nobody_with_option": ("nd_format", solicitation(WAN6, src="::")),
    "7_1_1_from_nobody_to_all": (
        "nd_format",
        solicitation(WAN6, src="::", option=False, dst=ALL_NODES, to=ALL_MAC),
    ),
    "4_6_option_of_length_zero": (
        "nd_format",
        solicitation(WAN6, option=False) / Raw(bytes([1, 0, 2, 2, 2, 2, 2, 2])),
    ),
    "4_6_option_cut_short": (
        "nd_format",
        solicitation(WAN6, option=False) / Raw(bytes([1, 2, 2, 2, 2, 2, 2, 2])),
    ),
    "4_6_half_an_option": ("nd_format", solicitation(WAN6, option=False) / Raw(bytes(4))),
    "multicast_link_layer_address": ("nd_format", solicitation(WAN6, option="33:33:00:00:00:09")),
    "our_link_layer_address": ("nd_format", solicitation(WAN6, option=MACS[0])),
    "7_1_2_hop_limit": ("nd_hop_limit", advertisement(CLIENT6, CLIENT_MAC, hlim=1)),
    "7_1_2_solicited_to_a_group": (
        "nd_format",
        advertisement(CLIENT6, CLIENT_MAC, dst=ALL_NODES, to=ALL_MAC),
    ),
    "7_1_2_multicast_target": (
        "nd_format",
        advertisement("ff02::9", CLIENT_MAC, src=CLIENT6),
    ),
    "7_1_2_link_layer_address": (
        "nd_format",
        advertisement(CLIENT6, CLIENT_MAC, option="01:00:00:00:00:01"),
    ),
    "our_own_echo": ("nd_sender", solicitation(WAN6, mac=MACS[0])),
}


@pytest.mark.parametrize("name", BAD)
def test_rfc4861_invalid_messages(rig, name):
    reason, frame = BAD[name]
    if Raw in frame:  # scapy computes lengths and checksum again
        frame = Ether(bytes(frame))
        del frame[IPv6].plen, frame[IPv6].payload.cksum
    assert send(rig, WAN, frame) == [[], []]
    assert rig.drops() == {reason: 1}
    assert net6.entry(rig, WAN, CLIENT6) is None and events(rig) == []


def test_rfc4861_7_2_2_resolution_and_what_waits_for_it(rig):
    """Two packets to an unknown host wait for one solicitation and leave with its answer."""
    packets = [ping(dst=SERVER6, size=n) for n in (10, 20)]
    assert send(rig, WAN, *packets) == [[], [asked(SERVER6, net6.LAN6, net6.LAN)]]
    assert net6.state(rig, net6.LAN, SERVER6) == "SEND"
    answer = advertisement(SERVER6, SERVER_MAC, dst=net6.LAN6, to=MACS[1])
    sent = send(rig, net6.LAN, answer)
    assert sent[0] == [] and len(sent[1]) == 2
    for frame, packet in zip(sent[1], packets, strict=True):
        expected = packet.copy()
        expected[IPv6].hlim -= 1
        expected.src, expected.dst = MACS[1], SERVER_MAC
        assert frame == bytes(expected)
    assert net6.state(rig, net6.LAN, SERVER6) == "REACHABLE"


def test_rfc4861_7_2_2_nobody_answers(rig):
    rig.apply("neigh.set", addr=CLIENT6, dev=WAN, mac=CLIENT_MAC)
    about = ping(dst=SERVER6)
    send(rig, WAN, about)
    assert wait(rig, 2900)[1] == [asked(SERVER6, net6.LAN6, net6.LAN)] * 2  # one each second
    about[IPv6].hlim -= 1
    quoted = Raw(bytes(about[IPv6]))
    error = IPv6(src=WAN6, dst=CLIENT6, hlim=64) / ICMPv6DestUnreach(code=3) / quoted
    frame = bytes(Ether(src=MACS[0], dst=CLIENT_MAC) / error)
    assert frame in wait(rig, 300)[0]
    assert rig.drops() == {"neigh_failed": 1}
    assert net6.state(rig, net6.LAN, SERVER6) == "NONE"


def test_rfc4861_7_3_3_a_silent_neighbour_is_probed_by_unicast(rig):
    send(rig, net6.LAN, advertisement(SERVER6, SERVER_MAC, dst=net6.LAN6, to=MACS[1]))
    assert net6.entry(rig, net6.LAN, SERVER6) is None  # 7.2.5: nobody asked
    rig.apply("neigh.set", addr=SERVER6, dev=net6.LAN, mac=SERVER_MAC)
    wait(rig, 2100)
    sent = send(rig, WAN, ping(dst=SERVER6))[1]
    probe = bytes(
        Ether(src=MACS[1], dst=SERVER_MAC)
        / IPv6(src=net6.LAN6, dst=SERVER6, hlim=255)
        / ICMPv6ND_NS(tgt=SERVER6)
        / ICMPv6NDOptSrcLLAddr(lladdr=MACS[1])
    )
    assert sent[1:] + wait(rig, 200)[1] == [probe]
    assert net6.state(rig, net6.LAN, SERVER6) == "DELAY"
    answer = advertisement(SERVER6, SERVER_MAC, override=0, option=False, dst=net6.LAN6, to=MACS[1])
    send(rig, net6.LAN, answer)
    assert net6.state(rig, net6.LAN, SERVER6) == "REACHABLE"


ADOPTED = [
    # (solicited, override, option) -> (MAC, state) of a REACHABLE neighbour, used just now:
    # what RFC 4861 calls STALE is asked again at once, so it shows as DELAY
    ((1, 1, OTHER_MAC), (OTHER_MAC, "REACHABLE")),
    ((0, 1, OTHER_MAC), (OTHER_MAC, "DELAY")),
    ((1, 0, OTHER_MAC), (CLIENT_MAC, "DELAY")),
    ((0, 0, OTHER_MAC), (CLIENT_MAC, "DELAY")),
    ((1, 0, False), (CLIENT_MAC, "REACHABLE")),
    ((0, 1, CLIENT_MAC), (CLIENT_MAC, "REACHABLE")),
]


@pytest.mark.parametrize(("flags", "expected"), ADOPTED)
def test_rfc4861_7_2_5_what_an_advertisement_changes(rig, flags, expected):
    solicited, override, option = flags
    rig.apply("neigh.set", addr=CLIENT6, dev=WAN, mac=CLIENT_MAC)
    where = {} if solicited else {"dst": ALL_NODES, "to": ALL_MAC}
    mac = option or CLIENT_MAC
    message = advertisement(CLIENT6, mac, solicited, override, option=option and True, **where)
    send(rig, WAN, message)
    assert (net6.mac_of(rig, WAN, CLIENT6), net6.state(rig, WAN, CLIENT6)) == expected


ANSWERS = [
    # workers, keywords of the advertisement: whether a neighbour that nobody knew is one now
    (2, {}, True),
    (1, {}, False),  # RFC 4861 7.2.5: we asked nothing
    (2, {"solicited": 0}, False),
    (2, {"solicited": 0, "dst": ALL_NODES, "to": ALL_MAC}, False),
    (2, {"option": False}, False),
]


@pytest.mark.parametrize(("workers", "words_", "taken"), ANSWERS)
def test_an_answer_that_another_worker_waits_for_is_passed_on(workers, words_, taken):
    """The card brings answers to any worker's queue, as a rule to one that asked nothing."""
    rig = net6.network(workers=workers)
    drain(rig.stack.events)
    send(rig, WAN, advertisement(CLIENT6, CLIENT_MAC, **words_))
    assert (net6.state(rig, WAN, CLIENT6) == "REACHABLE") == taken
    heard = [event_body(*event) for event in drain(rig.stack.events)]
    assert heard == ([{"addr": CLIENT6, "mac": CLIENT_MAC, "dev": WAN}] if taken else [])


def test_a_static_neighbour_is_nobodys_to_change(rig):
    rig.apply("neigh.set", addr=CLIENT6, dev=WAN, mac=CLIENT_MAC, static=True)
    send(rig, WAN, advertisement(CLIENT6, OTHER_MAC))
    send(rig, WAN, solicitation(WAN6, mac=OTHER_MAC))
    assert net6.mac_of(rig, WAN, CLIENT6) == CLIENT_MAC


NEW = "2001:db8:1::50"


def add(rig, check=True):
    rig.apply("addr.set", addr=NEW, dev=WAN, plen=64, check=check)
    rig.apply("route.set", dst=NEW, plen=128, kind="local", dev=WAN)
    return net6.at(rig)


PROBE = bytes(
    Ether(src=MACS[0], dst="33:33:ff:00:00:50")
    / IPv6(src="::", dst="ff02::1:ff00:50", hlim=255)
    / ICMPv6ND_NS(tgt=NEW)
)


def test_rfc4862_5_4_2_a_new_address_is_probed_then_announced(rig):
    assert add(rig)[0] == [PROBE]
    # RFC 4429 3.3: meanwhile it works, but overrides nobody
    answer = told(NEW, CLIENT6, CLIENT_MAC, (1, 0))
    assert send(rig, WAN, solicitation(NEW))[0] == [answer]
    assert wait(rig, 950)[0] == []
    assert wait(rig, 200)[0] == [told(NEW, ALL_NODES, ALL_MAC, (0, 1))]
    assert send(rig, WAN, solicitation(NEW))[0] == [told(NEW, CLIENT6, CLIENT_MAC, (1, 1))]
    assert wait(rig, 3000)[0] == []
    assert ADDRESS6_DUPLICATE not in [event[0] for event in events(rig)]


def test_rfc4861_7_2_6_an_old_address_is_announced_at_once(rig):
    assert add(rig, check=False)[0] == [told(NEW, ALL_NODES, ALL_MAC, (0, 1))]
    rig.apply("announce", addr=NEW, dev=0)
    assert net6.at(rig)[0] == [told(NEW, ALL_NODES, ALL_MAC, (0, 1))]


@pytest.mark.parametrize(
    "claim",
    [
        solicitation(NEW, src="::", option=False, mac=OTHER_MAC),
        advertisement(NEW, OTHER_MAC, solicited=0, dst=ALL_NODES, to=ALL_MAC),
    ],
    ids=["5_4_3_another_probes", "5_4_4_another_has_it"],
)
@pytest.mark.parametrize("early", [True, False])
def test_rfc4862_duplicates_are_noticed(rig, claim, early):
    if early:  # the answer comes before the record of the local route
        rig.apply("addr.set", addr=NEW, dev=WAN, plen=64, check=True)
        net6.at(rig)
    else:
        add(rig)
    assert send(rig, WAN, claim)[0] == []
    assert events(rig) == [(ADDRESS6_DUPLICATE, NEW, OTHER_MAC, WAN)]
    assert wait(rig, 2000)[0] == []  # and it is never announced
    assert rig.drops() == {"nd_sender": 1}


def test_rfc4862_5_4_3_our_address_is_defended(rig):
    """The original leaves such probes unanswered."""
    claim = solicitation(WAN6, src="::", option=False, mac=OTHER_MAC)
    assert send(rig, WAN, claim)[0] == [told(WAN6, ALL_NODES, ALL_MAC, (0, 1))]
    send(rig, WAN, advertisement(WAN6, OTHER_MAC, solicited=0, dst=ALL_NODES, to=ALL_MAC))
    send(rig, WAN, solicitation(VIP6, src=WAN6, mac=OTHER_MAC))
    assert events(rig) == [(ADDRESS6_CONFLICT, WAN6, OTHER_MAC, WAN)] * 2


def test_a_removed_address_is_not_announced(rig):
    add(rig)
    rig.apply("addr.del", addr=NEW, dev=WAN)
    assert wait(rig, 2000)[0] == []


def test_more_addresses_than_can_be_checked_at_once_are_announced(rig):
    sent = []
    for i in range(260):
        rig.apply("addr.set", addr=f"2001:db8:1::1:{i:x}", dev=WAN, plen=64, check=True)
        sent += net6.at(rig)[0]
    kinds = [frame[54] for frame in sent]
    assert (kinds.count(135), kinds.count(136)) == (256, 4)
    assert len(wait(rig, 1200)[0]) == 256


def test_link_local_neighbours_are_asked_from_our_link_local_address(rig):
    peer = link_local(CLIENT_MAC)
    reply = send(rig, WAN, ping(src=peer, dst=OURS[0]))[0]
    assert reply == [asked(peer, OURS[0])]
    got = send(rig, WAN, advertisement(peer, CLIENT_MAC, dst=OURS[0]))[0]
    assert len(got) == 1 and IPv6(got[0][14:]).dst == peer


def test_the_second_worker_learns_but_does_not_announce():
    rig = net6.network(index=1, workers=2)
    rig.apply("addr.set", addr=NEW, dev=WAN, plen=64, check=True)
    assert wait(rig, 1500) == [[], []]


def test_what_operator_and_master_are_told(rig):
    """Rows of `dpip neigh show`, and the texts of events, of both families."""
    rig.apply("neigh.set", addr=CLIENT6, dev=WAN, mac=CLIENT_MAC, static=True)
    rig.apply("neigh.set", addr="198.18.0.9", dev=WAN, mac=OTHER_MAC)
    send(rig, WAN, ping(dst=SERVER6))
    rows = [tuple(row.values()) for row in listing.neighbours(rig.address)]
    assert rows == [
        (CLIENT6, WAN, CLIENT_MAC, "REACHABLE", True),
        ("198.18.0.9", WAN, OTHER_MAC, "REACHABLE", False),
        (SERVER6, net6.LAN, None, "SEND", False),
    ]
    mac = int.from_bytes(bytes.fromhex(CLIENT_MAC.replace(":", "")), "little")
    four = event_body(NEIGHBOUR_LEARNT, 0xC6120009, mac, 3)
    assert four == {"addr": "198.18.0.9", "mac": CLIENT_MAC, "dev": 3}
    six = event_body(NEIGHBOUR6_LEARNT, *words(SERVER6), mac | 3 << 48)
    assert six == {"addr": SERVER6, "mac": CLIENT_MAC, "dev": 3}
