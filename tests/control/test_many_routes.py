"""Sources chosen for very many routes at once, and the rows that say so to the workers."""

from __future__ import annotations

import ctypes
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from control_fakes import Master, Replica, add, delete
from hypothesis import given
from hypothesis import strategies as st

from ipvs.route_rows import ROW_SIZE, RouteRowStruct
from tools.control import route_control
from tools.control.addresses import InterfaceAddress, best_source
from tools.control.inettypes import network_of
from tools.control.route_rows import RouteRows
from tools.control.routes import GATEWAY, LINK, Route


def near(version, base):
    """Addresses that share prefixes of many lengths with each other, and some that do not."""
    width, kind = (32, IPv4Address) if version == 4 else (128, IPv6Address)
    flips = st.lists(st.integers(0, width - 1), max_size=3)
    return st.tuples(st.sampled_from(base), flips).map(
        lambda made: kind(int(ip_address(made[0])) ^ sum({1 << bit for bit in made[1]}))
    )


ADDRESSES = {
    4: near(4, ["198.18.0.1", "198.18.255.1", "203.0.113.9"]),
    6: near(6, ["2001:db8::1", "2001:db8:0:1::1", "fe80::1", "8000::"]),
}


@st.composite
def worlds(draw):
    """(IP version, addresses in order, those of them that gateways' routes may use, routes)."""
    version = draw(st.sampled_from([4, 6]))
    some, full = ADDRESSES[version], 32 if version == 4 else 128
    plens = st.integers(0, full)
    entries = draw(st.lists(st.tuples(some, plens), min_size=1, max_size=6, unique=True))
    entries = [InterfaceAddress(address, plen, 0) for address, plen in entries]
    wide = [entry for entry in entries if draw(st.booleans())]
    routes = []
    for _ in range(draw(st.integers(1, 8))):
        plen, dev = draw(plens), draw(st.sampled_from([0, 0, 0, 1]))
        via, src = draw(st.none() | some), draw(st.none() | st.none() | some)
        routes.append(Route(network_of(draw(some), plen), plen, dev, via=via, src=src))
    return version, entries, wide, routes


def wanted(route, usable):
    """What the rows must say, by the rule for one route."""
    if route.src is not None or route.dev != 0:
        return route.src
    target = route.via if route.via is not None and route.dst.version == 4 else route.dst
    return best_source(usable[route.kind], target)


@given(worlds())
def test_sources_are_those_of_the_rule_for_one(world):
    version, entries, wide, routes = world
    rows = RouteRows(version)
    for route in routes:
        rows.put(route, route.src, 1500)

    def chosen(more, **known):
        usable = {LINK: more, GATEWAY: [entry for entry in more if entry in wide]}
        before = [rows.route(slot)[1] for slot in range(len(rows))]
        changed = set(rows.choose(0, usable, **known).tolist())
        after = [rows.route(slot)[1] for slot in range(len(rows))]
        assert after == [wanted(route, usable) for route in routes]
        assert changed == {
            slot for slot, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]
        }

    chosen(entries[:-1])
    chosen(entries, fresh=entries[-1])
    present = list(entries)
    for entry in entries[::2]:
        present.remove(entry)
        chosen(present, gone=entry.address)
    chosen(entries)


@pytest.mark.parametrize("version", [4, 6])
def test_rows_lie_as_the_workers_read_them(version):
    """Also after rows have moved, when others were taken out or there are many."""
    rows, kind = RouteRows(version), {4: IPv4Address, 6: IPv6Address}[version]
    top = 198 << 24 if version == 4 else 0x20010DB8 << 96
    step = 8 if version == 4 else 64

    def address(number):
        return kind(top + number)

    routes = [
        Route(address(i << step), 24 if version == 4 else 64, 3,
              via=address(i + 1) if i % 2 else None)
        for i in range(300)
    ]  # fmt: skip
    for number, route in enumerate(routes):
        rows.put(route, address(number + 7) if number % 3 else None, 1300)
    for route in routes[:150:2]:
        rows.drop(route)
        rows.drop(route)
    left = {route.dst: number for number, route in enumerate(routes) if route.slot >= 0}
    for number in left.values():
        rows.put(routes[number], address(number + 7) if number % 3 else None, 1400)
    raw = b"".join(body["rows"] for _, body in rows.records("routes.set"))
    assert len(raw) == len(left) * ROW_SIZE == len(rows) * ROW_SIZE
    for at in range(0, len(raw), ROW_SIZE):
        row = RouteRowStruct.from_buffer_copy(raw, at)
        words = [row.high, row.low, row.gateway_high, row.gateway_low]
        words += [row.source_high, row.source_low]
        if version == 4:
            assert words[0::2] == [0, 0, 0]
            dst, via, source = words[1::2]
        else:
            halves = [(word & (1 << 64) - 1).to_bytes(8, "little") for word in words]
            dst, via, source = (int.from_bytes(halves[i] + halves[i + 1], "big") for i in (0, 2, 4))
        number = left.pop(kind(dst))
        route = routes[number]
        assert via == (int(route.via) if route.via else 0)
        assert source == (int(address(number + 7)) if number % 3 else 0)
        assert (row.length, row.port, row.mtu) == (route.plen, 3, 1400)
        assert row.kind == (3 if route.via else 2)
    assert left == {} and ctypes.sizeof(RouteRowStruct) == 56


@pytest.mark.parametrize("version", [4, 6])
def test_an_address_touches_only_what_depends_on_it(version):
    master = Master()
    own, other, more, via, net = {
        4: ("198.18.0.1/24", "198.18.9.1/24", "198.18.0.2/24", "198.18.0.254", "10.{}.{}.0/24"),
        6: ("2001:db8::1/64", "2001:db8:9::1/64", "2001:db8::2/64", "2001:db8::fe",
            "2001:db8:1:{:x}{:02x}::/64"),
    }[version]  # fmt: skip
    replica = Replica()
    add(master, own)
    for number in range(1, 1501):
        dst = net.format(number >> 8, number & 255)
        master.ok("route.add", dst=dst, via=via, dev="dpdk0")
    replica.apply(master.published.take())

    def sources():
        records = master.published.take()
        replica.apply(records)
        told = Replica().apply(master.state.snapshot())
        assert replica.tables["route"] == told.tables["route"]
        rows = replica.tables["route"].values()
        return len(records), {row["src"] for row in rows if row["kind"] == "gateway"}

    add(master, other, dev="dpdk1")
    assert sources() == (3, {own[:-3]})
    add(master, more)
    # The address, its own route, and two messages of at most 1,024 rows.
    assert sources() == (4, {more[:-3]})
    delete(master, more)
    count, left = sources()
    assert left == {own[:-3]} and count < 6
    delete(master, other, dev="dpdk1")
    assert sources()[1] == {own[:-3]}


@pytest.mark.parametrize("few", [0, 100])
def test_a_lost_source_of_many_routes(monkeypatch, few):
    """Routes with a source of the operator's go on with a chosen one, in bulk or one by one."""
    monkeypatch.setattr(route_control, "_FEW", few)
    master = Master()
    add(master, "198.18.0.1/24")
    add(master, "203.0.113.1/32", dev="dpdk1")
    for number in range(90):
        master.ok("route.add", dst=f"10.0.{number}.0/24", via="198.18.0.254", src="203.0.113.1")
    replica = Replica().apply(master.published.take())
    delete(master, "203.0.113.1/32", dev="dpdk1")
    records = master.published.take()
    assert ("routes.set" in [kind for kind, _ in records]) == (few == 0)
    replica.apply(records)
    assert {r["src"] for r in replica.tables["route"].values() if r["via"]} == {"198.18.0.1"}
    # Known again as sources of nobody: the address may come and go.
    add(master, "203.0.113.1/32", dev="dpdk1")
    delete(master, "203.0.113.1/32", dev="dpdk1")
    replica.apply(master.published.take())
    assert replica.view() == Replica().apply(master.state.snapshot()).view()
