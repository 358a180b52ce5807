"""Real servers that are drained or removed: old connections stay, new ones go elsewhere."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from tests.pathrig import TCP, Rig, from_client, from_server, server, syn


def established(rig):
    """A connection to server 0; its first packets."""
    (opened,) = rig.exchange(0, syn())[1]
    ip = IP(opened[14:])
    port = ip.sport
    assert ip.dst == server(0)
    rig.exchange(1, from_server(TCP(sport=8000, dport=port, flags="SA", ack=1)))
    rig.exchange(0, from_client(TCP(sport=1234, dport=80, flags="A", ack=1)))
    return port


@pytest.mark.parametrize("how", ["drained", "removed"])
def test_old_connections_stay_and_new_ones_go_elsewhere(how):
    rig = Rig()
    rig.service(dests=1)
    port = established(rig)
    first = {"weight": 0} if how == "drained" else {"id": 2}
    others = [first, {}] if how == "drained" else [{"id": 1, "addr": server(1), "port": 8001}]
    rig.service(dests=others)
    for index in range(3):
        sport = 2000 + index
        (new,) = rig.exchange(0, syn(sport=sport))[1]
        assert IP(new[14:]).dst == server(1)
    data = from_client(TCP(sport=1234, dport=80, flags="PA", ack=1) / b"more")
    (out,) = rig.exchange(0, data)[1]
    assert Ether(out)[IP].dst == server(0) and bytes(Ether(out)[TCP].payload) == b"more"
    (back,) = rig.exchange(1, from_server(TCP(sport=8000, dport=port, flags="A")))[0]
    assert Ether(back)[TCP].dport == 1234
    assert rig.drops() == {} and rig.clean()
