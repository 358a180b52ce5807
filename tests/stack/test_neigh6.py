"""Neighbours of both families in one table; addresses as raw words; checksums against scapy."""

from __future__ import annotations

import ctypes
import ipaddress
import random

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import IPv6, in6_chksum

from stack import address6, checksum, neigh, neigh6
from stack.address6 import text, words
from tests.rig import MACS, Rig

ADDRESS = st.integers(0, (1 << 128) - 1).map(ipaddress.IPv6Address)


@given(ADDRESS)
def test_words_are_the_bytes_as_they_lie(address):
    high, low = words(address)
    raw = (high & (1 << 64) - 1).to_bytes(8, "little") + (low & (1 << 64) - 1).to_bytes(8, "little")
    assert raw == address.packed
    assert text(high, low) == str(address)
    assert address6.is_multicast6(high) == address.is_multicast
    assert address6.is_link_local6(high) == address.is_link_local
    assert address6.is_unspecified6(high, low) == address.is_unspecified


@given(ADDRESS)
def test_rfc4291_2_7_1_solicited_node_address_and_rfc2464_7_mac(address):
    group = address6.solicited_low(words(address)[1])
    expected = ipaddress.IPv6Address(
        int(ipaddress.IPv6Address("ff02::1:ff00:0")) | int(address) & 0xFFFFFF
    )
    assert text(address6.MULTICAST_LINK_HIGH, group) == str(expected)
    mac = address6.multicast_mac6(group).to_bytes(6, "little")
    assert mac == b"\x33\x33" + expected.packed[12:]


def test_rfc4291_appendix_a_eui64():
    mac = int.from_bytes(bytes.fromhex("90e2ba112233"), "little")
    assert text(0x80FE, address6.eui64_low(mac)) == "fe80::92e2:baff:fe11:2233"


def test_addresses_that_no_packet_carries():
    for name, never in (
        ("::1", 1), ("::", 0), ("::ffff:192.0.2.1", 1), ("::2", 0), ("2001:db8::1", 0),
    ):  # fmt: skip
        assert address6.is_never_sent(*words(name)) == never, name


def test_both_families_share_the_table():
    rig = Rig()
    stack, table = rig.w.stack, rig.stack.neighbours
    rng = random.Random(1)
    names = [str(ipaddress.IPv6Address(rng.getrandbits(128))) for _ in range(300)]
    made = {}
    for i, name in enumerate(names):
        entry = neigh6.find_or_add6(stack, i & 1, *words(name))
        four = neigh.find_or_add(stack, i & 1, i + 1)
        made[name] = neigh.number_of(table, entry)
        assert neigh.number_of(table, four) == made[name] + 1
        n = neigh.Neighbour(entry)
        assert (n.ipv6, n.port, n.state) == (1, i & 1, neigh.NONE)
        header = bytes(n.header[k] for k in range(14))
        assert header == bytes(6) + bytes.fromhex(MACS[i & 1].replace(":", "")) + b"\x86\xdd"
    for i, name in enumerate(names):
        assert neigh6.find_or_add6(stack, i & 1, *words(name)) == neigh.entry_at(table, made[name])
        assert neigh6.find6(table, i & 1 ^ 1, *words(name)) == 0
        assert neigh.find(table, i & 1, i + 1) and neigh.find(table, i & 1 ^ 1, i + 1) == 0
    # An IPv4 address that equals a digest is another neighbour.
    entry = neigh.Neighbour(neigh.entry_at(table, made[names[0]]))
    assert neigh.find(table, 0, entry.address) == 0


def fill(rig, count):
    """So many IPv6 neighbours, all in use; how many there was room for."""
    made = 0
    for i in range(count):
        entry = neigh6.find_or_add6(rig.w.stack, 0, *words(ipaddress.IPv6Address(i + 1)))
        if entry:
            neigh.Neighbour(entry).state = neigh.REACHABLE
            made += 1
    return made


def test_rfc6583_a_scan_of_ipv6_addresses_leaves_room_for_ipv4():
    rig = Rig()
    rig.stack.now = 100
    stack, table = rig.w.stack, neigh.NeighbourTable(rig.stack.neighbours)
    assert fill(rig, neigh.LIMIT6 + 10) == neigh.LIMIT6 == table.six
    assert all(neigh.find_or_add(stack, 0, i + 1) for i in range(neigh.NEIGHBOURS - neigh.LIMIT6))
    assert table.count == neigh.NEIGHBOURS


def test_a_full_table_gives_up_entries_of_either_family():
    rig = Rig()
    rig.stack.now = 100
    stack, table = rig.w.stack, rig.stack.neighbours
    head = neigh.NeighbourTable(table)
    fill(rig, neigh.LIMIT6)
    fours = neigh.NEIGHBOURS - neigh.LIMIT6
    for i in range(fours):
        neigh.Neighbour(neigh.find_or_add(stack, 0, i + 1)).state = neigh.REACHABLE
    assert neigh6.find_or_add6(stack, 0, 5, 5) == 0  # all of them are in use
    assert neigh.find_or_add(stack, 1, 9) == 0
    rig.stack.now = 100 + 10 * neigh.SILENCE_MS
    head.no_victim = 0
    for i in range(100):  # an IPv6 newcomer takes the place of an IPv6 one
        neigh.Neighbour(neigh6.find_or_add6(stack, 1, i + 1, -1)).state = neigh.REACHABLE
    assert head.six == neigh.LIMIT6
    assert all(neigh.find(table, 0, i + 1) for i in range(fours))
    for i in range(100):  # an IPv4 one that of either
        neigh.Neighbour(neigh.find_or_add(stack, 1, i + 1)).state = neigh.REACHABLE
    assert all(
        neigh.find(table, 1, i + 1) and neigh6.find6(table, 1, i + 1, -1) for i in range(100)
    )
    sixes = sum(
        bool(neigh6.find6(table, 0, *words(ipaddress.IPv6Address(i + 1))))
        for i in range(neigh.LIMIT6)
    )
    kept = sum(bool(neigh.find(table, 0, i + 1)) for i in range(fours))
    assert (head.six, sixes + kept) == (sixes + 100, neigh.NEIGHBOURS - 200)


@given(ADDRESS, ADDRESS, st.binary(max_size=200), st.sampled_from([6, 17, 58]))
def test_rfc8200_8_1_pseudo_header(src, dst, payload, proto):
    packet = src.packed + dst.packed + payload
    memory = ctypes.create_string_buffer(bytes(8) + packet, 8 + len(packet))
    at = ctypes.addressof(memory)
    folded = checksum.checksum6(at, at + 40, proto, len(payload))
    value = (folded ^ 0xFFFF).to_bytes(2, "little")
    expected = in6_chksum(proto, IPv6(src=str(src), dst=str(dst)), payload)
    # scapy sends 0 as 0xffff, which is the same number in one's complement
    assert int.from_bytes(value, "big") % 0xFFFF == expected % 0xFFFF
