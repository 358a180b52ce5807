"""The way of ordinary Python to the tables that the polling thread owns.

``InlineGate``: this very thread polls, or nobody does yet.  ``ThreadGate``: another thread of this
process polls; what is asked for is done by it between two bursts (ipvs/visit.py).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ipvs.context import Ipvs
from ipvs.control import ControlStruct
from ipvs.operations import OperationStruct, execute
from ipvs.visit import EXECUTE, NOTHING, PARK

SPINS = 200  # looks at the answer before the first sleep
NAP = 20e-6  # seconds

Step = tuple[int, ...]
"""An operation: its code, then its arguments."""


class GateClosed(RuntimeError):
    """The polling thread has ended, or does not answer."""


def _batch(steps: Sequence[Step]) -> ctypes.Array[OperationStruct]:
    batch = (OperationStruct * len(steps))()
    for operation, (code, *arguments) in zip(batch, steps, strict=True):
        operation.code = code
        operation.a[: len(arguments)] = arguments
    return batch


class InlineGate:
    """Executes at once in this thread."""

    def __init__(self, ipvs: int) -> None:
        self.ipvs = ipvs

    def run(self, steps: Sequence[Step]) -> bool:
        """Execute operations in order, no packet in between; False when a table was full."""
        batch = _batch(steps)
        return bool(execute(self.ipvs, ctypes.addressof(batch), len(steps)) == len(steps))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within this context nobody else works with the tables."""
        yield


class ThreadGate(InlineGate):
    """Has the polling thread execute, or stand still.  Used by one thread at a time.

    Raises GateClosed after ``patience`` seconds without an answer.
    """

    def __init__(self, ipvs: int, patience: float = 5.0) -> None:
        super().__init__(ipvs)
        self._control = ControlStruct.from_address(int(Ipvs(ipvs).control))
        self.patience = patience

    def _await(self, field: str, value: int) -> None:
        control = self._control
        for _ in range(SPINS):
            if getattr(control, field) == value:
                return
        end = time.monotonic() + self.patience
        while getattr(control, field) != value:
            if time.monotonic() > end:
                raise GateClosed("the packet loop does not answer")
            time.sleep(NAP)

    def run(self, steps: Sequence[Step]) -> bool:
        """As InlineGate."""
        batch = _batch(steps)
        control = self._control
        control.batch, control.batch_count = ctypes.addressof(batch), len(steps)
        control.visit = EXECUTE
        self._await("visit", NOTHING)
        return all(operation.result for operation in batch)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """As InlineGate: the polling thread stands still meanwhile."""
        self._control.visit = PARK
        self._await("parked", 1)
        try:
            yield
        finally:
            self._control.visit = NOTHING
            self._await("parked", 0)
