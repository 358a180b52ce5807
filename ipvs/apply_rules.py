"""Apply the match part of service records: which traffic a match service takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipvs.apply_inet import ApplyError, address_number
from ipvs.rules import ANY, MAX_RULES, RulesStruct


def check_match(match: Mapping[str, Any], others: int, ports: int) -> None:
    """ApplyError when a worker with so many other rules and ports cannot have this one."""
    if others >= MAX_RULES:
        raise ApplyError(f"more than {MAX_RULES} match services")
    for address in (*match["src"], *match["dst"]):
        address_number(address)
    for name in ("iif", "oif"):
        if (match.get(name) or 0) >= ports:
            raise ApplyError(f"no port {match[name]} in this worker")


def rules_image(matches: Mapping[int, tuple[int, Mapping[str, Any]]]) -> RulesStruct:
    """The list of rules anew: (protocol number, match) by service, the newest first."""
    table = RulesStruct()
    order = sorted(matches, key=lambda number: -matches[number][1]["order"])
    for at, number in enumerate(order):
        proto, match = matches[number]
        rule = table.rule[at]
        rule.src_low, rule.src_high = (address_number(end) for end in match["src"])
        rule.dst_low, rule.dst_high = (address_number(end) for end in match["dst"])
        rule.sport_low, rule.sport_high = match["sport"]
        rule.dport_low, rule.dport_high = match["dport"]
        for name in ("iif", "oif"):
            device = match.get(name)
            setattr(rule, name, ANY if device is None else device)
        rule.service, rule.proto = number, proto
    table.count = len(order)
    return table
