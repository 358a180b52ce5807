"""``dpvs replay``: the compiled path over capture files, without root, NIC or hugepages."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from netdev.portspec import device_arguments
from tools.daemon import plan
from tools.settings_model import Settings

ETHERNET = 1  # LINKTYPE_ETHERNET
MAGICS = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\x4d\x3c\xb2\xa1": "<",
          b"\xa1\xb2\x3c\x4d": ">"}  # fmt: skip
QUIET = 64  # iterations without a packet after which the input is taken as finished


class ReplayError(ValueError):
    """An input file that cannot be replayed; the text says what it is and what would do."""


def check_capture(path: str) -> int:
    """Number of frames in an Ethernet pcap file.  Raises ReplayError for anything else."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror}") from error
    order = MAGICS.get(data[:4])
    if order is None or len(data) < 24:
        what = "a pcapng file" if data[:4] == b"\x0a\x0d\x0d\x0a" else "not a pcap file"
        raise ReplayError(f"{path}: {what}; convert it with `editcap -F pcap`")
    if struct.unpack(order + "I", data[20:24])[0] & 0xFFFF != ETHERNET:
        raise ReplayError(f"{path}: not captured on Ethernet")
    count, at = 0, 24
    while at + 16 <= len(data):
        at += 16 + struct.unpack(order + "I", data[at + 8 : at + 12])[0]
        if at > len(data):
            raise ReplayError(f"{path}: cut short in frame {count + 1}")
        count += 1
    if count == 0:
        raise ReplayError(f"{path}: holds no frames")
    return count


def output_of(path: str, index: int, device: str) -> str:
    """File for what a device sends: OUT.pcap for the first, OUT.DEVICE.pcap for the others."""
    if index == 0:
        return path
    out = Path(path)
    return str(out.with_name(f"{out.stem}.{device}{out.suffix}"))


def replay_ports(
    settings: Settings, source: str, target: str, inputs: dict[str, str]
) -> list[plan.PortPlan]:
    """The configured devices as capture files.  Raises ReplayError for an unknown device."""
    ports = plan.ports_of(settings)
    names = [port.name for port in ports]
    for name in inputs:
        if name not in names:
            raise ReplayError(f"no device {name} in the configuration; there are {names}")
    result = []
    for port in ports:
        values: dict[str, Any] = {"tx": output_of(target, port.index, port.name)}
        wanted = inputs.get(port.name, source if port.index == 0 else None)
        if wanted:
            values["rx"] = wanted
        arguments, dpdk_name = device_arguments(port.index, "pcap", values)
        result.append(
            replace(port, arguments=tuple(arguments), dpdk_name=dpdk_name, rx_queues=1, tx_queues=1)
        )
    return result


def replay(settings: Settings, source: str, target: str, inputs: dict[str, str]) -> dict[str, Any]:
    """Run all frames of the input files through the path; returns what happened.

    Frames are taken in order per device, devices in turn.  Raises ReplayError, DpdkError,
    CommandFailed.
    """
    total = check_capture(source) + sum(check_capture(path) for path in inputs.values())
    ports = replay_ports(settings, source, target, inputs)
    from tools.daemon.embedded import Embedded

    balancer = Embedded(settings, ports, name="replay")
    try:
        balancer.commands()
        seen = 0
        while True:
            got = balancer.poll(QUIET)
            seen += got
            if got == 0:
                break
        cpu = balancer.counters.cpu_counters(1)
        drops = {k: v for k, v in balancer.counters.drop_counters(1).items() if v}
        conns = balancer.applier.connections()
    finally:
        balancer.close()
    return {
        "frames": total, "received": seen, "sent": cpu["opackets"], "drops": drops,
        "connections": conns, "devices": [(p.name, p.arguments) for p in ports],
    }  # fmt: skip
