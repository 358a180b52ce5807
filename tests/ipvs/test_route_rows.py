"""Thousands of routes in one record: all of a record's or none, in steps, and after snapshots."""

from __future__ import annotations

import ctypes
import random
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest

from ipvs.apply import ApplyError
from ipvs.route_rows import ROWS_PER_STEP
from stack import route, route6
from tests.polled import Polled
from tests.rig import Rig
from tests.routes_in import routes_in
from tests.topology import network

FULL = {4: 32, 6: 128}
KIND = {4: IPv4Address, 6: IPv6Address}


def words(version, number):
    return number.to_bytes(16, "big") if version == 6 else struct.pack("<qq", 0, number)


def row(version, dst, plen, via=0, src=0, kind=3, dev=0, mtu=1500):
    """One route as the master writes it."""
    three = (words(version, number) for number in (dst, via, src))
    return struct.pack("<16s16s16sBBHHH", *three, plen, kind, dev, mtu, 0)


def told(version, routes):
    """The bulk record of routes {(dst, plen): (via, src, kind, dev, mtu)}."""
    rows = b"".join(row(version, *key, *way) for key, way in routes.items())
    return {"version": version, "rows": rows}


def some_routes(rng, version, count):
    """Routes of all lengths that nest in each other."""
    full, made = FULL[version], {}
    top = 198 << 24 if version == 4 else 0x20010DB8 << 96
    while len(made) < count:
        plen = rng.randint(9, full)
        dst = top | rng.getrandbits(full - 8) & rng.getrandbits(full - 8)
        dst = dst >> (full - plen) << (full - plen)
        via = rng.choice([0, top + rng.randint(1, 200)])
        way = (
            via,
            rng.choice([0, top + 1]),
            3 if via else 2,
            rng.randint(0, 1),
            rng.choice([0, 1400]),
        )
        made[dst, plen] = way
    return made


def longest(version, routes, address):
    full = FULL[version]
    hits = [
        (plen, way) for (dst, plen), way in routes.items()
        if address >> (full - plen) == dst >> (full - plen)
    ]  # fmt: skip
    return max(hits)[1][4] if hits else None


@pytest.mark.parametrize("version", [4, 6])
def test_thousands_of_routes_come_change_and_go(version):
    rng, rig = random.Random(version), Rig()
    routes = some_routes(rng, version, 2500)
    rig.apply("routes.set", **told(version, routes))
    assert routes_in(rig, version) == routes
    generation = rig.stack.generation
    rig.apply("routes.set", **told(version, routes))  # nothing new: no next hop is looked up again
    assert rig.stack.generation == generation and routes_in(rig, version) == routes
    for address in [dst for dst, _ in routes][:30]:
        if version == 4:
            found = route.lookup(rig.stack.routes, address)
            mtu = route.Route(found).mtu
        else:
            raw = struct.unpack("<qq", address.to_bytes(16, "big"))
            mtu = route6.Route6(route6.lookup6(rig.stack.routes6, *raw)).mtu
        assert mtu == longest(version, routes, address)
    changed = {key: (7, 9, 3, 1, 1300) for key in rng.sample(sorted(routes), 300)}
    gone = rng.sample(sorted(set(routes) - set(changed)), 700)
    rig.apply("routes.set", **told(version, changed))
    assert rig.stack.generation > generation
    absent = {(0, 0): (0, 0, 2, 0, 0)}
    rig.apply("routes.del", **told(version, {key: routes[key] for key in gone} | absent))
    left = {key: way for key, way in (routes | changed).items() if key not in gone}
    assert routes_in(rig, version) == left


GOOD4, GOOD6 = row(4, 198 << 24, 24), row(6, 0x20010DB8 << 96, 48)
BAD = {
    "nothing": (4, b""),
    "half a row": (4, GOOD4[:-1]),
    "text": (4, "x" * 56),
    "version": (5, GOOD4),
    "version text": ("4", GOOD4),
    "length 4": (4, row(4, 198 << 24, 33)),
    "length 6": (6, row(6, 0x20010DB8 << 96, 129)),
    "bits behind the prefix 4": (4, row(4, (198 << 24) + 1, 24)),
    "bits behind the prefix 6": (6, row(6, (0x20010DB8 << 96) + (1 << 79), 48)),
    "bits far behind it": (6, row(6, (0x20010DB8 << 96) + 1, 127)),
    "an IPv6 prefix": (4, row(6, 0x20010DB8 << 96, 24)),
    "an IPv6 gateway": (4, GOOD4[:16] + GOOD6[:16] + GOOD4[32:]),
    "an IPv6 source": (4, GOOD4[:32] + GOOD6[:16] + GOOD4[48:]),
    "a number above 32 bits": (4, struct.pack("<qq", 0, 1 << 32) + GOOD4[16:]),
    "a negative gateway": (4, GOOD4[:16] + struct.pack("<qq", 0, -1) + GOOD4[32:]),
    "local": (4, row(4, 198 << 24, 32, kind=1)),
    "kind": (6, row(6, 0, 0, kind=4)),
    "device": (6, row(6, 0, 0, dev=2)),
}


def picture(rig):
    """The heads of both tables, their first routes, and what connections compare."""
    return [
        ctypes.string_at(rig.stack.routes, route.HEAD_SIZE + 32 * route.ROUTE_SIZE),
        ctypes.string_at(rig.stack.routes6, route6.HEAD_SIZE + 32 * route6.ROUTE6_SIZE),
        rig.stack.generation,
    ]


@pytest.mark.parametrize("verb", ["set", "del"])
@pytest.mark.parametrize(("version", "rows"), BAD.values(), ids=BAD.keys())
def test_one_bad_row_and_none_is_applied(version, rows, verb):
    rig = network(Rig())
    before = picture(rig)
    good = {4: GOOD4, 6: GOOD6}.get(version, GOOD4) * 3
    body = good + rows if isinstance(rows, bytes) and rows else rows
    with pytest.raises(ApplyError, match="impossible"):
        rig.apply(f"routes.{verb}", version=version, rows=body)
    assert picture(rig) == before


@pytest.mark.parametrize("version", [4, 6])
def test_a_full_table_takes_none_or_waits_for_the_end_of_the_snapshot(version):
    rng, rig = random.Random(1), Rig()
    head = (
        route.RouteTable(rig.stack.routes)
        if version == 4
        else route6.Route6Table(rig.stack.routes6)
    )
    head.capacity = 100
    routes = some_routes(rng, version, 160)
    first = dict(list(routes.items())[:60])
    second = dict(list(routes.items())[60:])
    rig.apply("routes.set", **told(version, first))
    with pytest.raises(ApplyError, match="route table full"):
        rig.apply("routes.set", **told(version, second))
    assert routes_in(rig, version) == first
    rig.apply("routes.set", **told(version, first | dict(list(second.items())[:40])))
    rig.applier.begin_snapshot()
    rig.apply("routes.set", **told(version, second))  # its place is taken by what is to go
    rig.applier.end_snapshot()
    assert routes_in(rig, version) == second
    with pytest.raises(ApplyError, match="route table full"):
        dst = KIND[version](0)
        rig.apply("route.set", dst=str(dst), plen=1, kind="link", dev=0)
    assert routes_in(rig, version) == second


def test_a_route_of_ours_keeps_its_flags_and_another_takes_its_place():
    rig = network(Rig())
    flags = route.Route(route.find_exact(rig.stack.routes, 0xC61300C8, 32)).flags
    assert flags & route.SAPOOL
    rig.apply("routes.set", version=4, rows=row(4, 0xC61300C8, 32))
    found = route.Route(route.find_exact(rig.stack.routes, 0xC61300C8, 32))
    assert (found.kind, found.flags) == (route.GATEWAY, 0)


def test_packets_flow_while_very_many_routes_are_entered():
    rng, polled = random.Random(2), Polled()
    routes = some_routes(rng, 4, 1500)
    with polled as rig:
        before, iterations = int(polled.control.visits), int(polled.control.iterations)
        rig.apply("routes.set", **told(4, routes))
        steps = -(-len(routes) // ROWS_PER_STEP)
        assert polled.control.visits - before == steps
        # Ports were polled between any two of them.
        assert polled.control.iterations - iterations >= steps - 1
        rig.applier.begin_snapshot()
        rig.apply("routes.set", **told(4, routes))
        rig.applier.end_snapshot()
    assert routes_in(polled.rig, 4) == routes
