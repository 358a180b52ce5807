"""The master's end with worker ports in the same process: deadlines, back-pressure, snapshots."""

import asyncio
import ctypes
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import messages_wire as wire
from runtime import ring_core
from runtime.messages import (
    BodyError,
    Channel,
    MasterPort,
    MessageTimeout,
    MessageTooLarge,
    RequestFailed,
    WorkerBroken,
    WorkerDown,
    WorkerLagging,
    WorkerPort,
    channel_bytes,
)
from tests.waiting import PATIENCE, until


def later(seconds: float) -> None:
    """Let the event loop's clock go on, so that what was to end by then does."""
    loop = asyncio.get_running_loop()
    clock = loop.time
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]


class PatientPort(MasterPort):
    async def request(self, worker, kind, body=None, deadline=PATIENCE):
        return await super().request(worker, kind, body, deadline)


class Farm:
    """A master port and worker ports that are served whenever ``serving``."""

    def __init__(self, workers: int = 1, capacity: int = 4096, limit: int = 1 << 20) -> None:
        self.master = PatientPort(pending_limit=limit)
        self.capacity, self.serving = capacity, True
        self.addresses, self.ports, self.applied, self._memory = [], [], [], []
        for worker in range(workers):
            memory = (ctypes.c_int64 * (channel_bytes(capacity) // 8))()
            self._memory.append(memory)
            self.addresses.append(ctypes.addressof(memory))
            self.master.add_worker(worker, Channel.create(self.addresses[-1], capacity))
            self.ports.append(None)
            self.applied.append([])
            self.start(worker)

    def start(self, worker: int) -> WorkerPort:
        """A new worker process, so to say."""
        port = self.ports[worker] = WorkerPort(Channel.attach(self.addresses[worker]))
        self.applied[worker] = applied = []
        port.on("add", applied.append)
        port.on("sync.begin", lambda body: applied.clear())
        port.on("get", lambda body: list(applied))
        port.on("who", lambda body: worker)
        port.on("fail", lambda body: 1 // 0)
        return port

    def serve(self) -> None:
        for port in self.ports:
            port.handle_some(max_messages=1000, budget_us=10**6)

    async def settle(self) -> None:
        """Everything sent has been handled."""
        for worker in range(len(self.ports)):
            while not self.master.settled(worker) or self.ports[worker]._in.pending():
                await asyncio.sleep(0.001)

    async def __aenter__(self) -> "Farm":
        async def serve() -> None:
            while True:
                if self.serving:
                    self.serve()
                await asyncio.sleep(0.0005)

        self.tasks = [asyncio.create_task(serve()), asyncio.create_task(self.master.run())]
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def run(scenario, **options):
    """Run ``scenario(farm)`` with the tasks of a farm going."""

    async def main():
        async with Farm(**options) as farm:
            return await asyncio.wait_for(scenario(farm), PATIENCE)

    return asyncio.run(main())


def test_request_and_reply():
    async def scenario(farm):
        farm.master.cast(0, "add", 5)
        assert await farm.master.request(0, "get") == [5]
        with pytest.raises(RequestFailed, match="worker 0, fail: ZeroDivisionError") as info:
            await farm.master.request(0, "fail")
        assert info.value.code == -23
        with pytest.raises(RequestFailed, match="unknown message type"):
            await farm.master.request(0, "nonsense")
        with pytest.raises(WorkerDown, match="no worker 9"):
            await farm.master.request(9, "get")
        with pytest.raises(BodyError):
            await farm.master.request(0, "get", object())
        assert farm.master.status()[0]["unanswered"] == 0

    run(scenario)


def test_a_quiet_port_still_answers_soon():
    """A request ends the pause between two polls, which has become a long one by then."""

    async def scenario(farm):
        polls = []
        poll, farm.master._slow = farm.master.poll, PATIENCE
        farm.master.poll = lambda: (polls.append(1), poll())[1]
        await until(lambda: len(polls) > 50)  # from here on each pause is longer than the last
        seen, skipped = 0, 0
        while skipped < 30 or seen == len(polls):
            seen, skipped = len(polls), skipped + 1
            later(1)
            await asyncio.sleep(0.003)
        assert await farm.master.request(0, "who", deadline=5) == 0  # the pause: 10 s

    run(scenario)


def test_deadline_names_worker_and_type_and_late_replies_are_dropped():
    async def scenario(farm):
        farm.serving = False
        with pytest.raises(MessageTimeout, match=r"worker 0 did not answer get within 0.05 s"):
            await farm.master.request(0, "get", deadline=0.05)
        farm.serving = True
        assert await farm.master.request(0, "who") == 0
        status = farm.master.status()[0]
        assert status["late_replies"] == 1 and status["unanswered"] == 0

    run(scenario)


def test_cancelled_request_leaves_nothing_behind():
    async def scenario(farm):
        farm.serving = False
        task = asyncio.create_task(farm.master.request(0, "get"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert farm.master.status()[0]["unanswered"] == 0

    run(scenario)


def test_multicast_mixes_replies_and_errors():
    async def scenario(farm):
        farm.ports[1].on("who", lambda body: 1 // 0)
        farm.ports[2].handle_some = lambda **_: 0
        asked = asyncio.create_task(farm.master.multicast_request("who", deadline=20))
        status = farm.master.status
        await until(lambda: [one["unanswered"] for one in status().values()] == [0, 0, 1])
        later(20)
        answers = await asked
        assert answers[0] == 0
        assert isinstance(answers[1], RequestFailed) and isinstance(answers[2], MessageTimeout)
        assert await farm.master.multicast_request("who", None, PATIENCE, [0]) == {0: 0}

    run(scenario, workers=3)


def test_casts_wait_for_a_full_ring_and_keep_their_order():
    async def scenario(farm):
        farm.serving = False
        for k in range(2000):
            farm.master.cast_all("add", k)
        late = asyncio.create_task(farm.master.request(0, "get"))
        farm.master.cast(1, "add", "last")
        assert farm.master.status()[0]["waiting_bytes"] > 0
        await asyncio.sleep(0.01)
        farm.serving = True
        assert await late == list(range(2000))
        await farm.settle()
        assert farm.applied[1] == [*range(2000), "last"]
        assert farm.ports[0].missed == 0 and farm.ports[0].synced

    run(scenario, workers=2, capacity=16384)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["cast", "all", "serve", "poll", "reset", "restart"]), max_size=60))
def test_replicas_converge_whatever_the_order(steps):
    async def scenario():
        farm, truth = Farm(workers=2, capacity=256), []
        for step in steps:
            if step == "cast":
                farm.master.cast_all("add", len(truth))
                truth.append(len(truth))
            elif step == "all":
                for _ in range(10):
                    farm.master.cast_all("add", len(truth))
                    truth.append(len(truth))
            elif step == "serve":
                farm.ports[0].handle_some(max_messages=3, budget_us=10**6)
            elif step == "poll":
                farm.master.poll()
            elif step == "reset":
                farm.master.reset(0, [("add", k) for k in truth])
            else:
                farm.master.worker_down(1, "killed")
                farm.master.cast_all("add", len(truth))
                truth.append(len(truth))
                farm.master.reset(1, [("add", k) for k in truth])
                farm.start(1)
        while not (farm.master.settled(0) and farm.master.settled(1)):
            farm.serve()
            farm.master.poll()
        farm.serve()
        assert farm.applied == [truth, truth]
        assert [port.missed for port in farm.ports] == [0, 0]

    asyncio.run(scenario())


def test_worker_that_does_not_listen_is_lagging_until_its_snapshot():
    async def scenario(farm):
        told = []
        farm.master.on_lagging = lambda worker, reason: told.append((worker, reason))
        farm.serving = False
        asked = asyncio.create_task(farm.master.request(0, "get"))
        await asyncio.sleep(0.01)
        for k in range(1000):
            farm.master.cast(0, "add", k)
        with pytest.raises(WorkerLagging, match="worker 0 is lagging"):
            await asked
        with pytest.raises(WorkerLagging):
            await farm.master.request(0, "get")
        await until(lambda: told)
        await asyncio.sleep(0.05)
        assert len(told) == 1 and told[0][0] == 0 and "bytes" in told[0][1]
        status = farm.master.status()[0]
        assert status["state"] == "lagging" and status["waiting_bytes"] == 0
        assert status["skipped"] > 0
        farm.serving = True
        farm.master.reset(0, (("add", k) for k in range(1000)))
        farm.master.cast(0, "add", "after")
        assert await farm.master.request(0, "get") == [*range(1000), "after"]

    run(scenario, capacity=8192, limit=4000)


def test_restarted_worker_gets_snapshot_then_stream():
    async def scenario(farm):
        farm.master.cast(0, "add", "old")
        farm.serving = False
        asked = asyncio.create_task(farm.master.request(0, "get"))
        await asyncio.sleep(0.01)
        farm.ports[0].emit("bye", 1)
        said = []
        farm.master.on_event("bye", lambda worker, body: said.append((worker, body)))
        farm.master.worker_down(0, "killed by SIGKILL")
        assert said == [(0, 1)], "its last words are read"
        with pytest.raises(WorkerDown, match="worker 0 is down: killed by SIGKILL"):
            await asked
        farm.master.cast(0, "add", "not sent, in the snapshot")
        farm.master.reset(0, [("add", "snapshot")])
        farm.master.cast(0, "add", "new")
        farm.start(0)
        farm.serving = True
        assert await farm.master.request(0, "get") == ["snapshot", "new"]
        assert farm.ports[0].ignored == 0
        farm.master.remove_worker(0)
        assert farm.master.workers == []

    run(scenario)


def test_failing_snapshot_is_lagging(caplog):
    async def scenario(farm):
        def records():
            yield "add", 1
            raise KeyError("gone")

        farm.master.reset(0, records())
        assert farm.master.status()[0]["state"] == "lagging"
        assert "snapshot failed" in farm.master.status()[0]["reason"]
        farm.master.reset(0, [("add", "x" * 5000)])
        assert "snapshot failed" in farm.master.status()[0]["reason"]
        farm.master.reset(0, [])
        assert await farm.master.request(0, "get") == []

    with caplog.at_level(logging.CRITICAL):
        run(scenario)


def test_too_large_for_the_ring_is_refused_before_anything_is_sent():
    async def scenario(farm):
        with pytest.raises(MessageTooLarge, match="the ring takes"):
            farm.master.cast_all("add", b"x" * 5000)
        with pytest.raises(MessageTooLarge):
            await farm.master.request(0, "add", b"x" * 5000)
        assert await farm.master.request(0, "get") == []

    run(scenario, workers=2)


def test_resync_event_is_answered_by_a_snapshot():
    async def scenario(farm):
        asked = []

        def resync(worker, body):
            asked.append(body["missed"])
            farm.master.reset(worker, [("add", "healed")])

        farm.master.on_event("resync", resync)
        await farm.settle()
        farm.master._links[0][0].number += 5
        farm.master.cast(0, "add", "after a gap")
        await until(lambda: asked)
        assert asked == [5]
        assert await farm.master.request(0, "get") == ["healed"]

    run(scenario)


def test_events_missing_unknown_and_failing(caplog):
    async def scenario(farm):
        got = []
        farm.master.on_event("tick", lambda worker, body: got.append(body))
        farm.master.on_event("bad", lambda worker, body: 1 // 0)
        farm.ports[0].emit("bad")
        farm.ports[0].emit("unknown", "x" * 1000)
        farm.ports[0].emit("lost", b"x" * 9999)
        farm.ports[0].emit("tick", 7)
        farm.ports[0]._out.push(b"\xc1 garbage")
        farm.ports[0]._out.push(wire.encode("cast", "x", 1, b"\xc0"))
        farm.ports[0]._out.push(wire.encode("err", "get", 999, b"\xc0"))
        await until(lambda: farm.master.status()[0]["late_replies"])
        status = farm.master.status()[0]
        assert got == [7] and status["missed_events"] == 1
        assert status["unknown_events"] == 1 and status["malformed"] == 2

    with caplog.at_level(logging.CRITICAL):
        run(scenario)


@pytest.mark.parametrize("side", ["to_worker", "to_master"])
def test_destroyed_ring_is_reported_and_a_restart_repairs_it(side, caplog):
    async def scenario(farm):
        told = []
        farm.master.on_broken = lambda worker, reason: told.append(worker)
        farm.serving = False
        channel = farm.master._links[0][0].channel
        header = ring_core.RingHeader.from_address(getattr(channel, side).address)
        header.head, header.tail = 3, 8
        asked = asyncio.create_task(farm.master.request(0, "get"))
        if side == "to_master":
            header.tail = 13
        with pytest.raises(WorkerBroken, match="worker 0 is broken"):
            await asked
        await until(lambda: told)
        with pytest.raises(WorkerBroken):
            farm.master.reset(0, [])
        farm.master.worker_down(0, "replaced")
        farm.master.reset(0, [("add", 1)])
        farm.start(0)
        farm.serving = True
        assert await farm.master.request(0, "get") == [1]
        assert told == [0]

    with caplog.at_level(logging.CRITICAL):
        run(scenario)


def test_adding_a_worker_twice():
    async def scenario(farm):
        with pytest.raises(ValueError, match="already"):
            farm.master.add_worker(0, Channel.attach(farm.addresses[0]))

    run(scenario)
