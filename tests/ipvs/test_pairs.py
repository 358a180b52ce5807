"""Single entries and pairs share one table: nothing overlaps, nothing is lost, all can be used."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ipvs import table
from ipvs.entry import LIVE, WIDE, Entry
from ipvs.pairs import SEARCH, give_pair, take_pair
from tests.audit import Audit
from tests.memory import aligned
from tests.rig import Rig

CAPACITY = 23


class Slots:
    """A small table and what was taken out of it, as the naive version keeps it."""

    def __init__(self, capacity=CAPACITY):
        self.memory, self.at = aligned(table.table_bytes(capacity))
        table.initialise(self.at, capacity, 0)
        self.capacity, self.held = capacity, {}

    def take(self, wide):
        number = (take_pair if wide else table.take_entry)(self.at)
        if number:
            slots = {number - 1, number} if wide else {number}
            assert not wide or number % 2 == 1
            assert all(1 <= slot <= self.capacity for slot in slots)
            assert not slots & set().union(*self.held.values()), "handed out twice"
            self.held[number] = slots
        assert table.Table(self.at).count == len(self.held)
        return number

    def give(self, number):
        (give_pair if len(self.held.pop(number)) == 2 else table.give_entry)(self.at, number)

    def used(self):
        return sum(map(len, self.held.values()))


STEPS = st.lists(st.tuples(st.sampled_from(["one", "two", "give"]), st.integers(0, 1 << 16)))


@settings(max_examples=60, deadline=None)
@given(STEPS)
@example([("one", 0)] * 3 + [("two", 0)] * 9 + [("one", 0)])  # half of the last pair
def test_any_order_of_taking_and_giving(steps):
    slots = Slots()
    for what, which in steps:
        if what != "give":
            taken = slots.take(what == "two")
            if not taken and what == "one":
                assert slots.used() == CAPACITY, "refused with room left"
        elif slots.held:
            slots.give(sorted(slots.held)[which % len(slots.held)])
    # Whatever happened: everything can be given back and then taken as pairs, and then as singles.
    for number in sorted(slots.held, key=lambda n: (n * 7919) % 31):
        slots.give(number)
    pairs = 0
    while slots.take(wide=True):
        pairs += 1
    assert pairs == CAPACITY // 2, "pairs could not be joined again"
    for number in list(slots.held):
        slots.give(number)
    while slots.take(wide=False):
        pass
    assert slots.used() == CAPACITY


def test_the_search_for_a_pair_is_bounded():
    """Every second entry busy: each attempt looks at few, and the next goes on from there."""
    slots = Slots(capacity=20 * SEARCH)
    numbers = []
    while number := slots.take(wide=False):
        numbers.append(number)
    for number in numbers:
        if number % 2 == 0:
            slots.give(number)
    assert slots.take(wide=True) == 0
    slots.give(max(number for number in slots.held if number < 20 * SEARCH - 8))
    attempts = 1
    while not slots.take(wide=True):
        attempts += 1
    assert 2 < attempts <= 11


def test_rebuild_keeps_pairs_and_refuses_half_of_one():
    """After kill -9: a pair stays a pair, an even entry is none and neither is one whose first half
    is somebody else's, and two dead neighbours become a pair again."""
    rig = Rig(capacity=16)
    at = rig.w.table
    pair, one, other = take_pair(at), table.take_entry(at), take_pair(at)
    singles = [table.take_entry(at) for _ in range(7)]
    assert (pair, one, other, singles) == (3, 1, 5, [6, 7, 8, 9, 10, 11, 12])
    for number in (pair, one, other, 6, 7, 8, 9):
        entry = Entry(table.entry_of(at, number))
        entry.side[0].addresses, entry.side[0].ports = number, number
        entry.flags, entry.live, entry.timeout = 0 if number in (one, 7, 8) else WIDE, LIVE, 60
        entry.last = rig.stack.now
    rig.worker.attach_table(at, table.table_bytes(16), 16)
    assert rig.worker.recovered == 5
    audit = Audit(rig.address)
    assert audit.problems == []
    assert set(audit.live) == {pair, one, other, 7, 8}
    assert table.Table(at).pairs == 10, "dead neighbours are a pair again"


def test_an_entry_shares_its_aligned_pair_of_lines_with_the_line_before_it():
    for capacity in (16, 17, 1000, 65537):
        memory, at = aligned(table.table_bytes(capacity))
        table.initialise(at, capacity, 0)
        assert table.entry_of(at, 1) % 128 == 64
        end = table.Table(at).links + (capacity + 1) * 8
        assert end <= at + table.table_bytes(capacity) <= at + len(memory)
