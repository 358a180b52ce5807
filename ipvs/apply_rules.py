"""Apply the match part of service records: which traffic a match service takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipvs.apply_inet import ApplyError, address_number
from ipvs.rules import ANY, MAX_RULES, RulesStruct, in_order
from stack.address6 import words


def check_match(match: Mapping[str, Any], others: int, ports: int) -> None:
    """ApplyError when a worker with so many other rules and ports cannot have this one."""
    if others >= MAX_RULES:
        raise ApplyError(f"more than {MAX_RULES} match services")
    if len({":" in address for address in (*match["src"], *match["dst"])}) != 1:
        raise ApplyError("addresses of both families in one match")
    for name in ("iif", "oif"):
        if (match.get(name) or 0) >= ports:
            raise ApplyError(f"no port {match[name]} in this worker")


def _ordered(address: str) -> tuple[int, int]:
    """The words of an address as rules compare them."""
    if ":" not in address:
        return 0, address_number(address)
    high, low = words(address)
    return int(in_order(high)), int(in_order(low))


def rules_image(matches: Mapping[int, tuple[int, Mapping[str, Any]]]) -> RulesStruct:
    """The list of rules anew: (protocol number, match) by service, the newest first."""
    table = RulesStruct()
    order = sorted(matches, key=lambda number: -matches[number][1]["order"])
    for at, number in enumerate(order):
        proto, match = matches[number]
        rule = table.rule[at]
        for ends, addresses in ((rule.src, match["src"]), (rule.dst, match["dst"])):
            for end, address in zip(ends, addresses, strict=True):
                end.high, end.low = _ordered(address)
        rule.sport_low, rule.sport_high = match["sport"]
        rule.dport_low, rule.dport_high = match["dport"]
        for name in ("iif", "oif"):
            device = match.get(name)
            setattr(rule, name, ANY if device is None else device)
        rule.service, rule.proto, rule.wide = number, proto, int(":" in match["src"][0])
    table.count = len(order)
    return table
