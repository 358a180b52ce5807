"""IPv6 longest-prefix match against a search through all routes; a million of them."""

from __future__ import annotations

import ipaddress
import random

from hypothesis import given
from hypothesis import strategies as st

from runtime.jit import JIT
from stack import route6
from stack.address6 import text, words
from tests.memory import aligned


def table_of(capacity):
    memory, address = aligned(route6.size_bytes(capacity))
    route6.initialise(address, capacity)
    return memory, address


def mask(length):
    return (1 << 128) - (1 << (128 - length))


def raw(number):
    return words(ipaddress.IPv6Address(number))


def naive(routes, address):
    """Value of the longest prefix that contains ``address``, or None."""
    hits = [(n, v) for (prefix, n), v in routes.items() if address & mask(n) == prefix]
    return max(hits)[1] if hits else None


# Few distinct parts, so that prefixes nest on both sides of bit 64 and addresses hit them.
PART = st.sampled_from([0, 1, 0xFFFFFFFF, 0x80000000, 0x20010DB8])
ADDRESSES = st.builds(lambda a, b, c, d: a << 96 | b << 64 | c << 32 | d, PART, PART, PART, PART)
PREFIXES = st.tuples(ADDRESSES, st.integers(0, 128)).map(lambda p: (p[0] & mask(p[1]), p[1]))
STEPS = st.lists(st.tuples(st.booleans(), PREFIXES, st.integers(1, 60000)), max_size=40)


@given(STEPS, st.lists(ADDRESSES, min_size=1, max_size=10), st.sampled_from([8, 11, 64]))
def test_against_a_search_through_all(steps, addresses, capacity):
    memory, table = table_of(capacity)
    routes = {}
    for add, (prefix, length), mtu in steps:
        if add:
            fits = (prefix, length) in routes or len(routes) < capacity
            found = route6.insert6(table, *raw(prefix), length, route6.LINK, 1, mtu)
            assert bool(found) == fits
            if fits:
                routes[prefix, length] = mtu
        else:
            known = routes.pop((prefix, length), None)
            assert route6.remove6(table, *raw(prefix), length) == (known is not None)
    head = route6.Route6Table(table)
    assert head.count == len(routes)
    lengths = sorted({length for _, length in routes}, reverse=True)
    assert [head.lengths[i] for i in range(head.distinct)] == lengths
    near = [prefix for prefix, _ in routes] + [p | ((1 << 128) - 1) ^ mask(n) for p, n in routes]
    for address in addresses + near:
        found = route6.lookup6(table, *raw(address))
        assert (route6.Route6(found).mtu if found else None) == naive(routes, address)
    for prefix, length in routes:
        found = route6.Route6(route6.find_exact6(table, *raw(prefix), length))
        assert text(found.high, found.low) == str(ipaddress.IPv6Address(prefix))
    del memory


def test_very_many_routes_are_right_and_their_chains_short():
    count = 1 << 16 if JIT else 1 << 12
    memory, table = table_of(count)
    rng = random.Random(6)
    routes = {}
    while len(routes) < count:
        length = rng.choice((29, 32, 40, 44, 47, 48, 56, 64, 128))
        prefix = (0x2001 << 112 | rng.getrandbits(112)) & mask(length)
        if (prefix, length) not in routes:
            routes[prefix, length] = len(routes) & 0xFFFF
            route6.insert6(table, *raw(prefix), length, route6.LINK, 1, routes[prefix, length])
    head = route6.Route6Table(table)
    assert (head.count, head.distinct) == (count, 9)
    assert not route6.insert6(table, *raw(0), 0, route6.LINK, 1, 0)
    for prefix, length in rng.sample(list(routes), 2000):
        inside = prefix | rng.getrandbits(128 - length)
        found = route6.Route6(route6.lookup6(table, *raw(inside)))
        assert found.length >= length
        if found.length == length:
            assert found.mtu == routes[prefix, length]
    longest = 0
    for bucket in range(0, count, 64):
        entry, size = route6.Heads(head.heads).head[bucket], 0
        while entry:
            entry, size = route6.Route6(head.routes + (entry - 1) * 64).next, size + 1
        longest = max(longest, size)
    assert longest <= 10
    del memory
