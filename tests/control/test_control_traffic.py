import pytest
from control_fakes import Clock, FakeCounters, Master, svc

from tools.control.providers import DestCounters, LaddrCounters
from tools.control.rates import Rates, RateSampler


@pytest.fixture
def master():
    master = Master()
    master.ok("svc.add", svc=svc(), sched="rr")
    for port in (1, 2):
        master.ok("dest.add", svc=svc(), addr="192.0.2.101", port=port, mode="fullnat")
    return master


def count(master, cid, dest_id, *values):
    master.counters.dests[cid, dest_id] = DestCounters(*values)


def only(master, **fields):
    return master.ok("svc.list", **fields)[0]


def test_service_statistics_are_the_sum_of_its_servers(master):
    count(master, 1, 0, 1, 10, 20, 100, 200, 3, 4)
    count(master, 2, 0, 2, 11, 21, 101, 201, 5, 6)
    count(master, 2, 1, 7, 0, 0, 0, 0, 1, 0)
    row = only(master)
    assert row["stats"] == {
        "conns": 10,
        "inpkts": 21,
        "outpkts": 41,
        "inbytes": 201,
        "outbytes": 401,
    }
    second = row["dests"][1]
    assert (second["active"], second["inactive"], second["persist"]) == (8, 10, 0)
    one = only(master, cpu=1)
    assert one["stats"]["conns"] == 1 and one["dests"][1]["active"] == 3
    master.ok("dest.del", svc=svc(), addr="192.0.2.101", port=1)
    assert only(master)["stats"]["conns"] == 10  # what the removed one did stays done


def test_unknown_worker_is_refused(master):
    assert master.refused("svc.list", cpu=3) == (-1, "there is no worker 3; they are 1..2")
    assert master.refused("laddr.list", cpu=-1)[0] == -1


def test_zero_starts_from_the_present_values(master):
    count(master, 1, 0, 1, 10, 20, 100, 200, 3, 4)
    master.ok("svc.zero", svc=svc())
    row = only(master)
    assert set(row["stats"].values()) == {0}
    assert row["dests"][1]["active"] == 3
    count(master, 1, 0, 5, 10, 20, 100, 200, 3, 4)
    assert only(master)["stats"]["conns"] == 4
    master.ok("svc.zero")
    assert only(master)["stats"]["conns"] == 0


def test_counters_started_anew_are_taken_as_they_are(master):
    count(master, 1, 0, 100, 0, 0, 0, 0, 0, 0)
    master.ok("svc.zero")
    count(master, 1, 0, 3, 0, 0, 0, 0, 0, 0)
    assert only(master)["stats"]["conns"] == 3


def test_a_reused_id_starts_from_zero(master):
    count(master, 1, 0, 100, 1, 1, 1, 1, 0, 0)
    master.ok("dest.del", svc=svc(), addr="192.0.2.101", port=1)
    master.clock.now += 5
    master.state.tick()
    master.ok("dest.add", svc=svc(), addr="192.0.2.103", port=9, mode="nat")
    assert master.published.take()[-1][1]["dests"][0]["id"] == 0
    assert set(only(master)["dests"][0]["stats"].values()) == {0}


def test_overload_is_per_worker_share(master):
    master.ok(
        "dest.edit", svc=svc(), addr="192.0.2.101", port=1, mode="fullnat", u_thresh=11, l_thresh=2
    )
    count(master, 1, 0, 0, 0, 0, 0, 0, 2, 2)
    assert not only(master)["dests"][1]["overload"]
    count(master, 1, 0, 0, 0, 0, 0, 0, 3, 2)
    assert only(master)["dests"][1]["overload"]
    assert only(master, cpu=1)["dests"][1]["overload"]
    assert not only(master, cpu=2)["dests"][1]["overload"]
    # a worker's share is at least one connection
    master.ok("dest.edit", svc=svc(), addr="192.0.2.101", port=1, mode="fullnat", u_thresh=1)
    assert only(master, cpu=1)["dests"][1]["overload"]
    assert not only(master, cpu=2)["dests"][1]["overload"]


def test_local_address_counters(master):
    where = {"addr": "192.0.2.200", "dev": "dpdk0"}
    master.counters.laddrs[1, 0] = LaddrCounters(0, 10, 5)
    master.ok("addr.add", plen=32, sapool=True, **where)
    master.ok("laddr.add", svc=svc(), **where)
    master.counters.laddrs[1, 0] = LaddrCounters(2, 8, 6)
    master.counters.laddrs[2, 0] = LaddrCounters(3, 7, 0)
    assert master.ok("laddr.list")[0]["laddrs"][0]["conns"] == 5
    assert master.ok("laddr.list")[0]["laddrs"][0]["conflicts"] == 1
    assert master.ok("laddr.list", cpu=2)[0]["laddrs"][0]["conns"] == 3
    # its id waits until the ports are given back
    master.ok("addr.del", plen=32, **where)
    master.clock.now += 5
    master.state.tick()
    assert master.state.pools.ids.retired == 1
    master.counters.laddrs.clear()
    master.state.tick()
    assert master.state.pools.ids.retired == 0


def test_rates_cover_two_seconds(master):
    for second in range(6):
        count(master, 1, 0, 10 * second, 100 * second, 0, 1000 * second, 0, 0, 0)
        count(master, 2, 0, 0, 0, 50 * second, 0, 1, 0, 0)
        master.clock.now += 1
        master.state.tick()
    row = only(master)
    assert row["rates"] == {"cps": 10, "inpps": 100, "outpps": 50, "inbps": 1000, "outbps": 0}
    assert row["dests"][1]["rates"]["cps"] == 10
    assert only(master, cpu=2)["rates"]["cps"] == 0
    master.clock.now += 1
    master.state.tick()
    assert only(master)["rates"]["cps"] == 5
    master.clock.now += 1
    master.state.tick()
    assert only(master)["rates"]["cps"] == 0


def test_zeroing_does_not_disturb_rates(master):
    for second in range(3):
        count(master, 1, 0, 10 * second)
        master.clock.now += 1
        master.state.tick()
    master.ok("svc.zero")
    assert only(master)["rates"]["cps"] == 10


def test_sampling_many_servers_is_spread_and_stays_right():
    counters, clock = FakeCounters(2), Clock()
    sampler = RateSampler(counters, budget=20)
    ids = list(range(25))
    for second in range(20):
        for dest_id in ids:
            counters.dests[1, dest_id] = DestCounters(conns=dest_id * second)
        before = counters.reads
        sampler.sample(clock.now + second, ids)
        assert counters.reads - before <= 20
    for dest_id in ids:
        assert sampler.rates(dest_id, (1, 2)) == Rates(cps=dest_id)
    sampler.forget(7)
    assert sampler.rates(7, (1, 2)) == Rates()


def test_a_removed_server_is_sampled_no_more(master):
    master.state.tick()
    master.ok("dest.del", svc=svc(), addr="192.0.2.101", port=1)
    master.ok("dest.del", svc=svc(), addr="192.0.2.101", port=2)
    master.state.ipvs.dest_ids.reap()
    before = master.counters.reads
    master.state.traffic.sample(master.clock.now + 1)
    assert master.counters.reads == before
