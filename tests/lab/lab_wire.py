"""Two taps joined by a wire, in place of a balancer: `lab_wire.py LEFT RIGHT`.

Every frame that comes out of one tap goes into the other, as it is. Like a DPDK port the wire
gets raw frames, so it checks what the kernel hands out: a line is printed for a frame longer than
Ethernet allows, or with a wrong IPv4, TCP or UDP checksum.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
ETHERNET_MAX = 1514
CHECKSUM_AT = {6: 16, 17: 6}  # by IP protocol: offset in its header


def ones_sum(data: bytes) -> int:
    """Internet checksum arithmetic (RFC 1071): 0xffff for data with a right checksum in it."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def fault(frame: bytes) -> str:
    """What is wrong with an Ethernet frame, "" if nothing is."""
    if len(frame) > ETHERNET_MAX:
        return f"frame of {len(frame)} bytes"
    if frame[12:14] != b"\x08\x00":
        return ""
    ip = frame[14:]
    header = (ip[0] & 15) * 4
    ip = ip[: int.from_bytes(ip[2:4])]
    if ones_sum(ip[:header]) != 0xFFFF:
        return "wrong IPv4 checksum"
    proto, payload = ip[9], ip[header:]
    if proto not in CHECKSUM_AT:
        return ""
    at = CHECKSUM_AT[proto]
    if proto == 17 and payload[at : at + 2] == b"\0\0":  # none computed
        return ""
    pseudo = ip[12:20] + struct.pack("!BBH", 0, proto, len(payload))
    return "" if ones_sum(pseudo + payload) == 0xFFFF else f"wrong checksum, protocol {proto}"


def tap(name: str) -> int:
    """Make a tap interface as DPDK's driver does; it lives as long as the descriptor."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def main() -> None:
    """Carry frames for ever."""
    left, right = tap(sys.argv[1]), tap(sys.argv[2])
    other = {left: right, right: left}
    while True:
        for fd in select.select([left, right], [], [])[0]:
            try:
                frame = os.read(fd, 65536)
                os.write(other[fd], frame)
            except OSError:  # an interface that is still down
                continue
            if wrong := fault(frame):
                print(wrong, flush=True)


if __name__ == "__main__":
    main()
