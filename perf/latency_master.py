"""The master of ``latency``: the daemon's own, with a clocked worker and a restless operator.

Its worker is perf/latency_worker.py.  Changes are asked of the control plane in this process, as
often as the shared block says, and their records take the ordinary way to the worker; an operator
at the socket would wait for each to be in force before he asks for the next.
"""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import os
from collections.abc import Callable
from typing import Any

from perf.latency_nic import NicStruct
from perf.latency_work import changes
from perf.latency_worker import BLOCK
from runtime.supervise_process import WorkerSpec
from tools.daemon import main as daemon
from tools.daemon import master

TICK = 0.001  # seconds


class RestlessMaster(master.Master):
    """A master that changes things while ``changes_a_second`` in the shared block is not 0."""

    async def serve(self, ready: Callable[[], None]) -> None:
        """As Master."""
        with open(os.environ[BLOCK], "r+b") as file:
            block = mmap.mmap(file.fileno(), ctypes.sizeof(NicStruct))
        task = asyncio.create_task(self._change(NicStruct.from_buffer(block)))
        try:
            await super().serve(ready)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _change(self, shared: NicStruct) -> None:
        clock = asyncio.get_running_loop().time
        row, began, done = changes(), clock(), 0
        while True:
            await asyncio.sleep(TICK)
            rate = shared.changes_a_second
            if rate == 0:
                began, done = clock(), 0
            while done < (clock() - began) * rate:
                kind, fields = next(row)
                before = self.published
                reply = await self.dispatcher.answer({"v": 1, "seq": 0, "type": kind, **fields})
                done += 1
                shared.changed += self.published - before
                shared.failed += 0 if reply["ok"] else 1
                if done % 8 == 0:
                    await asyncio.sleep(0)


def _spec(**fields: Any) -> WorkerSpec:
    return WorkerSpec(**{**fields, "module": "perf.latency_worker"})


def main() -> int:
    """As tools.daemon.main."""
    master.WorkerSpec = _spec  # type: ignore[misc,assignment]
    daemon.Master = RestlessMaster  # type: ignore[misc]
    return daemon.main()


if __name__ == "__main__":
    raise SystemExit(main())
