import pytest
from control_fakes import Master, add, delete, table

from tools.control.providers import LaddrCounters


@pytest.fixture
def master():
    master = Master()
    master.published.take()
    return master


def test_an_address_makes_its_routes(master):
    add(master, "192.0.2.1/24")
    assert master.published.take() == [
        ("addr.set", {"addr": "192.0.2.1", "plen": 24, "dev": 0, "sapool": False}),
        (
            "route.set",
            {
                "dst": "192.0.2.1",
                "plen": 32,
                "kind": "local",
                "via": None,
                "dev": 0,
                "src": None,
                "mtu": 1500,
            },
        ),
        (
            "route.set",
            {
                "dst": "192.0.2.0",
                "plen": 24,
                "kind": "link",
                "via": None,
                "dev": 0,
                "src": "192.0.2.1",
                "mtu": 1500,
            },
        ),
    ]
    assert table(master) == ["192.0.2.1/32 host dpdk0", "192.0.2.0/24 link dpdk0 src 192.0.2.1"]
    delete(master, "192.0.2.1/24")
    assert [kind for kind, _ in master.published.take()] == ["route.del", "route.del", "addr.del"]
    assert table(master) == []


def test_a_host_address_makes_no_network_route(master):
    add(master, "192.0.2.1/32")
    assert table(master) == ["192.0.2.1/32 host dpdk0"]


def test_a_sapool_address_has_a_pool(master):
    add(master, "192.0.2.1/32", sapool=True)
    assert master.published.take()[-1] == ("laddr.set", {"id": 0, "addr": "192.0.2.1", "dev": 0})
    # the same address under another prefix length keeps the same pool alive
    add(master, "192.0.2.1/24", sapool=True)
    delete(master, "192.0.2.1/32")
    assert "laddr.del" not in dict(master.published.take())
    delete(master, "192.0.2.1/24")
    assert ("laddr.del", {"id": 0}) in master.published.take()


def test_a_sapool_address_belongs_to_one_device(master):
    add(master, "192.0.2.1/32", sapool=True)
    code, text = master.refused("addr.add", addr="192.0.2.1", plen=32, dev="dpdk1", sapool=True)
    assert code == -3 and "another device" in text
    add(master, "192.0.2.1/32", dev="dpdk1")


def test_pool_ids_run_out(master):
    master.state.pools.ids.capacity = 1
    add(master, "192.0.2.1/32", sapool=True)
    code, _ = master.refused("addr.add", addr="192.0.2.2", plen=32, dev="dpdk0", sapool=True)
    assert code == -15


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"dev": "eth0"}, -4, "no device is named 'eth0'"),
        ({"plen": 33}, -1, "field 'plen' must be an integer 1..32"),
        ({"plen": 0}, -1, "field 'plen' must be an integer 1..32"),
        ({"addr": "0.0.0.0"}, -1, "cannot be an interface address"),
        ({"addr": "224.0.0.5"}, -1, "cannot be an interface address"),
        ({"addr": "255.255.255.255"}, -1, "cannot be an interface address"),
        ({"addr": "host"}, -1, "must be an IP address"),
        ({"addr": "::1"}, -1, "cannot be an interface address"),
        ({"addr": "::ffff:192.0.2.1"}, -1, "cannot be an interface address"),
        ({"addr": "ff02::1"}, -1, "cannot be an interface address"),
        ({"addr": "2001:db8::1", "plen": 129}, -1, "must be an integer 1..128"),
        ({"addr": "2001:db8::1", "broadcast": "2001:db8::ff"}, -1, "broadcast"),
        ({"scope": "planet"}, -1, "host, link, global or a number"),
        ({"scope": "256"}, -1, "host, link, global or a number"),
        ({"valid_lft": -1}, -1, "field 'valid_lft'"),
        ({"sapool": 1}, -1, "true or false"),
        ({"broadcast": "all"}, -1, "field 'broadcast'"),
        ({"label": "x"}, -1, "unknown field 'label'"),
    ],
)
def test_refused_addresses(master, change, code, text):
    good = {"addr": "192.0.2.1", "plen": 24, "dev": "dpdk0"}
    got = master.refused("addr.add", **{**good, **change})
    assert got[0] == code and text in got[1]


def test_duplicates_and_missing_addresses(master):
    add(master, "192.0.2.1/24")
    same = {"addr": "192.0.2.1", "plen": 24, "dev": "dpdk0"}
    assert master.refused("addr.add", **same)[0] == -3
    assert master.refused("addr.del", **{**same, "plen": 25})[0] == -4
    assert master.refused("addr.set", **{**same, "dev": "dpdk1"})[0] == -4


def test_lifetime_counts_down_and_expires(master):
    add(master, "192.0.2.1/24", valid_lft=30, broadcast="192.0.2.255", scope="link")
    master.clock.now += 10.5
    row = master.ok("addr.show", dev="dpdk0")[0]
    assert (row["valid_lft"], row["preferred_lft"]) == (20, 20)
    assert (row["broadcast"], row["scope"], row["cid"]) == ("192.0.2.255", "link", 0)
    master.ok("addr.set", addr="192.0.2.1", plen=24, dev="dpdk0", valid_lft=5)
    row = master.ok("addr.show")[0]
    assert (row["broadcast"], row["scope"], row["valid_lft"]) == (None, "global", 5)
    master.clock.now += 5
    master.state.tick()
    assert master.ok("addr.show") == [] and table(master) == []


def test_sapool_cannot_be_switched_on_later(master):
    add(master, "192.0.2.1/32")
    code, text = master.refused("addr.set", addr="192.0.2.1", plen=32, dev="dpdk0", sapool=True)
    assert code == -14 and "delete the address" in text


def test_show_with_pool_counters(master):
    add(master, "192.0.2.1/32", sapool=True)
    add(master, "192.0.2.2/32")
    master.counters.laddrs[1, 0] = LaddrCounters(3, 100, 1)
    master.counters.laddrs[2, 0] = LaddrCounters(4, 200, 0)
    total = master.ok("addr.show", stats=True)
    assert (total[0]["sa_used"], total[0]["sa_free"], total[0]["sa_miss"]) == (7, 300, 1)
    assert "sa_used" not in total[1]
    each = master.ok("addr.show", stats=True, verbose=True)
    assert [(row["cid"], row["addr"], row.get("sa_used")) for row in each] == [
        (1, "192.0.2.1", 3),
        (1, "192.0.2.2", None),
        (2, "192.0.2.1", 4),
        (2, "192.0.2.2", None),
    ]


def test_flush_takes_one_device(master):
    add(master, "192.0.2.1/24")
    add(master, "192.0.2.2/32")
    add(master, "198.51.100.1/24", dev="dpdk1")
    master.ok("addr.flush", dev="dpdk0", af="inet6")
    assert len(master.ok("addr.show")) == 3
    master.ok("addr.flush", dev="dpdk0", af="inet")
    assert [row["addr"] for row in master.ok("addr.show")] == ["198.51.100.1"]
    assert master.ok("addr.show", af="inet6") == []
    assert master.refused("addr.flush", dev="eth0")[0] == -4


def test_connected_route_is_inherited(master):
    add(master, "192.0.2.1/24")
    add(master, "192.0.2.2/24")
    delete(master, "192.0.2.1/24")
    assert table(master) == ["192.0.2.2/32 host dpdk0", "192.0.2.0/24 link dpdk0 src 192.0.2.2"]
    assert master.published.take()[-3][1]["src"] == "192.0.2.2"
    delete(master, "192.0.2.2/24")
    assert table(master) == []
