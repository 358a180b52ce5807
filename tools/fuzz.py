"""Mutation fuzzer of the compiled packet path: ``python -m tools.fuzz --packets N --seed S``.

Valid frames of every kind, answers to what the worker sent and ICMP errors about it, fragments and
mutations of all these go through the real path without DPDK, while services, routes, neighbours and
ports change.  After every few bursts the books must balance (tools/fuzz_checks.py); at the end
everything must come back.
The same seed gives the same run.
"""

from __future__ import annotations

import random
import sys
import time
from collections import deque
from dataclasses import dataclass, field

import click

from ipvs.table import Table
from netdev.port import BURST
from tools.fuzz_checks import check_connections, check_nothing_left, check_packets, opened
from tools.fuzz_frames import answer, fresh
from tools.fuzz_frames6 import answer6, fresh6
from tools.fuzz_mutate import mutate
from tools.fuzz_mutate6 import mutate6
from tools.fuzz_nd import neighbourly
from tools.fuzz_pieces import pieces
from tools.fuzz_related import complaint, in_tunnel
from tools.fuzz_rig import FuzzError, FuzzRig
from tools.fuzz_services import SERVICES
from tools.fuzz_setup import configure, disturb

IPV6 = b"\x86\xdd"
SHARE6, SHARE_ND = 0.4, 0.15  # of fresh frames those of IPv6; of these neighbour discovery


@dataclass
class Result:
    """What a run came to: packets received, seconds, most connections at once, drops by name, and
    numbers of the services that connections were opened of."""

    packets: int = 0
    seconds: float = 0.0
    sent: int = 0
    connections: int = 0
    created: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)


def later(frame: bytes, rng: random.Random) -> bytes:
    """A later packet of the same connection: other TCP flags (the checksum is not looked at)."""
    if len(frame) < 54 or frame[23] != 6 or frame[14] != 0x45 or frame[12:14] != b"\x08\x00":
        return frame
    return frame[:47] + bytes([rng.choice((2, 16, 16, 16, 24, 17, 4))]) + frame[48:]


class Fuzzer:
    """One run; ``recent`` keeps the frames of the last bursts for the report of a failure."""

    def __init__(self, seed: int, check_every: int = 50) -> None:
        self.rng = random.Random(seed)
        self.rig = FuzzRig()
        self.check_every = check_every
        self.pieces: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.history: deque[bytes] = deque(maxlen=256)
        self.recent: deque[tuple[int, list[tuple[bytes, int]]]] = deque(maxlen=2)
        self.result = Result()
        configure(self.rig)

    def frame(self, port: int) -> tuple[bytes, int]:
        """A frame for ``port`` and how many segments its mbuf claims to have."""
        rng, sent = self.rng, self.rig.ports[port].sent
        choice = rng.random()
        if self.pieces[port] and choice < 0.5:
            frame = self.pieces[port].popleft()
            return (mutate(frame, rng) if rng.random() < 0.05 else frame), 1
        if choice < 0.3 and sent:
            chosen = rng.choice(sent)
            frame = (answer6 if chosen[12:14] == IPV6 else answer)(chosen, port, rng)
        elif choice < 0.37 and sent:
            few = rng.choices(sent, k=3)  # few of the frames are a tunnel's
            frame = complaint(next(filter(in_tunnel, few), few[0]), port, rng)
        elif choice < 0.45 and self.history and port == 0:
            frame = later(rng.choice(self.history), rng)
        elif rng.random() < SHARE6:
            frame = (neighbourly if rng.random() < SHARE_ND else fresh6)(port, rng)
        else:
            frame = fresh(port, rng)
            if port == 0:
                self.history.append(frame)
        if rng.random() < 0.05 and len(self.pieces[port]) < 64:
            self.pieces[port].extend(pieces(frame, rng))
        elif rng.random() < 0.55:
            frame = (mutate6 if frame[12:14] == IPV6 else mutate)(frame, rng)
        return frame, 2 if rng.random() < 0.002 else 1

    def burst(self, size: int) -> None:
        """Up to ``size`` packets through the path; sometimes the configuration changes before."""
        rng = self.rng
        if rng.random() < 0.03:
            disturb(self.rig, rng)
        for port in self.rig.ports:
            count = size // 2 if port.index else size - size // 2
            port.incoming = [self.frame(port.index) for _ in range(count)]
            self.recent.append((port.index, port.incoming))
        self.rig.step(rng.choice((0, 0, 1, 1, 5, 60, 500)))
        for port in self.rig.ports:
            port.incoming = []  # of a port that is down

    def run(self, packets: int) -> Result:
        """Send ``packets`` packets (about); raises FuzzError when an invariant breaks."""
        began, bursts, result = time.monotonic(), 0, self.result
        ports = self.rig.ports
        while result.packets < packets:
            self.burst(self.rng.choice((2 * BURST, 2 * BURST, BURST, 7)))
            result.packets = sum(port.received for port in ports)
            result.connections = max(result.connections, Table(self.rig.table).count)
            bursts += 1
            if bursts % self.check_every == 0:
                check_packets(self.rig)
                check_connections(self.rig)
                result.opened |= opened(self.rig)
        for port in ports:
            port.refuse = 0
        check_nothing_left(self.rig)
        result.seconds = time.monotonic() - began
        result.sent = sum(port.transmitted for port in ports)
        result.created = Table(self.rig.table).expired
        result.drops = self.rig.drops()
        return result


def show(result: Result) -> str:
    """The result as text: speed, connections, and the table of drops."""
    rate = result.packets / result.seconds if result.seconds else 0
    rows = [
        f"{result.packets} packets in {result.seconds:.1f} s ({rate:.0f}/s), {result.sent} sent",
        f"{result.connections} connections at most, {result.created} expired",
    ]
    idle = [str(kind) for number, kind in enumerate(SERVICES) if number not in result.opened]
    if idle:
        rows.append(f"no connection of: {', '.join(idle)}")
    drops = sorted(result.drops.items(), key=lambda item: -item[1])
    return "\n".join([*rows, *(f"{count:>10}  {name}" for name, count in drops)])


@click.command()
@click.option("--packets", default=100_000, type=click.IntRange(1), show_default=True)
@click.option("--seed", default=None, type=int, help="Default: from the clock, and shown.")
def main(packets: int, seed: int | None) -> None:
    """Fuzz the packet path and print its speed and the drop table."""
    chosen = seed if seed is not None else time.time_ns() & 0xFFFFFFFF
    click.echo(f"seed {chosen}")
    fuzzer = Fuzzer(chosen)
    try:
        result = fuzzer.run(packets)
    except FuzzError as error:
        click.echo(f"after {fuzzer.result.packets} packets: {error}", err=True)
        for port, frames in fuzzer.recent:
            for frame, segments in frames:
                click.echo(f"port {port} segments {segments}: {frame.hex()}", err=True)
        sys.exit(1)
    click.echo(show(result))


if __name__ == "__main__":
    main()
