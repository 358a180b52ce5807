"""Match services (SNAT): keys, checks, records for workers, listings and saved commands."""

from __future__ import annotations

import pytest
from control_fakes import Master, add

from ipvs.apply_check import fault
from tools.cli.ipvs_match import match_title, parse_match
from tools.control.config_dump import command_lines

WAN_ADDR = "198.18.0.9"
RULE = {
    "af": "inet", "proto": "tcp", "src": "198.19.0.0-198.19.0.255:0-0",
    "dst": None, "iif": "dpdk1", "oif": "dpdk0",
}  # fmt: skip


@pytest.fixture
def master():
    made = Master()
    add(made, f"{WAN_ADDR}/24", sapool=True)
    made.published.take()
    return made


def match(**changes):
    return {"match": {**RULE, **changes}}


def test_a_match_service_from_request_to_worker_and_back(master):
    master.ok("svc.add", svc=match(), sched="rr")
    master.ok("dest.add", svc=match(), addr=WAN_ADDR, port=0, mode="snat", weight=5)
    kind, body = master.published.take()[-1]
    assert kind == "svc.set" and (body["proto"], body["addr"], body["port"]) == (
        "tcp",
        "0.0.0.0",
        0,
    )
    assert body["match"] == {
        "src": ("198.19.0.0", "198.19.0.255"), "sport": (0, 65535),
        "dst": ("0.0.0.0", "255.255.255.255"), "dport": (0, 65535),
        "iif": 1, "oif": 0, "order": 1,
    }  # fmt: skip
    assert [(d["addr"], d["mode"], d["pool"]) for d in body["dests"]] == [(WAN_ADDR, "snat", 0)]
    (row,) = master.ok("svc.list")
    assert row["svc"] == match() and row["dests"][0]["mode"] == "snat"
    assert master.ok("svc.list", svc=match()) == [row]
    title = "MATCH tcp,from=198.19.0.0-198.19.0.255:0-0,iif=dpdk1,oif=dpdk0"
    assert match_title(row["svc"]["match"]) == title
    # What is saved is what made it.
    option = "proto=tcp,src-range=198.19.0.0-198.19.0.255:0-0,"
    option += "dst-range=0.0.0.0-0.0.0.0:0-0,iif=dpdk1,oif=dpdk0"
    assert command_lines(master.state)[-2:] == [
        f"ipvsadm -A -H {option} -s rr",
        f"ipvsadm -a -H {option} -r {WAN_ADDR}:0 -J -w 5",
    ]
    assert parse_match(option) == RULE
    # A second rule is younger, an edit changes nothing of that, a deleted rule is gone.
    master.ok("svc.add", svc=match(proto="icmp"), sched="rr")
    master.ok("svc.edit", svc=match(), conn_timeout=60)
    orders = {body["proto"]: body["match"]["order"] for _, body in master.published.take()}
    assert orders == {"tcp": 1, "icmp": 2}
    assert [kind for kind, _ in master.state.ipvs.snapshot()] == ["svc.set", "svc.set"]
    master.ok("dest.del", svc=match(), addr=WAN_ADDR, port=0)
    master.ok("svc.del", svc=match())
    assert master.published.take()[-1] == ("svc.del", {"id": 0})


def test_an_ipv6_match_service_from_request_to_worker_and_back(master):
    outside, key = "2001:db8:1::9", {"af": "inet6", "src": "[2001:db8:2::-2001:db8:2::ffff]:0-0"}
    add(master, f"{outside}/64", sapool=True)
    for proto in ("tcp", "icmpv6"):
        master.ok("svc.add", svc=match(proto=proto, **key), sched="rr")
    master.ok("dest.add", svc=match(proto="icmpv6", **key), addr=outside, port=0, mode="snat")
    _, body = master.published.take()[-1]
    assert (body["af"], body["proto"], body["addr"], body["port"]) == ("inet6", "icmpv6", "::", 0)
    assert (body["match"]["src"], body["match"]["dst"]) == (
        ("2001:db8:2::", "2001:db8:2::ffff"), ("::", "ffff:" * 7 + "ffff"),
    )  # fmt: skip
    assert [(d["addr"], d["mode"]) for d in body["dests"]] == [(outside, "snat")]
    assert fault("svc.set", body) is None, "a worker takes the record"
    option = "proto=icmpv6,src-range=[2001:db8:2::-2001:db8:2::ffff]:0-0,"
    option += "dst-range=[::-::]:0-0,iif=dpdk1,oif=dpdk0"
    assert command_lines(master.state)[-2:] == [
        f"ipvsadm -A -H {option} -s rr",
        f"ipvsadm -a -H {option} -r [{outside}]:0 -J -w 1",
    ]
    assert parse_match(option) == match(proto="icmpv6", **key)["match"]
    assert match(proto="icmpv6", **key) in [row["svc"] for row in master.ok("svc.list")]
    got = master.refused("dest.add", svc=match(proto="tcp", **key), addr=WAN_ADDR, port=0,
                         mode="snat")  # fmt: skip
    assert got[0] == -14 and "from an IPv6 service to an IPv4 real server" in got[1]


@pytest.mark.parametrize("proto", ["tcp", "sctp"])
def test_ports_of_ranges_are_what_is_compared(master, proto):
    key = match(proto=proto, dst="203.0.113.7-203.0.113.7:80-90", src=None)
    master.ok("svc.add", svc=key, sched="rr")
    _, record = master.published.take()[-1]
    assert record["proto"] == proto and fault("svc.set", record) is None
    body = record["match"]
    assert (body["dst"], body["dport"]) == (("203.0.113.7", "203.0.113.7"), (80, 90))
    option = f"proto={proto},src-range=0.0.0.0-0.0.0.0:0-0,dst-range=203.0.113.7-203.0.113.7:80-90"
    assert command_lines(master.state)[-1].startswith(f"ipvsadm -A -H {option},")


def test_workers_hear_when_the_outside_address_comes_and_goes(master):
    master.ok("svc.add", svc=match(), sched="rr")
    master.ok("dest.add", svc=match(), addr=WAN_ADDR, port=0, mode="snat")
    master.published.take()
    master.ok("addr.del", addr=WAN_ADDR, plen=24, dev="dpdk0")
    records = master.published.take()
    assert [body["dests"][0]["pool"] for kind, body in records if kind == "svc.set"] == [None]
    add(master, f"{WAN_ADDR}/24", sapool=True)
    records = master.published.take()
    assert [body["dests"][0]["pool"] for kind, body in records if kind == "svc.set"] == [0]


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"proto": None}, -1, "needs a protocol"),
        ({"proto": "gre"}, -1, "must be one of"),
        ({"af": "inet6"}, -1, "a range of the other family in a match of af inet6"),
        ({"src": "[::1-::2]:0-0"}, -1, "a range of the other family in a match of af inet"),
        ({"src": "::1-198.19.0.9:0-0"}, -1, "must be a range such as"),
        ({"proto": "icmpv6"}, -1, "icmpv6 is not a protocol of af inet"),
        ({"proto": "icmp", "af": "inet6", "src": None}, -1, "icmp is not a protocol of af inet6"),
        ({"src": "198.19.0.9-198.19.0.1:0-0"}, -1, "must be a range such as"),
        ({"src": "198.19.0.1:0-0"}, -1, "must be a range such as"),
        ({"src": "198.19.0.1-198.19.0.9:9-1"}, -1, "must be a range such as"),
        ({"dst": "198.19.0.1-198.19.0.9:1-65536"}, -1, "must be a range such as"),
        ({"iif": "dpdk7"}, -4, "no device is named 'dpdk7'"),
        ({"proto": "icmp", "dst": "0.0.0.0-0.0.0.0:7-7"}, -1, "icmp has no ports"),
        ({"bogus": 1}, -1, "unknown field"),
    ],
)
def test_refused_matches(master, change, code, text):
    got = master.refused("svc.add", svc=match(**change), sched="rr")
    assert got[0] == code and text in got[1]


def test_refused_real_servers_of_match_services_and_snat_elsewhere(master):
    key = {"af": "inet", "proto": "tcp", "addr": "192.0.2.10", "port": 80}
    master.ok("svc.add", svc=match(), sched="rr")
    master.ok("svc.add", svc=key, sched="rr")
    assert master.refused("svc.add", svc=match(), sched="rr")[0] == -3
    snat = {"addr": WAN_ADDR, "port": 0, "mode": "snat"}
    got = master.refused("dest.add", svc=key, **{**snat, "port": 80})
    assert got[0] == -14 and "only match services have" in got[1]
    got = master.refused("dest.add", svc=match(), **{**snat, "mode": "dr"})
    assert got[0] == -14 and "a match service has no real servers of mode dr" in got[1]
    got = master.refused("dest.add", svc=match(), **{**snat, "addr": "198.18.0.10"})
    assert got[0] == -4 and "sapool" in got[1]
    got = master.refused("svc.add", svc=match(iif=None), sched="rr", ops=True)
    assert got[0] == -1 and "only for UDP" in got[1]


def test_one_packet_services_are_for_udp_and_their_flag_reaches_workers(master):
    key = {"af": "inet", "proto": "udp", "addr": "192.0.2.10", "port": 53}
    master.ok("svc.add", svc=key, sched="rr", ops=True)
    assert master.published.take()[-1][1]["flags"] == ["ops"]
    assert "-o" in command_lines(master.state)[-1].split()
