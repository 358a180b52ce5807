"""Readers for the values of ipvsadm options. All raise UsageError with what is wrong."""

import re
from typing import Any

from tools.cli.literals import parse_address, parse_integer
from tools.cli.names import Names
from tools.cli.session import UsageError

INT_MAX = 2**31 - 1
DEFAULT_PERSISTENCE = 360
LONGEST_PERSISTENCE = 31 * 86400
PROXY_PROTOCOLS = ("disable", "v1", "v2", "v1-insecure", "v2-insecure")

_PASSIVE_CHECK = re.compile(r"([0-9]+),([0-9]+),([0-9]+)s,([0-9]+)-([0-9]+)s?")
_DOWN_ONLY_CHECK = re.compile(r"([0-9]+),([0-9]+)s?")
_EXTERNAL_CHECKS = ("tcp", "udp", "sctp", "ping")
_NUMERIC_LABEL = re.compile(r"(0[xX][0-9A-Fa-f]*|[0-9]+)\.?")


def number(text: str, low: int, high: int, what: str) -> int:
    """A number in a range, named `what` in the message."""
    value = parse_integer(text, low, high)
    if value is None:
        raise UsageError(f"illegal {what} specified: `{text}' is not within {low} to {high}")
    return value


def persistence(text: str | None) -> int:
    """Seconds of -p, which has a default."""
    if text is None:
        return DEFAULT_PERSISTENCE
    value = parse_integer(text, 1, LONGEST_PERSISTENCE)
    if value is None:
        raise UsageError(f"invalid timeout value `{text}' specified")
    return value


def scheduler_flags(text: str) -> list[str]:
    """Comma-separated flags of mh, as LVS names them; in a fixed order."""
    words = text.split(",")
    for word in words:
        if word not in ("mh-port", "mh-fallback"):
            raise UsageError(f"illegal scheduler flag `{word}': there are mh-port, mh-fallback")
    return sorted(set(words))


def fwmark(text: str) -> int:
    """A firewall mark."""
    value = parse_integer(text, 1, 2**32 - 1)
    if value is None:
        raise UsageError(f"invalid fwmark value `{text}' specified")
    return value


def endpoint(text: str, proto: str, names: Names, what: str) -> tuple[str, str, int | None]:
    """Family, address and port of ADDR[:PORT]; the port is None when it is not given.

    IPv6 is [ADDR]:PORT, or a bare ADDR without port. Hosts and services may be names; a host name
    stands for its first IPv4 address.
    """
    fault = UsageError(f"illegal {what} specified: `{text}'")
    if text.startswith("["):
        address, bracket, port_text = text[1:].partition("]:")
        found = parse_address(address, "inet6")
        if not bracket or found is None:
            raise fault
        return *found, _port(port_text, proto, names, fault)
    if found := parse_address(text, "inet6"):
        return *found, None
    host, colon, port_text = text.rpartition(":")
    if not colon:
        host = text
    address_text = _host(host, names)
    if address_text is None:
        raise fault
    return "inet", address_text, _port(port_text, proto, names, fault) if colon else None


def _host(text: str, names: Names) -> str | None:
    if literal := parse_address(text, "inet"):
        return literal[1]
    # What ends in a number is an address that is not one ("10.1", "300.0.0.1"): the resolver
    # would read some of these as short forms and hand back an address nobody meant.
    if not text or _NUMERIC_LABEL.fullmatch(text.rstrip(".").rpartition(".")[2]):
        return None
    return names.address_of_host(text)


def _port(text: str, proto: str, names: Names, fault: UsageError) -> int:
    value = parse_integer(text, 0, 65535)
    if value is None:
        value = names.port_of_service(text, proto) if text else None
    if value is None:
        raise fault
    return value


def netmask(text: str, family: str) -> str:
    """-M: a dotted mask for IPv4, a prefix length for IPv6."""
    if family == "inet6":
        length = parse_integer(text, 1, 128)
        if length is None:
            raise UsageError(f"illegal ipv6 netmask specified: `{text}'")
        return str(length)
    mask = parse_address(text, "inet")
    if mask is None:
        raise UsageError(f"illegal virtual server persistent mask specified: `{text}'")
    return mask[1]


def switch(text: str) -> bool:
    """The argument of --synproxy."""
    if text not in ("enable", "disable"):
        raise UsageError("synproxy switch must be enable or disable")
    return text == "enable"


def proxy_protocol(text: str) -> str:
    """The argument of --proxy-protocol. A misspelt version must not switch the protocol off."""
    if text not in PROXY_PROTOCOLS:
        raise UsageError(
            f"illegal proxy-protocol specified: `{text}' is none of {', '.join(PROXY_PROTOCOLS)}"
        )
    return text


def dest_checks(texts: list[str]) -> list[str]:
    """All --dest-check options together: what they ask for, each check once."""
    checks: list[str] = []
    for text in texts:
        if text == "disable":
            checks = []
        elif text in _EXTERNAL_CHECKS:
            checks = [*(check for check in checks if check != text), text]
        else:
            passive = text if text == "default" else _passive_check(text)
            checks = [*(check for check in checks if check in _EXTERNAL_CHECKS), passive]
    return checks


def _passive_check(text: str) -> str:
    fault = UsageError(f"invalid dest_check config: `{text}'")
    if full := _PASSIVE_CHECK.fullmatch(text):
        down, up, wait, low, high = (parse_integer(part, 1, 65535) for part in full.groups())
        if low is None or high is None or low > high or not _are_bytes(down, up, wait):
            raise fault
        return f"{down},{up},{wait}s,{low}-{high}s"
    if short := _DOWN_ONLY_CHECK.fullmatch(text):
        down, wait = (parse_integer(part, 1, 65535) for part in short.groups())
        if not _are_bytes(down, wait):
            raise fault
        return f"{down},{wait}s"
    raise fault


def _are_bytes(*values: int | None) -> bool:
    return all(value is not None and value <= 255 for value in values)


def access_entry(text: str, names: Names, colour: str) -> str:
    """An entry of a black or white list: an address, or ipset:NAME."""
    if text.startswith("ipset:") and len(text) > len("ipset:"):
        return text
    literal = parse_address(text)
    host = literal[1] if literal else _host(text, names)
    if host is None:
        raise UsageError(
            f"illegal {colour}list entry format, require [ IP | ipset:NAME ]: `{text}'"
        )
    return host


def local_address(text: str, names: Names) -> str:
    """The argument of --laddr: an address or host name, without port."""
    literal = parse_address(text)
    host = literal[1] if literal else _host(text, names)
    if host is None:
        raise UsageError(f"illegal local address: `{text}'")
    return host


def socket_pair(text: str) -> dict[str, Any]:
    """--sockpair PROTO:SIP:SPORT:TIP:TPORT as a filter; IPv6 addresses stand in brackets."""
    fault = UsageError(f"illegal sockpair<proto:sip:sport:tip:tport> specified: `{text}'")
    proto, _, rest = text.partition(":")
    if proto not in ("tcp", "udp", "sctp"):
        raise fault
    pattern = (
        r"\[(.*)\]:([0-9]+):\[(.*)\]:([0-9]+)" if "[" in rest else r"(.*):([0-9]+):(.*):([0-9]+)"
    )
    parts = re.fullmatch(pattern, rest)
    if parts is None:
        raise fault
    family = "inet6" if "[" in rest else "inet"
    source, target = parse_address(parts[1], family), parse_address(parts[3], family)
    source_port, target_port = parse_integer(parts[2], 0, 65535), parse_integer(parts[4], 0, 65535)
    if source is None or target is None or source_port is None or target_port is None:
        raise fault
    return {
        "proto": proto,
        "saddr": source[1],
        "sport": source_port,
        "daddr": target[1],
        "dport": target_port,
    }
