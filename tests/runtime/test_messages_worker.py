"""The worker's end: answers, faults, sequence gaps; nothing that arrives makes it fail."""

import ctypes

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime import messages_wire as wire
from runtime import ring_core
from runtime.messages import Channel, Refused, WorkerPort, channel_bytes
from runtime.ring import RingCorrupt


class Wires:
    """A worker port with the master's side of its rings in the test's hands."""

    def __init__(self, capacity: int = 4096) -> None:
        self.memory = (ctypes.c_int64 * (channel_bytes(capacity) // 8))()
        address = ctypes.addressof(self.memory)
        self.channel = Channel.create(address, capacity, self.memory)
        self.port = WorkerPort(Channel.attach(address, self.memory))
        self.number = 0

    def send(self, kind: str, name: str, body: object = None, number: int | None = None) -> int:
        self.number = self.number + 1 if number is None else number
        data = wire.encode(kind, name, self.number, wire.pack_body(body))
        assert self.channel.to_worker.push(data)
        return self.number

    def handle(self) -> int:
        """As many as wait, however slow the machine is."""
        return self.port.handle_some(max_messages=99, budget_us=10**6)

    def answers(self) -> list[tuple]:
        found = []
        while (data := self.channel.to_master.pop()) is not None:
            message = wire.decode(data)
            found.append((message.kind, message.type, message.number, message.body))
        return found


@pytest.fixture
def wires() -> Wires:
    return Wires()


def test_request_is_answered_with_the_result(wires):
    wires.port.on("double", lambda body: {"twice": body["x"] * 2})
    number = wires.send("req", "double", {"x": 21, "unknown field": 1})
    assert wires.handle() == 1
    assert wires.answers() == [("rep", "double", number, {"twice": 42})]
    assert wires.handle() == 0 and wires.port.handled == 1


def test_unknown_type_is_an_error_reply(wires):
    wires.send("req", "later.version", {"a": 1})
    wires.handle()
    [(kind, name, number, body)] = wires.answers()
    assert (kind, name, number) == ("err", "later.version", 1)
    assert body == {"code": -14, "text": "unknown message type later.version"}


def test_handler_failures_become_replies(wires):
    def refuse(body):
        raise Refused(-3, "already exist")

    wires.port.on("refuse", refuse)
    wires.port.on("crash", lambda body: 1 // 0)
    wires.port.on("odd", lambda body: object())
    wires.port.on("surrogate", lambda body: [][int("\ud800" == "")])
    wires.port.on("large", lambda body: b"x" * 5000)
    for name in ("refuse", "crash", "odd", "surrogate", "large", "x" * 1500):
        wires.send("req", name)
    assert wires.port.handle_some(max_messages=9, budget_us=10**6) == 6
    bodies = [body for kind, _, _, body in wires.answers() if kind == "err"]
    assert [body["code"] for body in bodies] == [-3, -23, -1, -23, -19, -14]
    assert bodies[0]["text"] == "already exist" and "ZeroDivisionError" in bodies[1]["text"]
    assert wires.port.failed == 2


def test_failed_cast_is_an_error_event(wires):
    wires.send("cast", "sync.begin")
    wires.port.on("bad", lambda body: body["missing"])
    wires.send("cast", "bad", {})
    wires.send("cast", "unknown")
    wires.handle()
    events = wires.answers()
    assert [(kind, name) for kind, name, _, _ in events] == [("event", "error")] * 2
    assert events[0][3]["type"] == "bad" and events[1][3]["code"] == -14


def test_malformed_message_is_counted_and_reported(wires):
    assert wires.channel.to_worker.push(b"\xff\xff")
    wires.send("rep", "x")
    assert wires.handle() == 2
    assert wires.port.malformed == 2
    assert [name for _, name, _, _ in wires.answers()] == ["error", "error"]


def test_budgets(wires):
    wires.port.on("x", lambda body: None)
    for _ in range(20):
        wires.send("req", "x")
    assert wires.port.handle_some(max_messages=3, budget_us=10**6) == 3
    assert wires.port.handle_some(max_messages=99, budget_us=0) == 1, "one is always handled"
    assert ring_core.pending(wires.port.address) == 1
    assert wires.port.handle_some(max_messages=99, budget_us=10**6) == 16
    assert ring_core.pending(wires.port.address) == 0


def test_updates_apply_only_after_a_snapshot(wires):
    applied = []
    wires.port.on("add", applied.append)
    wires.send("cast", "add", 0)
    wires.handle()
    assert applied == [] and wires.port.ignored == 1 and not wires.port.synced
    assert [name for _, name, _, _ in wires.answers()] == ["resync"]
    wires.send("cast", "add", 0)
    wires.handle()
    assert wires.answers() == [], "asked once"
    wires.send("cast", "sync.begin")
    wires.send("cast", "add", 1)
    wires.send("cast", "sync.end")
    wires.handle()
    assert applied == [1] and wires.port.synced


def test_gap_asks_for_a_snapshot_and_stops_updates(wires):
    applied = []
    wires.port.on("add", applied.append)
    wires.port.on("get", lambda body: len(applied))
    wires.send("cast", "sync.begin")
    wires.send("cast", "add", 1)
    wires.send("cast", "add", 9, number=wires.number + 4)
    wires.send("cast", "add", 10)
    request = wires.send("req", "get")
    wires.handle()
    assert applied == [1] and wires.port.missed == 3 and wires.port.ignored == 2
    kinds = wires.answers()
    assert ("rep", "get", request, 1) in kinds
    [event] = [body for kind, name, _, body in kinds if name == "resync"]
    assert event["missed"] == 3
    wires.send("cast", "sync.begin", number=77)
    wires.send("cast", "add", 2)
    wires.send("cast", "add", 3, number=5)
    wires.handle()
    assert applied == [1, 2] and not wires.port.synced, "a number that goes back is a gap too"


def test_full_ring_to_the_master_is_counted_and_the_resync_comes_later():
    wires = Wires(256)
    wires.port.on("x", lambda body: "y" * 30)
    while wires.port.emit("tick", "z" * 30):
        pass
    assert wires.port.lost_events == 1
    wires.send("req", "x")
    wires.send("cast", "x")
    wires.handle()
    assert wires.port.lost_replies == 1
    numbers = [number for _, _, number, _ in wires.answers()]
    wires.handle()
    [(_, name, number, _)] = wires.answers()
    assert name == "resync" and number == numbers[-1] + 2, "the lost event shows as a gap"
    assert not wires.port.emit("huge", b"x" * 500)
    assert not wires.port.emit("odd", object())


def test_damaged_ring_is_skipped_or_given_up(wires):
    wires.send("cast", "sync.begin")
    wires.handle()
    wires.send("cast", "x")
    address = wires.channel.to_worker.address
    start = address + ring_core.DATA
    for offset in range(0, 4096, 8):
        ctypes.c_uint32.from_address(start + offset).value = 0x7FFFFFFF
    assert wires.handle() == 0 and not wires.port.synced
    assert [name for _, name, _, _ in wires.answers()] == ["resync"]
    wires.send("cast", "sync.begin")
    assert wires.handle() == 1 and wires.port.synced
    ring_core.RingHeader.from_address(address).tail += 3
    with pytest.raises(RingCorrupt):
        wires.handle()


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "v": st.sampled_from([1, 1, 1, 2, None, "1"]),
        "t": st.one_of(
            st.sampled_from(["x", "crash", "sync.begin"]), st.text(), st.integers(-9, 9)
        ),
        "n": st.one_of(st.integers(-5, 2**64 - 1), st.floats(), st.text(max_size=3)),
        "k": st.one_of(st.sampled_from(wire.KINDS), st.text(), st.lists(st.none(), max_size=1)),
        "b": st.one_of(st.none(), st.text(), st.lists(st.integers(0, 9), max_size=3)),
    },
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=120), FIELDS.map(msgpack.packb)), max_size=12))
@example([b"\x91" * 1000 + b"\xc0"])
@example([msgpack.packb({"v": 1, "t": "x", "n": 1, "k": "req", "b": None})[:-3] + b"\xc1"])
def test_fuzz_never_crashes(messages):
    wires = Wires(4096)
    wires.port.on("x", lambda body: body)
    wires.port.on("crash", lambda body: body.missing)
    for data in messages:
        wires.channel.to_worker.push(data)
        wires.port.handle_some(budget_us=10**6)
    wires.answers()
    wires.send("req", "x", "still alive")
    assert wires.handle() == 1
    assert ("rep", "x", wires.number, "still alive") in wires.answers()
