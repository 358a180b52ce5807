"""Services on port 0: what is accepted, refused, told to workers, dumped and restored."""

from __future__ import annotations

import pytest
from control_fakes import Master, add, svc
from test_control_dump import check_round_trip, lines, run

from ipvs.apply_check import fault

VIP = "192.0.2.10"
ALL = svc(port=0)
SIX = {**svc("2001:db8::1", 0), "af": "inet6"}


@pytest.fixture
def master():
    made = Master()
    add(made, "198.18.0.1/24")
    return made


@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize("mode", ["fullnat", "nat", "dr", "tunnel"])
def test_workers_get_it_as_any_other(master, proto, mode):
    key = svc(port=0, proto=proto)
    master.ok("svc.add", svc=key, sched="rr", persistent=360)
    master.ok("dest.add", svc=key, addr="198.19.0.11", port=0, mode=mode)
    kind, body = master.published.take()[-1]
    assert fault(kind, body) is None and "match" not in body
    assert (kind, body["addr"], body["port"], body["persistent"]) == ("svc.set", VIP, 0, 360)
    assert [(dest["addr"], dest["port"]) for dest in body["dests"]] == [("198.19.0.11", 0)]
    (row,) = master.ok("svc.list")
    assert row["svc"] == key and row["dests"][0]["port"] == 0


@pytest.mark.parametrize("key", [ALL, SIX])
def test_it_is_persistent_and_stays_so(master, key):
    text = "Zero port specified for no-match and non-persistent service"
    assert master.refused("svc.add", svc=key, sched="rr") == (-1, text)
    master.ok("svc.add", svc=key, sched="rr", persistent=10)
    assert master.refused("svc.edit", svc=key, persistent=0) == (-1, text)
    master.ok("svc.edit", svc=key, persistent=20)
    assert master.refused("svc.add", svc=key, persistent=10)[0] == -3
    master.ok("svc.del", svc=key)


def test_its_servers_have_no_port(master):
    master.ok("svc.add", svc=ALL, persistent=10)
    code, text = master.refused("dest.add", svc=ALL, addr="198.19.0.11", port=80, mode="nat")
    assert code == -1 and "198.19.0.11:80 of tcp 192.0.2.10:0, a service of all ports" in text
    assert "give it port 0" in text
    master.ok("dest.add", svc=ALL, addr="198.19.0.11", port=0, mode="nat")
    master.ok("dest.edit", svc=ALL, addr="198.19.0.11", port=0, mode="fullnat", weight=3)
    assert master.refused("dest.edit", svc=ALL, addr="198.19.0.11", port=80)[0] == -4
    master.ok("dest.del", svc=ALL, addr="198.19.0.11", port=0)


def test_its_address_is_no_local_address(master):
    """Replies to local ports and connections to the service could not be told apart."""
    add(master, f"{VIP}/32", sapool=True)
    code, text = master.refused("svc.add", svc=ALL, persistent=10)
    assert code == -1 and f"{VIP} is configured with sapool" in text
    master.ok("svc.add", svc=svc(), sched="rr")
    master.ok("addr.del", addr=VIP, plen=32, dev="dpdk0")
    master.ok("svc.add", svc=ALL, persistent=10)
    fields = {"addr": VIP, "plen": 32, "dev": "dpdk0"}
    code, text = master.refused("addr.add", **fields, sapool=True)
    assert code == -1
    assert text == f"{VIP} cannot have sapool: service tcp {VIP}:0 takes all its ports"
    assert list(master.state.pools) == [] and master.state.pools.ids.retired == 1
    master.ok("addr.add", **fields)
    master.ok("svc.del", svc=ALL)
    master.ok("addr.del", **fields)
    master.ok("addr.add", **fields, sapool=True)


def test_the_dump_makes_it_again(master):
    for line in (
        "dpip addr add 198.19.0.200/32 dev dpdk1 sapool",
        f"ipvsadm -A -t {VIP}:0 -s rr -p 360 -M 255.255.255.0",
        f"ipvsadm -P -t {VIP}:0 -z 198.19.0.200 -F dpdk1",
        f"ipvsadm -a -t {VIP}:0 -r 198.19.0.11:0 -b -w 1",
        f"ipvsadm -a -t {VIP}:0 -r 198.19.0.12 -m",
        f"ipvsadm -A -u {VIP} -p 9 -s rr",
        f"ipvsadm -a -u {VIP} -r 198.19.0.12:53 -g",
        "ipvsadm -A --sctp-service [2001:db8::1]:0 -s wlc -p",
        "ipvsadm -a --sctp-service [2001:db8::1]:0 -r 2001:db8::2 -b",
    ):
        run(master, line)
    dumped = [line for line in lines(master) if line.startswith("ipvsadm")]
    assert f"ipvsadm -A -t {VIP}:0 -s rr -p 360 -M 255.255.255.0" in dumped
    assert f"ipvsadm -a -t {VIP}:0 -r 198.19.0.12:0 -m -w 1" in dumped
    assert f"ipvsadm -a -u {VIP}:0 -r 198.19.0.12:0 -g -w 1" in dumped
    assert "ipvsadm -a --sctp-service [2001:db8::1]:0 -r [2001:db8::2]:0 -b -w 1" in dumped
    check_round_trip(master)
    run(master, f"ipvsadm -d -t {VIP}:0 -r 198.19.0.12")
    assert len(master.ok("svc.list", svc=ALL)[0]["dests"]) == 1
