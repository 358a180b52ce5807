"""tools/crc32c.py against the examples of RFC 3720 B.4 and scapy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from tools.crc32c import checked, crc32c

EXAMPLES = {
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(range(31, -1, -1)): 0x113FDB5C,
    b"": 0,
}


@pytest.mark.parametrize("data", EXAMPLES, ids=bytes.hex)
def test_examples(data):
    assert crc32c(data) == EXAMPLES[data]


@given(st.binary(max_size=80))
def test_packets(content):
    packet = bytes(SCTP(sport=1, dport=2, tag=3) / Raw(content))
    assert checked(packet[:8] + b"\1\2\3\4" + packet[12:]) == packet
