"""User-written schedulers: what is refused, what they see, what packets they send where."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipvs.apply import ApplyError
from ipvs.dest import DestStats
from ipvs.extra import CallStruct
from ipvs.schedulers import schedule
from ipvs.service import service_at
from ipvs.user_call import FAULT
from ipvs.user_source import SchedulerError, check_source, function_of
from runtime.flatten import Block, Executable
from runtime.intrinsics import divide, remainder
from tests.pathrig import FAR, Rig, syn

ROUND = """
def choose(service, servers, packet):
    for server in servers:
        service.state = (service.state + 1) % len(servers)
        if servers[service.state].usable:
            return service.state
    return -1
"""
SEES = """
SALT = 7
def choose(service, servers, packet):
    \"\"\"A number made of everything a scheduler can see.\"\"\"
    seen = hash(packet.source, packet.source_port) ^ packet.destination_port ^ packet.protocol
    seen ^= service.address * 3 + service.port - (service.now // 7 << 2)
    i = -1
    while i <= len(servers):
        best = servers[i]
        seen = hash(seen, best.weight + best.active * 5 + best.inactive * 9 + SALT)
        seen += seen * 77777 + best.address + best.port + best.usable
        seen += abs(best.connections) - best.index
        i += 1
    if not 0 < seen < 1 << 61 or seen == 5 and True:
        seen = max(seen, 3) if seen > 0 else min(-seen, 1 << 60)
    return seen % len(servers)
"""
ENDLESS = """
def choose(service, servers, packet):
    while True:
        if packet.source == 0:
            return 0
        continue
"""
WILD = """
def choose(service, servers, packet):
    if service.state == 0:
        return packet.source_port
    return 0 - packet.source_port // (packet.source_port - 1234)
"""
SOURCES = (ROUND, SEES, ENDLESS, WILD)


@functools.cache
def blocks():
    """Machine code of SOURCES, made in a process that compiles (this one may not)."""
    script = (
        "import sys, json; from ipvs.user_code import compile_scheduler as c\n"
        "made = [c(s) for s in json.load(sys.stdin)]\n"
        "print(json.dumps([[b.code.hex(), b.entry, b.fixups] for b in made]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(SOURCES), text=True, check=True,
        capture_output=True, env={**os.environ, "NUMBA_DISABLE_JIT": "0", "PYTHONPATH": "."},
    )  # fmt: skip
    return [(bytes.fromhex(code), entry, tuple(at)) for code, entry, at in json.loads(done.stdout)]


def loaded(rig, source, name="own"):
    code, entry, fixups = blocks()[SOURCES.index(source)]
    rig.apply("sched.set", name=name, code=code, entry=entry, fixups=list(fixups))


@functools.cache
def machine(source):
    code, entry, fixups = blocks()[SOURCES.index(source)]
    return Executable(Block(code, entry, fixups))


def at_address(call, address):
    """What the machine code at ``address`` answers."""
    at = ctypes.addressof(call)
    return ctypes.CFUNCTYPE(ctypes.c_int64, *([ctypes.c_int64] * 3))(address)(at, at, at)


BAD = {
    "": "there must be one function, but there are 0",
    "def f(:\n": "line 1: invalid syntax",
    "x = 1\x00": "line 1: ",
    "def a(s, r, p): return 0\ndef b(s, r, p): return 0": "but there are 2",
    "import os\ndef f(s, r, p): return 0": "line 1: besides the function there can be constants",
    "X = [1]\ndef f(s, r, p): return 0": "besides the function",
    "def f(s, r): return 0": "line 1: f() must have the three parameters",
    "def f(s, r, *p): return 0": "three parameters",
    "def f(s, r, p=1): return 0": "three parameters",
    "@cache\ndef f(s, r, p): return 0": "three parameters",
    "async def f(s, r, p): return 0": "besides the function",
    "def f(s, r, p):\n  return": "line 2: return needs the index",
    "def f(s, r, p):\n  return [1]": "line 2: [1] is not possible",
    "def f(s, r, p):\n  x = [0] * 9": "is not possible here",
    "def f(s, r, p):\n  raise ValueError": "line 2: Raise is not possible",
    "def f(s, r, p):\n  try:\n    pass\n  finally:\n    pass": "Try is not possible",
    "def f(s, r, p):\n  with p: pass": "With is not possible",
    "def f(s, r, p):\n  import os": "Import is not possible",
    "def f(s, r, p):\n  global X": "Global is not possible",
    "def f(s, r, p):\n  del p": "Delete is not possible",
    "def f(s, r, p):\n  print(1)": "Expr is not possible",
    "def f(s, r, p):\n  return print(1)": "only len, min, max, abs, hash can be called",
    "def f(s, r, p):\n  return r.pop()": "only len,",
    "def f(s, r, p):\n  return f(s, r, p)": "only len,",
    "def f(s, r, p):\n  return max(*r)": "is not possible here",
    "def f(s, r, p):\n  return min(1)": "min() takes 2 numbers",
    "def f(s, r, p):\n  return max(1, key=2)": "only len,",
    "def f(s, r, p):\n  return len(p)": "len() is for r",
    "def f(s, r, p):\n  return 1 / 2": "line 2: / makes fractions",
    "def f(s, r, p):\n  return 2 ** 70": "operator Pow",
    "def f(s, r, p):\n  return 1.5": "1.5 is no whole number",
    "def f(s, r, p):\n  return 'a'": "is no whole number",
    "def f(s, r, p):\n  return None": "None is no whole number",
    "def f(s, r, p):\n  return 1 << 63 if 9223372036854775808 else 0": "does not fit 64 bits",
    "def f(s, r, p):\n  return x": "line 2: x has no value yet",
    "def f(s, r, p):\n  return s": "s cannot be used by itself",
    "def f(s, r, p):\n  return p + 1": "p cannot be used by itself",
    "def f(s, r, p):\n  return p.payload": "p has no payload; it has source",
    "def f(s, r, p):\n  return s.stat": "s has no stat; it has",
    "def f(s, r, p):\n  return r[0].wieght": "a server has weight",
    "def f(s, r, p):\n  return (1).real": "; a server has weight",
    "def f(s, r, p):\n  return r[0] + 1": "r[0] is a server where a number is wanted",
    "def f(s, r, p):\n  return r[0:1]": "is not possible here",
    "def f(s, r, p):\n  r[0] = 1": "only plain names and s.state can be assigned",
    "def f(s, r, p):\n  p.source = 1": "only plain names",
    "def f(s, r, p):\n  s.state = r[0]": "s.state is a number",
    "def f(s, r, p):\n  a, b = 1, 2": "(1, 2) is not possible",
    "def f(s, r, p):\n  p = 1": "the name p cannot be assigned",
    "def f(s, r, p):\n  _left = 9": "the name _left cannot be assigned",
    "def f(s, r, p):\n  len = 9": "the name len cannot be assigned",
    "def f(s, r, p):\n  a = 1\n  a = r[0]": "line 3: a is a number and becomes a server",
    "def f(s, r, p):\n  for x in p: pass": "a loop goes over range() or r",
    "def f(s, r, p):\n  for x in range(1, 2, p.protocol): pass": "step of range() must be",
    "def f(s, r, p):\n  for x in range(0, 9, 0): pass": "step of range() must be",
    "def f(s, r, p):\n  for x, y in r: pass": "one plain variable",
    "def f(s, r, p):\n  while 1:\n    pass\n  else:\n    pass": "else after a loop",
    "def f(s, r, p):\n  return (lambda: 1)()": "only len,",
    "def f(s, r, p):\n  return 1 in r": "numbers are compared with",
    "def f(s, r, p):\n  return (x := 1)": "is not possible here",
    "def f(s, r, p):\n  yield 1": "Expr is not possible",
    "def f(s, r, p):\n  return " + "-" * 5000 + "1": "line 1: ",
    "#" * 70000: "larger than",
}


@pytest.mark.parametrize("source", BAD, ids=range(len(BAD)))
def test_mistakes_are_told_with_their_line(source):
    with pytest.raises(SchedulerError) as told:
        check_source(source)
    assert BAD[source] in str(told.value)


NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)


@given(NUMBERS, NUMBERS | st.sampled_from([0, 1, -1, -(1 << 63)]))
def test_division_never_faults_and_rounds_as_python(a, b):
    if b == 0:
        assert divide(a, b) == remainder(a, b) == 0
    elif (a, b) != (-(1 << 63), -1):
        assert (divide(a, b), remainder(a, b)) == divmod(a, b)
    else:
        assert (divide(a, b), remainder(a, b)) == (a, 0)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_machine_code_does_what_the_source_says(data):
    """The rewritten function as plain Python and as machine code, on the same servers."""
    rig = sees_rig()
    small = st.integers(0, 1 << 20)
    for number in range(3):
        stats = DestStats(rig.w.dest_stats + number * 64)
        stats.active, stats.inactive = data.draw(small), data.draw(small)
        stats.conns = data.draw(small)
    ids = (ctypes.c_uint32 * 3)(2, 0, 1)
    fields = ("now", "source", "source_port", "destination_port", "service_address", "state")
    call = CallStruct(
        ids=ctypes.addressof(ids), count=3, dests=rig.w.dests, stats=rig.w.dest_stats,
        **{name: data.draw(small) for name in fields},
    )  # fmt: skip
    expected = function_of(SEES)(*([ctypes.addressof(call)] * 3))
    assert at_address(call, machine(SEES).address) == expected
    assert 0 <= expected < 3


@functools.cache
def sees_rig():
    rig = Rig(neighbours=False)
    rig.service(mode="dr", dests=[{"weight": 3}, {"weight": 0}, {"weight": 9}])
    return rig


def rig_with(source, dests=3, **more):
    rig = Rig()
    loaded(rig, source)
    rig.service(mode="dr", sched="own", dests=dests, **more)
    return rig


def test_packets_go_where_it_says():
    rig = rig_with(ROUND, [{}, {"weight": 0}, {}])
    sent = rig.exchange(0, *(syn(sport=1000 + i) for i in range(4)))[1]
    assert [frame[5] for frame in sent] == [13, 11, 13, 11]
    # Weight 0 for all: nobody usable.
    rig.service(mode="dr", sched="own", dests=[{"weight": 0}])
    rig.exchange(0, syn(sport=2000))
    assert rig.drops() == {"no_dest": 1} and rig.clean()


def test_choosing_the_same_as_rr():
    rig = rig_with(ROUND, 4)
    other = Rig()
    other.service(mode="dr", sched="rr", dests=4)

    def choices(one):
        w = one.w
        at = service_at(w.services, 0)
        return [schedule(at, w.dests, w.dest_stats, 0, 0, 0, 0) for _ in range(9)]

    assert choices(rig)[3:] == choices(other)[:6]


def test_a_choice_that_does_not_exist_is_dropped_and_counted():
    rig = rig_with(WILD)
    rig.exchange(0, syn(sport=3), syn(sport=65535))
    assert rig.drops() == {"sched_fault": 2}
    sent = rig.exchange(0, syn(sport=2))[1]
    assert sent[0][5] == 13
    assert rig.connections() == 1 and rig.clean()


def test_an_endless_loop_ends_as_a_fault():
    rig = rig_with(ENDLESS)
    rig.exchange(0, syn())
    assert rig.drops() == {"sched_fault": 1} and rig.clean()
    call = CallStruct()
    call.source = 1
    assert at_address(call, machine(ENDLESS).address) == FAULT


def test_it_is_replaced_and_taken_away_while_packets_flow():
    rig = rig_with(ROUND)
    assert len(rig.exchange(0, syn(sport=1))[1]) == 1
    loaded(rig, WILD)
    assert rig.exchange(0, syn(sport=2, src=FAR), syn(sport=1235))[1] != []
    assert rig.drops() == {"sched_fault": 1}
    rig.apply("sched.del", name="own")
    rig.exchange(0, syn(sport=9))
    assert rig.drops()["no_dest"] == 1
    with pytest.raises(ApplyError, match="there is no scheduler own"):
        rig.service(mode="dr", sched="own")
    rig.apply("sched.del", name="own")
    assert rig.clean()


def test_impossible_records_change_nothing():
    rig = rig_with(ROUND)
    good = {"name": "own", "code": bytes(64), "entry": 0, "fixups": []}
    for change in (
        {"entry": 64}, {"fixups": [57]}, {"name": "rr"}, {"name": ""}, {"code": b""},
        {"fixups": [-1]}, {"code": "text"},
    ):  # fmt: skip
        with pytest.raises(ApplyError):
            rig.apply("sched.set", **(good | change))
    assert len(rig.exchange(0, syn())[1]) == 1


def test_a_snapshot_keeps_what_it_names():
    rig = rig_with(ROUND)
    loaded(rig, WILD, "other")
    rig.applier.begin_snapshot()
    loaded(rig, ROUND)
    rig.applier.end_snapshot()
    assert list(rig.applier.user_schedulers) == ["own"]
