"""Commands that change services and real servers."""

from typing import Any

from tools.cli.ipvs_line import Line
from tools.cli.session import Session


def add_service(session: Session, line: Line) -> int:
    """-A: every attribute is sent, given or not."""
    session.transport.call(
        "svc.add",
        svc=line.service,
        sched=line.scheduler,
        persistent=line.persistent,
        netmask=line.netmask,
        ops="ops" in line.given,
        synproxy=line.synproxy,
        expire_quiescent="expire-quiescent" in line.given,
        quic="quic" in line.given or "quic-lb" in line.given,
        **_quic_lb(line),
        hash_target=line.hash_target,
        **_scheduler_flags(line),
        **_always_sent(line),
    )
    return 0


def edit_service(session: Session, line: Line) -> int:
    """-E: an attribute that is not sent stays as it is.

    Flags can be set but not cleared, and three attributes are overwritten even when the line does
    not name them: both are how -E behaves in the reference.
    """
    fields: dict[str, Any] = _always_sent(line)
    if "scheduler" in line.given:
        fields["sched"] = line.scheduler
        fields["hash_target"] = line.hash_target
        fields.update(_scheduler_flags(line))
    if "slow-start" in line.given:
        fields["slow_start"] = line.slow_start
    fields.update(_quic_lb(line))
    for option, field, value in (
        ("persistent", "persistent", line.persistent),
        ("netmask", "netmask", line.netmask),
        ("synproxy", "synproxy", line.synproxy),
        ("expire-quiescent", "expire_quiescent", True),
        ("ops", "ops", True),
    ):
        if option in line.given:
            fields[field] = value
    session.transport.call("svc.edit", svc=line.service, **fields)
    return 0


def _scheduler_flags(line: Line) -> dict[str, Any]:
    fields: dict[str, Any] = {"sched_flags": line.sched_flags} if line.sched_flags else {}
    return fields | ({"slow_start": line.slow_start} if "slow-start" in line.given else {})


def _quic_lb(line: Line) -> dict[str, Any]:
    return {"quic_lb": line.quic_lb} if "quic-lb" in line.given else {}


def _always_sent(line: Line) -> dict[str, Any]:
    return {
        "conn_timeout": line.conn_timeout,
        "proxy_protocol": line.proxy_protocol,
        "dest_check": line.dest_check,
    }


def delete_service(session: Session, line: Line) -> int:
    """-D"""
    session.transport.call("svc.del", svc=line.service)
    return 0


def flush_services(session: Session, line: Line) -> int:
    """-C"""
    session.transport.call("svc.flush")
    return 0


def zero_counters(session: Session, line: Line) -> int:
    """-Z: of one service, or of all (where the reference fails)."""
    session.transport.call("svc.zero", **({} if line.service is None else {"svc": line.service}))
    return 0


def add_server(session: Session, line: Line) -> int:
    """-a"""
    return _put_server(session, line, "dest.add")


def edit_server(session: Session, line: Line) -> int:
    """-e: attributes that the line does not name go back to their defaults."""
    return _put_server(session, line, "dest.edit")


def _put_server(session: Session, line: Line, request: str) -> int:
    session.transport.call(
        request,
        **_server(line),
        mode=line.mode,
        weight=line.weight,
        u_thresh=line.u_thresh,
        l_thresh=line.l_thresh,
        **({"server_id": line.server_id or None} if "server-id" in line.given else {}),
    )
    return 0


def delete_server(session: Session, line: Line) -> int:
    """-d"""
    session.transport.call("dest.del", **_server(line))
    return 0


def _server(line: Line) -> dict[str, Any]:
    assert line.server is not None
    address, port = line.server
    return {"svc": line.service, "addr": address, "port": port}
