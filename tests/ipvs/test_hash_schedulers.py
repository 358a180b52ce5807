"""conhash, mh and fo: the reference's mapping, shares by weight, little disruption."""

from __future__ import annotations

import ctypes
import hashlib
import struct
from collections import Counter
from ipaddress import ip_address
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.packet import Raw

from ipvs import conhash_ring, maglev
from ipvs.conhash import hash_number
from ipvs.dest import DEST_SIZE, Dest
from ipvs.schedulers import schedule
from ipvs.service import service_at
from runtime.jit import JIT
from tests.pathrig import FAR, VIP, Rig, from_client, server, syn
from tests.pathrig import TCP as Tcp
from tests.pathrig import UDP as Udp
from tools.control.hashing import lookup_table
from tools.control.services import Dest as Configured
from tools.control.services import DestKey, DestOptions

MASK = (1 << 64) - 1
CLIENT_AT = "198.18.0.{}"
_RING = ctypes.create_string_buffer(conhash_ring.conhash_ring([]), 4096)
RING = ctypes.addressof(_RING)


def sip13(message, key0, key1):
    """SipHash-1-3 with 64-bit output, from its definition (Aumasson and Bernstein, 2012)."""
    v = [
        key0 ^ 0x736F6D6570736575, key1 ^ 0x646F72616E646F6D,
        key0 ^ 0x6C7967656E657261, key1 ^ 0x7465646279746573,
    ]  # fmt: skip

    def rotated(x, n):
        return ((x << n) | (x >> (64 - n))) & MASK

    def round_():
        v[0] = (v[0] + v[1]) & MASK
        v[2] = (v[2] + v[3]) & MASK
        v[1], v[3] = rotated(v[1], 13) ^ v[0], rotated(v[3], 16) ^ v[2]
        v[0] = rotated(v[0], 32)
        v[2] = (v[2] + v[1]) & MASK
        v[0] = (v[0] + v[3]) & MASK
        v[1], v[3] = rotated(v[1], 17) ^ v[2], rotated(v[3], 21) ^ v[0]
        v[2] = rotated(v[2], 32)

    padded = message + b"\0" * (-(len(message) + 1) % 8) + bytes([len(message)])
    for (block,) in struct.iter_unpack("<Q", padded):
        v[3] ^= block
        round_()
        v[0] ^= block
    v[2] ^= 0xFF
    for _ in range(3):
        round_()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def ring_place(text):
    """The reference's H, with Python's numbers."""
    a = sum(struct.unpack("<4I", hashlib.md5(text.encode()).digest()))
    a = (a + 0x7ED55D16 + (a << 12)) & MASK
    a = (a ^ 0xC761C23C) ^ (a >> 19)
    a = (a + 0x165667B1 + (a << 5)) & MASK
    a = ((a + 0xD3A2646C) ^ (a << 9)) & MASK
    a = (a + 0xFD7046C5 + (a << 3)) & MASK
    a = (a ^ 0xB55A4F09) ^ (a >> 16)
    a = (a * 3221225473) & MASK
    return a - (1 << 64) if a >> 63 else a


def table(sched, weights, inhibited=()):
    """The table the master would send for servers 0.. (oldest first) of these weights."""
    service = SimpleNamespace(
        options=SimpleNamespace(sched=sched),
        newest_first=lambda: [
            Configured(
                i, DestKey(ip_address(server(i)), 8000 + i), DestOptions("nat", w), i in inhibited
            )
            for i, w in reversed(list(enumerate(weights)))
        ],
    )
    return lookup_table(service)


class Chooser:
    """A service of real servers with these weights; ``choose`` is what a worker does."""

    def __init__(self, sched, weights, flags=(), inhibited=()):
        self.rig = Rig(neighbours=False)
        self.sched, self.flags = sched, flags
        self.set(weights, inhibited)

    def set(self, weights, inhibited=()):
        self.rig.apply(
            "svc.set", id=0, af="inet", proto="tcp", addr=VIP, port=80, sched=self.sched,
            flags=list(self.flags), conn_timeout=0, persistent=0, laddrs=[],
            dests=[
                {"id": i, "addr": server(i), "port": 8000 + i, "mode": "nat",
                 "weight": 0 if i in inhibited else w, "u_thresh": 0, "l_thresh": 0}
                for i, w in reversed(list(enumerate(weights)))
            ],
            table=table(self.sched, weights, inhibited),
        )  # fmt: skip
        return self

    def dest(self, number):
        return Dest(self.rig.w.dests + number * DEST_SIZE)

    def choose(self, source, ports=6 << 32, l4=0):
        w = self.rig.w
        return schedule(service_at(w.services, 0), w.dests, w.dest_stats, source, ports, l4, 0)


CLIENTS = [
    int.from_bytes(hashlib.md5(b"%d" % i).digest()[:4], "little")
    for i in range(1500 if JIT else 200)
]


@given(st.integers(0, 0xFFFFFFFF), st.sampled_from([maglev.KEY_PLACE, maglev.KEY_STEP]))
def test_siphash_is_siphash_1_3(number, key):
    whole = sip13(struct.pack("<I", number), key, key)
    assert maglev.sip13(number, key) == whole & 0xFFFFFFFF


@settings(max_examples=25)
@given(st.integers(0, MASK))
def test_ring_hash_of_a_number_is_that_of_its_decimal_text(number):
    assert hash_number(RING, number - (1 << 64) if number >> 63 else number) == ring_place(
        str(number)
    )


def naive_conhash(weights, source):
    """Server by the reference's description."""
    points = {}
    step = min(w for w in weights if w)
    for i, w in reversed(list(enumerate(weights))):
        port = struct.unpack("<H", struct.pack(">H", 8000 + i))[0]
        for index in range(w // step * 160):
            points.setdefault(ring_place(f"{server(i)}{port}-{index:03d}"), i)
    key = ring_place(str(source))
    return points[min([p for p in points if p >= key], default=min(points))]


def test_conhash_maps_as_the_reference():
    chooser = Chooser("conhash", [2, 1, 4])
    for source in CLIENTS[:12]:
        assert chooser.choose(source) == naive_conhash([2, 1, 4], source)


def naive_maglev(weights, source):
    """Server by the algorithm of the paper, one slot at a time; equal weights."""
    slots, names = {}, [i for i, w in reversed(list(enumerate(weights))) if w]

    def hashed(address, port, key):
        number = (int.from_bytes(address, "big") + port) & 0xFFFFFFFF
        return sip13(struct.pack("<I", number), key, key) & 0xFFFFFFFF

    walks = {}
    for i in names:
        packed = ip_address(server(i)).packed
        place = hashed(packed, 8000 + i, 2654435761) % 4093
        step = hashed(packed, 8000 + i, 2654446892) % 4092 + 1
        walks[i] = count(place, step)
    while len(slots) < 4093:
        for i in names:
            free = next(s % 4093 for s in walks[i] if s % 4093 not in slots)
            slots[free] = i
            if len(slots) == 4093:
                break
    return slots[hashed(struct.pack("<I", source), 0, 2654435761) % 4093]


def test_mh_maps_as_the_reference():
    chooser = Chooser("mh", [3, 3, 0, 3])
    for source in CLIENTS[:4]:
        assert chooser.choose(source) == naive_maglev([3, 3, 0, 3], source)


# Four standard deviations of a share that so many clients can have by chance.
SPREAD = 2 / len(CLIENTS) ** 0.5
WEIGHTS = st.lists(st.integers(0, 5), min_size=2, max_size=4).filter(any)


@settings(max_examples=6 if JIT else 3, deadline=None)
@given(st.sampled_from(["mh", "conhash"]), WEIGHTS)
def test_shares_match_the_weights(sched, weights):
    chooser = Chooser(sched, weights)
    got = Counter(chooser.choose(source) for source in CLIENTS)
    for i, weight in enumerate(weights):
        share = weight / sum(weights)
        # The ring of 160 points a server is uneven by itself; Maglev is even to a per cent.
        assert abs(got[i] / len(CLIENTS) - share) < (0.02 if sched == "mh" else 0.12) + SPREAD
        assert weight or not got[i]


@settings(max_examples=6 if JIT else 3, deadline=None)
@given(st.sampled_from(["mh", "conhash"]), st.integers(0, 3), st.booleans())
def test_a_server_that_goes_moves_hardly_anybody_else(sched, gone, by_inhibition):
    chooser = Chooser(sched, [2, 2, 2, 2])
    before = [chooser.choose(source) for source in CLIENTS]
    if by_inhibition:
        chooser.set([2, 2, 2, 2], inhibited={gone})
    else:
        chooser.set([0 if i == gone else 2 for i in range(4)])
    after = [chooser.choose(source) for source in CLIENTS]
    moved = sum(a != b for a, b in zip(before, after, strict=True) if b != gone and a != gone)
    assert gone not in after
    assert moved <= (0 if sched == "conhash" else (0.06 + SPREAD) * len(CLIENTS))
    assert [chooser.set([2, 2, 2, 2]).choose(s) for s in CLIENTS[:50]] == before[:50]


@pytest.mark.parametrize("sched", ["mh", "conhash"])
def test_two_workers_choose_the_same_server(sched):
    """By packets: what each worker sends where, for clients that open from other ports."""
    seen = []
    for index, sport in ((0, 1111), (1, 2222)):
        rig = Rig(index=index, workers=2)
        rig.service(mode="dr", sched=sched, dests=4, extra={"table": table(sched, [1] * 4)})
        clients = [f"198.18.0.{2 + i}" for i in range(20)]
        sent = rig.exchange(0, *(syn(sport=sport, src=client) for client in clients))[1]
        assert len(sent) == 20 and rig.clean()
        seen.append([frame[:6] for frame in sent])
    assert seen[0] == seen[1] and len(set(seen[0])) > 1


def test_ipv6_halves_fold_as_the_reference_folds_its_words():
    words = struct.unpack("<4I", ip_address("2001:db8::1234:5678").packed)
    high, low = struct.unpack("<2q", ip_address("2001:db8::1234:5678").packed)
    folded = words[0] ^ words[1] ^ words[2] ^ words[3]
    assert maglev.fold(high ^ low) == folded
    for sched in ("mh", "conhash"):
        chooser = Chooser(sched, [1, 1, 1])
        assert chooser.choose(high ^ low) == chooser.choose(folded)


def test_mh_flags():
    plain, by_port = Chooser("mh", [1] * 4), Chooser("mh", [1] * 4, flags=["mh_port"])
    ports = [(6 << 32) | port for port in range(0, 5000, 77)]
    assert len({plain.choose(7, p) for p in ports}) == 1
    assert {by_port.choose(7, p) for p in ports} == {0, 1, 2, 3}
    falls = Chooser("mh", [1] * 4, flags=["mh_fallback"])
    victim = plain.choose(7)
    for chooser in (plain, falls):
        chooser.dest(victim).overload = 1
    assert plain.choose(7) == -1
    assert falls.choose(7) not in (-1, victim)
    for number in range(4):
        falls.dest(number).overload = 1
    assert falls.choose(7) == -1


def test_conhash_by_quic_id():
    """gQUIC: 8 bytes behind a flags byte with 0x08 name the connection, whoever sends them."""
    rig = Rig()
    rig.service(
        mode="dr", proto="udp", sched="conhash", dests=4, flags=["hash_qid"],
        extra={"table": table("conhash", [1] * 4)},
    )  # fmt: skip

    def frames(payload):
        clients = (CLIENT_AT.format(2 + i) for i in range(8))
        return [from_client(Udp(sport=99, dport=80) / Raw(payload), src=c) for c in clients]

    qid = 0x8899AABBCCDDEEFF
    sent = rig.exchange(0, *frames(b"\x08" + qid.to_bytes(8, "big") + b"data"))[1]
    assert len({frame[:6] for frame in sent}) == 1 and len(sent) == 8
    key = ring_place(str(qid))
    points = {
        ring_place(f"{server(i)}{struct.unpack('<H', struct.pack('>H', 8000 + i))[0]}-{n:03d}"): i
        for i in range(4)
        for n in range(160)
    }
    chosen = points[min([p for p in points if p >= key], default=min(points))]
    assert sent[0][5] == 11 + chosen
    # No id, or no room for one: by address.
    for payload in (b"\x00" + qid.to_bytes(8, "big"), b"\x08short"):
        rig = Rig()
        rig.service(
            mode="dr", proto="udp", sched="conhash", dests=4, flags=["hash_qid"],
            extra={"table": table("conhash", [1] * 4)},
        )  # fmt: skip
        assert len({f[:6] for f in rig.exchange(0, *frames(payload))[1]}) > 1


def test_nobody_to_choose():
    for sched in ("mh", "conhash", "fo"):
        assert Chooser(sched, []).choose(1) == -1
        assert Chooser(sched, [0, 0]).choose(1) == -1
    chooser = Chooser("conhash", [1])
    chooser.dest(0).overload = 1
    assert chooser.choose(1) == -1


def test_failover_takes_the_heaviest_that_is_there():
    chooser = Chooser("fo", [3, 9, 0, 9])
    # Newest first, so the later of equals.
    assert chooser.choose(1) == 3
    chooser.dest(3).overload = 1
    assert chooser.choose(1) == 1
    chooser.set([3, 9, 0, 0])
    chooser.dest(1).present = 0
    assert chooser.choose(1) == 0


def test_a_ring_has_a_largest_size():
    counts = conhash_ring.replicas([1] * 4000 + [100])
    assert sum(counts) <= conhash_ring.MAX_POINTS and min(counts) >= 1
    assert conhash_ring.replicas([3, 0, 6]) == [160, 0, 320]


def test_changing_the_table_does_not_disturb_connections():
    rig = Rig()
    rig.service(mode="dr", sched="mh", dests=4, extra={"table": table("mh", [1] * 4)})
    (first,) = rig.exchange(0, syn(src=FAR))[1]
    gone = first[5] - 11
    weights = [0 if i == gone else 1 for i in range(4)]
    rig.service(
        mode="dr", sched="mh", dests=[{"weight": w} for w in weights],
        extra={"table": table("mh", weights)},
    )  # fmt: skip
    (again,) = rig.exchange(0, from_client(Tcp(sport=1234, dport=80, flags="A"), src=FAR))[1]
    (other,) = rig.exchange(0, syn(sport=4321, src=FAR))[1]
    assert again[5] == first[5] != other[5]
    assert rig.clean()
