"""Value types shared by the whole control plane: addresses, prefixes, MACs, scopes."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address

#: scope words and their numbers as the original's interface addresses use them
SCOPE_NUMBERS: dict[str, int] = {"global": 0, "site": 1, "link": 2, "host": 3}
_SCOPE_WORDS = {number: word for word, number in SCOPE_NUMBERS.items() if word != "site"}

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def family(address: Address) -> str:
    """The address's family: inet or inet6."""
    return "inet" if address.version == 4 else "inet6"


def parse_address(text: str) -> Address:
    """Read an IPv4 or IPv6 literal without prefix length or zone; ValueError otherwise."""
    if "%" in text:
        raise ValueError("an address carries no zone here")
    return ip_address(text)


def parse_mac(text: str) -> str:
    """Lower-case form of a unicast MAC address written aa:bb:cc:dd:ee:ff; ValueError otherwise."""
    if not _MAC.fullmatch(text):
        raise ValueError("a MAC address is written aa:bb:cc:dd:ee:ff")
    mac = text.lower()
    if int(mac[:2], 16) & 1:
        raise ValueError("a group (multicast or broadcast) MAC address cannot be used")
    if mac == "00:00:00:00:00:00":
        raise ValueError("the all-zero MAC address cannot be used")
    return mac


def parse_scope(text: str) -> int:
    """Number of a scope word or of a decimal 0..255; ValueError otherwise."""
    if text in SCOPE_NUMBERS:
        return SCOPE_NUMBERS[text]
    if text.isascii() and text.isdigit() and int(text) <= 255:
        return int(text)
    raise ValueError("a scope is host, link, global or a number 0..255")


def scope_text(number: int) -> str:
    """How a scope is displayed: host, link, global, else the number."""
    return _SCOPE_WORDS.get(number, str(number))


def full_length(address: Address) -> int:
    """Prefix length of a single address of this family: 32 or 128."""
    return address.max_prefixlen


def network_of(address: Address, plen: int) -> Address:
    """The address with its host bits cleared."""
    free = address.max_prefixlen - plen
    return type(address)(int(address) >> free << free)


def is_link_local6(address: Address) -> bool:
    """Whether the address is an IPv6 one of link scope (fe80::/10)."""
    return address.version == 6 and address.is_link_local


def common_bits(one: Address, other: Address) -> int:
    """Length of the common prefix of two addresses of one family."""
    return one.max_prefixlen - (int(one) ^ int(other)).bit_length()


def is_host_address(address: Address) -> bool:
    """Whether a host may own the address: not 0.0.0.0/::, not multicast, not 255.255.255.255, not
    ::1 and no IPv4 address in IPv6 clothes (they are never on the wire)."""
    if address.is_unspecified or address.is_multicast:
        return False
    if isinstance(address, IPv4Address):
        return int(address) != 0xFFFFFFFF
    return not address.is_loopback and address.ipv4_mapped is None
