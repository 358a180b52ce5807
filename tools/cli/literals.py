"""Readers for the plain values both tools take: numbers, addresses, hardware addresses."""

import re
import socket

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_MAC = re.compile(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}")

FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
PREFIX_BITS = {"inet": 32, "inet6": 128}


def parse_integer(text: str, low: int, high: int) -> int | None:
    """A decimal number between `low` and `high`, or None when the text is not one."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if low <= number <= high else None


def parse_address(text: str, family: str | None = None) -> tuple[str, str] | None:
    """Family and canonical text of a literal IPv4 or IPv6 address, or None when it is neither.

    With `family` given ("inet" or "inet6") only that one is accepted.
    """
    for name, number in FAMILIES.items():
        if family in (None, name):
            try:
                return name, socket.inet_ntop(number, socket.inet_pton(number, text))
            except (OSError, ValueError):
                continue
    return None


def parse_mac(text: str) -> str | None:
    """A hardware address as lower-case text with two digits a byte, or None."""
    if not _MAC.fullmatch(text):
        return None
    return ":".join(f"{int(part, 16):02x}" for part in text.split(":"))


def family_of(address: str) -> str:
    """Family of an address that is known to be a literal one."""
    return "inet6" if ":" in address else "inet"


def sort_value(address: str) -> bytes:
    """The address as bytes that sort in numeric order."""
    return socket.inet_pton(FAMILIES[family_of(address)], address)
