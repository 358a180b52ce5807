"""Persistence in the control plane: options, what workers get, listings, ids."""

from __future__ import annotations

import pytest
from control_fakes import Master, svc

from tools.control.providers import DestCounters

SIX = {**svc("2001:db8::1"), "af": "inet6"}


@pytest.fixture
def master():
    master = Master()
    master.ok("svc.add", svc=svc(), sched="rr", persistent=360, netmask="255.255.255.0")
    master.ok("dest.add", svc=svc(), addr="192.0.2.101", port=1, mode="fullnat")
    return master


def templates(master, *parts):
    """Workers 1, 2... say that so many templates name real server 0."""
    for cid, count in enumerate(parts, 1):
        master.counters.dests[cid, 0] = DestCounters(templates=count)


def test_workers_get_time_and_mask(master):
    kind, body = master.published.take()[-1]
    assert (kind, body["persistent"], body["netmask"]) == ("svc.set", 360, "255.255.255.0")
    master.ok("svc.edit", svc=svc(), netmask="255.255.255.255")
    assert master.published.take()[-1][1]["netmask"] is None
    master.ok("svc.add", svc=SIX, persistent=1, netmask="64")
    assert master.published.take()[-1][1]["netmask"] == "64"
    assert master.refused("svc.edit", svc=SIX, netmask="255.255.0.0")[0] == -1
    assert master.refused("svc.edit", svc=svc(), persistent=2678401)[0] == -1


def test_workers_count_templates_together(master):
    templates(master, 5, -2)
    assert master.ok("svc.list")[0]["dests"][0]["persist"] == 3
    assert master.ok("svc.list", cpu=1)[0]["dests"][0]["persist"] == 5
    # A part of its own means nothing when another worker removed what this one made.
    assert master.ok("svc.list", cpu=2)[0]["dests"][0]["persist"] == 0
    master.ok("svc.zero", svc=svc())
    assert master.ok("svc.list")[0]["dests"][0]["persist"] == 3


def test_an_id_is_not_given_away_while_templates_name_it(master):
    templates(master, 2, -1)
    master.ok("dest.del", svc=svc(), addr="192.0.2.101", port=1)
    ids = master.state.ipvs.dest_ids
    master.clock.now += 10
    ids.reap()
    assert ids.retired == 1
    templates(master, 2, -2)
    ids.reap()
    assert ids.retired == 0


def test_templates_are_listed_apart_from_connections(master):
    master.fleet.conns = [{"cid": 1, "cport": 5}]
    master.fleet.template_rows = [{"cid": 0, "cport": 0}] * 3
    assert master.ok("conn.list")["conns"] == master.fleet.conns
    page = master.ok("conn.list", templates=True, limit=2)
    assert len(page["conns"]) == 2 and page["cursor"] == 2
    assert master.refused("conn.list", templates=1)[0] == -1
