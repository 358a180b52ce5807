"""`dpvs replay` with an IPv6 configuration: operator's commands, the whole path, exact frames."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import rdpcap, wrpcap

# The process may have to compile the packet path.
pytestmark = [pytest.mark.dpdk, pytest.mark.timeout(1000)]

CONFIG = """
netif_defs {
    pktpool_size 8191
    device dpdk0 {
        port null
    }
    device dpdk1 {
        port null
    }
}
ipv6_defs {
    forwarding on
}
commands {
    dpip addr add 2001:db8:1::1/64 dev dpdk0
    dpip addr add 2001:db8:2::1/64 dev dpdk1
    dpip -6 route add 2001:db8:9::/48 via 2001:db8:2::fe dev dpdk1
    dpip neigh add 2001:db8:1::2 lladdr 02:aa:00:00:00:02 dev dpdk0
    dpip neigh add 2001:db8:2::fe lladdr 02:bb:00:00:00:fe dev dpdk1
}
"""
CLIENT, CLIENT_MAC, GATEWAY_MAC = "2001:db8:1::2", "02:aa:00:00:00:02", "02:bb:00:00:00:fe"


def to(dst: str, mac: str, **ip: int) -> Packet:
    return Ether(src=CLIENT_MAC, dst=mac) / IPv6(src=CLIENT, dst=dst, **ip)


def replay(folder: Path, frames: list[Packet]) -> tuple[list[Packet], list[Packet], str]:
    """What dpdk0 and dpdk1 sent, and what the command said."""
    wrpcap(str(folder / "in.pcap"), frames)
    (folder / "six.conf").write_text(CONFIG)
    argv = ["replay", "in.pcap", "out.pcap", "--config", "six.conf"]
    root = Path(__file__).parents[2]
    code = f"import sys; sys.path.insert(0, {str(root)!r}); from tools.dpvs import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sent = [list(rdpcap(str(folder / name))) for name in ("out.pcap", "out.dpdk1.pcap")]
    return sent[0], sent[1], done.stdout


def test_replay(tmp_path: Path) -> None:
    first, _, _ = replay(tmp_path, [to("2001:db8:1::1", "ff:ff:ff:ff:ff:ff") / UDP()])
    ours = first[0].src  # announcements and probes of dpdk0's addresses
    echo = ICMPv6EchoRequest(id=3, seq=4, data=b"hello")
    forwarded = to("2001:db8:9::5", ours, hlim=9) / UDP(sport=1, dport=2) / Raw(b"x" * 30)
    wan, lan, said = replay(tmp_path, [to("2001:db8:1::1", ours) / echo, forwarded])
    reply = IPv6(src="2001:db8:1::1", dst=CLIENT, hlim=64)
    reply /= ICMPv6EchoReply(id=3, seq=4, data=b"hello")
    assert bytes(Ether(src=ours, dst=CLIENT_MAC) / reply) in map(bytes, wan)
    expected = forwarded.copy()
    expected[IPv6].hlim = 8
    expected.src, expected.dst = lan[0].src, GATEWAY_MAC
    assert bytes(expected) in map(bytes, lan)
    assert "2 of 2 frames read" in said and "dropped: none" in said
