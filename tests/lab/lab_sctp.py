"""SCTP (RFC 9260) of hosts whose kernel has none: enough of it for an echo, over raw sockets.

lab_sctp.py serve NAME PORT                     answer for ever, on all addresses of both families
lab_sctp.py ask ADDRESS PORT COUNT LEFT SIZE... associations one after the other; prints JSON

An association is set up with a cookie, carries one message and its echo, which tells the server's
name and who asked, and is shut down (the LEFT last ones are not).  A message is one DATA chunk in
one packet, of the SIZEs in turn: large ones IP cuts into fragments.  Checksums are verified at both
ends; a packet with a wrong one is as good as lost, and what is sent again is counted.
"""

from __future__ import annotations

import itertools
import json
import random
import selectors
import socket
import struct
import sys
from collections import Counter

from lab_sctp_wire import (
    COOKIE,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    INIT,
    INIT_ACK,
    SACK,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    Packet,
    Raw,
    chunk,
    cookie_of,
)

WINDOW = 65536
SECONDS, TRIES = 15.0, 2  # until a packet is sent again, and how often


class Server:
    """Answers every association; of one it remembers the tags of both ends."""

    def __init__(self, name: str, port: int) -> None:
        self.name, self.port = name, port
        self.raw = Raw((socket.AF_INET, socket.AF_INET6))
        self.known: dict[tuple[str, int, str], tuple[int, int]] = {}  # peer: its tag, ours

    def answer(self, packet: Packet) -> None:
        """What one packet makes the server send."""
        peer = (packet.source, packet.sport, packet.target)

        def send(tag: int, *chunks: bytes) -> None:
            ports = (self.port, packet.sport)
            self.raw.send(packet.source, ports, tag, *chunks, source=packet.target)

        if INIT in packet.chunks:
            theirs, _, _, _, tsn = struct.unpack("!IIHHI", packet.chunks[INIT][:16])
            cookie = struct.pack("!III", theirs, random.getrandbits(32) | 1, tsn)
            ours = struct.unpack("!I", cookie[4:8])[0]
            head = struct.pack("!IIHHI", ours, WINDOW, 1, 1, 1000)
            send(theirs, chunk(INIT_ACK, head + struct.pack("!HH", COOKIE, 16) + cookie))
            return
        if COOKIE_ECHO in packet.chunks:
            theirs, ours, _ = struct.unpack("!III", packet.chunks[COOKIE_ECHO])
            if packet.tag == ours:
                self.known[peer] = theirs, ours
                send(theirs, chunk(COOKIE_ACK))
            return
        theirs, ours = self.known.get(peer, (0, 0))
        if theirs == 0 or packet.tag != ours:
            return
        if DATA in packet.chunks:
            tsn = struct.unpack("!I", packet.chunks[DATA][:4])[0]
            said = f"{self.name} {packet.source} {packet.sport} ".encode()
            message = struct.pack("!IHHI", 1000, 0, 0, 0) + said + packet.chunks[DATA][12:]
            send(theirs, chunk(SACK, struct.pack("!IIHH", tsn, WINDOW, 0, 0)))
            send(theirs, chunk(DATA, message, flags=3))
        elif SHUTDOWN in packet.chunks:
            send(theirs, chunk(SHUTDOWN_ACK))
        elif SHUTDOWN_COMPLETE in packet.chunks:
            del self.known[peer]

    def serve(self) -> None:
        """Answer for ever."""
        waiting = selectors.DefaultSelector()
        for family, sock in self.raw.sockets.items():
            waiting.register(sock, selectors.EVENT_READ, family)
        while True:
            for key, _ in waiting.select():
                packet = self.raw.receive(key.data, None)
                if packet is not None and packet.dport == self.port:
                    self.answer(packet)


class Client:
    """One association after the other with a server, each from a port of its own."""

    def __init__(self, address: str, port: int) -> None:
        self.address, self.port = address, port
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.raw = Raw((self.family,))
        self.again = 0

    def ask(self, sport: int, tag: int, wanted: int, ours: int, *chunks: bytes) -> bytes:
        """Send until the chunk ``wanted`` comes under our tag; its content."""
        for attempt in range(TRIES):
            self.again += attempt > 0
            self.raw.send(self.address, (sport, self.port), tag, *chunks)
            while (packet := self.raw.receive(self.family, SECONDS)) is not None:
                ends = (packet.source, packet.sport, packet.dport, packet.tag)
                if ends == (self.address, self.port, sport, ours) and wanted in packet.chunks:
                    return packet.chunks[wanted]
        raise SystemExit(f"no chunk of type {wanted} came")

    def associate(self, sport: int, message: bytes, leave: bool) -> tuple[str, str]:
        """A whole association; the server's name and the address it saw."""
        ours, tsn = random.getrandbits(32) | 1, random.getrandbits(32)
        head = struct.pack("!IIHHI", ours, WINDOW, 1, 1, tsn)
        answer = self.ask(sport, 0, INIT_ACK, ours, chunk(INIT, head))
        theirs = struct.unpack("!I", answer[:4])[0]
        self.ask(sport, theirs, COOKIE_ACK, ours, chunk(COOKIE_ECHO, cookie_of(answer)))
        data = chunk(DATA, struct.pack("!IHHI", tsn, 0, 0, 0) + message, flags=3)
        echo = self.ask(sport, theirs, DATA, ours, data)
        name, source, _, echoed = echo[12:].split(b" ", 3)
        if echoed != message:
            raise SystemExit(f"the message came back as {echoed[:20]!r}")
        sack = struct.pack("!IIHH", struct.unpack("!I", echo[:4])[0], WINDOW, 0, 0)
        self.raw.send(self.address, (sport, self.port), theirs, chunk(SACK, sack))
        if not leave:
            self.ask(sport, theirs, SHUTDOWN_ACK, ours, chunk(SHUTDOWN, echo[:4]))
            self.raw.send(self.address, (sport, self.port), theirs, chunk(SHUTDOWN_COMPLETE))
        return name.decode(), source.decode()


def ask(address: str, port: int, count: int, left: int, *sizes: int) -> dict[str, object]:
    """Many associations; answers by server and by seen address, and how often was sent again."""
    client = Client(address, port)
    servers: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    ports = itertools.count(random.randrange(10_000, 60_000))
    for number in range(count):
        message = random.randbytes(sizes[number % len(sizes)])
        name, source = client.associate(next(ports), message, leave=number >= count - left)
        servers[name] += 1
        sources[source] += 1
    return {"servers": servers, "sources": sources, "again": client.again}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        Server(sys.argv[2], int(sys.argv[3])).serve()
    print(json.dumps(ask(sys.argv[2], *(int(word) for word in sys.argv[3:]))), flush=True)
