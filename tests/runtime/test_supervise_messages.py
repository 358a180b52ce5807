"""Supervisor and messages together: a killed worker comes back with the state it would have had."""

import asyncio
import os
import signal

import pytest

from runtime import shm
from runtime.messages import Channel, MasterPort, MessageError, channel_bytes
from runtime.supervise import Policy, Supervisor, WorkerSpec

INSTANCE = f"test-both-{os.getpid()}"
CAPACITY = 1 << 14

WORKER = """
from runtime.heartbeat_loop import beat, must_stop
from runtime.jit import compiled
from runtime.messages import Channel, WorkerPort
from runtime.ring_core import pending
from runtime.shm import Segment
from runtime.supervise_child import enter_worker

@compiled
def poll(life, ring, turns):
    for _ in range(turns):
        if must_stop(life) != 0 or pending(ring) != 0:
            break
        beat(life)
    return must_stop(life)

worker = enter_worker()
table = {}
with Segment.attach(worker.instance, f"msg{worker.index}") as segment:
    port = WorkerPort(Channel.attach(segment.address, segment))
    port.on("sync.begin", lambda body: table.clear())
    port.on("put", lambda body: table.update([body]))
    port.on("sum", lambda body: [len(table), sum(table.values())])
    worker.settle()
    worker.ready()
    while not poll(worker.life_address, port.address, 1000):
        port.handle_some()
"""


@pytest.mark.parametrize("kills", [3])
def test_state_survives_kills(kills, tmp_path):
    (tmp_path / "table_worker.py").write_text(WORKER)

    async def scenario() -> None:
        truth: dict[str, int] = {}
        master = MasterPort()

        def down(index: int, reason: str) -> None:
            master.worker_down(index, reason)
            master.reset(index, [("put", list(pair)) for pair in truth.items()])

        async def put(key: str, value: int) -> None:
            truth[key] = value
            master.cast_all("put", [key, value])
            await asyncio.sleep(0)

        policy = Policy(hang_after=60.0, backoff_first=0.05)
        with shm.Segment.create(INSTANCE, "msg0", channel_bytes(CAPACITY)) as segment:
            master.add_worker(0, Channel.create(segment.address, CAPACITY, segment))
            polling = asyncio.create_task(master.run())
            async with Supervisor(INSTANCE, 1, policy, on_down=down) as supervisor:
                supervisor.start(
                    WorkerSpec(0, "table_worker", (), {"PYTHONPATH": str(tmp_path)}, aslr=True)
                )
                for round_number in range(kills):
                    await supervisor.wait_up(timeout=60)
                    for k in range(500):
                        await put(f"key{k}", k * round_number)
                    os.kill(supervisor.status()[0]["pid"], signal.SIGKILL)
                    asked = asyncio.create_task(master.request(0, "sum", deadline=30))
                    for k in range(200):
                        await put(f"key{k}", -k)
                    with pytest.raises(MessageError, match="worker 0 is down"):
                        await asked
                await supervisor.wait_up(timeout=60)
                answer = await master.request(0, "sum", deadline=30)
                assert answer == [len(truth), sum(truth.values())]
                assert supervisor.status()[0]["starts"] == kills + 1
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)

    asyncio.run(scenario())
