"""Messages with a real worker process: a long stream, a kill -9 in the middle, a new process."""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import shm
from runtime.jit import JIT
from runtime.messages import Channel, MasterPort, MessageError, channel_bytes

ROOT = Path(__file__).resolve().parents[2]
CAPACITY = 1 << 16

WORKER = """
import sys, time
from runtime import ring_core, shm
from runtime.messages import Channel, WorkerPort
table = {}
with shm.Segment.attach(sys.argv[1], "msg0") as segment:
    port = WorkerPort(Channel.attach(segment.address, segment))
    port.on("sync.begin", lambda body: table.clear())
    port.on("put", lambda body: table.update([body]))
    port.on("sum", lambda body: {"count": len(table), "sum": sum(table.values())})
    port.emit("hello")
    while True:
        if ring_core.pending(port.address):
            port.handle_some()
        else:
            time.sleep(0.0001)
"""


@pytest.fixture
def segment():
    with shm.Segment.create(f"test-msg-{os.getpid()}", "msg0", channel_bytes(CAPACITY)) as made:
        yield made


def spawn(instance: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WORKER, instance], cwd=ROOT)


def test_stream_survives_a_killed_worker(segment):
    instance, records = f"test-msg-{os.getpid()}", 30_000 if JIT else 3_000

    async def scenario() -> None:
        truth: dict[str, int] = {}
        hello = asyncio.Event()
        master = MasterPort()
        master.on_event("hello", lambda worker, body: hello.set())
        master.add_worker(0, Channel.create(segment.address, CAPACITY, segment))
        polling = asyncio.create_task(master.run())
        child = spawn(instance)
        try:
            async with asyncio.timeout(60):
                await hello.wait()
                for k in range(records):
                    truth[f"key{k % 997}"] = k
                    master.cast_all("put", [f"key{k % 997}", k])
                    if k == records // 2:
                        child.kill()
                        child.wait()
                        master.worker_down(0, "killed")
                    elif k == records // 2 + 100:
                        master.reset(0, [("put", list(pair)) for pair in truth.items()])
                        child = spawn(instance)
                    elif k % 1000 == 0:
                        with contextlib.suppress(MessageError):
                            await master.request(0, "sum", deadline=0.01)
                got = await master.request(0, "sum", deadline=50)
                assert got == {"count": 997, "sum": sum(truth.values())}
        finally:
            child.kill()
            child.wait()
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)

    asyncio.run(scenario())
