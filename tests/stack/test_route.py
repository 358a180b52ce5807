"""Longest-prefix match against a search through all routes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack import route
from tests.memory import aligned


def table_of(capacity):
    memory, address = aligned(route.size_bytes(capacity))
    route.initialise(address, capacity)
    return memory, address


def mask(length):
    return (1 << 32) - (1 << (32 - length))


def naive(routes, address):
    """Value of the longest prefix that contains ``address``, or None."""
    hits = [(n, v) for (prefix, n), v in routes.items() if address & mask(n) == prefix]
    return max(hits)[1] if hits else None


# Few distinct high bits, so that prefixes nest and addresses hit them.
ADDRESSES = st.builds(
    lambda high, low: high << 24 | low, st.sampled_from([0, 10, 192, 255]), st.integers(0, 0xFFFFFF)
)
PREFIXES = st.tuples(ADDRESSES, st.integers(0, 32)).map(lambda p: (p[0] & mask(p[1]), p[1]))
STEPS = st.lists(st.tuples(st.booleans(), PREFIXES, st.integers(1, 60000)), max_size=40)


@given(STEPS, st.lists(ADDRESSES, min_size=1, max_size=10), st.sampled_from([8, 11, 64]))
def test_against_a_search_through_all(steps, addresses, capacity):
    memory, table = table_of(capacity)
    routes = {}
    for add, (prefix, length), mtu in steps:
        if add:
            fits = (prefix, length) in routes or len(routes) < capacity
            arguments = (prefix, length, route.LINK, 0, 1, 0, mtu)
            assert route.insert(table, *arguments) == fits
            if fits:
                routes[prefix, length] = mtu
        else:
            known = routes.pop((prefix, length), None)
            assert route.remove(table, prefix, length) == (known is not None)
    assert route.RouteTable(table).count == len(routes)
    near = [prefix for prefix, _ in routes]
    near += [(p | ~mask(n)) & 0xFFFFFFFF for p, n in routes]
    for address in addresses + near:
        found = route.lookup(table, address)
        assert (route.Route(found).mtu if found else None) == naive(routes, address)
    for prefix, length in routes:
        found = route.Route(route.find_exact(table, prefix, length))
        assert (found.prefix, found.length) == (prefix, length)
    del memory


def test_replacing_changes_every_field():
    memory, table = table_of(4)
    assert route.insert(table, 0x0A000000, 8, route.LINK, 0, 1, 5, 1500)
    assert route.insert(table, 0x0A000000, 8, route.GATEWAY, 7, 2, 6, 1400)
    found = route.Route(route.lookup(table, 0x0A010203))
    values = (found.kind, found.gateway, found.port, found.source, found.mtu)
    assert values == (route.GATEWAY, 7, 2, 6, 1400)
    assert route.RouteTable(table).count == 1
    del memory


def test_full_table_says_so_and_recovers():
    memory, table = table_of(2)
    assert route.insert(table, 1 << 24, 8, 1, 0, 0, 0, 0)
    assert route.insert(table, 2 << 24, 8, 1, 0, 0, 0, 0)
    assert not route.insert(table, 3 << 24, 8, 1, 0, 0, 0, 0)
    assert not route.lookup(table, 3 << 24)
    assert route.remove(table, 1 << 24, 8)
    assert route.insert(table, 3 << 24, 8, 1, 0, 0, 0, 0)
    assert route.lookup(table, 3 << 24) and not route.lookup(table, 1 << 24)
    del memory


def test_flags_of_a_removed_route_do_not_come_back():
    """A slot that served a local address of FullNAT is used again for another route."""
    memory, table = table_of(1)
    assert route.insert(table, 1, 32, route.LOCAL, 0, 0, 0, 0)
    route.Route(route.lookup(table, 1)).flags = route.SAPOOL
    assert route.remove(table, 1, 32)
    assert route.insert(table, 2, 32, route.LOCAL, 0, 0, 0, 0)
    assert route.Route(route.lookup(table, 2)).flags == 0
    del memory


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_table_holds_something(capacity):
    memory, address = aligned(8192)
    with pytest.raises(ValueError, match="route table"):
        route.initialise(address, capacity)
    del memory


def test_mask_of():
    assert [route.mask_of(n) for n in range(33)] == [mask(n) for n in range(33)]
