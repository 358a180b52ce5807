"""QUIC-LB: server ids that operators give, in plain text in connection ids."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.packet import Raw

from ipvs.context import PacketStruct
from ipvs.quic import server_of
from ipvs.service import service_at
from tests.pathrig import ROUTER_MAC, WAN, Rig, from_client, server, server_mac


def quic_lb_rig(ids, config=0, **more):
    """A service whose servers have the ``ids``."""
    rig = Rig(static=True)
    dests = [
        {"addr": server(i % 4), "port": 8000 + i, "server_id": id_, **more}
        for i, id_ in enumerate(ids)
    ]
    length = max(map(len, ids))
    rig.service(
        proto="udp", port=443, dests=dests, flags=["quic"], extra={"quic_lb": (length, config)}
    )
    return rig


def packet(config, id_, nonce=b"\x11\x22\x33\x44", low=9):
    return b"\x41" + bytes([config << 5 | low]) + id_ + nonce + b"payload"


def send(rig, payload, src="203.0.113.9", sport=4433):
    frame = from_client(UDP(sport=sport, dport=443) / Raw(payload), src=src, mac=ROUTER_MAC)
    _, (out,) = rig.exchange(WAN, frame)
    assert out.endswith(payload)
    return next(i for i in range(4) if out[:6].hex(":") == server_mac(i))


@pytest.mark.parametrize("length", [1, 4, 8, 9, 15])
@pytest.mark.parametrize("config", [0, 5])
def test_a_client_that_moves_stays(length, config):
    ids = [bytes([i * 77 & 255] * length) for i in range(4)]
    rig = quic_lb_rig(ids, config)
    for turn in range(2):
        for index in (2, 0, 3, 1):
            payload = packet(config, ids[index])
            assert send(rig, payload, f"203.0.{index}.{turn + 1}") == index
    other = packet(config ^ 1, ids[3])
    assert {send(rig, other, sport=sport) for sport in range(1, 5)} == {0, 1, 2, 3}
    assert rig.drops() == {} and rig.clean()


def test_drained_servers_and_ids_that_clients_invent():
    rig = quic_lb_rig([b"\1\2", b"\3\4"], weight=0)
    assert send(rig, packet(0, b"\3\4")) == 1
    id_ = b"\x09\3\4\x11\x22\x33\x44\x55"
    frame = b"\xc0\0\0\0\1" + bytes([len(id_)]) + id_ + b"\0rest"
    rig.exchange(WAN, from_client(UDP(sport=7, dport=443) / Raw(frame), mac=ROUTER_MAC))
    assert rig.drops() == {"no_dest": 1}


def test_addresses_in_ids_count_no_more():
    rig = quic_lb_rig([b"\xff\xff\xff"] + [b""] * 3)
    named = b"\x41\x5a\x2b" + b"\x00" * 30
    assert [send(rig, named, sport=sport) for sport in (1, 2, 3, 4)] == [0, 1, 2, 3]


@pytest.mark.long
@given(
    ids=st.integers(1, 15).flatmap(
        lambda n: st.lists(st.binary(min_size=n, max_size=n), min_size=1, max_size=20, unique=True)
    ),
    config=st.integers(0, 6),
    extra=st.lists(st.binary(max_size=20), max_size=5),
)
def test_like_a_dictionary(ids, config, extra):
    length = len(ids[0])
    rig = quic_lb_rig(ids, config)
    memory = ctypes.create_string_buffer(2048)
    asked = PacketStruct()
    asked.data = ctypes.addressof(memory)
    for id_ in [*ids, *extra]:
        for payload in (packet(config, id_), packet(config, id_, b"\1\2\3")[:-7]):
            frame = bytes(from_client(UDP(sport=1, dport=443) / Raw(payload)))
            memory.raw = frame + b"\xff" * (2048 - len(frame))
            asked.ports = 1 | (443 << 16) | (17 << 32)
            at = ctypes.addressof(asked)
            got = server_of(rig.address, service_at(rig.w.services, 0), at)
            room = payload[1:]
            whole = len(room[:20]) >= 1 + length + 4
            expected = ids.index(room[1 : 1 + length]) if room[1 : 1 + length] in ids else -1
            assert got == (expected if whole else -1)
