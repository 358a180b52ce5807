"""What ipvsadm sends for the commands that change services and real servers."""

import pytest
from cli_fakes import DOWN, VIP, FakeTransport, daemon_with, key, run_ipvsadm, server, service

from tools.cli.ipvs_line import read_line
from tools.cli.ipvs_suffixes import service_suffixes
from tools.client import ControlError

NEW_SERVICE = {
    "svc": VIP,
    "sched": "wlc",
    "persistent": 0,
    "netmask": None,
    "ops": False,
    "synproxy": False,
    "conn_timeout": 0,
    "expire_quiescent": False,
    "quic": False,
    "proxy_protocol": "disable",
    "hash_target": None,
    "dest_check": [],
}
ADD = "-A -t 192.168.100.254:80"


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("", {}),
        ("-s rr", {"sched": "rr"}),
        ("-s conhash", {"sched": "conhash", "hash_target": "sip"}),
        (
            "-s mh --sched-flags mh-port,mh-fallback",
            {"sched": "mh", "sched_flags": ["mh-fallback", "mh-port"]},
        ),
        ("-s conhash --hash-target sip", {"sched": "conhash", "hash_target": "sip"}),
        ("-p", {"persistent": 360}),
        ("-p 50", {"persistent": 50}),
        ("-p50", {"persistent": 50}),
        ("-p=50", {"persistent": 50}),
        ("--persistent=50", {"persistent": 50}),
        ("-p -M 255.255.255.0", {"persistent": 360, "netmask": "255.255.255.0"}),
        ("-j enable", {"synproxy": True}),
        ("-j disable", {"synproxy": False}),
        ("--expire-quiescent --quic", {"expire_quiescent": True, "quic": True}),
        ("--conn-timeout 30", {"conn_timeout": 30}),
        ("--proxy-protocol v2", {"proxy_protocol": "v2"}),
        ("--proxy-protocol v1-insecure", {"proxy_protocol": "v1-insecure"}),
        ("--dest-check tcp --dest-check ping", {"dest_check": ["tcp", "ping"]}),
        ("--dest-check default --dest-check 2,3s", {"dest_check": ["2,3s"]}),
        ("--dest-check tcp --dest-check disable", {"dest_check": []}),
        ("--dest-check 01,1,3s,5-600", {"dest_check": ["1,1,3s,5-600s"]}),
    ],
)
def test_add_service(options, fields):
    outcome = run_ipvsadm(f"{ADD} {options}")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    assert outcome.only_call == ("svc.add", {**NEW_SERVICE, **fields})


@pytest.mark.parametrize(
    ("option", "svc"),
    [
        ("-t 192.168.100.254:80", VIP),
        ("-t vip.example:http", VIP),
        ("-t192.168.100.254:80", VIP),
        ("-t=192.168.100.254:80", VIP),
        ("--tcp-service 192.168.100.254:80", VIP),
        ("--tcp-service=192.168.100.254:80", VIP),
        ("-u 10.0.0.1:domain", key("udp", "10.0.0.1", 53)),
        ("--sctp-service 10.0.0.1:5", key("sctp", "10.0.0.1", 5)),
        ("-q 10.0.0.1:1", key("icmp", "10.0.0.1", 1)),
        ("-1 [2001:db8::1]:1", key("icmpv6", "2001:db8::1", 1)),
        ("-t [2001:DB8:0::1]:443", key("tcp", "2001:db8::1", 443)),
        ("-t 10.0.0.1 -p", key("tcp", "10.0.0.1", 0)),
        ("-t 2001:db8::1 -p", key("tcp", "2001:db8::1", 0)),
        ("-f 7", {"af": "inet", "fwmark": 7}),
        ("-f 4294967295 -6", {"af": "inet6", "fwmark": 4294967295}),
    ],
)
def test_service_keys(option, svc):
    assert run_ipvsadm(f"-A {option}").only_call[1]["svc"] == svc


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "proto=tcp,src-range=192.168.0.0-192.168.0.254,oif=dpdk0",
            {
                "af": "inet",
                "proto": "tcp",
                "src": "192.168.0.0-192.168.0.254:0-0",
                "dst": None,
                "iif": None,
                "oif": "dpdk0",
            },
        ),
        (
            "af=ipv6,dst-range=[2001:db8::1-2001:db8::9]:80-90,src-range=,iif=",
            {
                "af": "inet6",
                "proto": None,
                "src": None,
                "dst": "[2001:db8::1-2001:db8::9]:80-90",
                "iif": None,
                "oif": None,
            },
        ),
        (
            "proto=udp,dst-range=10.0.0.1:1024,src-range=0.0.0.0-0.0.0.0:0-0",
            {
                "af": "inet",
                "proto": "udp",
                "src": None,
                "dst": "10.0.0.1-10.0.0.1:1024-1024",
                "iif": None,
                "oif": None,
            },
        ),
        (
            "src-range=2001:db8::1",
            {
                "af": "inet6",
                "proto": None,
                "src": "[2001:db8::1-2001:db8::1]:0-0",
                "dst": None,
                "iif": None,
                "oif": None,
            },
        ),
    ],
)
def test_match_services(text, match):
    assert run_ipvsadm(f"-A -H {text} -s rr").only_call[1]["svc"] == {"match": match}


def test_udp_only_options():
    outcome = run_ipvsadm("-A -u 10.0.0.1:53 -o -s conhash --hash-target qid")
    fields = outcome.only_call[1]
    assert (fields["ops"], fields["hash_target"]) == (True, "qid")
    assert run_ipvsadm("-A -f 1 --ops").only_call[1]["ops"] is True


def test_ipv6_netmask_is_a_length():
    assert run_ipvsadm("-A -M 64 -p -t [2001:db8::1]:80").only_call[1]["netmask"] == "64"


OVERWRITTEN = {"conn_timeout": 0, "proxy_protocol": "disable", "dest_check": []}


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("", {}),
        ("-s rr", {"sched": "rr", "hash_target": None}),
        ("-s conhash", {"sched": "conhash", "hash_target": "sip"}),
        ("-p 60 -M 255.0.0.0", {"persistent": 60, "netmask": "255.0.0.0"}),
        ("-j disable", {"synproxy": False}),
        ("--expire-quiescent", {"expire_quiescent": True}),
        ("--quic", {}),
        ("--conn-timeout 5 --dest-check tcp", {"conn_timeout": 5, "dest_check": ["tcp"]}),
    ],
)
def test_edit_service_sends_what_is_to_change(options, fields):
    outcome = run_ipvsadm(f"-E -t 192.168.100.254:80 {options}")
    assert outcome.only_call == ("svc.edit", {"svc": VIP, **OVERWRITTEN, **fields})


@pytest.mark.parametrize(
    ("command", "call"),
    [
        ("-D -t 192.168.100.254:80", ("svc.del", {"svc": VIP})),
        ("-C", ("svc.flush", {})),
        ("--clear", ("svc.flush", {})),
        ("-Z", ("svc.zero", {})),
        ("-Z -t 192.168.100.254:80", ("svc.zero", {"svc": VIP})),
    ],
)
def test_other_service_commands(command, call):
    assert run_ipvsadm(command).only_call == call


NEW_SERVER = {
    "svc": VIP,
    "addr": "192.168.100.2",
    "port": 80,
    "mode": "dr",
    "weight": 1,
    "u_thresh": 0,
    "l_thresh": 0,
}


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("-r 192.168.100.2", {}),
        ("-r 192.168.100.2:8080", {}),
        ("-g -r rs.example:http", {}),
        ("-i -r 192.168.100.2:8080", {"mode": "tunnel"}),
        ("-m -r 192.168.100.2:8080", {"mode": "nat", "port": 8080}),
        ("-r 192.168.100.2:81 -b -w 100", {"mode": "fullnat", "port": 81, "weight": 100}),
        ("-J -r 192.168.100.2:0", {"mode": "snat", "port": 0}),
        ("-r 192.168.100.2 -x 10 -y 5 -w 0", {"u_thresh": 10, "l_thresh": 5, "weight": 0}),
    ],
)
@pytest.mark.parametrize("command", ["-a", "-e"])
def test_put_server(command, options, fields):
    outcome = run_ipvsadm(f"{command} -t 192.168.100.254:80 {options}")
    request = {"-a": "dest.add", "-e": "dest.edit"}[command]
    assert outcome.only_call == (request, {**NEW_SERVER, **fields})


def test_bundled_command_and_options():
    outcome = run_ipvsadm("-abt 192.168.100.254:80 -r 192.168.100.2:80 -w100")
    assert outcome.only_call == ("dest.add", {**NEW_SERVER, "mode": "fullnat", "weight": 100})


def test_server_of_a_mark_needs_no_port():
    outcome = run_ipvsadm("-a -f 7 -r 10.0.0.2")
    assert (outcome.only_call[1]["addr"], outcome.only_call[1]["port"]) == ("10.0.0.2", 0)


def test_delete_server():
    outcome = run_ipvsadm("-d -t 192.168.100.254:80 -r 192.168.100.2:80")
    call = ("dest.del", {"svc": VIP, "addr": "192.168.100.2", "port": 80})
    assert outcome.only_call == call


@pytest.mark.parametrize(
    ("words", "port"),
    [
        ("-a -t 10.0.0.1:0 -r 10.0.0.2 -b", 0),
        ("-a -t 10.0.0.1:0 -r 10.0.0.2:0 -m", 0),
        ("-a -t 10.0.0.1 -r 10.0.0.2:80 -g", 0),
        ("-a -t [2001:db8::1]:0 -r 2001:db8::2 -b", 0),
        ("-a -t 10.0.0.1:0 -r 10.0.0.2:80 -b", 80),  # for the daemon to refuse
        ("-d -t 10.0.0.1:0 -r 10.0.0.2", 0),
    ],
)
def test_servers_of_a_service_of_all_ports_have_none(words, port):
    assert run_ipvsadm(words).only_call[1]["port"] == port


def test_ipv6_service_may_have_an_ipv4_server():
    outcome = run_ipvsadm("-a -t [2001:db8::1]:80 -r 10.0.0.2:80 -b")
    assert outcome.only_call[1]["addr"] == "10.0.0.2"


RULES = """\
-A -t 192.168.100.254:80 -s rr -p 360 -M 255.255.255.0
-a -t 192.168.100.254:80 -r 192.168.100.2:80 -b -w 100
-a -t 192.168.100.254:80 -r 192.168.100.3:80 -m -w 1
-A -u 192.168.100.254:53 -s wrr --ops
-A --sctp-service 10.0.0.1:1 -s rr
-A -t [2001:db8::1]:80 -s rr -p 60
-a -t [2001:db8::1]:80 -r [2001:db8::2]:80 -i -w 1
-A -t 192.168.100.254:0 -s rr -p 360
-a -t 192.168.100.254:0 -r 192.168.100.2:0 -b -w 1
-A -f 7 -6 -s wlc
-A -H proto=tcp,src-range=10.0.0.1-10.0.0.9:0-0,dst-range=0.0.0.0-0.0.0.0:0-0,iif=,oif=d0 -s rr
-a -H proto=tcp,src-range=10.0.0.1-10.0.0.9:0-0,dst-range=0.0.0.0-0.0.0.0:0-0,iif=,oif=d0 \
-r 203.0.113.1:0 -J -w 1
"""


def rules_daemon() -> FakeTransport:
    match = {"af": "inet", "proto": "tcp", "src": "10.0.0.1-10.0.0.9:0-0", "oif": "d0"}
    return daemon_with(
        service(
            VIP,
            persistent=360,
            netmask="255.255.255.0",
            dests=[
                server("192.168.100.3", 80, mode="nat", weight=1),
                server("192.168.100.2", 80),
            ],
        ),
        service(key("udp", "192.168.100.254", 53), "wrr", ops=True),
        service(key("sctp", "10.0.0.1", 1)),
        service(
            key("tcp", "2001:db8::1", 80),
            persistent=60,
            dests=[server("2001:db8::2", 80, mode="tunnel", weight=1)],
        ),
        service(
            key("tcp", "192.168.100.254", 0),
            persistent=360,
            dests=[server("192.168.100.2", 0, weight=1)],
        ),
        service({"fwmark": 7, "af": "inet6"}, "wlc"),
        service({"match": match}, dests=[server("203.0.113.1", 0, mode="snat", weight=1)]),
    )


def test_saved_rules():
    outcome = run_ipvsadm("-S -n", rules_daemon())
    assert sorted(outcome.out.splitlines()) == sorted(RULES.splitlines())
    assert "-t vip.example:http -r rs.example:http " in run_ipvsadm("-S", rules_daemon()).out


def test_saved_rules_can_be_restored():
    saved = run_ipvsadm("-S -n", rules_daemon()).out.splitlines(keepends=True)
    outcome = run_ipvsadm("-R", stdin=saved)
    assert (outcome.status, outcome.err) == (0, "")
    assert [kind for kind, _ in outcome.calls].count("svc.add") == 7
    assert [kind for kind, _ in outcome.calls].count("dest.add") == 5


def test_restore_goes_on_after_a_bad_line_and_says_which():
    lines = [
        "# a comment\n",
        "ipvsadm -A -t 10.0.0.1:80\n",
        "\n",
        "-A -t 10.0.0.1\n",
        "-D -t 10.0.0.2:80  # gone\n",
        "-R\n",
        "-C",
    ]
    missing = ControlError(-4, "not exist", "No such service")
    outcome = run_ipvsadm("-R", FakeTransport(svc_del=missing), lines)
    assert [kind for kind, _ in outcome.calls] == ["svc.add", "svc.del", "svc.flush"]
    assert outcome.status == 2
    assert outcome.err.splitlines() == [
        "ipvsadm: line 4: Zero port specified for no-match and non-persistent service",
        "ipvsadm: line 5: not exist: No such service",
        "ipvsadm: line 6: the 'restore' command cannot stand among restored rules",
    ]


def test_restore_stops_when_the_daemon_is_gone():
    outcome = run_ipvsadm("-R", FakeTransport(DOWN), ["-C\n", "-C\n"])
    assert (outcome.status, len(outcome.calls)) == (2, 1)
    assert outcome.err.count("\n") == 2


def test_restore_of_what_is_not_text(tmp_path):
    (tmp_path / "rules").write_bytes(b"-C\n\xff\n")
    with open(tmp_path / "rules", encoding="utf-8") as stdin:
        outcome = run_ipvsadm("-R", stdin=stdin)
    assert outcome.status == 2
    assert outcome.err.startswith("ipvsadm: standard input is not text")
    assert outcome.err.count("\n") == 1


def test_of_several_views_one_wins():
    line = read_line(["-L", "--persistent-conn", "--rate", "--stats"], None)
    assert line.view == "stats"


def test_quic_lb_lengths_and_server_ids():
    added = run_ipvsadm("-A -u 10.0.0.1:443 --quic-lb 4,3", FakeTransport()).only_call[1]
    assert (added["quic"], added["quic_lb"]) == (True, "4,3")
    assert "quic_lb" not in run_ipvsadm("-A -u 10.0.0.1:443 --quic", FakeTransport()).only_call[1]
    for word, sent in (("0a0b", {"server_id": "0a0b"}), ("none", {"server_id": None})):
        line = f"-e -u 10.0.0.1:443 -r 10.0.0.2:443 -b --server-id {word}"
        fields = run_ipvsadm(line, FakeTransport()).only_call[1]
        assert {name: fields[name] for name in sent} == sent
    fields = run_ipvsadm("-e -u 10.0.0.1:443 -r 10.0.0.2:443 -b", FakeTransport()).only_call[1]
    assert "server_id" not in fields
    entry = {"svc": key("udp", "10.0.0.1", 443), "quic": True, "quic_lb": "4,3"}
    assert service_suffixes(entry) == " quic quic-lb 4,3"
