"""The request that switches cycle accounting, and the counters behind it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import pytest

from ipvs.context import Ipvs, IpvsStruct
from ipvs.stages import STAGES
from ipvs.worker import shared_offsets
from tools.control.errors import ControlError
from tools.control.fields import Fields
from tools.control.handlers_admin import HANDLERS
from tools.daemon import counters


class Context:
    """As much of the control plane's context as the handler looks at."""

    class counters:
        asked: list[bool | None] = []

        @classmethod
        def account(cls, on: bool | None) -> Mapping[str, Any]:
            cls.asked.append(on)
            return {"hz": 1, "stages": ["x"]}


def ask(**fields: Any) -> Any:
    return HANDLERS["accounting"](Context, Fields(fields))  # type: ignore[arg-type]


def test_request() -> None:
    Context.counters.asked = []
    assert ask(on=True) == {"hz": 1, "stages": ["x"]}
    ask(on=False)
    ask()
    assert Context.counters.asked == [True, False, None]


@pytest.mark.parametrize("fields", [{"on": 1}, {"on": None}, {"on": "yes"}, {"off": True}])
def test_bad_request(fields: dict[str, Any]) -> None:
    Context.counters.asked = []
    with pytest.raises(ControlError):
        ask(**fields)
    assert Context.counters.asked == []


def test_shared_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    offsets, size = shared_offsets()
    blocks = [ctypes.create_string_buffer(size) for _ in range(2)]
    addresses = [ctypes.addressof(block) for block in blocks]
    monkeypatch.setattr(counters.eal, "tsc_hz", lambda: 25)
    source = counters.SharedCounters(addresses, {}, 0)
    contexts = [Ipvs(address + offsets["context"]) for address in addresses]
    assert source.account(None) == {"hz": 25, "stages": list(STAGES)}
    assert [w.accounting for w in contexts] == [0, 0]
    source.account(True)
    assert [w.accounting for w in contexts] == [1, 1]
    source.account(None)
    assert [w.accounting for w in contexts] == [1, 1]
    source.account(False)
    assert [w.accounting for w in contexts] == [0, 0]
    contexts[1].stage_cycles[1] = 77
    contexts[1].stage_packets = 5
    named = source.named_counters(2)
    assert named[f"cycles_{STAGES[1]}"] == 77 and named["cycles_packets"] == 5
    assert named["connections"] == 0  # no table yet: the worker is only starting
    assert len(STAGES) <= IpvsStruct.stage_cycles.size // 8
