"""The link-local IPv6 address of every port (RFC 4291 2.5.6), made as the configuration says."""

from __future__ import annotations

import hashlib
import os

from tools.control.devices import Device
from tools.control.state import ControlState
from tools.settings_stack import Ipv6Defs


def eui64(mac: str) -> int:
    """Interface identifier of a MAC address (RFC 4291 appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    return int.from_bytes(bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:], "big")


def stable_privacy(device: Device, secret: str) -> int:
    """Interface identifier that tells nothing of the hardware (RFC 7217 section 5)."""
    prefix = bytes.fromhex("fe80000000000000")
    seed = prefix + device.name.encode() + bytes.fromhex(device.mac.replace(":", ""))
    return int.from_bytes(hashlib.sha256(seed + bytes.fromhex(secret)).digest()[:8], "big")


def identifier(device: Device, settings: Ipv6Defs) -> int | None:
    """Last 64 bits of the device's link-local address; None when it gets none."""
    if settings.disable or settings.addr_gen_mode == "none":
        return None
    if settings.addr_gen_mode == "eui64":
        return eui64(device.mac)
    if settings.addr_gen_mode == "random":
        return int.from_bytes(os.urandom(8), "big")
    return stable_privacy(device, settings.stable_secret or "")


def give(state: ControlState, settings: Ipv6Defs) -> None:
    """Give every device its address."""
    for device in state.inet.devices:
        low = identifier(device, settings)
        if low is not None:
            state.inet.add_link_local(device, low)
