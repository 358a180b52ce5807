"""Every wrong command line of dpip: one clear line, exit status 1, and no request."""

import pytest
from cli_fakes import DOWN, EXISTS, FakeTransport, run_dpip
from hypothesis import given
from hypothesis import strategies as st

from tools.cli.dpip_args import ABSENT_OBJECTS, OBJECTS
from tools.client import ControlError


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("foo show", "dpip: invalid object, use `-h' for help.\n"),
        ("addr foo", "dpip: invalid command foo\n"),
        ("addr replace 10.0.0.1 dev d0", "dpip: not support: addr has no command 'replace'\n"),
        ("route set default", "dpip: not support: route has no command 'set'\n"),
        ("neigh flush", "not support"),
        ("link enable", "not support"),
        ("-x addr show", "dpip: Invalid option: option -x not recognized\n"),
        ("--bogus addr show", "Invalid option"),
        ("addr show -f", "Invalid option: option -f requires argument"),
        ("--stats=1 addr show", "Invalid option"),
        ("-f inet7 addr show", "invalid family: inet7"),
        ("-s -i x link show", "invalid interval: x"),
        ("-s -i 86401 link show", "invalid interval"),
        ("-s -i 1 -c x link show", "invalid count: x"),
        ("-s -c 3 link show", "missing option '-i'"),
        ("addr add dev d0", "invalid parameter: missing IFADDR"),
        ("addr del dev d0", "missing IFADDR"),
        ("addr add 10.0.0.1", "no device specified."),
        ("addr flush", "no device specified."),
        ("addr flush d0", "too many arguments: d0"),
        ("addr add 10.0.0.1 dev", "missing argument for `dev'"),
        ("addr add 10.0.0.256 dev d0", "invalid ipaddress: unspec 10.0.0.256"),
        ("-6 addr add 10.0.0.1 dev d0", "invalid ipaddress: inet6 10.0.0.1"),
        ("-4 addr add 2001:db8::1 dev d0", "invalid ipaddress: inet 2001:db8::1"),
        ("addr add 10.0.0.1/33 dev d0", "invalid prefix length: 33"),
        ("addr add 10.0.0.1/ dev d0", "invalid prefix length: "),
        ("addr add 10.0.0.1/0 dev d0", "invalid prefix length: 0"),
        ("addr add 10.0.0.1 10.0.0.2 dev d0", "too many arguments: 10.0.0.2"),
        ("addr add 10.0.0.1 dev d0 broadcast 2001:db8::1", "invalid ipaddress: inet 2001:db8::1"),
        ("addr add 10.0.0.1 dev d0 scope far", "invalid scope: far"),
        ("addr add 10.0.0.1 dev d0 valid_lft -", "invalid valid_lft: -"),
        ("addr add 10.0.0.1 dev d0 prefered_lft 4294967296", "invalid prefered_lft"),
        ("addr show d0", "too many arguments: d0"),
        ("route add", "missing prefix"),
        ("route add 10.0.0.0/24 via x", "invalid ipaddress: inet x"),
        ("route add 10.0.0.0/24 via 2001:db8::1", "invalid ipaddress: inet 2001:db8::1"),
        ("-6 route add 10.0.0.0/24", "invalid ipaddress: inet6 10.0.0.0"),
        ("route add 10.0.0.0/24 scope site", "invalid scope: site"),
        ("route add 10.0.0.0/24 mtu 65536", "invalid mtu: 65536"),
        ("route add 10.0.0.0/24 metric x", "invalid metric: x"),
        ("route add 10.0.0.0/a", "invalid prefix length: a"),
        ("route flush", "no device specified."),
        ("neigh add lladdr 00:11:22:33:44:55 dev d0", "missing ip address"),
        ("neigh add 10.0.0.1 dev d0", "invalid MAC address"),
        ("neigh add 10.0.0.1 lladdr 00:11:22:33:44 dev d0", "invalid link layer addr"),
        ("neigh add 10.0.0.1 lladdr 00:11:22:33:44:100 dev d0", "invalid link layer addr"),
        ("neigh add 10.0.0.1 lladdr 0:0:0:0:0:0 dev d0", "invalid MAC address"),
        ("neigh add 10.0.0.1 lladdr 00:11:22:33:44:55", "no device specified."),
        ("neigh del x dev d0", "invalid ipaddress: unspec x"),
        ("link show d0 d1", "too many arguments: d1"),
        ("link show d0 status d1", "too many arguments: d1"),
        ("link show cpu1 x", "too many arguments: x"),
        ("link show cpux", "invalid cpu: x"),
        ("link set", "no device specified."),
        ("link set d0", "missing parameter name"),
        ("link set d0 promisc", "missing argument for `promisc'"),
        ("link set d0 promisc on off", "too many arguments: off"),
        ("link set d0 promisc maybe", "invalid arguement value for 'promisc': maybe"),
        ("link set d0 link on", "invalid arguement value for 'link': on"),
        ("link set d0 addr 1:2", "invalid arguement value for 'addr': 1:2"),
        ("link set d0 bond-mode 7", "invalid bonding mode: 7"),
        ("link set d0 bond-xmit-policy layer4", "invalid xmit-poliy: layer4"),
        ("link set d0 bond-monitor-interval 0", "invalid link_monitor_interval: 0"),
        ("link set d0 speed 10", "invalid parameter name 'speed'"),
        ("link set cpu1 promisc on", "cpu1 is a core"),
        ("link add b0 slave d0", "invalid parameter name 'slave'"),
    ],
)
def test_errors(command, message):
    outcome = run_dpip(command)
    outcome.assert_one_line_error(1, message)
    assert outcome.err.startswith("dpip: ")
    assert outcome.calls == []


@pytest.mark.parametrize("name", ABSENT_OBJECTS)
@pytest.mark.parametrize("rest", ["", "show", "add x y", "bogus", "help"])
def test_objects_that_do_not_exist_yet(name, rest):
    run_dpip(f"{name} {rest}").assert_one_line_error(
        1, f"dpip: {name}: not supported by this version\n"
    )


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("", 0),
        ("-h", 0),
        ("-s", 1),
        ("addr", 1),
        ("addr help", 0),
        ("addr -h", 0),
        ("link help", 0),
        ("route help", 0),
        ("neigh help", 0),
        ("--help neigh show", 0),
    ],
)
def test_help_goes_to_the_error_stream(command, status):
    outcome = run_dpip(command, FakeTransport(DOWN))
    assert (outcome.status, outcome.out, outcome.calls) == (status, "", [])
    assert outcome.err.startswith("Usage: dpip ")
    named = next((name for name in OBJECTS if name in command), None)
    assert named is None or f" {named} " in outcome.err
    assert all(len(line) <= 100 for line in outcome.err.splitlines())


def test_version():
    outcome = run_dpip("-V")
    assert (outcome.status, outcome.out, outcome.err) == (0, "dpip-v1.0.0\n", "")


def test_refusal_and_absence_of_the_daemon():
    command = "addr add 10.0.0.1 dev d0"
    run_dpip(command, FakeTransport(EXISTS)).assert_one_line_error(1, "dpip: already exist\n")
    fault = ControlError(-27, "no such device", "there is no device d0")
    run_dpip(command, FakeTransport(fault)).assert_one_line_error(
        1, "dpip: no such device: there is no device d0\n"
    )
    run_dpip(command, FakeTransport(DOWN)).assert_one_line_error(
        1, "No such file or directory (is dpvs running?)\n"
    )


@pytest.mark.parametrize("reply", [None, [None], [{}], 5])
@pytest.mark.parametrize("command", ["addr show", "route show", "neigh show", "link show"])
def test_damaged_reply_is_one_line(command, reply):
    run_dpip(command, FakeTransport(reply)).assert_one_line_error(1, "dpip: corrupted response.")


WORDS = [
    *OBJECTS,
    *ABSENT_OBJECTS,
    *("add", "del", "set", "change", "show", "list", "flush", "help", "replace"),
    *("dev", "d0", "via", "src", "scope", "link", "mtu", "metric", "broadcast", "lladdr"),
    *("default", "local", "sapool", "status", "cpu", "cpu1", "promisc", "on", "bond-slave"),
    *("10.0.0.1", "10.0.0.0/24", "2001:db8::1", "00:11:22:33:44:55", "300", "forever", ""),
    *("-4", "-6", "-s", "-v", "-i", "-c", "-C", "-f", "inet", "--", "-", "--family=inet6"),
]


@given(
    st.sampled_from(OBJECTS),
    st.sampled_from(["add", "del", "set", "show", "flush"]),
    st.lists(st.sampled_from(WORDS) | st.text(max_size=10), max_size=8),
)
def test_any_words_of_a_command_end_in_an_exit_status(name, command, words):
    check_any([name, command, *words])


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=10), max_size=8))
def test_any_command_line_ends_in_an_exit_status(argv):
    check_any(argv)


def check_any(argv: list[str]) -> None:
    transport = FakeTransport([])
    rounds = 0

    def sleep(seconds: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds > 3:
            raise KeyboardInterrupt

    outcome = run_dpip(argv, transport, sleep)
    assert outcome.status in (0, 1, 130)
    assert "corrupted" not in outcome.err
    if outcome.status == 1 and not outcome.err.startswith("Usage"):
        assert outcome.err.count("\n") == 1
