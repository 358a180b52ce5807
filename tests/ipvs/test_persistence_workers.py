"""Templates are one table for all workers: wherever a client's packets arrive, one server."""

from __future__ import annotations

import ctypes
import mmap
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import Ether

from ipvs import templates
from ipvs.context import Packet, PacketStruct
from ipvs.persist import assign
from ipvs.service import service_at
from runtime.intrinsics import cpu_pause, load64, store64, store_release
from runtime.jit import JIT, compiled
from tests import pathrig, rig, topology, topology6
from tests.memory import aligned
from tests.pathrig import ROUTER_MAC, WAN, from_client, server, server_mac

CAPACITY = 1024


def table(capacity=CAPACITY):
    memory, address = aligned(templates.templates_bytes(capacity))
    templates.initialise(address, capacity)
    return memory, address


def workers(count):
    """Workers of one balancer; the memory they share is kept by the first."""
    memory, address = table()
    made = [
        pathrig.Rig(index=i, workers=count, templates=address, static=True) for i in range(count)
    ]
    made[0].kept = memory
    return made


def chosen(sent):
    return next(i for i in range(8) if sent[:6].hex(":") == server_mac(i))


def connect(rig, client, l4):
    _, (out,) = rig.exchange(WAN, from_client(l4, src=client, mac=ROUTER_MAC))
    return chosen(out)


def counted(rigs):
    """Templates by real server: the workers' parts add up."""
    sums = (sum(load64(r.w.dest_templates + 8 * i) for r in rigs) for i in range(16))
    return {i: count for i, count in enumerate(sums) if count}


@pytest.mark.parametrize("count", [2, 3])
def test_a_client_meets_one_server_at_every_worker(count):
    rigs = workers(count)
    for one in rigs:
        one.service(dests=4, persistent=360)
    seen = {}
    for turn in range(3 * count):
        for i in range(12):
            at = rigs[(turn * 5 + i * 7) % count]
            got = connect(at, f"203.0.113.{i}", TCP(sport=1000 + turn, dport=80, flags="S"))
            assert seen.setdefault(i, got) == got
    assert len(set(seen.values())) == 4 and sum(counted(rigs).values()) == 12
    assert all(one.drops() == {} for one in rigs)


def test_without_persistence_the_workers_would_differ():
    rigs = workers(2)
    for one in rigs:
        one.service(dests=4)
    syn = TCP(sport=1000, dport=80, flags="S")
    assert len({connect(one, "203.0.113.1", syn) for one in rigs}) == 2


def test_a_connection_of_one_worker_holds_the_client_at_all():
    rigs = workers(2)
    for one in rigs:
        one.service(dests=4, proto="udp", persistent=1, conn_timeout=50)
    first = connect(rigs[0], "203.0.113.1", UDP(sport=1, dport=80))
    for second in range(60):
        for one in rigs:
            one.after(1000)
        if second == 30:
            connect(rigs[0], "203.0.113.1", UDP(sport=1, dport=80))
    assert rigs[0].connections() == 1 and rigs[1].connections() == 0
    assert connect(rigs[1], "203.0.113.1", UDP(sport=2, dport=80)) == first
    # When both are gone, whichever worker's share it is forgets the template.
    for _ in range(120):
        for one in rigs:
            one.after(1000)
    assert rigs[0].connections() == rigs[1].connections() == 0 and counted(rigs) == {}


@pytest.mark.parametrize(("mask", "servers"), [(None, 2), ("64", 1), ("48", 1), ("112", 2)])
def test_ipv6_networks(mask, servers):
    _memory, address = table()
    rigs = [rig.Rig(index=i, workers=2, templates=address) for i in range(2)]
    for one in rigs:
        topology6.network6(one, ipv4=True)
        dests = [topology6.dest6(0), topology.dest(1)]  # the second by NAT64
        topology6.service6(one, dests, persistent=360, netmask=mask, laddrs=[0, 1])
    seen = {}
    for sport in range(1, 4):
        for number, client in enumerate(("2001:db8:cafe::7", "2001:db8:cafe::8:1")):
            at = rigs[(sport + number) % 2]
            frame = topology6.frame6(
                topology6.FROM_CLIENT, (client, topology6.VIP6), TCP(sport=sport, dport=80)
            )
            _, (out,) = at.exchange(0, frame)
            got = Ether(out).type
            assert seen.setdefault(client, got) == got
    assert len(set(seen.values())) == servers
    assert all(one.drops() == {} for one in rigs)


class Model:
    """What templates must do, in the simplest way: by client, (server, until when)."""

    def __init__(self, servers):
        self.known = {}
        self.weights = dict.fromkeys(range(servers), 1)

    def follows(self, client, now, strict):
        """The server a client must get, None when any may be chosen."""
        dest, until = self.known.get(client, (None, 0))
        if dest not in self.weights or until <= now or (strict and self.weights[dest] == 0):
            return None
        return dest


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("packet"), st.integers(0, 5), st.integers(0, 1)),
        st.tuples(st.just("pass"), st.sampled_from([1, 999, 5000, 9999, 10_000, 30_000])),
        st.tuples(st.just("weight"), st.integers(0, 3), st.integers(0, 1)),
        st.tuples(st.just("remove"), st.integers(0, 3)),
        st.tuples(st.just("strict"), st.booleans()),
        st.tuples(st.just("run"), st.integers(0, 1)),
    ),
    max_size=40,
)


def publish(rigs, model):
    dests = [{"id": i, "addr": server(i), "weight": w} for i, w in sorted(model.weights.items())]
    for one in rigs:
        one.service(dests=dests, proto="udp", flags=["ops"], persistent=10)


@pytest.mark.long
@given(STEPS)
def test_like_the_model(steps):
    """One-packet connections: a template's life is the service's time and nothing else."""
    rigs = workers(2)
    model, strict, now = Model(4), False, rigs[0].now
    publish(rigs, model)
    for what, *arguments in steps:
        if what == "packet":
            client, at = arguments
            must = model.follows(client, now, strict)
            datagram = from_client(
                UDP(sport=1, dport=80), src=f"203.0.113.{client}", mac=ROUTER_MAC
            )
            _, out = rigs[at].exchange(WAN, datagram)
            if must is None and not any(model.weights.values()):
                assert out == []
                continue
            got = chosen(out[0])
            assert got == must if must is not None else model.weights[got] > 0
            model.known[client] = (got, now + 10_000)
        elif what == "pass":
            now += arguments[0]
            for one in rigs:
                one.now = now
                one.stack.now = now & 0xFFFFFFFF
        elif what == "weight":
            if arguments[0] in model.weights:
                model.weights[arguments[0]] = arguments[1]
                publish(rigs, model)
        elif what == "remove":
            model.weights.pop(arguments[0], None)
            publish(rigs, model)
        elif what == "strict":
            (strict,) = arguments
            for one in rigs:
                one.apply("param.set", template_quiescent=strict)
        else:
            rigs[arguments[0]].run()
    for one in rigs:
        one.run()
    alive = [d for d, until in model.known.values() if until > now and d in model.weights]
    assert counted(rigs) == {d: alive.count(d) for d in set(alive)}
    assert all(set(one.drops()) <= {"no_dest"} for one in rigs)


# Two processes, one client after the other, both at the same time.

CLIENTS = 20_000
PATIENCE = 2000  # looks at the other before going on alone


@compiled
def race(ipvs, service, packet, mine, other, results):
    """Ask for every client's server, abreast of the process whose progress is at ``other``."""
    for client in range(1, CLIENTS + 1):
        Packet(packet).addresses = client
        store_release(mine, client)
        for _ in range(PATIENCE):
            if load64(other) >= client:
                break
            cpu_pause()
        got = -1
        for _ in range(1000):
            got = assign(ipvs, service, packet)
            if got >= 0:
                break
        store64(results + client * 8, got)
    return 0


def race_of(one, mine, other, results):
    frame = ctypes.create_string_buffer(64)
    packet = PacketStruct()
    packet.data = ctypes.addressof(frame)
    packet.ports = 1 | (80 << 16) | (6 << 32)
    at = ctypes.addressof(packet)
    race(one.address, service_at(one.w.services, 0), at, mine, other, results)


@pytest.mark.skipif(not JIT, reason="plain Python is no race")
def test_two_processes_agree_on_every_client():
    size = templates.templates_bytes(2 * CLIENTS)
    shared = mmap.mmap(-1, size + 64)
    address = ctypes.addressof(ctypes.c_char.from_buffer(shared))
    templates.initialise(address, 2 * CLIENTS)
    row = (CLIENTS + 1) * 8
    answers = mmap.mmap(-1, 2 * row + 128)
    results = ctypes.addressof(ctypes.c_char.from_buffer(answers))
    rigs = [pathrig.Rig(index=i, workers=2, templates=address) for i in range(2)]
    for one in rigs:
        one.service(dests=4, persistent=360)
    progress = results + 2 * row
    child = os.fork()
    if child == 0:
        try:
            race_of(rigs[1], progress + 64, progress, results + row)
        finally:
            os._exit(0)
    race_of(rigs[0], progress, progress + 64, results)
    assert os.waitpid(child, 0)[1] == 0
    numbers = [(ctypes.c_int64 * (CLIENTS + 1)).from_address(results + i * row) for i in range(2)]
    assert numbers[0][1:] == numbers[1][1:] and set(numbers[0][1:]) == {0, 1, 2, 3}
    # Counts are the parts of two processes: only the table itself tells the whole.
    count = templates.Templates(address).count
    tags = sum(
        templates.Bucket(templates.bucket_at(address, n)).tag[i] != 0
        for n in range(count) for i in range(templates.SLOTS)
    )  # fmt: skip
    assert tags == CLIENTS
