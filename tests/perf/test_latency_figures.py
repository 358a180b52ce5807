"""Latency: the clocked port, its histograms, percentiles, and what is done meanwhile."""

from __future__ import annotations

import ctypes
import itertools

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from netdev.abi import FastPathStruct, MbufStruct
from netdev.port import Port, PortStruct
from perf import latency, latency_nic, latency_rounds
from perf.errors import PerfError
from perf.latency_figures import SHARES, in_microseconds, percentile, upper_edge
from perf.latency_nic import (
    CALM,
    DUE_AT,
    MOST,
    NUMBER_AT,
    OFF,
    PACED,
    SEEN_AT,
    SLOTS,
    NicStruct,
    count_one,
)
from perf.latency_rounds import LEAST
from perf.latency_work import changes, repeated
from perf.options import KEEP

BURST = ctypes.CFUNCTYPE(ctypes.c_uint16, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint16)


def slot_of(value: int) -> int:
    histogram = (ctypes.c_int64 * SLOTS)()
    count_one(ctypes.addressof(histogram), value)
    (slot,) = [i for i, count in enumerate(histogram) if count]
    return slot


@given(st.integers(0, 2**36 - 1))
def test_slots_are_narrow(value: int) -> None:
    slot = slot_of(value)
    assert value <= upper_edge(slot) <= value * (1 + 1 / 32)
    assert slot == 0 or upper_edge(slot - 1) < value


def test_slots_go_on_without_a_gap() -> None:
    edges = [upper_edge(slot) for slot in range(SLOTS)]
    assert edges == sorted(set(edges)) and edges[:65] == [*range(64), 65]
    assert slot_of(-5) == 0
    assert slot_of(2**60) == SLOTS - 1 == slot_of(2**36 - 1)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300), st.sampled_from([0.5, 0.99, 1]))
def test_percentiles_against_sorting(values: list[int], share: float) -> None:
    histogram = (ctypes.c_int64 * SLOTS)()
    for value in values:
        count_one(ctypes.addressof(histogram), value)
    right = sorted(values)[max(-(-len(values) * int(share * 100) // 100) - 1, 0)]
    assert right <= percentile(list(histogram), share) <= right * (1 + 1 / 32)


def test_empty_histogram() -> None:
    assert in_microseconds([0] * SLOTS, 10**9) == dict.fromkeys(SHARES, 0.0)


class Driver:
    """A driver below the clocked port: fresh frames in, and what was sent."""

    def __init__(self, ethertype: int = 0x0008) -> None:
        self.mbufs = [MbufStruct() for _ in range(64)]
        self.data = ctypes.create_string_buffer(64 * 64)
        for i, mbuf in enumerate(self.mbufs):
            mbuf.buf_addr = ctypes.addressof(self.data) + i * 64
            ctypes.c_uint16.from_address(mbuf.buf_addr + 12).value = ethertype
        self.asked: list[int] = []
        self.accepts = 64
        self._functions = BURST(self._receive), BURST(self._send)
        self._queues = (ctypes.c_int64 * 1)(7)
        self._fast = FastPathStruct()
        for name, function in zip(("rx_burst", "tx_burst"), self._functions, strict=True):
            setattr(self._fast, name, ctypes.cast(function, ctypes.c_void_p).value)
        self._fast.rx_queues = self._fast.tx_queues = ctypes.addressof(self._queues)
        self.nic = NicStruct()
        self.nic.limit = MOST
        self.port = PortStruct()
        self.port.fast = ctypes.addressof(self._fast)
        self.at = ctypes.addressof(self.nic)
        self.installed = latency_nic.Installed(ctypes.addressof(self.port), self.at)
        self.array = (ctypes.c_int64 * 64)()

    def _receive(self, queue: int, array: int, count: int) -> int:
        assert queue == 7
        self.asked.append(count)
        for i in range(count):
            address = ctypes.addressof(self.mbufs[i])
            ctypes.c_int64.from_address(array + 8 * i).value = address
        return count

    def _send(self, queue: int, array: int, count: int) -> int:
        assert queue == 7
        return min(count, self.accepts)

    def take(self, count: int = 32) -> int:
        return int(latency_nic.take(self.at, ctypes.addressof(self.array), count))

    def give(self, count: int) -> int:
        return int(latency_nic.give(self.at, ctypes.addressof(self.array), count))

    def stamp(self, i: int, at: int) -> int:
        return int(ctypes.c_int64.from_address(ctypes.addressof(self.mbufs[i]) + at).value)


def test_nothing_arrives_while_it_is_off() -> None:
    driver = Driver()
    assert driver.take() == 0 and driver.asked == []


def test_packets_fall_due_by_the_clock() -> None:
    driver = Driver()
    nic = driver.nic
    nic.mode, nic.depth = PACED, 100
    spacing = 1 << 40  # cycles: none falls due by itself
    nic.scale, nic.spacing = 2**64 // spacing, spacing << 16
    assert driver.take() == 0  # notes the time of the first packet
    nic.start -= 10 * spacing
    got = driver.take()
    assert got == 10
    assert driver.asked == [got] and (nic.taken, nic.received, nic.lost) == (got, got, 0)
    assert driver.take() == 0
    assert [driver.stamp(i, NUMBER_AT) for i in range(got)] == list(range(got))
    dues = [driver.stamp(i, DUE_AT) for i in range(got)]
    assert dues == [nic.start + i * spacing for i in range(got)]
    assert all(driver.stamp(i, SEEN_AT) >= dues[-1] for i in range(got))
    assert driver.give(got) == got and nic.sent == got and nic.sampled == got
    assert sum(nic.due_to_sent[:SLOTS]) == sum(nic.seen_to_sent[:SLOTS]) == got
    assert sum(nic.between_polls) == 3
    assert nic.due_to_sent[SLOTS - 1] == got  # all of them very late


def test_what_the_queue_has_no_room_for_is_lost() -> None:
    driver = Driver()
    nic = driver.nic
    nic.mode, nic.depth = PACED, 40
    nic.scale, nic.spacing, nic.stall = 2**64 >> 20, 1 << 36, 1 << 40
    driver.take(0)
    nic.start -= 1000 << 20
    assert driver.take() == 32
    assert nic.lost_slowed == nic.lost_stalled == 0
    assert nic.lost >= 960 and nic.taken == nic.lost + 32
    assert driver.take() >= 8


def test_arp_is_passed_on_uncounted_and_refusals_are_counted() -> None:
    driver = Driver(ethertype=0x0608)
    driver.nic.mode = latency_nic.FLAT_OUT
    assert driver.take(16) == 16
    driver.accepts = 10
    assert driver.give(16) == 10
    assert (driver.nic.sent, driver.nic.refused) == (0, 6)
    driver.nic.mode = OFF
    assert driver.take() == 0
    assert Port(ctypes.addressof(driver.port)).fast != ctypes.addressof(driver._fast)


def test_changes_undo_themselves() -> None:
    kinds = [kind for kind, _ in itertools.islice(changes(), 16)]
    for noun in ("route", "neigh", "svc"):
        assert kinds.count(f"{noun}.add") == kinds.count(f"{noun}.del") == 2
        assert kinds.index(f"{noun}.add") < kinds.index(f"{noun}.del")
    assert kinds.count("dest.edit") == 4


def test_repeating_keeps_its_rate() -> None:
    done: list[int] = []
    count = repeated(lambda: done.append(1), 50, 0.4)
    assert 10 <= count == len(done) <= 21
    assert repeated(lambda: done.append(1), 0, 0.05) == 0


class Lossy:
    """A daemon whose counters say what the test wants."""

    def __init__(self, nic: NicStruct, after: dict[str, int]) -> None:
        self.nic, self.after = nic, after

    def worker(self) -> dict[str, int]:
        return self.after

    def sample(self) -> list[tuple[bytes, bytes]]:
        return []


def look(driver: Driver, times: int, limit: int) -> int:
    """Whether the core is taken for slowed after so many looks at its speed."""
    driver.nic.limit = limit
    for _ in range(times):
        latency_nic.gauge(driver.at)
    return int(driver.nic.slowed)


def test_the_core_is_slowed_after_two_slow_looks_until_many_are_good() -> None:
    driver = Driver()
    nic = driver.nic
    nic.mode, nic.depth = PACED, 100
    assert [look(driver, 1, limit) for limit in (MOST, 0, MOST, 0)] == [0, 0, 0, 0]
    assert look(driver, 1, 0) == 1 and nic.fastest > 0
    assert look(driver, CALM - 1, MOST) == 1
    driver.take()
    assert nic.slowed == 1
    look(driver, 1, MOST)
    driver.take()
    assert nic.slowed == 0


def test_packets_of_a_slowed_core_are_counted_apart() -> None:
    driver = Driver()
    nic = driver.nic
    nic.mode, nic.depth, nic.limit, nic.slowed = PACED, 40, MOST, 1
    nic.scale, nic.spacing = 2**64 >> 20, 1 << 36
    driver.take(0)
    nic.start -= 50 << 20
    assert driver.take() == 32 and nic.slowed == 1  # the queue is not empty yet
    driver.give(32)
    for field in (nic.due_to_sent, nic.seen_to_sent):
        assert sum(field[:SLOTS]) == 0 and sum(field[SLOTS:]) == 32
    assert sum(nic.between_polls[SLOTS:]) == 2
    assert (nic.lost, nic.lost_stalled) == (0, 0) and nic.lost_slowed >= 10


def test_what_is_lost_when_the_core_stood_still() -> None:
    driver = Driver()
    nic = driver.nic
    nic.mode, nic.depth, nic.stall = PACED, 40, 1 << 40
    nic.scale, nic.spacing = 2**64 >> 20, 1 << 36
    driver.take(0)
    nic.start -= 1000 << 20
    nic.polled -= 1 << 41
    driver.take()
    assert nic.lost == nic.lost_slowed == 0 and nic.lost_stalled >= 960


def test_the_speed_is_looked_at_now_and_then() -> None:
    driver = Driver()
    nic = driver.nic
    nic.mode, nic.depth, nic.limit = PACED, 100, MOST
    driver.take()
    assert nic.good_looks == 1
    nic.gauged += 1 << 40
    driver.take()
    assert nic.good_looks == 1
    nic.gauged -= 1 << 41
    driver.take()
    assert nic.good_looks == 2


class Rounds:
    """Rounds as ``one_round`` would give them, from a script of (share away, good packets)."""

    def __init__(self, *script: tuple[float, int]) -> None:
        self.script = itertools.cycle(script)

    def __call__(self, daemon: object, oracle: object, rate: float, job: object, busy: bool):
        away, packets = next(self.script)
        histograms = [{"arrived to sent": [packets]}, {"arrived to sent": [LEAST]}]
        return {
            "good": away == 0, "away": away, "histograms": histograms, "packets": packets + LEAST,
            "lost_slowed": 5, "lost_stalled": 3,
        }  # fmt: skip


def test_disturbed_rounds_are_set_aside_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEEP)
    rounds = Rounds((0.0, LEAST), (0.5, LEAST), (0.0, LEAST), (0.0, 9), (0.0, LEAST))
    monkeypatch.setattr(latency_rounds, "one_round", rounds)
    found = latency_rounds.rounds_of(None, None, 1.0, {"rounds": 2})  # type: ignore[arg-type]
    aside = found.pop("set aside")
    assert {name: len(of) for name, of in found.items()} == {"quiet": 2, "changed and read": 2}
    assert [one["away"] for one in aside] == [0.5, 0.0]
    first, last = latency.disturbances({"cases": found, "set aside": aside})
    assert first.startswith("50.0% of the packets are not in these figures")
    assert " 20 packets more found" in first and "12 did after" in first
    assert last.startswith("2 more rounds were repeated") and "(25.00% of" in last


def test_the_machine_may_be_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_rounds, "one_round", Rounds((0.0, 1)))
    found = latency_rounds.rounds_of(None, None, 1.0, {"rounds": 2})  # type: ignore[arg-type]
    assert {name: len(of) for name, of in found.items()} == {
        "quiet": 2, "changed and read": 2, "set aside": 0
    }  # fmt: skip


@pytest.mark.parametrize("script", [(1.0, LEAST), (0.0, LEAST - 1)])
def test_a_core_that_is_never_ours_is_no_result(script, monkeypatch) -> None:
    monkeypatch.delenv(KEEP)
    monkeypatch.setattr(latency_rounds, "one_round", Rounds(script))
    with pytest.raises(PerfError, match="slow or not ours in 48 rounds, 2 good ones"):
        latency_rounds.rounds_of(None, None, 1.0, {"rounds": 2})  # type: ignore[arg-type]


def test_a_disturbed_round_may_have_lost_packets() -> None:
    nic = NicStruct()
    nic.received = nic.sent = nic.lost = 10
    lossy = Lossy(nic, {})
    assert latency_rounds.check(lossy, {}, None, disturbed=True) == 10  # type: ignore[arg-type]
    with pytest.raises(PerfError, match="10 found no room"):
        latency_rounds.check(lossy, {}, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"), [("lost", 1), ("refused", 1), ("sent", 9), ("received", 0)]
)
def test_a_lost_packet_is_no_result(field: str, value: int) -> None:
    nic = NicStruct()
    nic.received = nic.sent = 10
    before = {"drop_no_route": 0, "packets": 1}
    assert latency_rounds.check(Lossy(nic, {**before, "packets": 9}), before, None) == 10  # type: ignore[arg-type]
    setattr(nic, field, value)
    with pytest.raises(PerfError, match="packets were lost"):
        latency_rounds.check(Lossy(nic, before), before, None)  # type: ignore[arg-type]


def test_a_refused_change_is_no_result() -> None:
    nic = NicStruct()
    nic.received = nic.sent = nic.failed = 10
    with pytest.raises(PerfError, match="refused 10 of the changes"):
        latency_rounds.check(Lossy(nic, {}), {}, None)  # type: ignore[arg-type]


def test_a_dropped_packet_is_no_result() -> None:
    nic = NicStruct()
    nic.received = nic.sent = 10
    with pytest.raises(PerfError, match="'drop_no_route': 2"):
        latency_rounds.check(Lossy(nic, {"drop_no_route": 2}), {"drop_no_route": 0}, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "words", [["--load", "0"], ["--load", "2"], ["--seconds", "5"], ["--depth", "1"], ["more"]]
)
def test_bad_options(words: list[str]) -> None:
    assert CliRunner().invoke(latency.command, words).exit_code == 2
