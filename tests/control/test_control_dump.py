"""The dumped commands, run by the real tools, rebuild the same state."""

import io
import shlex
from ipaddress import IPv4Address

from control_fakes import Master, Replica, svc

from tools import dpip, ipvsadm
from tools.control.inprocess import InProcessTransport
from tools.control.providers import DestCounters

TOOLS = {"dpip": dpip.run, "ipvsadm": ipvsadm.run}


def run(master, line):
    """Run one command line inside this process."""
    program, *words = shlex.split(line)
    out, err = io.StringIO(), io.StringIO()
    status = TOOLS[program](words, InProcessTransport(master.dispatcher), out, err)
    assert (status, err.getvalue()) == (0, ""), line


def lines(master):
    return master.ok("state.dump")["commands"]


def check_round_trip(master):
    """A fresh master that runs the dump has the same state and the same dump."""
    copy = Master()
    for line in lines(master):
        run(copy, line)
    assert lines(copy) == lines(master)
    views = [Replica().apply(one.state.snapshot()).view() for one in (copy, master)]
    assert views[0] == views[1]


def test_dump_of_a_full_configuration():
    master = Master()
    for line in FULL:
        run(master, line)
    assert lines(master) == FULL
    check_round_trip(master)


FULL = [
    "dpip addr add 192.0.2.1/24 dev dpdk0 broadcast 192.0.2.255",
    "dpip addr add 192.0.2.10/32 dev dpdk0",
    "dpip addr add 198.51.100.1/24 dev dpdk1 scope link valid_lft 60 prefered_lft 60",
    "dpip addr add 198.51.100.200/32 dev dpdk1 sapool",
    "dpip route add 203.0.113.9/32 dev dpdk1 scope host",
    "dpip route add 10.0.0.0/8 dev dpdk1 src 198.51.100.1 mtu 1400 metric 5",
    "dpip route add default via 192.0.2.254 dev dpdk0",
    "dpip neigh add 192.0.2.254 lladdr 02:00:00:00:00:fe dev dpdk0",
    "ipvsadm -A -t 192.0.2.10:80 -s wrr --expire-quiescent --conn-timeout 90 --dest-check tcp",
    "ipvsadm -P -t 192.0.2.10:80 -z 198.51.100.200 -F dpdk1",
    "ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.101:8080 -b -w 100",
    "ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.102:8080 -m -w 0 -x 1000 -y 800",
    "ipvsadm -A -u 192.0.2.10:53 -s rr -M 255.255.255.0",
    "ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.101:53 -g -w 1",
]


def test_interventions_into_automatic_routes_are_kept():
    master = Master()
    master.ok("route.add", dst="192.0.2.0/24", dev="dpdk0", mtu=1000)
    master.ok("addr.add", addr="192.0.2.1", plen=24, dev="dpdk0")
    master.ok("addr.add", addr="192.0.2.2", plen=24, dev="dpdk0")
    master.ok("route.del", dst="192.0.2.2/32", dev="dpdk0", scope="host")
    assert "dpip route del 192.0.2.2/32 dev dpdk0 scope host" in lines(master)
    check_round_trip(master)


def test_local_addresses_of_wider_or_missing_interface_addresses():
    master = Master()
    master.ok("svc.add", svc=svc())
    master.ok("addr.add", addr="192.0.2.1", plen=24, dev="dpdk0", sapool=True)
    master.ok("addr.add", addr="192.0.2.2", plen=32, dev="dpdk0", sapool=True)
    for addr in ("192.0.2.1", "192.0.2.2"):
        master.ok("laddr.add", svc=svc(), addr=addr, dev="dpdk0")
    check_round_trip(master)
    master.ok("addr.del", addr="192.0.2.2", plen=32, dev="dpdk0")
    copy = Master()
    for line in lines(master):
        run(copy, line)
    assert lines(copy) == lines(master)
    assert copy.ok("laddr.list") == master.ok("laddr.list")


def test_learnt_neighbours_and_counters_are_not_configuration():
    master = Master()
    master.counters.dests[1, 0] = DestCounters(conns=5)
    master.state.inet.learn_neighbour(0, IPv4Address("192.0.2.9"), "02:00:00:00:00:09")
    assert lines(master) == []
