"""The rules of the packet path: the real one follows them, and each rule catches."""

from __future__ import annotations

import pytest
from rule_breakers import BAD, recursive
from whole_path import PATH

from ipvs.context import Ipvs
from runtime import wheel
from runtime.intrinsics import load64, store64
from runtime.rules import violations

LIMIT = 7


def test_the_whole_path_is_known():
    modules = {function.__module__ for function in PATH}
    assert {
        *("ipvs.loop", "ipvs.known", "ipvs.rebuild", "stack.arp", "stack.icmp", "netdev.port"),
        *("runtime.wheel", "runtime.ring_core", "runtime.pointer_ring", "ipvs.laddr"),
    } <= modules


@pytest.mark.parametrize("function", PATH, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_path_follows_the_rules(function):
    assert violations(function, PATH) == []


@pytest.mark.parametrize(
    ("function", "told"), BAD.items(), ids=lambda x: getattr(x, "__name__", "")
)
def test_each_rule_catches(function, told):
    found = violations(function, [*PATH, recursive])
    assert any(told in line for line in found), found
    assert all(line.startswith(f"{function.__module__}:") for line in found)


def fine(a, b):
    """A docstring is no expression of the path."""
    p = Ipvs(a)
    total = 0
    for i in range(0, 8, 2):
        q = p.packet[i]
        q.kind = load64(q.ptr) % LIMIT
        p.mbufs[i] = max(b, -1) if q.kind else ~b
        total += q.kind // 3
    while total > wheel.HORIZON and not b < 0:
        total -= abs(b)
        if total == 5:
            continue
        break
    store64(a, wheel.due(a, total))
    return total


def test_what_is_allowed():
    assert violations(fine, PATH) == []
