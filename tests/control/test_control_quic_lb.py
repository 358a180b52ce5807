"""QUIC-LB in the control plane: what is refused, what workers get, what a dump says."""

from __future__ import annotations

import pytest
from control_fakes import Master, svc

QUIC = svc(port=443, proto="udp")


@pytest.fixture
def master():
    master = Master()
    master.ok("svc.add", svc=QUIC, sched="rr", quic=True, quic_lb="3,5")
    master.ok("dest.add", svc=QUIC, addr="192.0.2.101", port=1, mode="nat", server_id="0A0b0c")
    return master


def test_workers_and_listings(master):
    _, body = master.published.take()[-1]
    assert body["quic_lb"] == (3, 5) and body["dests"][0]["server_id"] == b"\x0a\x0b\x0c"
    (row,) = master.ok("svc.list")
    assert row["quic_lb"] == "3,5" and row["dests"][0]["server_id"] == "0a0b0c"
    lines = master.ok("state.dump")["commands"]
    assert lines[0].endswith(" --quic --quic-lb 3,5")
    assert lines[1].endswith(" -r 192.0.2.101:1 -m -w 1 --server-id 0a0b0c")


def test_an_edit_that_is_silent_about_the_id_leaves_it(master):
    master.ok("dest.edit", svc=QUIC, addr="192.0.2.101", port=1, mode="nat", weight=0)
    assert master.ok("svc.list")[0]["dests"][0]["server_id"] == "0a0b0c"
    master.ok("dest.edit", svc=QUIC, addr="192.0.2.101", port=1, mode="nat", server_id=None)
    assert master.ok("svc.list")[0]["dests"][0]["server_id"] == ""
    assert "server_id" not in master.published.take()[-1][1]["dests"][0]


@pytest.mark.parametrize(
    ("server_id", "text"),
    [
        ("0a0b", "must have 3 bytes"), ("0a0b0c", "already that of 192.0.2.101:1"),
        ("0a0b0", "1 to 15 bytes"), ("0a0b0x", "1 to 15 bytes"), ("0a" * 16, "1 to 15 bytes"),
    ],
)  # fmt: skip
def test_refused_ids(master, server_id, text):
    code, detail = master.refused(
        "dest.add", svc=QUIC, addr="192.0.2.102", port=1, mode="nat", server_id=server_id
    )
    assert code == -1 and text in detail


@pytest.mark.parametrize("quic_lb", ["0", "16", "4,7", "4,", "4 ", "x", ""])
def test_refused_lengths(master, quic_lb):
    assert master.refused("svc.edit", svc=QUIC, quic_lb=quic_lb)[0] == -1


def test_services_that_cannot_have_it(master):
    fields = {"svc": svc(port=444, proto="udp"), "quic_lb": "4"}
    assert "only for services with quic" in master.refused("svc.add", **fields)[1]
    code, detail = master.refused("svc.edit", svc=QUIC, quic_lb="4")
    assert code == -1 and "192.0.2.101:1 must have 4 bytes" in detail
    assert "needs quic-lb" in master.refused("svc.edit", svc=QUIC, quic_lb=None)[1]
