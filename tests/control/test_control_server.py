import asyncio
import os
import random
import socket
import stat
import struct

import msgpack
import pytest
from control_fakes import Master, svc

from tests.waiting import until
from tools.control.errors import Code, ControlError
from tools.control.server import ControlServer
from tools.frames import FrameDecoder, encode


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run" / "ctl.sock")


def serve(path, scenario, master=None, **options):
    """Run `scenario(server)` against a started server."""

    async def main():
        server = ControlServer((master or Master()).dispatcher, path, **options)
        await server.start()
        try:
            await asyncio.wait_for(scenario(server), 100)
        finally:
            await server.close()

    asyncio.run(main())


class Client:
    """One connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.decoder, self.replies = reader, writer, FrameDecoder(), []

    @classmethod
    async def open(cls, path):
        return cls(*await asyncio.open_unix_connection(path))

    async def reply(self):
        """The next reply, None at the end of the stream."""
        while not self.replies:
            try:
                data = await self.reader.read(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self.replies += self.decoder.feed(data)
        return self.replies.pop(0)

    async def ask(self, kind, seq=1, **fields):
        self.writer.write(encode({"v": 1, "seq": seq, "type": kind, **fields}))
        return await self.reply()

    def close(self):
        self.writer.close()


def test_requests_are_answered_in_order(path):
    async def scenario(server):
        client = await Client.open(path)
        kinds = ["svc.flush", "info", "nonsense", "svc.list"] * 5
        for seq, kind in enumerate(kinds):
            client.writer.write(encode({"v": 1, "seq": seq, "type": kind}))
        replies = [await client.reply() for _ in kinds]
        assert [reply["seq"] for reply in replies] == list(range(20))
        assert [reply["ok"] for reply in replies[:4]] == [True, True, False, True]
        client.close()

    serve(path, scenario)


def test_the_socket_is_private_and_removed(path):
    async def scenario(server):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    serve(path, scenario)
    assert not os.path.exists(path)


def test_a_second_server_is_refused_and_a_dead_ones_file_replaced(path):
    async def scenario(server):
        with pytest.raises(ControlError) as caught:
            await ControlServer(Master().dispatcher, path).start()
        assert caught.value.code is Code.BUSY
        client = await Client.open(path)
        assert (await client.ask("info"))["ok"]
        client.close()

    os.makedirs(os.path.dirname(path))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    serve(path, scenario)


@pytest.mark.parametrize("bad", ["x" * 200 + "/ctl.sock", "file", "/proc/none/ctl.sock"])
def test_an_unusable_path_is_one_clear_error(tmp_path, bad):
    (tmp_path / "file").write_text("precious")
    where = str(tmp_path / bad)
    with pytest.raises(ControlError) as caught:
        asyncio.run(ControlServer(Master().dispatcher, where).start())
    assert caught.value.code is Code.IO and where in caught.value.detail
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (struct.pack(">I", 16 * 1024 * 1024 + 1), "announces 16777217 bytes"),
        (b"GET / HTTP/1.1\r\n\r\n", "announces 1195725856 bytes"),
        (struct.pack(">I", 3) + b"\xc1\xc1\xc1", "not msgpack"),
        (struct.pack(">I", 0), "not msgpack"),
        (struct.pack(">I", 1) + msgpack.packb(5), "not a map"),
        (struct.pack(">I", 2) + msgpack.packb({1: 2})[:2], "not msgpack"),
    ],
)
def test_an_unreadable_frame_is_answered_and_ends_the_connection(path, data, text):
    async def scenario(server):
        client = await Client.open(path)
        client.writer.write(data)
        reply = await client.reply()
        assert (reply["ok"], reply["code"], reply["seq"]) == (False, -1, 0)
        assert text in reply["detail"]
        assert await client.reply() is None
        client.close()
        other = await Client.open(path)
        assert (await other.ask("info"))["ok"]
        other.close()

    serve(path, scenario)


def test_random_bytes_never_stop_the_server(path):
    async def scenario(server):
        rng = random.Random(7)
        for _ in range(60):
            client = await Client.open(path)
            body = rng.randbytes(rng.randrange(60))
            framed = rng.random() < 0.7
            client.writer.write(struct.pack(">I", len(body)) + body if framed else body)
            if rng.random() < 0.5:
                client.writer.write(encode({"type": "svc.add", "svc": rng.randbytes(5)}))
            if rng.random() < 0.5:
                client.writer.transport.abort()
            client.close()
        client = await Client.open(path)
        assert (await client.ask("info"))["ok"]
        client.close()

    serve(path, scenario)


def test_bytes_may_arrive_one_by_one(path):
    async def scenario(server):
        client = await Client.open(path)
        for byte in encode({"v": 1, "seq": 5, "type": "info"}):
            client.writer.write(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.reply())["seq"] == 5
        client.close()

    serve(path, scenario)


def test_an_unfinished_frame_is_given_up_but_an_idle_client_is_kept(path):
    async def scenario(server):
        idle, slow = await Client.open(path), await Client.open(path)
        assert (await slow.ask("info"))["ok"]
        frame = encode({"v": 1, "seq": 5, "type": "info"})
        # a byte now and then does not extend the time
        for byte in frame[:10]:
            slow.writer.write(bytes([byte]))
            await asyncio.sleep(0.06)
        assert len(server._clients) == 1
        assert await slow.reply() is None
        assert (await idle.ask("info"))["ok"]
        idle.close()
        slow.close()

    serve(path, scenario, patience=0.2)


def test_a_client_that_takes_no_replies_is_dropped(path):
    master = Master()
    for port in range(1, 1500):
        master.ok("svc.add", svc=svc(port=port))

    async def scenario(server):
        client = await Client.open(path)
        client.reader._transport.pause_reading()
        for seq in range(20):
            client.writer.write(encode({"v": 1, "seq": seq, "type": "svc.list"}))
        other = await Client.open(path)
        assert (await other.ask("info"))["ok"]
        await until(lambda: len(server._clients) == 1)
        assert (await other.ask("info"))["ok"]
        client.close()
        other.close()

    serve(path, scenario, master, patience=0.2)


def test_too_many_clients_are_told_so(path):
    async def scenario(server):
        clients = [await Client.open(path) for _ in range(2)]
        assert [(await client.ask("info"))["ok"] for client in clients] == [True, True]
        third = await Client.open(path)
        assert (await third.reply())["code"] == Code.BUSY
        assert await third.reply() is None
        clients[0].close()
        await until(lambda: len(server._clients) == 1)
        fourth = await Client.open(path)
        assert (await fourth.ask("info"))["ok"]
        for client in (*clients, third, fourth):
            client.close()

    serve(path, scenario, max_clients=2)


def test_a_reply_that_does_not_fit_is_replaced_by_an_error(path, monkeypatch):
    monkeypatch.setattr("tools.frames.MAX_FRAME", 1000)
    master = Master()
    for port in range(1, 50):
        master.ok("svc.add", svc=svc(port=port))

    async def scenario(server):
        client = await Client.open(path)
        reply = await client.ask("svc.list", seq=9)
        assert (reply["seq"], reply["code"]) == (9, Code.NOROOM)
        assert "more than the limit" in reply["detail"]
        assert (await client.ask("info"))["ok"]
        client.close()

    serve(path, scenario, master)


def test_a_disconnect_while_waiting_for_a_worker(path):
    master = Master()
    master.fleet.slow = True

    async def scenario(server):
        client = await Client.open(path)
        client.writer.write(encode({"v": 1, "seq": 1, "type": "conn.list"}))
        await client.writer.drain()
        client.close()
        other = await Client.open(path)
        assert (await other.ask("info"))["ok"]
        other.close()

    serve(path, scenario, master)


def test_closing_with_clients_is_no_mistake(path, caplog):
    """An idle client, one in the middle of a frame, one waiting for an answer."""
    master = Master()
    master.fleet.slow = True

    async def scenario(server):
        clients = [await Client.open(path) for _ in range(3)]
        assert (await clients[0].ask("info"))["ok"]
        clients[1].writer.write(b"\0\0")
        clients[2].writer.write(encode({"v": 1, "seq": 1, "type": "conn.list"}))
        await until(lambda: len(server._clients) == 3)
        await server.close()
        assert [await client.reply() for client in clients] == [None] * 3
        assert not server._clients
        for client in clients:
            client.close()

    serve(path, scenario, master)
    assert [record.getMessage() for record in caplog.records] == []


def test_stop_is_answered(path):
    master = Master()

    async def scenario(server):
        client = await Client.open(path)
        assert (await client.ask("stop"))["ok"]
        assert master.daemon.stopped
        client.close()

    serve(path, scenario, master)
