"""Stand-ins for the daemon and the resolver, and short ways to run the tools against them."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tools import dpip, ipvsadm
from tools.client import ControlError, DaemonDown


class FakeTransport:
    """Answers by request type: a value, an exception to raise, or a function of the fields.

    `default` answers the types that have no answer of their own.
    """

    def __init__(self, default: Any = None, **replies: Any) -> None:
        self.replies = {kind.replace("_", "."): reply for kind, reply in replies.items()}
        self.default = default
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, kind: str, /, **fields: Any) -> Any:
        self.calls.append((kind, fields))
        reply = self.replies.get(kind, self.default)
        if isinstance(reply, Callable):
            reply = reply(**fields)
        if isinstance(reply, Exception):
            raise reply
        return reply


class FakeNames:
    """A resolver with a handful of names and no network behind it."""

    hosts = {"vip.example": "192.168.100.254", "rs.example": "192.168.100.2"}
    services = {("http", "tcp"): 80, ("domain", "udp"): 53}

    def address_of_host(self, name: str) -> str | None:
        return self.hosts.get(name)

    def host_of_address(self, address: str) -> str | None:
        return {value: key for key, value in self.hosts.items()}.get(address)

    def port_of_service(self, name: str, proto: str) -> int | None:
        return self.services.get((name, proto))

    def service_of_port(self, port: int, proto: str) -> str | None:
        names = {(value, proto): key for (key, proto), value in self.services.items()}
        return names.get((port, proto))


@dataclass
class Outcome:
    """What a run left behind."""

    status: int
    out: str
    err: str
    calls: list[tuple[str, dict[str, Any]]]

    @property
    def only_call(self) -> tuple[str, dict[str, Any]]:
        assert len(self.calls) == 1, self.calls
        return self.calls[0]

    def assert_one_line_error(self, status: int, *parts: str) -> None:
        assert self.status == status, (self.status, self.err)
        assert self.out == ""
        assert self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        for part in parts:
            assert part in self.err


def run_ipvsadm(
    command: str | list[str], transport: FakeTransport | None = None, stdin: Iterable[str] = ()
) -> Outcome:
    transport = transport or FakeTransport()
    out, err = io.StringIO(), io.StringIO()
    argv = command.split() if isinstance(command, str) else command
    status = ipvsadm.run(argv, transport, out, err, names=FakeNames(), stdin=iter(stdin))
    return Outcome(status, out.getvalue(), err.getvalue(), transport.calls)


def run_dpip(
    command: str | list[str],
    transport: FakeTransport | None = None,
    sleep: Callable[[float], None] = lambda seconds: None,
) -> Outcome:
    transport = transport or FakeTransport()
    out, err = io.StringIO(), io.StringIO()
    argv = command.split() if isinstance(command, str) else command
    status = dpip.run(argv, transport, out, err, sleep=sleep)
    return Outcome(status, out.getvalue(), err.getvalue(), transport.calls)


def sample(text: str) -> str:
    """An expected output, whose lines end in a bar where they end in blanks."""
    return text.replace("|\n", "\n")


EXISTS = ControlError(-3, "already exist", "")
MISSING = ControlError(-4, "not exist", "")
DOWN = DaemonDown("/run/dpvs/dpvs/ctl.sock: No such file or directory")


def counters(*values: int) -> dict[str, int]:
    keys = ("conns", "inpkts", "outpkts", "inbytes", "outbytes")
    return dict(zip(keys, values or (0,) * 5, strict=True))


def rates(*values: int) -> dict[str, int]:
    keys = ("cps", "inpps", "outpps", "inbps", "outbps")
    return dict(zip(keys, values or (0,) * 5, strict=True))


def key(proto: str, addr: str, port: int) -> dict[str, Any]:
    return {"af": "inet6" if ":" in addr else "inet", "proto": proto, "addr": addr, "port": port}


def server(addr: str, port: int, **more: Any) -> dict[str, Any]:
    return {
        "addr": addr,
        "port": port,
        "mode": "fullnat",
        "weight": 100,
        "u_thresh": 0,
        "l_thresh": 0,
        "active": 0,
        "inactive": 0,
        "persist": 0,
        "inhibited": False,
        "overload": False,
        "stats": counters(),
        "rates": rates(),
        **more,
    }


def service(svc: dict[str, Any], sched: str = "rr", **more: Any) -> dict[str, Any]:
    return {
        "svc": svc,
        "sched": sched,
        "persistent": 0,
        "netmask": None,
        "ops": False,
        "synproxy": False,
        "conn_timeout": 0,
        "expire_quiescent": False,
        "quic": False,
        "proxy_protocol": "disable",
        "hash_target": None,
        "dest_check": [],
        "stats": counters(),
        "rates": rates(),
        "dests": [],
        **more,
    }


VIP = key("tcp", "192.168.100.254", 80)


def daemon_with(*services: dict[str, Any]) -> FakeTransport:
    return FakeTransport(info={"version": "1.10.2"}, svc_list=lambda **fields: list(services))
