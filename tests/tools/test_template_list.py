"""Templates of persistence as rows of the connection list."""

from __future__ import annotations

from scapy.layers.inet import TCP, UDP

from tests import topology6
from tests.pathrig import VIP, WAN, Rig, from_client, server
from tools.daemon.template_list import templates


def every(rig, limit=1000, wanted=None):
    """All rows, page by page."""
    rows, cursor = [], 0
    while True:
        page = templates(rig.address, cursor, limit, wanted)
        rows += page["conns"]
        cursor = page["cursor"]
        if not cursor:
            return sorted(rows, key=lambda row: (row["proto"], row["caddr"]))


def test_rows_say_client_service_and_server():
    rig = Rig(static=True)
    rig.service(0, persistent=360, netmask="255.255.255.0", dests=[{"id": 3}])
    dests = [{"id": 4, "addr": server(1)}]
    rig.service(1, proto="udp", port=53, persistent=20, dests=dests, flags=["ops"])
    topology6.network6(rig, laddrs=())
    dests = [topology6.dest6(9, mode="nat")]
    topology6.service6(rig, dests, id=2, persistent=100, netmask="64", laddrs=[])
    rig.exchange(WAN, from_client(TCP(sport=5, dport=80, flags="S"), src="203.0.113.9"))
    rig.exchange(WAN, from_client(UDP(sport=5, dport=53), src="203.0.113.9"))
    ends = (topology6.CLIENT6, topology6.VIP6)
    rig.exchange(WAN, topology6.frame6(topology6.FROM_CLIENT, ends, TCP(sport=5, dport=80)))
    rig.now += 9500
    rig.run()
    tcp6, tcp4, udp = every(rig)
    assert (tcp4["cid"], tcp4["proto"], tcp4["state"]) == (0, "tcp", "TCP_NONE")
    assert (tcp4["caddr"], tcp4["cport"], tcp4["expire"]) == ("203.0.113.0", 0, 351)
    assert (tcp4["vaddr"], tcp4["vport"]) == (VIP, 80)
    assert (tcp4["laddr"], tcp4["lport"]) == ("203.0.113.0", 0)
    assert (tcp4["daddr"], tcp4["dport"], tcp4["dest"]) == (server(0), 8000, 3)
    assert (udp["state"], udp["expire"], udp["caddr"]) == ("UDP_NONE", 11, "203.0.113.9")
    assert (udp["daddr"], udp["dport"]) == (server(1), 8000)
    assert (tcp6["caddr"], tcp6["vaddr"]) == ("2001:db8:cafe::", topology6.VIP6)
    assert tcp6["daddr"] == topology6.SERVERS6[1] and tcp6["expire"] == 91


def test_pages_filters_and_what_is_gone():
    rig = Rig(static=True)
    rig.service(persistent=360, dests=2)
    for i in range(1, 200):
        rig.exchange(WAN, from_client(TCP(sport=5, dport=80, flags="S"), src=f"203.0.113.{i}"))
    assert len(every(rig)) == len(every(rig, limit=1)) == 199
    (row,) = every(rig, wanted={"proto": "tcp", "saddr": "203.0.113.7", "sport": 0})
    assert row["caddr"] == "203.0.113.7"
    assert every(rig, wanted={"proto": "udp"}) == []
    rig.apply("svc.del", id=0)
    assert every(rig) == []
