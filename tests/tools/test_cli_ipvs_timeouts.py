"""ipvsadm --set and -L --timeout."""

from __future__ import annotations

from cli_fakes import FakeTransport, run_ipvsadm


def test_set_sends_all_three():
    transport = FakeTransport()
    outcome = run_ipvsadm("--set 900 0 60", transport)
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.only_call == ("timeout.set", {"tcp": 900, "tcpfin": 0, "udp": 60})


def test_show():
    transport = FakeTransport(timeout_show={"tcp": 90, "tcpfin": 7, "udp": 300})
    outcome = run_ipvsadm("-L --timeout", transport)
    assert outcome.out == "Timeout (tcp tcpfin udp): 90 7 300\n"
