"""Clients of an echo server (tools/lab_echo.py) that check what they get; each prints JSON.

lab_client.py udp ADDRESS PORT COUNT [SIZE]    datagrams, each from a socket of its own
lab_client.py send ADDRESS PORT COUNT HEX FROM datagrams of these bytes, each from a new socket
lab_client.py ping ADDRESS PORT                a datagram, from a new socket, per line of input
lab_client.py stream ADDRESS PORT SECONDS      a TCP connection, numbered lines there and back
lab_client.py hold ADDRESS PORT COUNT SECONDS  TCP connections at once, a line on each in turn
lab_client.py try ADDRESS PORT COUNT SECONDS   TCP connections at once, given up after so long
lab_client.py big ADDRESS PORT SIZE [TTL]      a datagram that must not be fragmented
lab_client.py same ADDRESS PORT COUNT [SIZE]   datagrams from one socket, one after another
lab_client.py download ADDRESS PORT PATH SECONDS   an HTTP body, taken in over so long
"""

from __future__ import annotations

import errno
import json
import select
import socket
import struct
import sys
import time
from collections import Counter
from typing import Any

ANSWER_SECONDS = 100.0  # after so long without an answer a connection is taken as lost
PMTUDISC_PROBE = 3  # linux/in.h, linux/in6.h: DF, and sizes as they are asked for
IP_MTU_DISCOVER, IP_RECVERR = 10, 11
IPV6_MTU_DISCOVER, IPV6_RECVERR = 23, 25
MSG_ERRQUEUE = 0x2000
TCP_INFO, TOTAL_RETRANS = 11, 100  # linux/tcp.h: where struct tcp_info has it
PAUSE = 0.002  # between the lines of a stream
# Open to the end: a port given out twice would be a connection that is there already.
_OPEN: list[socket.socket] = []


def udp(address: str, port: int, count: int, size: int = 100) -> dict[str, Any]:
    """Ask ``count`` times; answers by server and by seen client address, and bytes both ways."""
    servers: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    order, received, lost = [], 0, 0
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for number in range(count):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        _OPEN.append(sock)
        sock.settimeout(ANSWER_SECONDS)
        sock.connect((address, port))
        data = f"{number:08d}".encode().ljust(size, b".")
        sock.send(data)
        try:
            answer = sock.recv(65535)
        except OSError:
            lost += 1
            continue
        name, source, _, echoed = answer.split(b" ", 3)
        if echoed != data:
            raise SystemExit(f"datagram {number} came back as {echoed[:20]!r}")
        received += len(answer)
        servers[name.decode()] += 1
        sources[source.decode()] += 1
        order.append(name.decode())
    return {
        "servers": servers, "sources": sources, "order": order, "lost": lost,
        "sent_bytes": count * size, "received_bytes": received,
    }  # fmt: skip


def send(address: str, port: int, count: int, data: str, source: str) -> dict[str, Any]:
    """Ask ``count`` times with the same bytes from one address; answers by server."""
    servers: Counter[str] = Counter()
    for _ in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(ANSWER_SECONDS)
            sock.bind((source, 0))
            sock.sendto(bytes.fromhex(data), (address, port))
            servers[sock.recv(65535).split(b" ", 1)[0].decode()] += 1
    return {"servers": servers}


def ping(address: str, port: int) -> dict[str, Any]:
    """One datagram for each line of standard input."""
    print(json.dumps({"connected": ""}), flush=True)
    for _ in sys.stdin:
        servers = udp(address, port, 1)["order"]
        print(json.dumps({"server": servers[0] if servers else None}), flush=True)
    return {}


class Stream:
    """A connection whose echo is checked byte for byte."""

    def __init__(self, address: str, port: int) -> None:
        self.sock = socket.create_connection((address, port), timeout=ANSWER_SECONDS)
        self.sock.settimeout(ANSWER_SECONDS)
        self.file = self.sock.makefile("rb")
        self.server, self.source, self.port = self.file.readline().decode().split()
        self.local_port = self.sock.getsockname()[1]
        self.number = 0

    def exchange(self) -> float:
        """One numbered line there and back; seconds it took.  Raises OSError, ValueError."""
        line = f"{self.number:012d} {'x' * 500}\n".encode()
        began = time.monotonic()
        self.sock.sendall(line)
        answer = self.file.readline()
        if answer != line:
            raise ValueError(f"line {self.number}: got {answer[:20]!r}")
        self.number += 1
        return time.monotonic() - began


def report(stream: Stream, longest: float, error: str) -> dict[str, Any]:
    """What became of a stream."""
    return {
        "server": stream.server, "source": stream.source, "port": stream.local_port,
        "lines": stream.number, "longest": round(longest, 3), "error": error,
    }  # fmt: skip


def asked() -> bool:
    """Whether a report is wanted (Asking.report): a line of input, or its end."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def stream(address: str, port: int, seconds: float) -> dict[str, Any]:
    """Exchange lines for so long, and until asked; the longest wait for an answer is the outage a
    user sees."""
    connection = Stream(address, port)
    print(json.dumps({"connected": connection.server}), flush=True)
    longest, error = 0.0, ""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end or not asked():
            longest = max(longest, connection.exchange())
            time.sleep(PAUSE)
    except (OSError, ValueError) as problem:
        error = str(problem)
    return report(connection, longest, error)


def hold(address: str, port: int, count: int, seconds: float) -> dict[str, Any]:
    """Many connections, exchanging a line each in turn for so long, until asked, and once more."""
    connections = [Stream(address, port) for _ in range(count)]
    servers = Counter(connection.server for connection in connections)
    ends = [[connection.server, connection.local_port] for connection in connections]
    print(json.dumps({"connected": ends}), flush=True)
    longest, errors, lines, more = 0.0, [], 0, True
    end = time.monotonic() + seconds
    while more and not errors:
        more = time.monotonic() < end or not asked()
        for connection in connections:
            try:
                longest = max(longest, connection.exchange())
                lines += 1
            except (OSError, ValueError) as problem:
                errors.append(f"{connection.server}: {problem}")
        time.sleep(PAUSE)
    return {"servers": servers, "longest": round(longest, 3), "errors": errors, "lines": lines}


def download(address: str, port: int, path: str, seconds: float) -> dict[str, Any]:
    """Read a body in 50 steps; its length, all zeros as the server sends them."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)  # it must not wait here
        sock.settimeout(ANSWER_SECONDS)
        sock.connect((address, port))
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        file = sock.makefile("rb")
        length = 0
        while (line := file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        print(json.dumps({"connected": length}), flush=True)
        got, error = 0, ""
        try:
            while got < length and (data := file.read(min(length // 50 + 1, length - got))):
                if data.strip(b"\0"):
                    raise ValueError(f"wrong data after byte {got}")
                got += len(data)
                time.sleep(seconds / 50)
        except (OSError, ValueError) as problem:
            error = str(problem)
        return {"bytes": got, "error": error}


def attempts(address: str, port: int, count: int, seconds: float) -> dict[str, Any]:
    """Who greeted, how many did not, and how many SYNs of those who were greeted were lost."""
    servers: Counter[str] = Counter()
    failed, again = 0, 0
    waiting = []
    for _ in range(count):
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex((address, port))
    end = time.monotonic() + seconds
    while waiting and (left := end - time.monotonic()) > 0:
        for sock in select.select(waiting, [], [], left)[0]:
            waiting.remove(sock)
            with sock:
                try:
                    servers[sock.recv(1000).split()[0].decode()] += 1
                    info = sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 104)
                    again += struct.unpack_from("<I", info, TOTAL_RETRANS)[0]
                except (OSError, IndexError):
                    failed += 1
    return {"servers": servers, "failed": failed + len(waiting), "again": again}


def same(address: str, port: int, count: int, size: int = 8) -> dict[str, Any]:
    """Ask ``count`` times from one socket; who answered, in order, and as whom."""
    order, answered_as = [], set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(ANSWER_SECONDS)
        for number in range(count):
            data = (b"%d" % number).ljust(size, b".")
            sock.sendto(data, (address, port))
            answer, peer = sock.recvfrom(65535)
            if answer.rsplit(b" ", 1)[1] != data:
                raise SystemExit(f"datagram {number} was answered by {answer[:40]!r}")
            order.append(answer.split(b" ", 1)[0].decode())
            answered_as.add(peer)
    return {"order": order, "from": sorted(answered_as)}


def big(address: str, port: int, size: int, ttl: int = 64) -> dict[str, Any]:
    """What a datagram with DF set brings: an answer or an ICMP error."""
    six = ":" in address
    family = socket.AF_INET6 if six else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if six:
            level, recverr = socket.IPPROTO_IPV6, IPV6_RECVERR
            sock.setsockopt(level, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
            sock.setsockopt(level, socket.IPV6_UNICAST_HOPS, ttl)
        else:
            level, recverr = socket.IPPROTO_IP, IP_RECVERR
            sock.setsockopt(level, IP_MTU_DISCOVER, PMTUDISC_PROBE)
            sock.setsockopt(level, socket.IP_TTL, ttl)
        sock.setsockopt(level, recverr, 1)
        sock.connect((address, port))
        sock.send(b"x" * size)
        select.select([sock], [], [], ANSWER_SECONDS)
        try:
            answer = sock.recv(65535, socket.MSG_DONTWAIT)
            return {"type": None, "code": None, "mtu": 0, "from": "", "answered": bool(answer)}
        except OSError as problem:
            error = errno.errorcode[problem.errno]
        _, ancillary, _, _ = sock.recvmsg(65535, 512, MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        data = next(data for _, kind, data in ancillary if kind == recverr)
        # struct sock_extended_err, then the offender's sockaddr_in or sockaddr_in6
        _, _, kind, code, _, info, _ = struct.unpack_from("=IBBBBII", data)
        offender = data[24:40] if six else data[20:24]
        return {
            "type": kind, "code": code, "mtu": info, "error": error,
            "from": socket.inet_ntop(family, offender), "answered": False,
        }  # fmt: skip


def main() -> None:
    """Run the client that the command line names."""
    kind, address, port, *numbers = sys.argv[1:]
    if kind == "udp":
        result = udp(address, int(port), *(int(number) for number in numbers))
    elif kind == "send":
        result = send(address, int(port), int(numbers[0]), *numbers[1:])
    elif kind == "ping":
        result = ping(address, int(port))
    elif kind == "stream":
        result = stream(address, int(port), float(numbers[0]))
    elif kind == "hold":
        result = hold(address, int(port), int(numbers[0]), float(numbers[1]))
    elif kind == "try":
        result = attempts(address, int(port), int(numbers[0]), float(numbers[1]))
    elif kind == "big":
        result = big(address, int(port), *(int(number) for number in numbers))
    elif kind == "same":
        result = same(address, int(port), *(int(number) for number in numbers))
    elif kind == "download":
        result = download(address, int(port), numbers[0], float(numbers[1]))
    else:
        raise SystemExit(f"unknown client {kind}")
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
