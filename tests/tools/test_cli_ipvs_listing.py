"""The listings of ipvsadm, byte for byte."""

import pytest
from cli_fakes import (
    VIP,
    FakeTransport,
    counters,
    daemon_with,
    key,
    rates,
    run_ipvsadm,
    sample,
    server,
    service,
)

from tools.cli.ipvs_listing import large
from tools.client import ControlError

PLAIN = sample("""\
IP Virtual Server version 1.10.2 (size=0)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.168.100.254:80 rr synproxy
  -> 192.168.100.2:80             FullNat 100    12         3         |
  -> 192.168.100.3:80             FullNat 100    0          0          inhibited
UDP  192.168.100.254:53 conhash sip expire-quiescent
  -> 192.168.100.2:53             FullNat 1      0          8         |
TCP  [2001:db8::1]:443 wlc persistent 360 mask 64 conn-timeout 300 ppv2-insecure \
dest-check internal:1,1,3s,5-600s external:tcp,ping
  -> [2001:db8::2]:443            FullNat 50     1          0          inhibited,overload
MATCH tcp,from=192.168.0.1-192.168.0.254:0-0,oif=dpdk0 rr
  -> 101.227.17.140:0             SNAT    100    2          1         |
FWM  7 IPv6 wlc
""")


def plain_services() -> FakeTransport:
    match = {
        "af": "inet",
        "proto": "tcp",
        "src": "192.168.0.1-192.168.0.254:0-0",
        "dst": None,
        "iif": None,
        "oif": "dpdk0",
    }
    return daemon_with(
        service(
            VIP,
            synproxy=True,
            dests=[
                server("192.168.100.2", 80, active=12, inactive=3),
                server("192.168.100.3", 80, inhibited=True),
            ],
        ),
        service(
            key("udp", "192.168.100.254", 53),
            "conhash",
            hash_target="sip",
            expire_quiescent=True,
            dests=[server("192.168.100.2", 53, weight=1, inactive=8)],
        ),
        service(
            key("tcp", "2001:db8::1", 443),
            "wlc",
            persistent=360,
            netmask="64",
            conn_timeout=300,
            proxy_protocol="v2-insecure",
            dest_check=["ping", "1,1,3s,5-600s", "tcp"],
            dests=[server("2001:db8::2", 443, weight=50, active=1, inhibited=True, overload=True)],
        ),
        service(
            {"match": match},
            dests=[server("101.227.17.140", 0, mode="snat", active=2, inactive=1)],
        ),
        service({"fwmark": 7, "af": "inet6"}, "wlc"),
    )


@pytest.mark.parametrize("command", ["-Ln --nosort", "-ln --nosort", "--list --numeric --nosort"])
def test_plain_listing(command):
    outcome = run_ipvsadm(command, plain_services())
    assert outcome.out == PLAIN
    assert (outcome.status, outcome.err) == (0, "")


def test_services_and_servers_are_sorted():
    shown = [
        service(key("tcp", "2001:db8::1", 80)),
        service({"fwmark": 3, "af": "inet"}),
        service(key("udp", "10.0.0.1", 53)),
        service(key("tcp", "10.0.0.10", 80)),
        service(key("tcp", "10.0.0.9", 443)),
        service(
            key("tcp", "10.0.0.9", 80),
            dests=[server("10.0.1.10", 80), server("10.0.1.9", 81), server("10.0.1.9", 80)],
        ),
    ]
    lines = run_ipvsadm("-Ln", daemon_with(*shown)).out.splitlines()[3:]
    assert [line.split()[1] for line in lines] == [
        "10.0.0.9:80",
        "10.0.1.9:80",
        "10.0.1.9:81",
        "10.0.1.10:80",
        "10.0.0.9:443",
        "10.0.0.10:80",
        "10.0.0.1:53",
        "[2001:db8::1]:80",
        "3",
    ]


STATS = """\
IP Virtual Server version 1.10.2 (size=0)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  192.168.100.254:80               1234 99887766  123456K   55000M    1234G
  -> 192.168.100.2:80                 1234 99887766  123456K   55000M    1234G
"""
EXACT_STATS = """\
IP Virtual Server version 1.10.2 (size=0)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  192.168.100.254:80               1234 99887766 123456789 55000111222 1234000000000
  -> 192.168.100.2:80                 1234 99887766 123456789 55000111222 1234000000000
"""
COUNTED = counters(1234, 99887766, 123456789, 55000111222, 1234000000000)


@pytest.mark.parametrize("of_service", [COUNTED, counters()])
def test_stats(of_service):
    """A daemon may count for the service too, or leave the sum to its servers."""
    shown = service(VIP, stats=of_service, dests=[server("192.168.100.2", 80, stats=COUNTED)])
    assert run_ipvsadm("-ln --stats", daemon_with(shown)).out == STATS
    assert run_ipvsadm("-lnX --stats", daemon_with(shown)).out == EXACT_STATS


def test_stats_of_a_service_outlive_its_servers():
    shown = service(VIP, stats=counters(7, 7, 7, 7, 7))
    assert run_ipvsadm("-ln --stats", daemon_with(shown)).out.endswith(
        "TCP  192.168.100.254:80                  7        7        7        7        7\n"
    )


RATE = """\
IP Virtual Server version 1.10.2 (size=0)
Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
  -> RemoteAddress:Port
TCP  192.168.100.254:80 bps 100M         0        0        0        0        0
  -> 192.168.100.2:80                    0        0        0        0        0
"""


def test_rate():
    shown = service(VIP, bps=100, dests=[server("192.168.100.2", 80)])
    assert run_ipvsadm("-Ln --rate", daemon_with(shown)).out == RATE


def test_rate_scales_bytes_and_leaves_packets():
    rate = rates(10**9, 10**9, 1, 10**9, 5)
    shown = service(VIP, rates=rate, dests=[server("192.168.100.2", 80, rates=rate)])
    assert run_ipvsadm("-Ln --rate", daemon_with(shown)).out.splitlines()[3:] == [
        "TCP  192.168.100.254:80              1000M    1000M        1    1000M        5",
        "  -> 192.168.100.2:80             1000000000 1000000000        1    1000M        5",
    ]


THRESHOLDS = sample("""\
IP Virtual Server version 1.10.2 (size=0)
Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn |
  -> RemoteAddress:Port
TCP  192.168.100.254:80 rr
  -> 192.168.100.2:80             1000       800        12         3         |
""")
PERSISTENT = sample("""\
IP Virtual Server version 1.10.2 (size=0)
Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn |
  -> RemoteAddress:Port
TCP  192.168.100.254:80 rr persistent 360
  -> 192.168.100.2:80             100       2           12         3         |
""")


def test_thresholds_and_persistent_connections():
    real = server(
        "192.168.100.2", 80, active=12, inactive=3, u_thresh=1000, l_thresh=800, persist=2
    )
    shown = daemon_with(service(VIP, dests=[real]))
    assert run_ipvsadm("-Ln --thresholds", shown).out == THRESHOLDS
    shown = daemon_with(service(VIP, persistent=360, dests=[real]))
    assert run_ipvsadm("-Ln --persistent-conn", shown).out == PERSISTENT


def test_one_service_has_no_version_line():
    transport = daemon_with(service(VIP))
    outcome = run_ipvsadm("-Ln -t 192.168.100.254:80 --cpu 2", transport)
    assert outcome.out == "".join(f"{line}\n" for line in PLAIN.splitlines()[1:3]) + (
        "TCP  192.168.100.254:80 rr\n"
    )
    assert outcome.only_call == ("svc.list", {"svc": VIP, "cpu": 2})


@pytest.mark.parametrize("reply", [[], ControlError(-4, "not exist", "No such service")])
def test_one_service_that_does_not_exist(reply):
    outcome = run_ipvsadm("-Ln -t 10.0.0.1:80", FakeTransport(svc_list=reply))
    outcome.assert_one_line_error(252, "ipvsadm: not exist: No such service")


def test_names_and_their_cuts():
    long_name = "a-name-much-longer-than-the-column.example"
    transport = daemon_with(
        service(VIP, dests=[server("192.168.100.2", 80), server("10.0.0.7", 8080)]),
        service(key("udp", "10.0.0.9", 53)),
    )
    names = run_ipvsadm("-L --nosort", transport).out.splitlines()[3:]
    assert names[0] == "TCP  vip.example:http rr"
    assert names[1].startswith("  -> rs.example:http              FullNat ")
    assert names[2].startswith("  -> 10.0.0.7:8080                FullNat ")
    assert names[3] == "UDP  10.0.0.9:domain rr"

    class LongNames:
        def host_of_address(self, address: str) -> str:
            return long_name

        def service_of_port(self, port: int, proto: str) -> None:
            return None

    import io

    from tools import ipvsadm

    out = io.StringIO()
    six = service(key("tcp", "2001:db8::1", 80), dests=[server("2001:db8::2", 80)])
    four = service(VIP, dests=[server("192.168.100.2", 80)])
    ipvsadm.run(["-L"], daemon_with(four, six), out, out, names=LongNames())
    shown = out.getvalue().splitlines()[3:]
    assert shown[0] == "TCP  " + long_name[:28] + " rr"
    assert shown[1].startswith("  -> " + long_name[:28] + " FullNat")
    assert shown[2] == f"TCP  [{long_name}]:80 rr"
    assert shown[3].startswith(f"  -> [{long_name}]:80 FullNat")


def test_no_argument_lists_with_names():
    assert run_ipvsadm([], daemon_with(service(VIP))).out.endswith("TCP  vip.example:http rr\n")


@pytest.mark.parametrize(
    ("mode", "word"),
    [
        ("nat", "Masq   "),
        ("local", "Local  "),
        ("tunnel", "Tunnel "),
        ("dr", "Route  "),
        ("fullnat", "FullNat"),
        ("snat", "SNAT   "),
    ],
)
def test_forward_words(mode, word):
    shown = daemon_with(service(VIP, dests=[server("10.0.0.2", 80, mode=mode)]))
    assert f"  -> 10.0.0.2:80                  {word} 100 " in run_ipvsadm("-Ln", shown).out


@pytest.mark.parametrize(
    ("fields", "suffix"),
    [
        ({"hash_target": "qid"}, " qid"),
        ({"persistent": 60}, " persistent 60"),
        ({"persistent": 60, "netmask": "255.255.255.0"}, " persistent 60 mask 255.255.255.0"),
        ({"persistent": 60, "netmask": "255.255.255.255"}, " persistent 60"),
        ({"netmask": "255.255.255.0"}, ""),
        ({"ops": True, "synproxy": True}, " ops synproxy"),
        ({"proxy_protocol": "v1", "expire_quiescent": True}, " ppv1 expire-quiescent"),
        ({"quic": True}, ""),
        ({"dest_check": ["default"]}, " dest-check internal:default"),
        ({"dest_check": ["1,1,3s,5-3600s"]}, " dest-check internal:default"),
        ({"dest_check": ["2,4s", "sctp", "udp"]}, " dest-check internal:2,4s external:udp,sctp"),
    ],
)
def test_suffixes(fields, suffix):
    lines = run_ipvsadm("-Ln", daemon_with(service(VIP, **fields))).out.splitlines()
    assert lines[3] == f"TCP  192.168.100.254:80 rr{suffix}"


@pytest.mark.parametrize(
    ("svc", "name"),
    [
        (key("udp", "10.0.0.1", 443), "UDP  10.0.0.1:443 rr quic"),
        (key("sctp", "10.0.0.1", 443), "SCTP  10.0.0.1:443 rr"),
        (key("icmp", "10.0.0.1", 0), "ICMP  10.0.0.1:0 rr"),
        (key("icmpv6", "2001:db8::1", 0), "ICMPv6  [2001:db8::1]:0 rr"),
        ({"fwmark": 9}, "FWM  9 rr"),
        (
            {"match": {"af": "inet6", "proto": None, "src": "[::-::]:0-0", "iif": "dpdk1"}},
            "MATCH any,iif=dpdk1 rr",
        ),
    ],
)
def test_service_names(svc, name):
    assert run_ipvsadm("-Ln", daemon_with(service(svc, quic=True))).out.splitlines()[3] == name


def test_stats_of_a_match_service_show_only_its_name():
    shown = daemon_with(service({"match": {"af": "inet", "proto": "tcp", "oif": "d0"}}))
    assert run_ipvsadm("-Ln --stats", shown).out.splitlines()[3] == (
        "MATCH tcp,oif=d0                         0        0        0        0        0"
    )


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "        0"),
        (99_999_999, " 99999999"),
        (100_000_000, "  100000K"),
        (999_999_999, "  999999K"),
        (10**9, "    1000M"),
        (10**11 - 1, "   99999M"),
        (10**11, "     100G"),
        (10**14 - 1, "   99999G"),
        (10**14, "     100T"),
        (2**64 - 1, "18446744T"),
    ],
)
def test_large_numbers(number, shown):
    assert large(number, exact=False) == shown
    assert large(number, exact=True) == f" {number:>8}"


@pytest.mark.parametrize("reply", [None, [None], [{}], [{"svc": VIP}], 7, [{"svc": 1}]])
def test_damaged_reply_is_one_line(reply):
    outcome = run_ipvsadm("-Ln", FakeTransport(info={"version": "1"}, svc_list=reply))
    assert outcome.status == 1
    assert outcome.err.startswith("ipvsadm: corrupted response")
    assert outcome.err.count("\n") == 1
