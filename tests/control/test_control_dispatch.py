import asyncio

import pytest
from control_fakes import Master, Replica, svc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools import client
from tools.control.dispatch import HANDLERS
from tools.control.errors import ERROR_TEXT, Code, ControlError
from tools.control.inprocess import InProcessTransport


@pytest.fixture
def master():
    return Master()


def test_every_code_has_the_texts_of_the_original():
    assert set(ERROR_TEXT) == set(Code)
    assert ERROR_TEXT[Code(-3)] == "already exist"
    assert ERROR_TEXT[Code(-27)] == "no such device"


def test_reply_shape(master):
    assert master.dispatcher.dispatch({"v": 1, "seq": 7, "type": "svc.flush"}) == {
        "v": 1,
        "seq": 7,
        "ok": True,
        "data": None,
    }
    reply = master.dispatcher.dispatch({"v": 1, "seq": 8, "type": "svc.del", "svc": svc()})
    assert reply == {
        "v": 1,
        "seq": 8,
        "ok": False,
        "code": -1,
        "error": "invalid parameter",
        "detail": "there is no service tcp 192.0.2.10:80",
    }


@pytest.mark.parametrize(
    ("request_map", "code", "text"),
    [
        ({}, -1, "field 'type' is missing"),
        ({"type": 5}, -1, "field 'type' must be text"),
        ({"type": "blklst.add"}, -14, "blacklists are not supported yet"),
        ({"type": "link.add"}, -14, "bonding is not supported yet"),
        ({"type": "svc.explode"}, -14, "there is no request type 'svc.explode'"),
        ({"type": "info", "v": 2}, -1, "field 'v' must be an integer 1..1"),
        ({"type": "info", "seq": "one"}, -1, "field 'seq' must be an integer"),
        ({"type": "info", b"x": 1}, -1, "unknown field"),
        ({"type": "info", "verbose": True}, -1, "unknown field 'verbose'"),
    ],
)
def test_malformed_requests(master, request_map, code, text):
    reply = master.dispatcher.dispatch(request_map)
    assert (reply["ok"], reply["code"], reply["seq"]) == (False, code, 0)
    assert text in reply["detail"]


def test_a_fault_of_ours_is_answered_and_logged(master, caplog):
    master.links.fault = RuntimeError("boom")
    reply = master.request("link.set", dev="dpdk0", item="promisc", value="on")
    assert (reply["code"], reply["error"]) == (-21, "callback failed")
    assert "boom" not in reply["detail"] and "boom" in caplog.text


def test_waiting_is_refused_without_an_event_loop(master):
    class Hang:
        def __await__(self):
            yield

    async def connections(*_):
        await Hang()

    master.fleet.connections = connections
    reply = master.request("conn.list", cursor=0, limit=10)
    assert reply["code"] == -13 and "wait for a worker" in reply["detail"]


def test_connections_page_by_page(master):
    master.fleet.conns = [{"cid": 1, "proto": "tcp", "cport": port} for port in range(5)]
    first = master.ok("conn.list", cursor=0, limit=3)
    assert [row["cport"] for row in first["conns"]] == [0, 1, 2] and first["cursor"] == 3
    request = {"type": "conn.list", "cursor": 3, "limit": 3}
    second = asyncio.run(master.dispatcher.answer(request))["data"]
    assert [row["cport"] for row in second["conns"]] == [3, 4] and second["cursor"] == 0
    match = {"proto": "tcp", "saddr": "192.0.2.1", "sport": 5}
    master.ok("conn.list", filter=match)
    assert master.fleet.asked[-1] == (0, 2000, match)


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0},
        {"limit": 2001},
        {"cursor": -1},
        {"filter": {"proto": "gre"}},
        {"filter": {"saddr": "x"}},
        {"filter": {"sport": 65536}},
        {"filter": {"state": "TCP_EST"}},
        {"filter": []},
    ],
)
def test_refused_connection_listings(master, fields):
    assert master.refused("conn.list", **fields)[0] == -1


def test_info_status_counters_stop(master):
    info = master.ok("info")
    assert info["version"] == "1.10.2" and info["pid"] > 0
    assert (info["workers"], info["services"], info["name"]) == (2, 0, "test")
    status = master.ok("status")
    assert status["workers"] == ["running", "running"]
    assert status["tables"]["devices"] == 2
    counters = master.ok("counters")["workers"]
    assert counters[1] == {"cid": 2, "counters": {"rx.bad_checksum": 2}}
    master.ok("stop")
    assert master.daemon.stopped


def test_params_are_published_once(master):
    master.published.take()
    master.state.set_params({"tcp_timeout_established": 90, "xmit_ttl": False})
    master.state.set_params({"tcp_timeout_established": 90, "xmit_ttl": True})
    master.state.set_params({"xmit_ttl": True})
    assert master.published.take() == [
        ("param.set", {"tcp_timeout_established": 90, "xmit_ttl": False}),
        ("param.set", {"xmit_ttl": True}),
    ]
    assert master.ok("status")["params"]["xmit_ttl"] is True


def test_link_show(master):
    row = master.ok("link.show", dev="dpdk1", stats=True, verbose=True)[0]
    assert (row["id"], row["name"], row["mac"]) == (1, "dpdk1", "02:00:00:00:00:01")
    assert (row["up"], row["speed"], row["duplex"]) == (True, 10000, "full-duplex")
    assert row["stats"]["ipackets"] == 1001 and row["stats"]["oerrors"] == 0
    assert row["xstats"] and row["info"] and row["queues"]
    plain = master.ok("link.show")
    assert [row["name"] for row in plain] == ["dpdk0", "dpdk1"]
    assert plain[0]["stats"] is None and plain[0]["xstats"] is None and plain[0]["queues"] == []
    assert master.refused("link.show", dev="eth0")[0] == -27


def test_link_set(master):
    master.ok("link.set", dev="dpdk0", item="promisc", value="on")
    master.ok("link.set", dev="dpdk0", item="allmulticast", value="on")
    assert master.ok("link.show", dev="dpdk0")[0]["flags"] == ["promisc", "allmulticast"]
    master.ok("link.set", dev="dpdk0", item="promisc", value="off")
    master.ok("link.set", dev="dpdk0", item="link", value="down")
    assert master.ok("link.show", dev="dpdk0")[0]["flags"] == ["allmulticast"]
    master.published.take()
    master.ok("link.set", dev="dpdk0", item="addr", value="02:00:00:00:00:AA")
    body = {"id": 0, "name": "dpdk0", "mac": "02:00:00:00:00:aa", "mtu": 1500}
    assert master.published.take() == [("dev.set", body)]
    assert master.links.calls[-1] == (0, "addr", "02:00:00:00:00:aa")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"dev": "eth0", "item": "promisc", "value": "on"}, -27),
        ({"dev": "dpdk0", "item": "colour", "value": "on"}, -1),
        ({"dev": "dpdk0", "item": "promisc", "value": "yes"}, -1),
        ({"dev": "dpdk0", "item": "link", "value": "on"}, -1),
        ({"dev": "dpdk0", "item": "addr", "value": "nope"}, -1),
        ({"dev": "dpdk0", "item": "forward2kni", "value": "on"}, -14),
        ({"dev": "dpdk0", "item": "bond-mode", "value": "4"}, -14),
    ],
)
def test_refused_link_settings(master, fields, code):
    assert master.refused("link.set", **fields)[0] == code
    assert master.links.calls == []


def test_a_refusal_of_the_device_changes_nothing(master):
    master.links.fault = ControlError(Code.DPDKAPIFAIL, "the port refused")
    assert master.refused("link.set", dev="dpdk0", item="promisc", value="on")[0] == -11
    assert master.ok("link.show", dev="dpdk0")[0]["flags"] == []


def test_cpu_show(master):
    rows = master.ok("cpu.show", stats=True)
    assert [row["role"] for row in rows] == ["master", "worker", "worker"]
    assert rows[1]["queues"] == ["dpdk0:rx0", "dpdk0:tx0"]
    assert rows[1]["stats"]["lcore_loop"] == 101 and rows[1]["stats"]["obytes"] == 0
    assert master.ok("cpu.show", cpu=2)[0]["stats"] is None
    assert master.refused("cpu.show", cpu=9) == (-4, "the daemon does not run on cpu9")


def test_in_process_transport(master):
    transport = InProcessTransport(master.dispatcher)
    transport.call("svc.add", svc=svc(), sched="rr")
    assert transport.call("svc.list")[0]["sched"] == "rr"
    with pytest.raises(client.ControlError) as caught:
        transport.call("svc.add", svc=svc(), sched="rr")
    assert (caught.value.code, caught.value.error) == (-3, "already exist")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70000),
    st.text(alphabet="a1./:-\n\u2603", max_size=4),
    st.sampled_from(
        ["192.0.2.1", "192.0.2.0/24", "default", "dpdk0", "dpdk9", "tcp", "fullnat", "rr", "host"]
        + ["02:00:00:00:00:09", "promisc", "on", "inet", "link", "2001:db8::1", "forever"]
    ),
)
NAMES = st.sampled_from(
    ["svc", "addr", "port", "plen", "dev", "dst", "via", "src", "mac", "lladdr", "sched", "mode"]
    + ["weight", "u_thresh", "l_thresh", "item", "value", "scope", "sapool", "valid_lft", "af"]
    + ["cursor", "limit", "filter", "cpu", "mtu", "metric", "stats", "verbose", "extra"]
)
KEYS = st.fixed_dictionaries(
    {"proto": SCALARS, "addr": SCALARS, "port": SCALARS}, optional={"af": SCALARS}
)
FIELDS = st.dictionaries(NAMES, SCALARS | KEYS, max_size=8)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=400,
)
@given(st.lists(st.tuples(st.sampled_from(sorted(HANDLERS)), FIELDS), max_size=6))
def test_random_requests_are_answered_and_never_half_applied(requests):
    master = Master()
    replica = Replica().apply(master.published.take())
    for kind, fields in requests:
        reply = master.dispatcher.dispatch({**fields, "v": 1, "seq": 3, "type": kind})
        assert reply["seq"] == 3
        records = master.published.take()
        if not reply["ok"]:
            assert reply["code"] in set(Code) and reply["code"] != Code.CALLBACKFAIL
            assert reply["error"] and reply["detail"] and records == []
        replica.apply(records)
        assert replica.view() == Replica().apply(master.state.snapshot()).view()
