"""A visit between two bursts: what another thread of the worker wants done to its tables.

The polling thread is the only one that writes the tables.  Replication records are decoded and
checked by the companion thread (tools/daemon/companion.py); what is left of them, a list of short
operations, is executed here in compiled code, so that packets wait for nanoseconds and not for the
interpreter.  For rare work there is PARK: the polling thread stands still until it is released.
"""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.control import Control
from ipvs.operations import execute
from runtime.heartbeat_loop import must_stop
from runtime.intrinsics import cpu_pause, load_acquire, rdtsc, store_release
from runtime.jit import compiled

NOTHING = 0
EXECUTE = 1
PARK = 2

VISIT_AT = Control.offset("visit")
PARKED_AT = Control.offset("parked")


@compiled
def _stand_still(control):
    """Until the other thread has finished.  No heartbeat: one that never finishes is noticed."""
    store_release(control + PARKED_AT, 1)
    while load_acquire(control + VISIT_AT) == PARK:
        if must_stop(Control(control).life):
            break
        cpu_pause()
    store_release(control + PARKED_AT, 0)
    return 0


@compiled
def visit(ipvs):
    """Do what is asked; notes the longest time that packets had to wait for it."""
    control = Ipvs(ipvs).control
    c = Control(control)
    began = rdtsc()
    if load_acquire(control + VISIT_AT) == EXECUTE:
        execute(ipvs, c.batch, c.batch_count)
        store_release(control + VISIT_AT, NOTHING)
    else:
        _stand_still(control)
    c.visits += 1
    spent = rdtsc() - began
    if spent > c.excursion_tsc:
        c.excursion_tsc = spent
    c.busy_tsc += spent
    return spent
