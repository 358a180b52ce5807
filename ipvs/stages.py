"""Cycle accounting by stage: how long a burst spends in each part of the path.

Off, it costs one test per burst; on, a TSC read between stages.  The counters live in the worker's
shared context, so any process can switch it on and read it.
"""

from __future__ import annotations

from ipvs.context import Ipvs
from runtime.intrinsics import rdtsc
from runtime.jit import inlined

STAGES = ("receive", "classify", "look_up", "handle", "transmit", "housekeeping")
RECEIVE, CLASSIFY, LOOK_UP, HANDLE, TRANSMIT, HOUSEKEEPING = range(6)


@inlined
def begin(ipvs):
    """TSC at the start of a stage, or 0 when accounting is off."""
    return rdtsc() if Ipvs(ipvs).accounting else 0


@inlined
def lap(ipvs, stage, since):
    """Charge the cycles since ``since`` to ``stage``; the TSC for the next stage, 0 when off."""
    w = Ipvs(ipvs)
    if since == 0:
        return 0
    now = rdtsc()
    w.stage_cycles[stage] += now - since
    return now
