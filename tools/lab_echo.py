"""A server that tells who asked: `lab_echo.py NAME --tcp PORT --udp PORT`.

UDP: every datagram is answered by "NAME ADDRESS PORT " and the datagram. TCP: a new connection is
greeted by "NAME ADDRESS PORT\\n", then gets back what it sends. Answers leave from the address
that was asked, also when that is a virtual address on loopback (direct routing).
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import struct
import threading

PKTINFO = struct.Struct("@16si")  # struct in6_pktinfo: the address that was asked, interface


def text(address: str) -> str:
    """An address as its own family writes it; one socket serves both."""
    return address.removeprefix("::ffff:")


def reply_from(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """The control data that sends the answer from where the question went to."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            asked, _ = PKTINFO.unpack(data[: PKTINFO.size])
            return [(level, kind, PKTINFO.pack(asked, 0))]
    return []


def serve_udp(name: str, port: int) -> None:
    """Answer datagrams for ever."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.bind(("::", port))
        while True:
            data, ancillary, _, peer = sock.recvmsg(65535, 256)
            greeting = f"{name} {text(peer[0])} {peer[1]} ".encode()
            sock.sendmsg([greeting, data], reply_from(ancillary), 0, peer)


async def serve_tcp(name: str, port: int) -> None:
    """Answer connections for ever."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        writer.write(f"{name} {peer[0]} {peer[1]}\n".encode())
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(answer, None, port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    """Read the command line and serve until killed."""
    parser = argparse.ArgumentParser(description="answer with one's name and who asked")
    parser.add_argument("name")
    parser.add_argument("--tcp", type=int, metavar="PORT")
    parser.add_argument("--udp", type=int, metavar="PORT")
    wanted = parser.parse_args()
    if wanted.tcp is None and wanted.udp is None:
        parser.error("give --tcp PORT or --udp PORT")
    if wanted.udp is not None:
        if wanted.tcp is None:
            return serve_udp(wanted.name, wanted.udp)
        threading.Thread(target=serve_udp, args=(wanted.name, wanted.udp), daemon=True).start()
    asyncio.run(serve_tcp(wanted.name, wanted.tcp))


if __name__ == "__main__":
    main()
