"""Replication records: bad ones change nothing, snapshots remove what they do not mention."""

from __future__ import annotations

import contextlib
import ctypes
import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipvs.apply import ApplyError
from ipvs.dest import DEST_SIZE, MAX_DESTS, Dest
from ipvs.laddr import LADDR_SIZE, MAX_LADDRS, Laddr
from ipvs.service import MAX_SERVICES, ServiceTableStruct
from stack import neigh, route
from tests import oracle
from tests.rig import Rig
from tests.topology import GATEWAY_MAC, VIP, WAN_MAC, dest, network, service

GOOD = {
    "dev.set": {"id": 0, "mac": "02:00:00:00:00:77", "mtu": 9000, "up": True},
    "addr.set": {"addr": "198.18.0.9", "plen": 32, "dev": 0, "sapool": False},
    "addr.del": {"addr": "198.18.0.9", "plen": 32, "dev": 0},
    "route.set": {"dst": "203.0.114.0", "plen": 24, "kind": "link", "dev": 0},
    "route.del": {"dst": "198.18.0.0", "plen": 24, "dev": 0},
    "neigh.set": {"addr": "198.18.0.9", "dev": 0, "mac": "02:00:00:00:00:99", "static": True},
    "neigh.del": {"addr": "198.18.0.254", "dev": 0},
    "laddr.set": {"id": 5, "addr": "198.19.0.205", "dev": 1},
    "laddr.del": {"id": 0},
    "svc.set": {
        "id": 1, "af": "inet", "proto": "udp", "addr": VIP, "port": 53, "sched": "wlc",
        "flags": [], "conn_timeout": 0, "persistent": 0, "laddrs": [0], "dests": [dest(9)],
    },
    "svc.del": {"id": 0},
    "param.set": {"xmit_ttl": 1},
}  # fmt: skip
BAD = {
    "unknown kind": ("what.set", {}),
    "device beyond": ("dev.set", {"id": 2}),
    "device negative": ("dev.set", {"id": -1}),
    "device MAC": ("dev.set", {"mac": "02:00:00:00:00"}),
    "device MAC text": ("dev.set", {"mac": "zz:00:00:00:00:01"}),
    "device MTU": ("dev.set", {"mtu": 70000}),
    "address": ("addr.set", {"addr": "198.18.0.300"}),
    "address device": ("addr.set", {"dev": 7}),
    "address device negative": ("addr.set", {"dev": -1}),
    "route address": ("route.set", {"dst": "::g"}),
    "route of two families": ("route.set", {"via": "2001:db8::1"}),
    "IPv6 route length": ("route.set", {"dst": "2001:db8::", "plen": 129}),
    "IPv6 address with zone": ("addr.set", {"addr": "fe80::1%dpdk0"}),
    "route device": ("route.set", {"dev": 16}),
    "route device negative": ("route.set", {"dev": -1}),
    "route kind": ("route.set", {"kind": "tunnel"}),
    "route gateway": ("route.set", {"via": "nowhere"}),
    "route source": ("route.set", {"src": "1.2.3"}),
    "route length": ("route.set", {"plen": 33}),
    "route length negative": ("route.set", {"plen": -1}),
    "route length text": ("route.set", {"plen": "24"}),
    "route removal address": ("route.del", {"dst": ""}),
    "route removal length": ("route.del", {"plen": 99}),
    "neighbour address": ("neigh.set", {"addr": "x"}),
    "neighbour MAC": ("neigh.set", {"mac": "02:00"}),
    "neighbour MAC text": ("neigh.set", {"mac": "hello"}),
    "neighbour device": ("neigh.set", {"dev": 2}),
    "neighbour device negative": ("neigh.set", {"dev": -1}),
    "neighbour removal": ("neigh.del", {"addr": "1.2.3.4.5"}),
    "local address id": ("laddr.set", {"id": MAX_LADDRS}),
    "local address id negative": ("laddr.set", {"id": -1}),
    "local address": ("laddr.set", {"addr": "?"}),
    "local address device": ("laddr.set", {"dev": 99}),
    "service id": ("svc.set", {"id": MAX_SERVICES}),
    "service id negative": ("svc.set", {"id": -1}),
    "service address": ("svc.set", {"addr": "::"}),
    "service port": ("svc.set", {"port": 65536}),
    "service protocol": ("svc.set", {"proto": "dccp"}),
    "service scheduler": ("svc.set", {"sched": "best"}),
    "service local address": ("svc.set", {"laddrs": [MAX_LADDRS]}),
    "server id": ("svc.set", {"dests": [dest(0), dest(1) | {"id": MAX_DESTS}]}),
    "server id negative": ("svc.set", {"dests": [dest(0) | {"id": -1}]}),
    "server address": ("svc.set", {"dests": [dest(0, weight=7), dest(1, addr="?")]}),
    "server mode": ("svc.set", {"dests": [dest(0, weight=7), dest(1, mode="?")]}),
    "server port": ("svc.set", {"dests": [dest(0, weight=7), dest(1, port=-1)]}),
    "server weight": ("svc.set", {"dests": [dest(0, weight=7), dest(1, weight="heavy")]}),
    "service removal": ("svc.del", {"id": MAX_SERVICES}),
    "timeout": ("param.set", {"tcp_timeouts": {"close": "soon"}, "xmit_ttl": 1}),
    "parameter": ("param.set", {"xmit_ttl": 1, "neigh_timeout": "long"}),
}


@functools.cache
def rig():
    made = network(Rig())
    service(made, [dest(0), dest(1)])
    return made


def picture(r):
    """Everything records can change, as bytes; and what the applier remembers of it."""
    w = r.w
    table = route.RouteTable(r.stack.routes)
    routes = [
        ctypes.string_at(found, route.ROUTE_SIZE)
        for length in range(33)
        for prefix in (0, 0xC6120000, 0xC6120001, 0xC6130000, 0xC61300C8, 0xCB007200)
        if (found := route.find_exact(r.stack.routes, prefix, length))
    ]
    return (
        routes,
        (table.count, table.lengths, r.stack.forwarding, w.xmit_ttl, w.init_timeout),
        ctypes.string_at(w.services, ctypes.sizeof(ServiceTableStruct)),
        ctypes.string_at(w.dests, 32 * DEST_SIZE),
        ctypes.string_at(w.laddrs, 16 * LADDR_SIZE),
        ctypes.string_at(w.states, 600),
        ctypes.string_at(r.stack.neighbours, neigh.ENTRIES_AT + 16 * neigh.NEIGHBOUR_SIZE),
        [(p.mac, p.mtu, p.up) for p in r.port_memory],
        dict(r.applier.known),
        dict(r.applier.pool_memory),
    )


@pytest.mark.parametrize(("kind", "changes"), BAD.values(), ids=BAD.keys())
def test_bad_record_changes_nothing(kind, changes):
    before = picture(rig())
    with pytest.raises(ApplyError) as caught:
        rig().applier.apply(kind, GOOD.get(kind, {}) | changes)
    assert str(caught.value) and "\n" not in str(caught.value)
    assert picture(rig()) == before


REQUIRED = [
    (kind, name)
    for kind, body in GOOD.items()
    for name in body
    if kind not in ("param.set", "addr.del")
    and name not in ("up", "static", "sapool", "af", "flags", "conn_timeout", "persistent")
    and (kind, name) not in (("addr.set", "plen"), ("route.del", "dev"))
]


@pytest.mark.parametrize(("kind", "name"), REQUIRED)
def test_missing_field_is_named_and_changes_nothing(kind, name):
    before = picture(rig())
    with pytest.raises(ApplyError, match=name):
        rig().applier.apply(kind, {k: v for k, v in GOOD[kind].items() if k != name})
    assert picture(rig()) == before


JUNK = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@settings(max_examples=60)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_junk_never_raises_anything_else(kind, data):
    """A rig of its own: whatever junk is acceptable may well change something."""
    body = dict(GOOD[kind])
    for name in data.draw(st.sets(st.sampled_from(sorted(body)), min_size=1)):
        body[name] = data.draw(JUNK)
    with contextlib.suppress(ApplyError):
        junk_rig().applier.apply(kind, body)


@functools.cache
def junk_rig():
    return network(Rig())


@pytest.mark.parametrize("kind", [k for k in GOOD if k != "addr.set"])
def test_applying_twice_changes_nothing_more(kind):
    r = network(Rig(now=0))
    service(r, [dest(0), dest(1)])
    r.applier.apply(kind, GOOD[kind])
    once = picture(r)
    r.applier.apply(kind, GOOD[kind])
    twice = picture(r)
    if kind == "svc.set":  # its lists of ids lie elsewhere
        assert once[3:] == twice[3:]
    else:
        assert once == twice


def syn():
    layer = oracle.segment("tcp", 1000, 80, "S")
    return oracle.frame((GATEWAY_MAC, WAN_MAC), ("203.0.113.7", VIP), layer)


def test_snapshot_removes_what_it_does_not_mention():
    r = network(Rig())
    service(r, [dest(0)])
    service(r, [dest(1)], id=1, port=81)
    r.apply("laddr.set", id=1, addr="198.19.0.201", dev=1)
    r.applier.begin_snapshot()
    network(r)
    service(r, [dest(1)], id=1, port=81)
    assert len(r.exchange(0, syn())[1]) == 1  # still there: packets flow meanwhile
    r.applier.end_snapshot()
    kinds = sorted(key[0] for key in r.applier.known)
    assert kinds == ["laddr"] + ["neigh"] * 5 + ["svc"]
    assert route.RouteTable(r.stack.routes).count == 7
    assert not Dest(r.w.dests).present and Dest(r.w.dests + DEST_SIZE).present
    assert not Laddr(r.w.laddrs + LADDR_SIZE).present and Laddr(r.w.laddrs).present
    assert len(r.exchange(0, syn())[1]) == 1  # a known connection goes on
    layer = oracle.segment("tcp", 1001, 80, "S")
    other = oracle.frame((GATEWAY_MAC, WAN_MAC), ("203.0.113.7", VIP), layer)
    assert r.exchange(0, other) == [[], []]
    assert r.drops() == {"no_service": 1}


def test_route_that_moved_to_another_port_while_the_stream_had_a_gap():
    r = network(Rig())
    r.apply("route.set", dst="203.0.114.0", plen=24, kind="link", dev=0)
    r.applier.begin_snapshot()
    network(r)
    r.apply("route.set", dst="203.0.114.0", plen=24, kind="link", dev=1)
    r.applier.end_snapshot()
    found = route.find_exact(r.stack.routes, 0xCB007200, 24)
    assert found and route.Route(found).port == 1


def test_empty_snapshot_removes_everything():
    r = network(Rig())
    service(r, [dest(0)])
    r.applier.begin_snapshot()
    r.applier.end_snapshot()
    assert r.applier.known == {}
    assert route.RouteTable(r.stack.routes).count == 0
    r.applier.end_snapshot()  # without a beginning: nothing happens


def test_snapshot_begun_twice_counts_from_the_second():
    r = network(Rig())
    r.applier.begin_snapshot()
    network(r)
    service(r, [dest(0)])
    r.applier.begin_snapshot()
    network(r)
    r.applier.end_snapshot()
    assert not any(key[0] == "svc" for key in r.applier.known)


def test_service_moves_to_another_address():
    """One id, another key: the old address answers no more."""
    r = network(Rig())
    service(r, [dest(0)])
    service(r, [dest(0)], port=8000)
    assert r.exchange(0, syn()) == [[], []]
    assert r.drops() == {"no_service": 1}
