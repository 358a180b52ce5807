"""A rig whose loop runs in a thread of its own, as a worker's does."""

from __future__ import annotations

import sys
import threading

from ipvs.control import Control
from ipvs.gate import ThreadGate
from ipvs.loop import LEFT_STOP, run
from runtime.heartbeat import LifeBlock
from tests.rig import Rig
from tests.topology import network
from tests.waiting import PATIENCE


class Polled:
    """Give its rig, or use it, between the loop's beginning and end."""

    def __init__(self) -> None:
        self.rig = Rig()
        network(self.rig)
        self.control = Control(self.rig.w.control)
        self.life = LifeBlock.from_address(int(self.control.life))
        self.left: list[int] = []
        self.thread = threading.Thread(target=self._poll)

    def _poll(self) -> None:
        self.left.append(run(self.rig.address, 1 << 40))

    def __enter__(self) -> Rig:
        # As plain Python the two threads take turns: short ones, or every visit takes long.
        self.interval = sys.getswitchinterval()
        sys.setswitchinterval(0.0002)
        self.rig.applier.gate = ThreadGate(self.rig.address, PATIENCE)
        self.thread.start()
        return self.rig

    def __exit__(self, *_: object) -> None:
        self.life.stop = 1
        self.thread.join(PATIENCE)
        sys.setswitchinterval(self.interval)
        assert self.left == [LEFT_STOP]
