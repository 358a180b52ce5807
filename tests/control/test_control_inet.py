import pytest
from control_fakes import Master

from tools.control.providers import NeighbourRow


@pytest.fixture
def master():
    master = Master()
    master.published.take()
    return master


def add(master, text, dev="dpdk0", **fields):
    addr, plen = text.split("/")
    master.ok("addr.add", addr=addr, plen=int(plen), dev=dev, **fields)


def delete(master, text, dev="dpdk0"):
    addr, plen = text.split("/")
    master.ok("addr.del", addr=addr, plen=int(plen), dev=dev)


def table(master, **fields):
    """Routes as short texts, in table order."""
    return [
        f"{row['dst']}/{row['plen']} {row['scope']} {row['dev']}"
        + (f" via {row['via']}" if row["via"] else "")
        + (f" src {row['src']}" if row["src"] else "")
        for row in master.ok("route.show", **fields)
    ]


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
        ({"addr": "2001:db8::1"}, -14, "IPv6"),
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
    from tools.control.providers import LaddrCounters

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


def test_table_order(master):
    add(master, "192.0.2.1/24")
    for dst in ("198.51.100.0/25", "10.0.0.0/8", "203.0.113.0/24", "198.51.100.0/24"):
        master.ok("route.add", dst=dst, dev="dpdk0")
    master.ok("route.add", dst="default", via="192.0.2.254")
    master.ok("route.add", dst="198.51.100.0/24", dev="dpdk1")
    master.ok("route.add", dst="198.51.100.9/32", dev="dpdk1", scope="host")
    assert table(master) == [
        "192.0.2.1/32 host dpdk0",
        "198.51.100.9/32 host dpdk1",
        "198.51.100.0/25 link dpdk0",
        "192.0.2.0/24 link dpdk0 src 192.0.2.1",
        "203.0.113.0/24 link dpdk0",
        "198.51.100.0/24 link dpdk0",
        "198.51.100.0/24 link dpdk1",
        "10.0.0.0/8 link dpdk0",
        "0.0.0.0/0 global dpdk0 via 192.0.2.254",
    ]
    assert len(table(master, dev="dpdk1")) == 2
    assert table(master, af="inet6") == []


def test_host_bits_are_cleared(master):
    master.ok("route.add", dst="198.51.100.77/24", dev="dpdk0")
    assert table(master) == ["198.51.100.0/24 link dpdk0"]
    assert master.refused("route.add", dst="198.51.100.1/24", dev="dpdk0")[0] == -3


def test_source_follows_the_addresses(master):
    add(master, "192.0.2.1/24")
    master.ok("route.add", dst="198.51.100.0/24", via="192.0.2.254")
    assert master.published.take()[-1][1]["src"] == "192.0.2.1"
    # a later address in the gateway's subnet is preferred, and gone again it is not
    add(master, "192.0.2.2/32")
    assert "198.51.100.0" not in str(master.published.take())
    add(master, "192.0.2.3/25")
    add(master, "192.0.2.4/24")
    changed = {body["dst"]: body["src"] for kind, body in master.published.take() if "via" in body}
    assert changed["198.51.100.0"] == "192.0.2.4"
    delete(master, "192.0.2.4/24")
    sources = [body["src"] for _, body in master.published.take() if body.get("via")]
    assert sources == ["192.0.2.1"]
    assert table(master)[-1] == "198.51.100.0/24 global dpdk0 via 192.0.2.254"


def test_a_link_scope_address_is_no_source_beyond_a_gateway(master):
    add(master, "192.0.2.1/24", scope="link")
    master.ok("route.add", dst="default", via="192.0.2.254")
    master.ok("route.add", dst="10.0.0.0/8", dev="dpdk0")
    sources = {body["dst"]: body["src"] for _, body in master.published.take() if "src" in body}
    assert sources["0.0.0.0"] is None and sources["10.0.0.0"] == "192.0.2.1"


def test_a_changed_scope_changes_the_source(master):
    add(master, "192.0.2.1/24")
    master.ok("route.add", dst="default", via="192.0.2.254")
    master.published.take()
    master.ok("addr.set", addr="192.0.2.1", plen=24, dev="dpdk0", scope="host")
    assert [body.get("src") for kind, body in master.published.take() if kind == "route.set"] == [
        None
    ]


def test_a_lost_source_gives_way_to_a_chosen_one(master):
    add(master, "192.0.2.1/24")
    add(master, "203.0.113.1/32", dev="dpdk1")
    master.ok("route.add", dst="default", via="192.0.2.254", src="203.0.113.1")
    assert table(master)[-1].endswith("src 203.0.113.1")
    delete(master, "203.0.113.1/32", dev="dpdk1")
    assert table(master)[-1] == "0.0.0.0/0 global dpdk0 via 192.0.2.254"
    bodies = [body for _, body in master.published.take() if body.get("dst") == "0.0.0.0"]
    assert bodies[-1]["src"] == "192.0.2.1"


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"dst": "10.0.0.0/8"}, -1, "needs a device or a gateway"),
        ({"dst": "10.0.0.0/8", "dev": "eth0"}, -27, "no device is named 'eth0'"),
        ({"dst": "10.0.0.0/8", "via": "198.51.100.1"}, -8, "is on no connected network"),
        ({"dst": "10.0.0.0/8", "via": "192.0.2.9", "dev": "dpdk1"}, -8, "network of dpdk1"),
        ({"dst": "10.0.0.0/8", "via": "192.0.2.1"}, -1, "an address of this host"),
        ({"dst": "10.0.0.0/8", "via": "224.0.0.1", "dev": "dpdk0"}, -1, "cannot be a gateway"),
        ({"dst": "10.0.0.0/8", "via": "192.0.2.9", "src": "192.0.2.7"}, -1, "not an address of"),
        ({"dst": "10.0.0.0/8", "dev": "dpdk0", "mtu": 9000}, -1, "not within 68..1500"),
        ({"dst": "10.0.0.0/8", "dev": "dpdk0", "mtu": 67}, -1, "not within 68..1500"),
        ({"dst": "10.0.0.0/8", "dev": "dpdk0", "scope": "host"}, -1, "is a /32"),
        ({"dst": "10.0.0.1", "dev": "dpdk0", "scope": "host", "via": "192.0.2.9"}, -1, "/32"),
        ({"dst": "10.0.0.1", "dev": "dpdk0", "scope": "kni_host"}, -14, "kni_host"),
        ({"dst": "192.0.2.0/24", "dev": "dpdk0"}, -3, "exists already"),
        ({"dst": "192.0.2.1/32", "dev": "dpdk0", "scope": "host"}, -3, "exists already"),
        ({"dst": "10.0.0.0/33", "dev": "dpdk0"}, -1, "must be a prefix"),
        ({"dst": "10.0.0.0/", "dev": "dpdk0"}, -1, "must be a prefix"),
        ({"dst": "2001:db8::/32", "dev": "dpdk0"}, -14, "IPv6"),
        ({"af": "inet6", "dst": "default", "dev": "dpdk0"}, -14, "inet6"),
        ({"dst": "10.0.0.0/8", "dev": "dpdk0", "metric": 256}, -1, "field 'metric'"),
    ],
)
def test_refused_routes(master, fields, code, text):
    add(master, "192.0.2.1/24")
    got = master.refused("route.add", **fields)
    assert got[0] == code and text in got[1]


def test_a_gateway_behind_a_gateway_is_not_reachable(master):
    add(master, "192.0.2.1/24")
    master.ok("route.add", dst="198.51.100.0/24", via="192.0.2.254")
    assert master.refused("route.add", dst="default", via="198.51.100.1")[0] == -8
    # an operator's own link route makes a gateway reachable
    master.ok("route.add", dst="203.0.113.254/32", dev="dpdk1")
    master.ok("route.add", dst="default", via="203.0.113.254")
    assert table(master)[-1] == "0.0.0.0/0 global dpdk1 via 203.0.113.254"


def test_zero_gateway_means_none(master):
    master.ok("route.add", dst="10.0.0.0/8", dev="dpdk0", via="0.0.0.0", src="0.0.0.0")
    assert table(master) == ["10.0.0.0/8 link dpdk0"]


def test_route_deletion(master):
    add(master, "192.0.2.1/24")
    master.ok("route.add", dst="10.0.0.0/8", dev="dpdk0")
    master.ok("route.add", dst="10.0.0.0/8", dev="dpdk1")
    code, text = master.refused("route.del", dst="10.0.0.0/8")
    assert code == -1 and "name one device of: dpdk0, dpdk1" in text
    master.ok("route.del", dst="10.0.0.0/8", dev="dpdk0")
    # the other one takes its place in the workers
    (kind, body) = master.published.take()[-1]
    assert (kind, body["dst"], body["dev"]) == ("route.set", "10.0.0.0", 1)
    master.ok("route.del", dst="10.0.0.0/8")
    record = ("route.del", {"dst": "10.0.0.0", "plen": 8, "dev": 1})
    assert master.published.take() == [record]
    assert master.refused("route.del", dst="10.0.0.0/8")[0] == -4
    assert master.refused("route.del", dst="192.0.2.1/32")[0] == -4
    master.ok("route.del", dst="192.0.2.1/32", scope="host")
    assert table(master) == ["192.0.2.0/24 link dpdk0 src 192.0.2.1"]
    # deleting the address afterwards does not mind
    delete(master, "192.0.2.1/24")
    assert table(master) == []


def test_only_the_preferred_route_is_published(master):
    master.ok("route.add", dst="192.0.2.1/32", dev="dpdk0")
    master.published.take()
    add(master, "192.0.2.1/32", dev="dpdk1")
    kinds = [body.get("kind") for _, body in master.published.take()]
    assert kinds == [None, "local"]
    master.ok("route.add", dst="192.0.2.1/32", dev="dpdk1")
    master.ok("route.del", dst="192.0.2.1/32", dev="dpdk0")
    assert master.published.take() == []
    delete(master, "192.0.2.1/32", dev="dpdk1")
    assert [(kind, body.get("dev")) for kind, body in master.published.take()] == [
        ("route.set", 1),
        ("addr.del", 1),
    ]


def test_the_route_table_is_bounded(master, monkeypatch):
    monkeypatch.setattr("tools.control.routes.MAX_ROUTES", 3)
    master.ok("route.add", dst="10.0.0.0/8", dev="dpdk0")
    add(master, "192.0.2.1/24")
    code, text = master.refused("route.add", dst="11.0.0.0/8", dev="dpdk0")
    assert (code, text) == (-15, "there are 3 routes, at most 3")
    fields = {"addr": "192.0.2.2", "plen": 24, "dev": "dpdk0", "sapool": True}
    assert master.refused("addr.add", **fields)[0] == -15
    assert len(master.state.pools) == 0


def test_an_operator_route_outlives_the_address(master):
    master.ok("route.add", dst="192.0.2.0/24", dev="dpdk0")
    add(master, "192.0.2.1/24")
    delete(master, "192.0.2.1/24")
    assert table(master) == ["192.0.2.0/24 link dpdk0"]


def test_flush_keeps_the_local_routes_of_addresses(master):
    add(master, "192.0.2.1/24")
    add(master, "198.51.100.1/24", dev="dpdk1")
    master.ok("route.add", dst="192.0.2.77/32", dev="dpdk0", scope="host")
    master.ok("route.add", dst="default", via="192.0.2.254")
    master.ok("route.flush", dev="dpdk0")
    assert table(master, dev="dpdk0") == ["192.0.2.1/32 host dpdk0"]
    assert len(table(master, dev="dpdk1")) == 2
    assert master.refused("route.flush", dev="eth0")[0] == -27


def test_mtu_of_routes_follows_the_device(master):
    add(master, "192.0.2.1/24")
    master.ok("route.add", dst="10.0.0.0/8", dev="dpdk0", mtu=1400)
    device = master.state.inet.devices[0]
    master.published.take()
    master.state.inet.change_device(device, device.mac, 1300)
    assert {row["mtu"] for row in master.ok("route.show")} == {1300}
    kinds = [(kind, body["mtu"]) for kind, body in master.published.take()]
    assert kinds == [("dev.set", 1300)] + [("route.set", 1300)] * 3


def test_static_neighbours(master):
    master.ok("neigh.add", addr="192.0.2.9", lladdr="02:AA:00:00:00:01", dev="dpdk0")
    body = {"addr": "192.0.2.9", "dev": 0, "mac": "02:aa:00:00:00:01", "static": True}
    assert master.published.take() == [("neigh.set", body)]
    master.ok("neigh.add", addr="192.0.2.9", lladdr="02:aa:00:00:00:02", dev="dpdk0")
    assert master.published.take()[0][1]["mac"] == "02:aa:00:00:00:02"
    master.ok("neigh.del", addr="192.0.2.9", dev="dpdk0")
    assert master.published.take() == [("neigh.del", {"addr": "192.0.2.9", "dev": 0})]
    assert master.refused("neigh.del", addr="192.0.2.9", dev="dpdk0")[0] == -4


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"dev": "eth0"}, -27),
        ({"lladdr": "02:00:00:00:00"}, -1),
        ({"lladdr": "ff:ff:ff:ff:ff:ff"}, -1),
        ({"addr": "224.0.0.1"}, -1),
        ({"addr": "192.0.2.1"}, -1),
        ({"addr": "2001:db8::1"}, -14),
    ],
)
def test_refused_neighbours(master, change, code):
    add(master, "192.0.2.1/24")
    good = {"addr": "192.0.2.9", "lladdr": "02:aa:00:00:00:01", "dev": "dpdk0"}
    assert master.refused("neigh.add", **{**good, **change})[0] == code


def test_learnt_neighbours(master):
    from ipaddress import IPv4Address

    inet, host = master.state.inet, IPv4Address("192.0.2.9")
    add(master, "192.0.2.1/24")
    master.published.take()
    assert inet.learn_neighbour(0, host, "02:aa:00:00:00:01")
    assert inet.learn_neighbour(0, host, "02:aa:00:00:00:01")
    assert len(master.published.take()) == 1
    assert not inet.learn_neighbour(0, IPv4Address("192.0.2.1"), "02:aa:00:00:00:01")
    inet.lose_neighbour(0, host)
    assert master.published.take() == [("neigh.del", {"addr": "192.0.2.9", "dev": 0})]
    inet.set_neighbour(0, host, "02:aa:00:00:00:05")
    assert not inet.learn_neighbour(0, host, "02:aa:00:00:00:01")
    inet.lose_neighbour(0, host)
    assert len(inet.neighbours) == 1


def test_the_neighbour_heard_of_least_recently_makes_room(master, monkeypatch):
    from ipaddress import IPv4Address

    monkeypatch.setattr("tools.control.neighbours.MAX_LEARNT", 2)
    monkeypatch.setattr("tools.control.neighbours.MAX_STATIC", 1)
    inet = master.state.inet
    hosts = [IPv4Address(f"192.0.2.{number}") for number in (7, 8, 9)]
    for host in (hosts[0], hosts[1], hosts[0], hosts[2]):
        assert inet.learn_neighbour(0, host, "02:aa:00:00:00:01")
    assert master.published.take()[-1] == ("neigh.del", {"addr": "192.0.2.8", "dev": 0})
    good = {"lladdr": "02:aa:00:00:00:05", "dev": "dpdk0"}
    master.ok("neigh.add", addr="192.0.2.7", **good)
    assert master.refused("neigh.add", addr="192.0.2.9", **good)[0] == -15
    master.ok("neigh.add", addr="192.0.2.7", lladdr="02:aa:00:00:00:06", dev="dpdk0")


def test_neighbours_are_what_the_workers_say(master):
    master.fleet.rows = [
        NeighbourRow(2, "192.0.2.9", "02:aa:00:00:00:01", 0, "REACHABLE"),
        NeighbourRow(1, "192.0.2.10", None, 1, "SEND"),
        NeighbourRow(1, "192.0.2.9", "02:aa:00:00:00:01", 0, "PROBE", True),
        NeighbourRow(1, "192.0.2.9", "02:aa:00:00:00:01", 9, "PROBE"),
    ]
    rows = master.ok("neigh.show")
    assert [(row["dev"], row["cid"], row["static"]) for row in rows] == [
        ("dpdk0", 1, True),
        ("dpdk0", 2, False),
        ("dpdk1", 1, False),
    ]
    assert rows[2]["lladdr"] is None
    assert len(master.ok("neigh.show", dev="dpdk1")) == 1
