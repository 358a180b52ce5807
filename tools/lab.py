"""Test networks out of network namespaces: built in a second, gone without a trace.

    with Lab("try") as lab:
        client, server = lab.node("client"), lab.node("server")
        lab.cable(client, "eth0", server, "eth0")
        client.address("198.18.0.2/24", "eth0")
        ...

Leaving the block, a signal, or the end of the program ends every process in the lab's
namespaces and removes them. `Lab.keep()` leaves them, and `lab_scrap.sweep(name)` ends them later.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO

from tools import lab_scrap
from tools.lab_node import LIMIT, LabError, Node, run

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def kernel_mac(dev: str) -> str:
    """A locally administered address for the kernel side of a tap, from the interface's name.

    A DPDK tap port and its kernel interface start with the same address. The kernel side needs
    one of its own: a bridge keeps frames for the addresses of its ports to itself.
    """
    return "02:1b:" + ":".join(f"{byte:02x}" for byte in dev.encode()[-4:].rjust(4, b"\0"))


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back the signals that end a program until the block is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave(signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


class Lab:
    """A set of namespaces with cables, switches and servers; needs root.

    `name` (lower-case letters and digits) is part of every name on the system, so that labs
    with different names can run side by side.
    """

    def __init__(self, name: str) -> None:
        if not lab_scrap.LAB_NAME.fullmatch(name):
            raise LabError(f"bad lab name '{name}': 1 to 24 lower-case letters and digits")
        self.name = name
        self.directory = lab_scrap.STATE_DIR / name
        self.nodes: dict[str, Node] = {}
        self._owner = 0
        self._lock: IO[str] | None = None
        self._servers: list[subprocess.Popen[bytes]] = []
        self._exits: list[Callable[[], None]] = []
        self._handlers: dict[int, signal.Handlers] = {}

    def __enter__(self) -> Lab:
        with undisturbed():
            self._take()
            self._owner = os.getpid()
            atexit.register(self.close)
        if threading.current_thread() is threading.main_thread():
            for signum in ENDING_SIGNALS[1:]:  # Ctrl-C already raises KeyboardInterrupt
                if signal.getsignal(signum) is signal.SIG_DFL:
                    signal.signal(signum, _leave)
                    self._handlers[signum] = signal.SIG_DFL
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self) -> None:
        """Reserve the name; what an owner that died left under it is removed first."""
        if os.geteuid() != 0:
            raise LabError("a lab needs root: it makes network namespaces")
        if lab_scrap.kept(self.name):
            raise LabError(f"lab '{self.name}' is already there (it was kept running)")
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = open(self.directory / lab_scrap.LOCK, "w")  # noqa: SIM115 - held as long as the lab
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise LabError(f"lab '{self.name}' is in use by another process") from None
        lab_scrap.clear(self.name)
        self._lock = lock

    def node(self, name: str) -> Node:
        """Make a host; its namespace is dpvs-<lab>-<name>."""
        node = Node(name, lab_scrap.netns_name(self.name, name))
        self.nodes[name] = node
        node.create()
        return node

    def cable(self, left: Node, left_dev: str, right: Node, right_dev: str) -> None:
        """Connect two hosts by a veth pair, both ends up.

        Checksums are computed before the cable, so that a capture on it shows real ones.
        """
        left.ip(
            "link", "add", left_dev, "type", "veth", "peer", "name", right_dev,
            "netns", right.netns,
        )  # fmt: skip
        for node, dev in ((left, left_dev), (right, right_dev)):
            node.run("ethtool", "-K", dev, "tx", "off")
            node.up(dev)

    def tap_arrived(self, node: Node, dev: str, *, bridge: str | None = None) -> None:
        """Make a tap that a DPDK process created inside `node` usable there, and set it up.

        With `bridge` it becomes a port of that switch. Nothing is to be said about checksums:
        such a tap offers the kernel neither checksum nor segmentation offload, so what the
        DPDK side reads are complete frames.
        """
        node.ip("link", "set", dev, "address", kernel_mac(dev))
        if bridge:
            node.plug(dev, bridge)
        node.up(dev)

    def adopt(self, dev: str, node: Node, *, bridge: str | None = None) -> None:
        """Move a tap from the namespace of this program into `node`, then as tap_arrived.

        The DPDK port works on but reports its link as down from then on: the driver asks by
        name in the namespace where it created the tap. Starting the DPDK process inside
        `node` avoids that.
        """
        run(["ip", "link", "set", dev, "netns", node.netns])
        self.tap_arrived(node, dev, bridge=bridge)

    def spawn(
        self,
        node: Node,
        argv: Sequence[str],
        *,
        label: str,
        ready: Callable[[], bool],
        timeout: float = LIMIT,
    ) -> Path:
        """Start a server in `node` and return its log file once `ready()` says yes.

        Raises LabError with the last line of the log when it ends before, or is not ready
        within `timeout` seconds.
        """
        log = self.directory / f"{label}.log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                node.enter(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for us, not for it
            )
        self._servers.append(server)
        deadline = time.monotonic() + timeout
        while server.poll() is None and time.monotonic() < deadline:
            if ready():
                return log
            time.sleep(0.02)
        last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
        state = "is not ready" if server.poll() is None else f"ended ({server.returncode})"
        raise LabError(f"{label} in {node.netns} {state}: {last}")

    def on_exit(self, action: Callable[[], None]) -> None:
        """Have `action` called first thing when the lab ends; the latest one goes first."""
        self._exits.append(action)

    def keep(self) -> None:
        """Let the lab outlive this program; nothing is ended when the block is left."""
        lab_scrap.kept_mark(self.name).touch()
        self._forget()

    def close(self) -> None:
        """End all processes of the lab and remove it. A second call does nothing."""
        if self._owner != os.getpid():  # closed before, or a forked child
            return
        with undisturbed():
            while self._exits:
                try:
                    self._exits.pop()()
                except Exception as error:  # whatever it is, the rest must be ended as well
                    print(f"lab {self.name}: {error}", file=sys.stderr)
            lab_scrap.end([server.pid for server in self._servers if server.poll() is None])
            for server in self._servers:
                server.wait()
            lab_scrap.sweep(self.name)
            self._forget()

    def _forget(self) -> None:
        self._owner = 0
        atexit.unregister(self.close)
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._handlers.clear()
        if self._lock:
            self._lock.close()
            self._lock = None

    def leftovers(self) -> list[str]:
        """What of this lab exists on the system now; empty after it was closed."""
        return lab_scrap.leftovers(self.name)
