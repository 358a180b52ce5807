"""Match services (-H): `key=value` pairs that select traffic by address range and device."""

import re
from typing import Any

from tools.cli.literals import parse_address, parse_integer, sort_value

PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "icmpv6")
ANY_RANGE = {"inet": "0.0.0.0-0.0.0.0:0-0", "inet6": "[::-::]:0-0"}

_FAMILY_WORDS = {"ipv4": "inet", "ipv6": "inet6"}
_BRACKETED = re.compile(r"\[([^\]]*)\](?::(.*))?")


def parse_match(text: str) -> dict[str, Any]:
    """The fields of a match: af, proto, src and dst (ranges), iif and oif (devices).

    What is not given is None. Raises ValueError with what is wrong.
    """
    match: dict[str, Any] = dict.fromkeys(("af", "proto", "src", "dst", "iif", "oif"))
    family = None
    ranged = False
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"'{pair}' is not KEY=VALUE")
        if key == "proto":
            if value not in PROTOCOLS:
                raise ValueError(f"unknown protocol '{value}'")
            match["proto"] = value
        elif key == "af":
            if value not in _FAMILY_WORDS:
                raise ValueError(f"af is ipv4 or ipv6, not '{value}'")
            family = _one_family(family, _FAMILY_WORDS[value])
        elif key in ("src-range", "dst-range"):
            ranged = True
            if value:
                range_family, match[key[:3]] = _parse_range(value)
                family = _one_family(family, range_family)
        elif key in ("iif", "oif"):
            match[key] = value or None
        else:
            raise ValueError(f"unknown key '{key}'")
    if not ranged and family is None:
        raise ValueError("give src-range, dst-range or af")
    match["af"] = family or "inet"
    return match


def _one_family(known: str | None, found: str) -> str:
    if known not in (None, found):
        raise ValueError("IPv4 and IPv6 do not mix")
    return found


def _parse_range(text: str) -> tuple[str, str | None]:
    """Family and canonical text of IP1[-IP2][:PORT1[-PORT2]]; None as text for "any"."""
    if bracketed := _BRACKETED.fullmatch(text):
        addresses, ports = bracketed.group(1), bracketed.group(2)
    elif text.count(":") > 1:  # IPv6 without ports needs no brackets
        addresses, ports = text, None
    else:
        addresses, _, ports = text.partition(":")
    low_text, _, high_text = addresses.partition("-")
    low, high = parse_address(low_text), parse_address(high_text or low_text)
    if low is None or high is None:
        raise ValueError(f"'{addresses}' is not an address range")
    family = _one_family(low[0], high[0])
    if sort_value(low[1]) > sort_value(high[1]):
        raise ValueError(f"the range '{addresses}' ends before it begins")
    shown = f"{low[1]}-{high[1]}"
    if family == "inet6":
        shown = f"[{shown}]"
    whole = f"{shown}:{_parse_ports(ports)}"
    return family, None if whole == ANY_RANGE[family] else whole


def _parse_ports(text: str | None) -> str:
    if not text:
        return "0-0"
    low_text, _, high_text = text.partition("-")
    low = parse_integer(low_text, 0, 65535)
    high = parse_integer(high_text or low_text, 0, 65535)
    if low is None or high is None or low > high:
        raise ValueError(f"'{text}' is not a port range")
    return f"{low}-{high}"


def match_title(match: dict[str, Any]) -> str:
    """The match as the listing shows it, without what matches everything."""
    parts = [f"MATCH {match.get('proto') or 'any'}"]
    for key, shown in (("src", "from"), ("dst", "to"), ("iif", "iif"), ("oif", "oif")):
        value = match.get(key)
        if value and value not in ANY_RANGE.values():
            parts.append(f"{shown}={value}")
    return ",".join(parts)


def match_option(match: dict[str, Any]) -> str:
    """The match as an option that parse_match reads back, every key written out."""
    anything = ANY_RANGE[match.get("af") or "inet"]
    proto = f"proto={match['proto']}," if match.get("proto") else ""
    return (
        f"-H {proto}src-range={match.get('src') or anything},"
        f"dst-range={match.get('dst') or anything},"
        f"iif={match.get('iif') or ''},oif={match.get('oif') or ''}"
    )
