"""The socket client against a small server, and the console programs on top of it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from tools import dpip, ipvsadm
from tools.client import ControlClient, ControlError, DaemonDown, socket_path
from tools.frames import FrameDecoder, encode


@contextmanager
def serving(path: str, answer: Callable[[dict], bytes | None]) -> Iterator[list[dict]]:
    """A server for one connection; `answer` gives the bytes to send, or None to hang up."""
    requests: list[dict] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)

        def serve() -> None:
            link, _ = listener.accept()
            decoder = FrameDecoder()
            with link:
                while data := link.recv(65536):
                    for request in decoder.feed(data):
                        requests.append(request)
                        reply = answer(request)
                        if reply is None:
                            return
                        link.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield requests
        thread.join(5)


def ok(request: dict, data: object = None) -> bytes:
    return encode({"v": 1, "seq": request["seq"], "ok": True, "data": data})


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "ctl.sock")


def test_one_connection_carries_many_calls(path):
    answer = serving(path, lambda request: ok(request, request["type"]))
    with answer as requests, ControlClient(path) as client:
        assert client.call("info") == "info"
        assert client.call("svc.list", cpu=3) == "svc.list"
    assert requests == [
        {"v": 1, "seq": 1, "type": "info"},
        {"v": 1, "seq": 2, "type": "svc.list", "cpu": 3},
    ]


def test_refusal_carries_code_text_and_detail(path):
    def refuse(request: dict) -> bytes:
        return encode(
            {"v": 1, "seq": 1, "ok": False, "code": -4, "error": "not exist", "detail": "no VIP"}
        )

    with (
        serving(path, refuse),
        ControlClient(path) as client,
        pytest.raises(ControlError) as caught,
    ):
        client.call("svc.del")
    fault = caught.value
    assert (fault.code, fault.error, fault.detail) == (-4, "not exist", "no VIP")
    assert str(fault) == "not exist: no VIP"


@pytest.mark.parametrize(
    ("error", "detail", "text"),
    [
        ("not exist", "", "not exist"),
        ("not exist", "not exist", "not exist"),
        ("not exist", "not exist: no VIP", "not exist: no VIP"),
    ],
)
def test_refusal_does_not_repeat_itself(error, detail, text):
    assert str(ControlError(-4, error, detail)) == text


def test_missing_socket(path):
    with pytest.raises(DaemonDown, match="No such file or directory"):
        ControlClient(path).call("info")


def test_nobody_listens(path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with pytest.raises(DaemonDown, match="refused"):
        ControlClient(path).call("info")


def test_path_too_long():
    with pytest.raises(DaemonDown, match="too long"):
        ControlClient("/" + "x" * 200).call("info")


def test_silence_ends_in_a_timeout(path):
    with (
        serving(path, lambda request: b""),
        ControlClient(path, timeout=0.05) as client,
        pytest.raises(DaemonDown, match=r"no answer in 0\.05 seconds"),
    ):
        client.call("info")


def test_hang_up(path):
    with (
        serving(path, lambda request: None),
        ControlClient(path) as client,
        pytest.raises(DaemonDown, match="closed the connection"),
    ):
        client.call("info")


def test_garbage_answer(path):
    with (
        serving(path, lambda request: b"\xff" * 8),
        ControlClient(path) as client,
        pytest.raises(DaemonDown, match="cannot be read"),
    ):
        client.call("info")


def test_other_protocol_version(path):
    with (
        serving(path, lambda request: encode({"v": 2, "seq": 1})),
        ControlClient(path) as client,
        pytest.raises(DaemonDown, match="version 2"),
    ):
        client.call("info")


def test_answer_to_another_request_is_skipped(path):
    def answer(request: dict) -> bytes:
        return ok({"seq": 99}, "old") + ok(request, "new")

    with serving(path, answer), ControlClient(path) as client:
        assert client.call("info") == "new"


def test_request_that_cannot_be_encoded(path):
    with pytest.raises(ControlError, match="cannot be encoded"):
        ControlClient(path).call("addr.del", dev="\udcff")


def test_socket_path_rules():
    assert socket_path(environ={}) == "/run/dpvs/dpvs/ctl.sock"
    assert socket_path("lab", {}) == "/run/dpvs/lab/ctl.sock"
    assert socket_path("lab", {"DPVS_SOCKET": "/x/y"}) == "/x/y"
    for name in ("", "..", "a/b", "-x", "x" * 65, "a b"):
        with pytest.raises(ValueError, match="cannot name"):
            socket_path(name, {})


def test_console_program_talks_to_the_named_instance(path):
    with serving(path, lambda request: ok(request, [])) as requests:
        result = CliRunner().invoke(dpip.main, ["addr", "show", "-4"], env={"DPVS_SOCKET": path})
    assert (result.exit_code, result.output) == (0, "")
    assert requests[0]["type"] == "addr.show"
    assert requests[0]["af"] == "inet"


@pytest.mark.parametrize("argv", [["-Ln"], []])
def test_console_program_without_daemon(path, argv):
    result = CliRunner().invoke(ipvsadm.main, argv, env={"DPVS_SOCKET": path})
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"Can't initialize ipvs: {path}: No such file or directory",
        "Are you sure that dpvs is running?",
    ]


@pytest.mark.parametrize("place", [["--name", "no/where", "-Ln"], ["-Ln", "--name=no/where"]])
def test_console_program_with_a_bad_instance_name(place):
    result = CliRunner().invoke(ipvsadm.main, place, env={"DPVS_SOCKET": ""})
    assert result.exit_code == 2
    assert result.stderr.startswith("ipvsadm: 'no/where' cannot name a dpvs instance")
    assert result.stderr.count("\n") == 1


def test_console_program_with_a_name_option_cut_short():
    result = CliRunner().invoke(dpip.main, ["link", "show", "--name"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("dpip: ")
