import pytest
from control_fakes import Master, add, delete, table


@pytest.fixture
def master():
    master = Master()
    master.published.take()
    return master


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
        ({"dst": "2001:db8::/32", "dev": "dpdk0", "via": "192.0.2.9"}, -1, "both families"),
        ({"af": "inet6", "dst": "default", "dev": "dpdk0", "mtu": 1279}, -1, "1280..1500"),
        ({"dst": "2001:db8::/129", "dev": "dpdk0"}, -1, "must be a prefix"),
        ({"dst": "2001:db8::/64", "dev": "dpdk0", "scope": "host"}, -1, "is a /128"),
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


def test_the_route_table_is_bounded(master):
    master.state.inet.routes.most[4] = 3
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
