"""Multicast listener reports and queries byte by byte against scapy: RFC 3810, 2710, 3590."""

from __future__ import annotations

import ctypes
from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6MLDMultAddrRec,
    ICMPv6MLDone,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrHopByHop,
    PadN,
    RouterAlert,
    in6_getnsma,
    in6_getnsmac,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from stack import mld_query
from stack.events import MLD_QUERIER, drain
from tests import net6
from tests.net6 import ALERT, ALL_NODES, CLIENT_MAC, LAN, OURS, WAN, link_local, query
from tests.rig import MACS, Rig
from tools.daemon.companion import event_body

IS_EX, TO_IN, TO_EX = 2, 3, 4
NEW, SAME_GROUP = "2001:db8:1::50", "2001:db8:77::50"


def group(address):
    """The solicited-node group of an address."""
    return str(IPv6Address(in6_getnsma(IPv6Address(address).packed)))


def frame(message, to, port=WAN, src=None):
    """The frame around a message of ours."""
    return bytes(
        Ether(src=MACS[port], dst=in6_getnsmac(IPv6Address(to).packed))
        / IPv6(src=OURS[port] if src is None else src, dst=to, hlim=1)
        / IPv6ExtHdrHopByHop(options=[ALERT])
        / message
    )


def report(*records, **where):
    """The MLDv2 report of (type, address) records."""
    rows = [ICMPv6MLDMultAddrRec(rtype=kind, dst=group(address)) for kind, address in records]
    return frame(ICMPv6MLReport2(records=rows, records_number=len(rows)), "ff02::16", **where)


def report1(address, **where):
    return frame(ICMPv6MLReport(mladdr=group(address)), group(address), **where)


def done1(address):
    return frame(ICMPv6MLDone(mladdr=group(address)), "ff02::2")


def add(rig, address=NEW, dev=WAN, check=False, plen=64):
    rig.apply("addr.set", addr=address, dev=dev, plen=plen, **({"check": True} if check else {}))
    return reports(rig)


def remove(rig, address=NEW, dev=WAN, **more):
    rig.apply("addr.del", addr=address, dev=dev, **more)
    return reports(rig)


def reports(rig, port=WAN, after=0):
    rig.clock += after
    return [sent for sent in rig.at(rig.clock)[port] if net6.is_report(sent)]


def hear(rig, *frames, port=WAN):
    rig.push(port, *(bytes(one) for one in frames))
    return reports(rig, port)


def later(rig, ms, port=WAN, step=50):
    """Reports of so many ms, in order."""
    return [one for _ in range(ms // step) for one in reports(rig, port, step)]


@pytest.fixture
def rig():
    """A network whose first reports are over."""
    rig = net6.network()
    later(rig, 2000)
    yield rig
    assert rig.in_flight() == 0


def test_rfc3810_6_1_a_new_group_is_reported_twice(rig):
    joined = report((TO_EX, NEW))
    assert add(rig) == [joined]
    assert later(rig, 1050) == [joined]
    assert later(rig, 5000) == []
    assert add(rig, SAME_GROUP) == add(rig) == []  # known: the group has a member already


def test_rfc3810_6_1_leaving(rig):
    left = report((TO_IN, NEW))
    add(rig)
    assert remove(rig) == [left]  # instead of the second report of having joined
    assert later(rig, 1050) == [left]
    assert later(rig, 5000) == [] == remove(rig)
    add(rig)
    remove(rig)
    assert add(rig) == [report((TO_EX, NEW))] == later(rig, 1050)


def test_a_group_is_left_with_its_last_address(rig):
    add(rig)
    add(rig, plen=128)
    add(rig, SAME_GROUP)
    later(rig, 1050)
    assert remove(rig, plen=64) == remove(rig, SAME_GROUP, plen=64) == []
    assert remove(rig, plen=128) == [report((TO_IN, NEW))]


def test_addresses_that_a_snapshot_lacks(rig):
    add(rig)
    add(rig, plen=128)
    later(rig, 1050)
    rig.applier.begin_snapshot()
    add(rig, OURS[0])
    rig.applier.end_snapshot()
    assert reports(rig) == [report((TO_IN, NEW))]


def test_rfc4862_5_4_2_the_report_comes_before_the_probe():
    rig = Rig(now=net6.START)
    rig.clock = net6.START
    rig.apply("addr.set", addr=NEW, dev=WAN, plen=64, check=True)
    nameless = report((TO_EX, NEW), src="::")
    first, second = rig.at(rig.clock)[WAN]
    assert first == nameless and ICMPv6ND_NS in Ether(second)
    # RFC 3590 4: what was said from :: is said again, once there is an address that was checked
    assert add(rig, OURS[0], check=True) == [report((TO_EX, OURS[0]), src="::")]
    before = later(rig, 950)
    both = {nameless, report((TO_EX, OURS[0]), src="::"),
            report((TO_EX, NEW), (TO_EX, OURS[0]), src="::")}  # fmt: skip
    assert before and set(before) <= both
    after = later(rig, 1200)
    assert after[0] == report((TO_EX, NEW), (TO_EX, OURS[0]))
    assert all(IPv6(one[14:]).src == OURS[0] for one in after)


def test_link_up_and_the_querys_robustness(rig):
    rig.apply("link.up", dev=WAN)
    ours = report((TO_EX, OURS[0]))
    assert reports(rig) + later(rig, 3000) == [ours] * 2
    hear(rig, query(QRV=4, mrd=1))
    later(rig, 100)
    rig.apply("link.up", dev=WAN)
    assert reports(rig) + later(rig, 5000) == [ours] * 4
    assert hear(rig, query(QRV=0, mrd=1)) + later(rig, 100) == [report((IS_EX, OURS[0]))]
    rig.apply("link.up", dev=WAN)
    assert reports(rig) + later(rig, 5000) == [ours] * 2


def test_rfc3810_6_2_general_query(rig):
    add(rig)
    add(rig, net6.LAN6, dev=LAN)
    later(rig, 1050)
    both = report((IS_EX, OURS[0]), (IS_EX, NEW))
    moments = []
    for _ in range(8):
        assert hear(rig, query(mrd=4000)) == []
        ticks = [reports(rig, after=50) for _ in range(81)]
        assert [one for tick in ticks for one in tick] == [both]
        moments.append(ticks.index([both]))
    assert len(set(moments)) > 3 and max(moments) - min(moments) > 10
    assert rig.drops() == {"mld_done": 8}


def test_rfc3810_6_2_group_queries(rig):
    add(rig)
    later(rig, 1050)
    answer = [report((IS_EX, NEW))]
    router = link_local(CLIENT_MAC)
    for asked in (
        query(group(NEW), mrd=100),
        query(group(NEW), mrd=100, sources=[router], sources_number=1),
        query(group(NEW), mrd=100, dst=NEW, to=MACS[WAN]),  # RFC 3810 5.1.15
    ):
        rig.apply("route.set", dst=NEW, plen=128, kind="local", dev=WAN)
        assert hear(rig, asked) + later(rig, 200) == answer
    for other in ("2001:db8::1234", "2001:db8::5678"):
        assert hear(rig, query(group(other), mrd=1)) + later(rig, 200) == []
    assert hear(rig, query("ff05::2", mrd=1, dst=ALL_NODES)) + later(rig, 200) == []
    assert rig.drops() == {"mld_done": 6}


def test_rfc3810_6_2_earlier_answers_serve_later_queries(rig):
    hear(rig, query(mrd=0x7FFF))
    assert hear(rig, query(mrd=1)) + later(rig, 100) == [report((IS_EX, OURS[0]))]
    assert later(rig, 40_000) == []
    hear(rig, query(mrd=1000))
    hear(rig, query(mrd=0x7FFF))
    assert later(rig, 1100) == [report((IS_EX, OURS[0]))]


def test_many_groups_take_several_reports(rig):
    addresses = [OURS[0], *(f"2001:db8:1::1:{i:x}" for i in range(130))]
    for address in addresses[1:]:
        add(rig, address)
    later(rig, 1050)
    sent = hear(rig, query(mrd=1)) + later(rig, 100)
    expected = [(IS_EX, address) for address in addresses]
    assert sent == [report(*expected[at : at + 61]) for at in (0, 61, 122)]
    assert max(map(len, sent)) <= 14 + 1280


def test_rfc3810_8_2_1_version_1(rig):
    add(rig)
    later(rig, 1050)
    assert hear(rig, query(v1=True, mrd=500)) == []
    answers = later(rig, 600)
    assert sorted(answers) == sorted([report1(OURS[0]), report1(NEW)])
    assert hear(rig, query(mrd=100)) + later(rig, 200)  # of another router: still version 1
    assert hear(rig, query(group(NEW), v1=True, mrd=100)) + later(rig, 200) == [report1(NEW)]
    assert add(rig, "2001:db8:1::51") + later(rig, 3000) == [report1("2001:db8:1::51")] * 2
    assert remove(rig) + later(rig, 3000) == [done1(NEW)]
    later(rig, 262_000, step=1000)
    assert add(rig) == [report((TO_EX, NEW))]


def test_rfc3810_8_2_1_a_change_of_version_cancels_what_was_planned(rig):
    add(rig)
    later(rig, 1050)
    hear(rig, query(mrd=10_000))
    remove(rig)
    assert hear(rig, query("ff02::1:ff00:9", v1=True, mrd=0)) == []
    assert later(rig, 11_000) == []
    assert add(rig) == [report1(NEW)]


def test_every_worker_answers_one_reports_changes():
    rig = net6.network(index=1, workers=2)
    drain(rig.stack.events)
    assert add(rig) + later(rig, 2000) + remove(rig) + later(rig, 2000) == []
    assert hear(rig, query(mrd=1)) + later(rig, 100) == [report((IS_EX, OURS[0]))]
    assert drain(rig.stack.events) == []  # what is usual is not worth telling
    hear(rig, query(v1=True, mrd=1), query(v1=True, mrd=1))
    hear(rig, query(QRV=5))
    heard = [event_body(*event) for event in drain(rig.stack.events) if event[0] == MLD_QUERIER]
    assert heard == [
        {"dev": WAN, "v1": 1, "robustness": 2}, {"dev": WAN, "v1": 0, "robustness": 5}
    ]  # fmt: skip
    first = net6.network(workers=2)
    later(first, 2000)
    for body in heard:
        first.apply("mld.querier", **body)
    assert add(first) + later(first, 6000) == [report1(NEW)] * 5
    rig.clock += 6000
    hear(rig, query(v1=True, mrd=1))
    assert [event[0] for event in drain(rig.stack.events)] == [MLD_QUERIER]  # it is still there


BAD = {
    "5_1_14_from_nobody": ("mld_sender", query(src="::")),
    "5_1_14_from_off_the_link": ("mld_sender", query(src="2001:db8:1::fe")),
    "6_2_hop_limit": ("mld_hop_limit", query(hlim=64)),
    "6_2_no_option": ("mld_alert", query(option=PadN(optdata=bytes(4)))),
    "6_2_no_header": ("mld_alert", query(option=None)),
    "rfc2711_2_1_alert_for_others": ("mld_alert", query(option=RouterAlert(value=1))),
    "6_2_group_that_is_none": ("mld_format", query("2001:db8::1", dst=ALL_NODES)),
    "8_1_length_between_the_versions": ("mld_format", query(v1=True) / Raw(bytes(3))),
    "5_1_10_fewer_sources_than_it_says": ("mld_format", query(sources_number=2, sources=["::1"])),
    "5_1_2_code": ("mld_format", query(code=7)),
    "done_of_another": (
        "mld_other",
        net6.frame(IPv6ExtHdrHopByHop(options=[ALERT]) / ICMPv6MLDone(mladdr="ff02::1:ff00:1")),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_queries(rig, name):
    reason, sent = BAD[name]
    assert hear(rig, sent) == []
    assert later(rig, 12_000) == []
    assert rig.drops() == {reason: 1}


@settings(max_examples=50)
@given(st.integers(0, 0xFFFF))
def test_rfc3810_5_1_3_maximum_response_code(code):
    raw = bytes(query())
    memory = bytearray(raw[62:66] + code.to_bytes(2, "big") + bytes(2))
    at = address_of(memory)
    exponent, mantissa = code >> 12 & 7, code & 0xFFF
    expected = code if code < 0x8000 else (mantissa | 0x1000) << (exponent + 3)
    assert mld_query.longest_delay(at, 28) == expected
    assert mld_query.longest_delay(at, 24) == code


def address_of(memory):
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


# Few addresses, two to a group, so that they meet.
ADDRESSES = st.sampled_from([f"2001:db8:{net}::{host}" for net in (1, 2) for host in (5, 6, 7)])
STEPS = st.lists(st.tuples(st.booleans(), ADDRESSES, st.sampled_from([0, 50, 1000])), max_size=20)


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_what_is_answered_is_what_is_there(steps):
    rig = net6.network()
    there = {OURS[0]}
    for new, address, pause in steps:
        if new:
            add(rig, address)
            there.add(address)
        else:
            remove(rig, address, plen=64)
            there.discard(address)
        later(rig, pause)
    later(rig, 3000)
    (answer,) = hear(rig, query(mrd=1)) + later(rig, 100)
    records = answer[70:]
    rows = [str(IPv6Address(records[at + 4 : at + 20])) for at in range(0, len(records), 20)]
    assert sorted(rows) == sorted({group(address) for address in there})
    assert rig.drops() == {"mld_done": 1}
