"""Every wrong command line of ipvsadm: one clear line, the right status, and no request."""

import itertools
import re

import pytest
from cli_fakes import DOWN, FakeTransport, run_ipvsadm
from hypothesis import given
from hypothesis import strategies as st

from tools.cli.ipvs_legality import RULES
from tools.cli.ipvs_options import COMMANDS, OPTIONS, Takes
from tools.client import ControlError

T = "-t 10.0.0.1:80"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("-A", "You need to supply the 'service-address' option for the 'add-service' command"),
        (f"-a {T}", "You need to supply the 'real-server' option for the 'add-server' command"),
        (f"-P {T} -F d0", "need to supply the 'local-address' option for the 'add-laddr' command"),
        (f"-Q {T} -z 1.1.1.1", "need to supply the 'ifname' option for the 'del-laddr' command"),
        (f"-U {T}", "need to supply the 'blklst-address' option for the 'add-blklst' command"),
        (f"-Y {T}", "need to supply the 'whtlst-address' option for the 'del-whtlst' command"),
        (f"-C {T}", "Illegal 'service-address' option with the 'flush' command"),
        (f"-D {T} -s rr", "Illegal 'scheduler' option with the 'delete-service' command"),
        (f"-A {T} --pe sip", "Illegal 'pe' option with the 'add-service' command"),
        (f"-A {T} -n", "Illegal 'numeric' option with the 'add-service' command"),
        ("-G -n", "Illegal 'numeric' option with the 'get-laddr' command"),
        ("-L -s rr", "Illegal 'scheduler' option with the 'list' command"),
        (f"-d {T} -r 1.1.1.1:1 -b", "Illegal 'forwarding-method' option with the 'delete-server'"),
        (f"-L -c {T}", "'service-address' conflicts with the 'connection' option in the 'list'"),
        ("-L --daemon --timeout", "The option 'daemon' conflicts with the 'timeout' option"),
        ("-Lc --stats", "options conflicts in the list command"),
        ("-L --timeout --persistent-conn", "options conflicts in the list command"),
        ("-L --sockpair tcp:1.1.1.1:1:2.2.2.2:2", "'sockpair' option needs the 'connection'"),
        (f"-A {T} -u 10.0.0.1:80", "multiple 'service-address' options specified"),
        (f"-a {T} -r 1.1.1.1:1 -b -m", "multiple 'forwarding-method' options specified"),
        (f"-A {T} -s rr -s wrr", "multiple 'scheduler' options specified"),
        (f"-A -D {T}", "multiple commands specified"),
        ("-LC", "multiple commands specified"),
        ("-L foo", "unexpected argument foo"),
        ("-L -- -n", "unexpected argument -n"),
        ("-L -", "unexpected argument -"),
        ("-C -@", "invalid option `-@'"),
        ("-L --number", "invalid option `--number'"),
        ("-A -t", "option `-t' needs a value"),
        (f"-A {T} --dest-check", "option `--dest-check' needs a value"),
        ("-L --stats=yes", "option `--stats' takes no value"),
        ("-A -t 80", "illegal virtual server address[:port] specified: `80'"),
        ("-A -t nowhere.example:80", "illegal virtual server address[:port] specified"),
        ("-A -t 10.0.1:80", "illegal virtual server address[:port] specified"),
        ("-A -t 10.0.0.256:80", "illegal virtual server address[:port] specified"),
        ("-A -t :80", "illegal virtual server address[:port] specified"),
        ("-A -t 10.0.0.1:", "illegal virtual server address[:port] specified"),
        ("-A -t 10.0.0.1:65536", "illegal virtual server address[:port] specified"),
        ("-A -t 10.0.0.1:nosuch", "illegal virtual server address[:port] specified"),
        ("-A -t [2001:db8::1]", "illegal virtual server address[:port] specified"),
        ("-A -t [2001:db8::1:80", "illegal virtual server address[:port] specified"),
        ("-A -t [10.0.0.1]:80", "illegal virtual server address[:port] specified"),
        ("-A -t fe80::1%eth0 -p", "illegal virtual server address[:port] specified"),
        ("-A -t 10.0.0.1", "Zero port specified for no-match and non-persistent service"),
        ("-E -t 10.0.0.1:0", "Zero port specified for no-match and non-persistent service"),
        ("-A -f 0", "invalid fwmark value `0' specified"),
        ("-A -f 4294967296", "invalid fwmark value `4294967296' specified"),
        ("-A -f x", "invalid fwmark value `x' specified"),
        (f"-A {T} -6", "-6 used before -f"),
        ("-A -6 -f 1", "-6 used before -f"),
        (f"-A {T} -p 0", "invalid timeout value `0' specified"),
        (f"-A {T} -p 2678401", "invalid timeout value `2678401' specified"),
        (f"-A {T} -p day", "invalid timeout value `day' specified"),
        (f"-A {T} -p -M 24", "illegal virtual server persistent mask specified: `24'"),
        ("-A -t [2001:db8::1]:1 -M 0", "illegal ipv6 netmask specified: `0'"),
        ("-A -t [2001:db8::1]:1 -M 129", "illegal ipv6 netmask specified: `129'"),
        (f"-A {T} -o", "One-Packet Scheduling is only for UDP virtual services"),
        (f"-A {T} -j on", "synproxy switch must be enable or disable"),
        (f"-A {T} --hash-target sip", "hash target can only be set when schedule is conhash"),
        (f"-A {T} -s rr --hash-target sip", "hash target can only be set when schedule is conhash"),
        (f"-A {T} -s conhash --hash-target qid", "qid hash can only be set in udp service"),
        (f"-A {T} -s conhash --hash-target x", "hash target not support"),
        (f"-A {T} --conn-timeout -1", "illegal conn-timeout specified"),
        (f"-A {T} --conn-timeout 1_0", "illegal conn-timeout specified"),
        (f"-A {T} --proxy-protocol v3", "illegal proxy-protocol specified: `v3'"),
        (f"-A {T} --dest-check 0,1s", "invalid dest_check config: `0,1s'"),
        (f"-A {T} --dest-check 1,1,3s,9-5s", "invalid dest_check config"),
        (f"-A {T} --dest-check 256,1s", "invalid dest_check config"),
        (f"-A {T} --dest-check http", "invalid dest_check config: `http'"),
        (f"-a {T} -r 80", "illegal real server address[:port] specified: `80'"),
        (f"-a {T} -b -r 10.0.0.2", "the real server needs a port: -r 10.0.0.2:PORT"),
        (f"-d {T} -r 10.0.0.2", "the real server needs a port"),
        (f"-a {T} -r 10.0.0.2:1 -w 65536", "illegal weight specified"),
        (f"-a {T} -r 10.0.0.2:1 -w -1", "illegal weight specified"),
        (f"-a {T} -r 10.0.0.2:1 -x 2147483648", "illegal u_threshold specified"),
        (f"-a {T} -r 10.0.0.2:1 -y x", "illegal l_threshold specified"),
        (f"-P {T} -z 1 -F d0", "illegal local address: `1'"),
        (f"-P {T} -z 10.0.0.1:5 -F d0", "illegal local address: `10.0.0.1:5'"),
        (f"-U {T} -k ipset:", "illegal blacklist entry format, require [ IP | ipset:NAME ]"),
        (f"-O {T} -2 7", "illegal whitelist entry format, require [ IP | ipset:NAME ]"),
        ("-L --cpu x", "illegal cpu specified"),
        ("-L --syncid 256", "illegal syncid specified"),
        ("-Lc --sockpair tcp:1.1.1.1:1:2.2.2.2", "illegal sockpair"),
        ("-Lc --sockpair icmp:1.1.1.1:1:2.2.2.2:2", "illegal sockpair"),
        ("-Lc --sockpair tcp:1.1.1:1:2.2.2.2:2", "illegal sockpair"),
        ("-Lc --sockpair tcp:1.1.1.1:65536:2.2.2.2:2", "illegal sockpair"),
        ("-Lc --sockpair tcp:[::1]:1:2.2.2.2:2", "illegal sockpair"),
        ("--set 1 2", "--set option requires 3 timeout values"),
        ("--set 1 2 x", "invalid timeout value `x' specified"),
        ("--set 1 2 3 4", "unexpected argument 4"),
        ("--start-daemon both", "illegal start-daemon parameter specified"),
        ("--stop-daemon", "option `--stop-daemon' needs a value"),
        ("-A -H proto=tcp", "illegal match specified: give src-range, dst-range or af"),
        ("-A -H proto=gre,af=ipv4", "illegal match specified: unknown protocol 'gre'"),
        ("-A -H af=inet", "illegal match specified: af is ipv4 or ipv6, not 'inet'"),
        ("-A -H src-range", "illegal match specified: 'src-range' is not KEY=VALUE"),
        ("-A -H color=red,af=ipv4", "illegal match specified: unknown key 'color'"),
        ("-A -H src-range=10.0.0.9-10.0.0.1", "the range '10.0.0.9-10.0.0.1' ends before"),
        ("-A -H src-range=10.0.0.1-9", "'10.0.0.1-9' is not an address range"),
        ("-A -H src-range=10.0.0.1:9-1", "'9-1' is not a port range"),
        ("-A -H src-range=10.0.0.1-2001:db8::1", "illegal match specified"),
        ("-A -H af=ipv6,src-range=10.0.0.1", "IPv4 and IPv6 do not mix"),
    ],
)
def test_usage_errors(command, message):
    outcome = run_ipvsadm(command)
    outcome.assert_one_line_error(2, "ipvsadm: ", message)
    assert outcome.calls == []


@pytest.mark.parametrize("command", ["-t 10.0.0.1:80 -A", "-n", "foo", "-nL", "-@", "--lis", "--"])
def test_the_command_comes_first(command):
    outcome = run_ipvsadm(command)
    outcome.assert_one_line_error(
        255, "Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n"
    )


def test_message_stays_on_one_line():
    outcome = run_ipvsadm(["-L", "two\nlines\x1b[31m\udcff"])
    outcome.assert_one_line_error(2, r"unexpected argument two\nlines\x1b[31m\udcff")


@pytest.mark.parametrize(
    ("code", "status"), [(-1, 255), (-3, 253), (-4, 252), (-14, 242), (-256, 1), (0, 1)]
)
def test_refusals_become_the_exit_status(code, status):
    fault = ControlError(code, "refused", "because")
    outcome = run_ipvsadm(f"-D {T}", FakeTransport(fault))
    outcome.assert_one_line_error(status, "ipvsadm: refused: because\n")


@pytest.mark.parametrize(
    "command", ["-Ln", "-C", f"-A {T}", f"-P {T} -z 10.0.0.5 -F d0", "-Lnc", "-S", "-G", "-B"]
)
def test_daemon_down(command):
    outcome = run_ipvsadm(command, FakeTransport(DOWN))
    assert outcome.status == 2
    assert outcome.err == (
        "Can't initialize ipvs: /run/dpvs/dpvs/ctl.sock: No such file or directory\n"
        "Are you sure that dpvs is running?\n"
    )


@pytest.mark.parametrize(
    "command",
    [
        "--start-daemon master --mcast-interface d0 --syncid 1",
        "--stop-daemon backup",
        "-L --daemon",
    ],
)
def test_what_dpvs_never_did_is_refused(command):
    outcome = run_ipvsadm(command)
    outcome.assert_one_line_error(242, "ipvsadm: not support: ")
    assert outcome.calls == []


@pytest.mark.parametrize("command", ["-h", "--help", "-v", "--version"])
def test_help_and_version_need_no_daemon(command):
    outcome = run_ipvsadm(command, FakeTransport(DOWN))
    assert (outcome.status, outcome.err, outcome.calls) == (0, "", [])


def test_version_is_that_of_the_reference():
    assert run_ipvsadm("-v").out == (
        "ipvsadm v1.27 2008/5/15 (compiled with popt and IPVS v1.9.2)\n"
    )


def test_help_names_every_option():
    text = run_ipvsadm("-h").out
    for option in COMMANDS + OPTIONS:
        # Left out on purpose: they exist to be refused or to mean nothing.
        if option.long in {
            *("set", "start-daemon", "stop-daemon", "pe", "timeout", "daemon"),
            *("mcast-interface", "syncid"),
        }:
            continue
        assert re.search(rf"--{option.long}\b", text), option
        assert not option.short or re.search(rf"(?<!-)-{option.short}\b", text), option
    assert all(len(line) <= 100 for line in text.splitlines())


def test_every_command_has_a_rule():
    assert {option.long for option in COMMANDS} == set(RULES)
    letters = [option.short for option in COMMANDS + OPTIONS if option.short]
    assert len(letters) == len(set(letters))


VALUES = {
    "weight": "5",
    "u-threshold": "5",
    "l-threshold": "5",
    "fwmark-service": "3",
    "match": "af=ipv4",
    "synproxy": "enable",
    "netmask": "255.0.0.0",
    "conn-timeout": "1",
    "cpu": "1",
    "syncid": "1",
    "proxy-protocol": "v1",
    "dest-check": "tcp",
    "hash-target": "sip",
    "sockpair": "tcp:1.1.1.1:1:1.1.1.1:1",
}
# The table of legal options, as the reference documents it; * marks what cannot be missing.
TABLE = {
    "-A": "service* scheduler persistent netmask ops synproxy hash-target expire-quiescent",
    "-E": "service* scheduler persistent netmask ops synproxy hash-target expire-quiescent",
    "-D": "service*",
    "-C": "",
    "-R": "",
    "-L": "numeric connection service timeout daemon stats rate thresholds persistent-conn nosort "
    "syncid exact sockpair cpu",
    "-a": "service* real-server* forwarding weight u-threshold l-threshold",
    "-e": "service* real-server* forwarding weight u-threshold l-threshold",
    "-d": "service* real-server*",
    "-S": "numeric",
    "-Z": "service",
    "-P": "service* laddr* ifname*",
    "-Q": "service* laddr* ifname*",
    "-G": "service cpu",
    "-U": "service* blklst*",
    "-V": "service* blklst*",
    "-B": "service",
    "-O": "service* whtlst*",
    "-Y": "service* whtlst*",
    "-W": "service",
}
GROUPS = {"service": "tcp-service", "forwarding": "fullnat"}
SHOWN = {"laddr": "local-address"}
CHECKED = sorted({name.rstrip("*") for names in TABLE.values() for name in names.split()} | {"pe"})


def words_for(name: str) -> list[str]:
    long = GROUPS.get(name, name)
    option = next(option for option in OPTIONS if option.long == long)
    if option.takes is not Takes.VALUE:
        return [f"--{long}"]
    return [f"--{long}", VALUES.get(long, "10.0.0.1:80" if long.endswith("r") else "1.1.1.1")]


@pytest.mark.parametrize(("command", "name"), list(itertools.product(TABLE, CHECKED)))
def test_legality_table(command, name):
    """One option at a time beside the mandatory ones: accepted, or refused by the table."""
    listed = TABLE[command].split()
    mandatory = [entry[:-1] for entry in listed if entry.endswith("*")]
    if f"{name}*" in listed:
        given = [other for other in mandatory if other != name]
        expected = f"You need to supply the '{SHOWN.get(name, name)}"
    else:
        given = [*mandatory, name]
        expected = None if name in listed else "Illegal '"
    words = [word for entry in given for word in words_for(entry)]
    outcome = run_ipvsadm([command, *words], FakeTransport([]))
    if expected:
        outcome.assert_one_line_error(2)
        assert outcome.err.startswith(f"ipvsadm: {expected}")
    else:
        assert "Illegal '" not in outcome.err
        assert "need to supply" not in outcome.err


SPELLINGS = [f"--{option.long}" for option in COMMANDS + OPTIONS] + [
    f"-{option.short}" for option in COMMANDS + OPTIONS if option.short
]
WORDS = ["10.0.0.1:80", "[2001:db8::1]:80", "rr", "conhash", "7", "-", "--", "tcp", "1,1s", ""]
tokens = (
    st.sampled_from(SPELLINGS)
    | st.sampled_from(WORDS)
    | st.text(max_size=12)
    | st.builds("{}={}".format, st.sampled_from(SPELLINGS), st.sampled_from(WORDS))
    | st.builds("{}{}".format, st.sampled_from(SPELLINGS), st.sampled_from(WORDS))
)


@given(st.lists(tokens, max_size=8), st.lists(st.text(max_size=30), max_size=3))
def test_any_command_line_ends_in_an_exit_status(argv, stdin):
    """No traceback, and nothing wrong with the answer either: it is always an empty list."""
    replies = FakeTransport(
        [],
        info={"version": "1"},
        conn_list=lambda **fields: {"conns": [], "cursor": 0},
    )
    outcome = run_ipvsadm(argv, replies, stdin)
    assert isinstance(outcome.status, int)
    assert 0 <= outcome.status <= 255
    assert "corrupted" not in outcome.err
    if outcome.status and "-R" not in argv and not any("restore" in word for word in argv):
        assert outcome.err.count("\n") == 1
