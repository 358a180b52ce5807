"""rr, wrr and wlc against naive models of their definitions."""

import ctypes
import math

from hypothesis import given
from hypothesis import strategies as st

from ipvs import schedulers
from ipvs.dest import DestStats, DestStruct
from ipvs.service import SCHEDULERS, ServiceStruct


class Pick:
    """A service of real servers that exist only as records."""

    def __init__(self, sched, weights, position=-1):
        count = len(weights)
        self.dests = (DestStruct * max(1, count))()
        self.stats = (ctypes.c_int64 * (8 * max(1, count)))()
        # Ids are not positions: the list names them in reverse.
        self.order = list(range(count))[::-1]
        self.ids = (ctypes.c_uint32 * max(1, count))(*self.order)
        for number, weight in zip(self.order, weights, strict=True):
            self.dests[number].weight, self.dests[number].present = weight, 1
        self.record = ServiceStruct(
            dests=ctypes.addressof(self.ids),
            dest_count=count,
            scheduler=SCHEDULERS[sched],
            position=position,
            max_weight=max([max(0, w) for w in weights], default=0),
            gcd_weight=math.gcd(*[max(0, w) for w in weights]),
        )

    def disable(self, position, how):
        dest = self.dests[self.order[position]]
        if how == "removed":
            dest.present = 0
        elif how == "weight 0":
            dest.weight = 0
        elif how == "overloaded":
            dest.overload = 1
        elif how == "inhibited":
            dest.inhibited = 1

    def load(self, position, active, inactive):
        stats = DestStats(ctypes.addressof(self.stats) + self.order[position] * 64)
        stats.active, stats.inactive = active, inactive

    def next(self):
        """Position in the list of the next choice, or None."""
        number = schedulers.schedule(
            ctypes.addressof(self.record),
            ctypes.addressof(self.dests),
            ctypes.addressof(self.stats),
            *(0, 0, 0, 0),
        )
        return None if number < 0 else self.order.index(number)


def usable(weights, states):
    return [w > 0 and s == "fine" for w, s in zip(weights, states, strict=True)]


STATES = ["fine", "fine", "fine", "removed", "overloaded", "inhibited"]
servers = st.lists(st.tuples(st.integers(-1, 12), st.sampled_from(STATES)), max_size=9).map(
    lambda rows: ([w for w, _ in rows], [s for _, s in rows])
)


def naive_wrr(weights, good, start):
    """The LVS wiki's pseudo code, with every pass walked through; a generator of choices."""
    highest, step = max(weights), math.gcd(*weights)
    i, cw = start, 0
    while True:
        i = (i + 1) % len(weights)
        if i == 0 or cw == 0:
            cw -= step
            if cw <= 0:
                cw = highest
        if good[i] and weights[i] >= cw:
            yield i


@given(servers, st.integers(-1, 8))
def test_wrr_is_the_classic_sequence(drawn, start):
    weights, states = drawn
    start = min(start, len(weights) - 1)
    pick = Pick("wrr", weights, start)
    for position, state in enumerate(states):
        pick.disable(position, state)
    good = usable(weights, states)
    positive = [max(0, w) for w in weights]
    if not any(good):
        assert pick.next() is None and pick.next() is None
        return
    model = naive_wrr(positive, good, start)
    for _ in range(4 * sum(positive)):
        assert pick.next() == next(model)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_wrr_gives_everybody_its_share_in_every_cycle(weights):
    pick = Pick("wrr", weights)
    step = math.gcd(*weights)
    if not step:
        return
    for _ in range(3):
        cycle = [pick.next() for _ in range(sum(weights) // step)]
        assert [cycle.count(i) for i in range(len(weights))] == [w // step for w in weights]


def test_wrr_with_the_heaviest_server_away_takes_no_longer():
    """65,535 fruitless passes per connection would let one sick server slow everything."""
    pick = Pick("wrr", [65535, 1, 1])
    pick.disable(0, "overloaded")
    assert [pick.next() for _ in range(2000)] == [1, 2] * 1000


def test_wrr_when_servers_change_between_choices():
    pick = Pick("wrr", [4, 2, 2])
    model = naive_wrr([4, 2, 2], [True] * 3, -1)
    for _ in range(5):
        assert pick.next() == next(model)
    for position in range(3):
        pick.disable(position, "overloaded")
    assert pick.next() is None
    for position in range(3):
        pick.dests[pick.order[position]].overload = 0
    assert {pick.next() for _ in range(4)} == {0, 1, 2}
