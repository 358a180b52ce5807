"""Connection list, local addresses and access lists of ipvsadm."""

import pytest
from cli_fakes import DOWN, EXISTS, MISSING, VIP, FakeTransport, key, run_ipvsadm, sample

from tools.client import ControlError


def connection(cid, proto, state, expire, client, virtual, local, real) -> dict:
    entry = {"cid": cid, "proto": proto, "state": state, "expire": expire}
    for end, (addr, port) in zip("cvld", (client, virtual, local, real), strict=True):
        entry |= {f"{end}addr": addr, f"{end}port": port}
    return entry


FIRST = connection(
    1,
    "tcp",
    "TCP_EST",
    88,
    ("10.0.0.9", 51234),
    ("192.168.100.254", 80),
    ("192.168.100.200", 1033),
    ("192.168.100.2", 80),
)
SECOND = connection(
    3,
    "udp",
    "UDP_NORM",
    297,
    ("10.0.0.9", 5000),
    ("192.168.100.254", 53),
    ("192.168.100.201", 1030),
    ("192.168.100.3", 53),
)
CONNECTIONS = """\
[1]tcp 88s    TCP_EST     10.0.0.9:51234     192.168.100.254:80 192.168.100.200:1033 \
192.168.100.2:80
[3]udp 297s   UDP_NORM    10.0.0.9:5000      192.168.100.254:53 192.168.100.201:1030 \
192.168.100.3:53
"""


@pytest.mark.parametrize("command", ["-Lnc", "-L -n -c", "-lcn", "--list --connection -n"])
def test_connections_come_in_pages(command):
    def page(cursor: int, limit: int) -> dict:
        assert limit == 2000
        return {0: {"conns": [FIRST], "cursor": 5}, 5: {"conns": [SECOND], "cursor": 0}}[cursor]

    outcome = run_ipvsadm(command, FakeTransport(conn_list=page))
    assert (outcome.status, outcome.out, outcome.err) == (0, CONNECTIONS, "")


def test_connections_by_name():
    outcome = run_ipvsadm("-Lc", FakeTransport(conn_list={"conns": [FIRST], "cursor": 0}))
    assert outcome.out == (
        "[1]tcp 88s    TCP_EST     10.0.0.9:51234     vip.example:http   "
        "192.168.100.200:1033 rs.example:http\n"
    )


def test_long_texts_end_where_the_column_does():
    entry = {**FIRST, "proto": "gre", "state": "SCTP_COOKIE_SENT", "expire": 12345678}
    outcome = run_ipvsadm("-Lnc", FakeTransport(conn_list={"conns": [entry], "cursor": 0}))
    assert outcome.out.startswith("[1]--  1234567 SCTP_COOKIE_SEN 10.0.0.9:51234 ")


def test_ipv6_connection():
    six = connection(2, "icmpv6", "ICMP_NORMAL", 3, *[("2001:db8::1", 0)] * 4)
    outcome = run_ipvsadm("-Lnc", FakeTransport(conn_list={"conns": [six], "cursor": 0}))
    assert outcome.out == "[2]icmpv6 3s     ICMP_NORMAL " + " ".join(["[2001:db8::1]:0   "] * 3) + (
        " [2001:db8::1]:0\n"
    )


def test_interrupted_list():
    def page(cursor: int, limit: int) -> dict | Exception:
        return ControlError(-22, "I/O error") if cursor else {"conns": [FIRST], "cursor": 1}

    outcome = run_ipvsadm("-Lnc", FakeTransport(conn_list=page))
    assert outcome.status == 234
    assert outcome.err == "ipvsadm: Fail to fetch all connection entries!: I/O error\n"


def test_one_connection():
    transport = FakeTransport(conn_list={"conns": [FIRST], "cursor": 0})
    outcome = run_ipvsadm("-Lnc --sockpair tcp:10.0.0.9:51234:192.168.100.254:80", transport)
    assert outcome.out == CONNECTIONS.splitlines(keepends=True)[0]
    assert outcome.only_call[1]["filter"] == {
        "proto": "tcp",
        "saddr": "10.0.0.9",
        "sport": 51234,
        "daddr": "192.168.100.254",
        "dport": 80,
    }


def test_one_connection_over_ipv6_with_templates():
    transport = FakeTransport(conn_list={"conns": [], "cursor": 0})
    outcome = run_ipvsadm(
        "-Lnc --persistent-conn --sockpair udp:[2001:db8::9]:1:[2001:DB8::1]:2", transport
    )
    assert (outcome.status, outcome.err) == (0, "connection specified not found\n")
    assert outcome.only_call[1]["templates"] is True
    assert outcome.only_call[1]["filter"]["daddr"] == "2001:db8::1"


LADDRS = sample("""\
VIP:VPORT            TOTAL    SNAT_IP              CONFLICTS  CONNS     |
192.168.100.254:80   2        |
                              192.168.100.200      0          7         |
                              192.168.100.201      3          5         |
""")
WITH_LADDRS = {
    "svc": VIP,
    "laddrs": [
        {"addr": "192.168.100.200", "dev": "dpdk0", "conns": 7, "conflicts": 0},
        {"addr": "192.168.100.201", "dev": "dpdk0", "conns": 5, "conflicts": 3},
    ],
}


def test_local_addresses():
    transport = FakeTransport(laddr_list=lambda **fields: [WITH_LADDRS])
    outcome = run_ipvsadm("-G -t 192.168.100.254:80 --cpu 1", transport)
    assert outcome.out == LADDRS
    assert outcome.only_call == ("laddr.list", {"svc": VIP, "cpu": 1})
    without = {"svc": key("udp", "192.168.100.254", 53), "laddrs": []}
    transport = FakeTransport(laddr_list=lambda **fields: [without, WITH_LADDRS])
    assert run_ipvsadm("-G", transport).out == LADDRS + "192.168.100.254:53   0        \n"


def test_local_addresses_of_a_missing_service():
    outcome = run_ipvsadm("-G -t 10.0.0.1:80", FakeTransport(laddr_list=[]))
    outcome.assert_one_line_error(252, "No such service")


ADD = "-P -t 192.168.100.254:80 -z 192.168.100.200 -F dpdk0"
DELETE = "-Q -t 192.168.100.254:80 -z 192.168.100.200 -F dpdk0"
ADDRESS = {"addr": "192.168.100.200", "plen": 32, "dev": "dpdk0"}
LADDR = {"svc": VIP, "addr": "192.168.100.200", "dev": "dpdk0"}


def test_adding_a_local_address_is_two_requests():
    outcome = run_ipvsadm(ADD)
    assert outcome.status == 0
    assert outcome.calls == [
        (
            "addr.add",
            {
                **ADDRESS,
                "broadcast": None,
                "scope": "global",
                "valid_lft": 0,
                "preferred_lft": 0,
                "sapool": True,
            },
        ),
        ("laddr.add", LADDR),
    ]


def test_local_address_that_the_device_has_already():
    outcome = run_ipvsadm(ADD, FakeTransport(addr_add=EXISTS))
    assert (outcome.status, [kind for kind, _ in outcome.calls]) == (0, ["addr.add", "laddr.add"])


def test_nothing_stays_half_added():
    outcome = run_ipvsadm(ADD, FakeTransport(laddr_add=MISSING))
    outcome.assert_one_line_error(252, "ipvsadm: not exist")
    assert outcome.calls[-1] == ("addr.del", ADDRESS)


def test_an_address_that_was_there_before_stays():
    outcome = run_ipvsadm(ADD, FakeTransport(addr_add=EXISTS, laddr_add=EXISTS))
    outcome.assert_one_line_error(253, "already exist")
    assert [kind for kind, _ in outcome.calls] == ["addr.add", "laddr.add"]


def test_failure_of_the_removal_does_not_hide_the_first_failure():
    outcome = run_ipvsadm(ADD, FakeTransport(laddr_add=EXISTS, addr_del=DOWN))
    outcome.assert_one_line_error(253, "already exist")


def test_address_that_the_device_refuses():
    fault = ControlError(-27, "no such device", "dpdk9")
    outcome = run_ipvsadm(ADD, FakeTransport(addr_add=fault))
    outcome.assert_one_line_error(229, "no such device: dpdk9")
    assert len(outcome.calls) == 1


def test_ipv6_local_address_has_a_full_prefix():
    outcome = run_ipvsadm("-P -t [2001:db8::1]:80 -z 2001:db8::5 -F dpdk0")
    assert outcome.calls[0][1]["plen"] == 128


@pytest.mark.parametrize("then", [None, MISSING, ControlError(-13, "resource busy")])
def test_deleting_a_local_address(then):
    outcome = run_ipvsadm(DELETE, FakeTransport(addr_del=then))
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.calls == [("laddr.del", LADDR), ("addr.del", ADDRESS)]


def test_a_local_address_the_service_does_not_have_stays_on_the_device():
    outcome = run_ipvsadm(DELETE, FakeTransport(laddr_del=MISSING))
    outcome.assert_one_line_error(252, "not exist")
    assert len(outcome.calls) == 1


BLACKLIST = sample("""\
PROTO    VIP:VPORT                      BLACKLIST                     |
TCP      192.168.100.254:80             10.0.0.13                     |
TCP      [2001:db8::1]:443              ipset:denyset                 |
""")
ENTRIES = [
    {"svc": key("tcp", "2001:db8::1", 443), "entry": "ipset:denyset"},
    {"svc": VIP, "entry": "10.0.0.13"},
]


def test_access_lists():
    assert run_ipvsadm("-B", FakeTransport(blklst_list=ENTRIES)).out == BLACKLIST
    transport = FakeTransport(whtlst_list=ENTRIES)
    outcome = run_ipvsadm("-W -t 192.168.100.254:80", transport)
    assert outcome.out == BLACKLIST.replace("BLACKLIST", "WHITELIST")
    assert outcome.only_call == ("whtlst.list", {"svc": VIP})


@pytest.mark.parametrize(
    ("command", "request_type", "entry"),
    [
        ("-U -t 192.168.100.254:80 -k 10.0.0.13", "blklst.add", "10.0.0.13"),
        ("-V -t 192.168.100.254:80 --blklst ipset:deny", "blklst.del", "ipset:deny"),
        ("-O -t 192.168.100.254:80 -2 2001:DB8::1", "whtlst.add", "2001:db8::1"),
        ("-Y -t 192.168.100.254:80 --whtlst rs.example", "whtlst.del", "192.168.100.2"),
    ],
)
def test_access_list_changes(command, request_type, entry):
    refusal = ControlError(-14, "not support", "no access lists in this version")
    outcome = run_ipvsadm(command, FakeTransport(refusal))
    assert outcome.only_call == (request_type, {"svc": VIP, "entry": entry})
    outcome.assert_one_line_error(242, "ipvsadm: not support: no access lists")
