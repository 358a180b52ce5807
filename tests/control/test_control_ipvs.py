import pytest
from control_fakes import Master, svc

from tools.control.providers import DestCounters

DEST = {"addr": "192.0.2.101", "port": 8080, "mode": "fullnat", "weight": 100}


@pytest.fixture
def master():
    master = Master()
    master.ok("addr.add", addr="198.51.100.200", plen=32, dev="dpdk0", sapool=True)
    master.ok("svc.add", svc=svc(), sched="rr")
    master.published.take()
    return master


def listed(master, **fields):
    return master.ok("svc.list", **fields)


def test_a_new_service_is_published_and_listed(master):
    master.ok("svc.add", svc=svc(port=443), sched="wrr", conn_timeout=30, expire_quiescent=True)
    assert master.published.take() == [
        (
            "svc.set",
            {
                "id": 1,
                "af": "inet",
                "proto": "tcp",
                "addr": "192.0.2.10",
                "port": 443,
                "sched": "wrr",
                "flags": ["expire_quiescent"],
                "conn_timeout": 30,
                "proxy_protocol": "disable",
                "persistent": 0,
                "netmask": None,
                "dests": [],
                "laddrs": [],
            },
        )
    ]
    row = listed(master, svc=svc(port=443))[0]
    assert row["svc"] == svc(port=443)
    assert (row["sched"], row["conn_timeout"], row["expire_quiescent"]) == ("wrr", 30, True)
    assert row["proxy_protocol"] == "disable" and row["netmask"] is None
    assert [entry["svc"]["port"] for entry in listed(master)] == [80, 443]


def test_default_scheduler_is_wlc(master):
    master.ok("svc.add", svc=svc(port=443))
    assert listed(master, svc=svc(port=443))[0]["sched"] == "wlc"


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"svc": svc()}, -3, "service tcp 192.0.2.10:80 exists already"),
        ({"svc": svc(port=81), "sched": "lblc"}, -4, "there is no scheduler 'lblc'"),
        ({"svc": svc("0.0.0.0", 0)}, -1, "the service key is empty"),
        ({"svc": svc("0.0.0.0", 80)}, -1, "address 0.0.0.0"),
        ({"svc": svc("224.0.0.1", 80)}, -1, "not a unicast address"),
        ({"svc": svc(port=0)}, -1, "Zero port specified for no-match and non-persistent service"),
        ({"svc": svc(port=81), "sched": "rr", "sched_flags": ["mh-port"]}, -1, "has no flag"),
        ({"svc": svc(port=81), "sched": "mh", "sched_flags": ["mh"]}, -1, "has no flag 'mh'"),
        ({"svc": svc(port=81), "netmask": "64"}, -1, "for an IPv4 service it is a mask"),
        (
            {"svc": {**svc("2001:db8::1"), "af": "inet6"}, "netmask": "255.255.255.0"},
            -1,
            "netmask 255.255.255.0: for an IPv6 service it is a prefix length",
        ),
        ({"svc": svc(port=81), "persistent": -1}, -1, "field 'persistent' must be"),
        ({"svc": svc(port=81), "synproxy": True}, -14, "synproxy is"),
        ({"svc": svc(port=81, proto="udp"), "synproxy": True}, -1, "only for TCP"),
        ({"svc": svc(port=81), "ops": True}, -1, "only for UDP"),
        ({"svc": svc(port=81), "quic": True}, -1, "quic is only for UDP"),
        (
            {"svc": svc(port=81, proto="udp"), "proxy_protocol": "v1"},
            -1,
            "UDP services can have v2",
        ),
        ({"svc": svc(port=81), "proxy_protocol": "v3"}, -1, "one of disable, v1, v2"),
        ({"svc": svc(port=81), "hash_target": "sip"}, -1, "only be set when schedule is conhash"),
        (
            {"svc": svc(port=81), "sched": "conhash", "hash_target": "qid"},
            -1,
            "qid hash can only be set in udp service",
        ),
        ({"svc": svc(port=81), "dest_check": ["default"]}, -14, "passive destination check"),
        ({"svc": svc(port=81), "dest_check": ["1,1,3s,5-600s"]}, -14, "passive destination"),
        ({"svc": svc(port=81), "dest_check": ["0,1,3s,5-600s"]}, -1, "field 'dest_check'"),
        ({"svc": svc(port=81), "dest_check": ["1,1,3s,600-5s"]}, -1, "field 'dest_check'"),
        ({"svc": svc(port=81), "dest_check": ["1,1,3s"]}, -1, "field 'dest_check'"),
        ({"svc": svc(port=81), "netmask": "255.0.255.0"}, -1, "field 'netmask'"),
        ({"svc": svc(port=81), "netmask": "0.0.0.0"}, -1, "field 'netmask'"),
        ({"svc": svc(port=81), "conn_timeout": 1 << 40}, -1, "field 'conn_timeout'"),
        ({"svc": svc(port=81), "colour": 1}, -1, "unknown field 'colour'"),
        ({"svc": {**svc(port=81), "zone": 1}}, -1, "unknown field 'zone' in 'svc'"),
        ({"svc": svc(port=81, proto="icmp")}, -14, "icmp services are"),
        ({"svc": svc("2001:db8::1")}, -1, "'svc.af' is inet but"),
        ({"svc": {"fwmark": 7}}, -14, "firewall-mark services are"),
        ({"svc": {"match": {"proto": "tcp"}}}, -1, "the match is empty"),
        ({"svc": {**svc(), "port": 65536}}, -1, "field 'svc.port' must be an integer 0..65535"),
        ({"svc": {**svc(), "proto": "gre"}}, -1, "field 'svc.proto' must be one of"),
        ({}, -1, "field 'svc' is missing"),
    ],
)
def test_refused_services(master, fields, code, text):
    assert (got := master.refused("svc.add", **fields))[0] == code
    assert text in got[1]


def test_edit_changes_only_what_it_carries(master):
    master.ok("svc.edit", svc=svc(), conn_timeout=60)
    master.ok("svc.edit", svc=svc(), expire_quiescent=True, netmask="255.255.255.0")
    row = listed(master)[0]
    assert (row["sched"], row["conn_timeout"], row["expire_quiescent"]) == ("rr", 60, True)
    assert row["netmask"] == "255.255.255.0"
    master.ok("svc.edit", svc=svc(), netmask=None, dest_check=["disable", "tcp"])
    row = listed(master)[0]
    assert row["netmask"] is None and row["dest_check"] == ["tcp"]


def test_edit_without_a_change_publishes_nothing(master):
    master.ok("svc.edit", svc=svc(), sched="rr")
    assert master.published.take() == []


@pytest.mark.parametrize("kind", ["svc.edit", "svc.del", "svc.zero"])
def test_unknown_service_is_an_invalid_parameter(master, kind):
    assert master.refused(kind, svc=svc(port=99))[0] == -1


def test_edit_is_validated_like_add(master):
    assert master.refused("svc.edit", svc=svc(), sched="mh", sched_flags=["x"])[0] == -1
    assert master.refused("svc.edit", svc=svc(), sched="nope")[0] == -4


def test_listing_an_unknown_service(master):
    assert master.refused("svc.list", svc=svc(port=99))[0] == -4


def test_dests_are_newest_first_with_lowest_ids(master):
    master.ok("dest.add", svc=svc(), **DEST)
    master.ok("dest.add", svc=svc(), addr="192.0.2.102", port=80, mode="dr")
    record = master.published.take()[-1]
    assert record[1]["dests"] == [
        {
            "id": 1,
            "addr": "192.0.2.102",
            "port": 80,
            "mode": "dr",
            "weight": 1,
            "u_thresh": 0,
            "l_thresh": 0,
        },
        {"id": 0, **DEST, "u_thresh": 0, "l_thresh": 0},
    ]
    rows = listed(master)[0]["dests"]
    assert [row["addr"] for row in rows] == ["192.0.2.102", "192.0.2.101"]
    assert rows[1]["weight"] == 100 and rows[1]["mode"] == "fullnat"


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"weight": -1}, -1, "field 'weight' must be an integer 0..65535"),
        ({"weight": 65536}, -1, "field 'weight'"),
        ({"u_thresh": 5, "l_thresh": 6}, -14, "lower threshold 6 exceeds upper threshold 5"),
        ({"mode": "snat"}, -14, "only match services have real servers of mode snat"),
        ({"mode": "local"}, -1, "field 'mode' must be one of"),
        ({"port": 0}, -1, "needs a port"),
        ({"addr": "0.0.0.0"}, -1, "cannot be a real server's address"),
        ({"addr": "255.255.255.255"}, -1, "cannot be a real server's address"),
        ({"addr": "2001:db8::1"}, -14, "from an IPv4 service to an IPv6 real server (2001:db8::1)"),
        ({"svc": svc(port=99)}, -1, "there is no service tcp 192.0.2.10:99"),
    ],
)
def test_refused_dests(master, change, code, text):
    got = master.refused("dest.add", **{"svc": svc(), **DEST, **change})
    assert got[0] == code and text in got[1]


def test_duplicate_and_missing_dests(master):
    master.ok("dest.add", svc=svc(), **DEST)
    assert master.refused("dest.add", svc=svc(), **DEST)[0] == -3
    other = {**DEST, "port": 81}
    assert master.refused("dest.edit", svc=svc(), **other)[0] == -4
    assert master.refused("dest.del", svc=svc(), addr=DEST["addr"], port=81)[0] == -4
    assert master.refused("dest.edit", svc=svc(), **DEST, u_thresh=1, l_thresh=2)[0] == -1


def test_inhibited_dest_has_weight_zero_until_edited(master):
    master.ok("dest.add", svc=svc(), **DEST)
    master.ok("dest.edit", svc=svc(), **DEST, inhibited=True)
    assert master.published.take()[-1][1]["dests"][0]["weight"] == 0
    row = listed(master)[0]["dests"][0]
    assert row["inhibited"] and row["weight"] == 0
    master.ok("dest.edit", svc=svc(), **DEST)
    assert listed(master)[0]["dests"][0]["weight"] == 100


def test_dest_id_is_not_reused_while_connections_refer_to_it(master):
    master.ok("dest.add", svc=svc(), **DEST)
    master.counters.dests[2, 0] = DestCounters(conns=1, inactive=1)
    master.ok("dest.del", svc=svc(), addr=DEST["addr"], port=DEST["port"])
    master.clock.now += 5
    master.state.tick()
    master.ok("dest.add", svc=svc(), addr="192.0.2.102", port=80, mode="nat")
    assert master.published.take()[-1][1]["dests"][0]["id"] == 1
    master.counters.dests[2, 0] = DestCounters(conns=1)
    master.state.tick()
    master.ok("dest.add", svc=svc(), addr="192.0.2.103", port=80, mode="nat")
    assert master.published.take()[-1][1]["dests"][0]["id"] == 0


def test_returning_dest_takes_up_its_connections_again(master):
    master.ok("dest.add", svc=svc(), **DEST)
    master.counters.dests[1, 0] = DestCounters(conns=9, inpkts=90, active=3)
    master.ok("dest.del", svc=svc(), addr=DEST["addr"], port=DEST["port"])
    master.ok("dest.add", svc=svc(), **DEST)
    row = listed(master)[0]["dests"][0]
    assert row["active"] == 3 and row["stats"]["conns"] == 0


def test_a_services_statistics_outlast_its_real_servers(master):
    """They are counters: a real server that goes takes none of them along."""

    def counted(cpu=0):
        (row,) = master.ok("svc.list", svc=svc(), cpu=cpu)
        return row["stats"]["conns"], row["stats"]["outbytes"]

    def count(cid, *numbers):
        old = master.counters.dests[cid, 0]
        master.counters.dests[cid, 0] = old._replace(conns=numbers[0], outbytes=numbers[1])

    master.ok("dest.add", svc=svc(), **DEST)
    count(1, 9, 900)
    count(2, 1, 10)
    master.ok("dest.del", svc=svc(), addr=DEST["addr"], port=DEST["port"])
    assert [counted(cpu) for cpu in (0, 1, 2)] == [(10, 910), (9, 900), (1, 10)]
    master.ok("dest.add", svc=svc(), **DEST)
    count(1, 11, 950)
    assert counted() == (12, 960) and listed(master)[0]["dests"][0]["stats"]["conns"] == 2
    master.ok("dest.del", svc=svc(), addr=DEST["addr"], port=DEST["port"])
    assert counted() == (12, 960)
    master.ok("svc.zero", svc=svc())
    assert counted() == (0, 0)
    master.ok("dest.add", svc=svc(), **DEST)
    count(1, 15, 960)
    master.ok("svc.del", svc=svc())
    master.ok("svc.add", svc=svc())
    assert counted() == (0, 0)


def test_service_limits(master, monkeypatch):
    monkeypatch.setattr("tools.control.ipvs_control.MAX_DESTS_PER_SERVICE", 1)
    master.ok("dest.add", svc=svc(), **{**DEST, "port": 9})
    assert master.refused("dest.add", svc=svc(), **DEST) == (
        -15,
        "tcp 192.0.2.10:80 cannot have more than 1 real servers",
    )
    monkeypatch.undo()
    master.ok("dest.del", svc=svc(), addr=DEST["addr"], port=9)
    master.state.ipvs.service_ids.capacity = 2
    master.ok("svc.add", svc=svc(port=81))
    code, text = master.refused("svc.add", svc=svc(port=82))
    assert code == -15 and text == "all 2 services are in use"
    master.ok("dest.add", svc=svc(), **DEST)
    master.state.ipvs.dest_ids.capacity = 2
    assert master.refused("dest.add", svc=svc(), **{**DEST, "port": 1})[0] == -15


def test_local_addresses(master):
    master.ok("laddr.add", svc=svc(), addr="198.51.100.200", dev="dpdk0")
    assert master.published.take()[-1][1]["laddrs"] == [0]
    rows = master.ok("laddr.list", svc=svc())
    assert rows == [
        {
            "svc": svc(),
            "laddrs": [{"addr": "198.51.100.200", "dev": "dpdk0", "conns": 0, "conflicts": 0}],
        }
    ]
    assert master.refused("laddr.add", svc=svc(), addr="198.51.100.200", dev="dpdk0")[0] == -3
    master.ok("laddr.del", svc=svc(), addr="198.51.100.200", dev="dpdk0")
    assert master.published.take()[-1][1]["laddrs"] == []
    assert master.refused("laddr.del", svc=svc(), addr="198.51.100.200", dev="dpdk0")[0] == -4


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"svc": svc(port=99)}, -17, "there is no service"),
        ({"dev": "dpdk7"}, -4, "no device is named 'dpdk7' (there are: dpdk0, dpdk1)"),
        ({"dev": "dpdk1"}, -4, "not configured with sapool on the device"),
        ({"addr": "198.51.100.9"}, -4, "not configured with sapool on the device"),
        ({"addr": "2001:db8::9"}, -1, "is an IPv4 service and cannot use the local address"),
    ],
)
def test_refused_local_addresses(master, change, code, text):
    good = {"svc": svc(), "addr": "198.51.100.200", "dev": "dpdk0"}
    got = master.refused("laddr.add", **{**good, **change})
    assert got[0] == code and text in got[1]


def test_local_address_is_unusable_while_its_interface_address_is_gone(master):
    where = {"addr": "198.51.100.200", "dev": "dpdk0"}
    master.ok("laddr.add", svc=svc(), **where)
    master.published.take()
    master.ok("addr.del", plen=32, **where)
    kinds = [(kind, body.get("laddrs")) for kind, body in master.published.take()]
    assert kinds[:2] == [("svc.set", []), ("laddr.del", None)]
    assert master.ok("laddr.list")[0]["laddrs"][0]["addr"] == where["addr"]
    master.ok("addr.add", plen=32, sapool=True, **where)
    records = master.published.take()
    assert ("laddr.set", {"id": 0, "addr": where["addr"], "dev": 0}) in records
    assert records[-1][1]["laddrs"] == [0]


def test_the_order_of_ipvsadm_del_laddr_works(master):
    where = {"addr": "198.51.100.200", "dev": "dpdk0"}
    master.ok("laddr.add", svc=svc(), **where)
    master.ok("addr.del", plen=32, **where)
    master.ok("laddr.del", svc=svc(), **where)
    assert master.ok("laddr.list")[0]["laddrs"] == []


def test_flush_removes_everything(master):
    master.ok("dest.add", svc=svc(), **DEST)
    master.ok("svc.add", svc=svc(port=443))
    master.published.take()
    master.ok("svc.flush")
    assert master.published.take() == [("svc.del", {"id": 0}), ("svc.del", {"id": 1})]
    assert listed(master) == [] and master.state.ipvs.dest_ids.retired == 1


SIX = {"af": "inet6", "proto": "tcp", "addr": "2001:db8::10", "port": 80}


def test_an_ipv6_service_takes_real_servers_of_both_families(master):
    """NAT64 is FullNAT; the other modes stay within a family."""
    master.ok("addr.add", addr="2001:db8::200", plen=128, dev="dpdk0", sapool=True)
    master.ok("svc.add", svc=SIX, sched="rr")
    for addr in ("2001:db8:5::1", "192.0.2.101"):
        master.ok("dest.add", svc=SIX, addr=addr, port=8080, mode="fullnat", weight=1)
    for mode in ("nat", "dr"):
        master.ok("dest.add", svc=SIX, addr=f"2001:db8:5::{len(mode)}", port=80, mode=mode)
        got = master.refused("dest.add", svc=SIX, addr="192.0.2.102", port=80, mode=mode)
        assert got[0] == -14 and f"forwarding mode {mode} from an IPv6 service to an IPv4" in got[1]
    for addr in ("198.51.100.200", "2001:db8::200"):
        master.ok("laddr.add", svc=SIX, addr=addr, dev="dpdk0")
    kind, body = master.published.take()[-1]
    assert (kind, body["addr"], len(body["laddrs"])) == ("svc.set", "2001:db8::10", 2)
    assert {dest["addr"] for dest in body["dests"]} >= {"2001:db8:5::1", "192.0.2.101"}
    assert master.ok("svc.list", svc=SIX)[0]["svc"] == SIX
