"""Timeouts that operators change while the balancer runs."""

from __future__ import annotations

import pytest
from control_fakes import Master, Replica

from ipvs.tcp import TCP_TIMEOUTS, UDP_TIMEOUTS


@pytest.fixture
def master():
    return Master()


def test_chosen_ones_reach_the_workers_others_stay(master):
    assert master.ok("timeout.show") == {"tcp": 90, "tcpfin": 7, "udp": 300}
    master.state.set_configured({"tcp_timeouts": {**TCP_TIMEOUTS, "close": 9}, "xmit_ttl": 1})
    master.published.take()
    master.ok("timeout.set", tcp=900, udp=60)
    params = Replica().apply(master.published.take()).params
    assert params == {
        "tcp_timeouts": {**TCP_TIMEOUTS, "close": 9, "established": 900},
        "udp_timeouts": {**UDP_TIMEOUTS, "oneway": 60, "normal": 60},
    }
    master.ok("timeout.set", tcpfin=20)
    assert master.ok("timeout.show") == {"tcp": 900, "tcpfin": 20, "udp": 60}
    assert list(Replica().apply(master.published.take()).params) == ["tcp_timeouts"]
    assert master.ok("state.dump")["commands"] == ["ipvsadm --set 900 20 60"]


def test_nothing_chosen_changes_nothing(master):
    master.published.take()
    master.ok("timeout.set", tcp=0, tcpfin=0, udp=0)
    assert master.published.take() == [] and master.ok("state.dump")["commands"] == []


def test_the_configuration_wins_when_it_is_read_again(master):
    configured = {"tcp_timeouts": dict(TCP_TIMEOUTS), "udp_timeouts": dict(UDP_TIMEOUTS)}
    master.state.set_configured(configured)
    master.ok("timeout.set", tcp=900)
    master.state.set_configured(configured)
    assert master.ok("timeout.show") == {"tcp": 90, "tcpfin": 7, "udp": 300}
    assert master.ok("state.dump")["commands"] == []


@pytest.mark.parametrize(
    "fields", [{"tcp": -1}, {"udp": 2678401}, {"tcp": "5"}, {"sctp": 5}, {"tcp": 5, "udp": True}]
)
def test_refused(master, fields):
    assert master.refused("timeout.set", **fields)[0] == -1
