"""The far end of a tunnel for hosts whose kernel has none: `lab_decap.py DEVICE`.

Packets that arrive inside another IP header (IPv4 in IP, RFC 2003; IPv6 in IP, RFC 2473 and 4213)
come out of the tun device DEVICE, which is made and set up here, as if they had been received
there.  It ends with the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
IPIP, IPV6 = 4, 41  # protocol numbers of what is inside
ROOM = 4 << 20  # bytes of receive buffer: bursts must not be lost here


def tun(name: str) -> int:
    """Make the device `name` and set it up; its file descriptor."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        up = struct.pack("16sH22x", name.encode(), IFF_UP | IFF_RUNNING)
        fcntl.ioctl(sock, SIOCSIFFLAGS, up)
    return device


def serve(name: str) -> None:
    """Decapsulate for ever."""
    device = tun(name)
    waiting = selectors.DefaultSelector()
    for family in (socket.AF_INET, socket.AF_INET6):
        for proto in (IPIP, IPV6):
            with contextlib.suppress(OSError):  # a kernel without IPv6
                sock = socket.socket(family, socket.SOCK_RAW, proto)
                sock.setsockopt(socket.SOL_SOCKET, 33, ROOM)  # SO_RCVBUFFORCE
                waiting.register(sock, selectors.EVENT_READ, family)
    while True:
        for key, _ in waiting.select():
            packet = key.fileobj.recv(65535)  # type: ignore[union-attr]
            # Raw IPv4 sockets show the outer header too, raw IPv6 sockets do not.
            inner = packet[(packet[0] & 15) * 4 :] if key.data == socket.AF_INET else packet
            with contextlib.suppress(OSError):  # what is no IP packet, the kernel refuses
                os.write(device, inner)


if __name__ == "__main__":
    serve(sys.argv[1])
