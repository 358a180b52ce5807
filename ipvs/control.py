"""What steers the loop of a worker, and its pulse (shared memory: the master reads it)."""

from __future__ import annotations

import ctypes

from runtime.pointers import view


class ControlStruct(ctypes.Structure):
    """Written by the loop, but for ``visit``, ``batch`` and ``batch_count`` (ipvs/gate.py)."""

    _fields_ = [
        ("life", ctypes.c_int64),  # address of the LifeBlock: heartbeat out, stop in
        ("visit", ctypes.c_int64),  # what another thread of the worker asks for, see ipvs/visit.py
        ("parked", ctypes.c_int64),  # 1 while the loop stands still
        ("batch", ctypes.c_int64),  # address of OperationStruct[batch_count]
        ("batch_count", ctypes.c_int64),
        ("visits", ctypes.c_int64),
        ("iterations", ctypes.c_int64),
        ("idle_sleep_us", ctypes.c_int64),  # longest sleep when idle, 0 = always poll
        ("sleep", ctypes.c_int64),  # address of rte_delay_us_sleep
        ("tsc_scale", ctypes.c_int64),  # 2**64 * 1000 / Hz: TSC -> ms
        ("empty", ctypes.c_int64),  # consecutive iterations without a packet
        ("sleeps", ctypes.c_int64),
        ("aged", ctypes.c_int64),  # ms of the last housekeeping
        ("busy_tsc", ctypes.c_int64),  # cycles of iterations that had packets, and of visits
        ("idle_tsc", ctypes.c_int64),
        ("excursion_tsc", ctypes.c_int64),  # longest visit
        ("packets", ctypes.c_int64),
        ("ppoll", ctypes.c_int64),  # address of ppoll
        ("wait_set", ctypes.c_int64),  # address of PollStruct[wait_count], netdev/tap.py
        ("wait_count", ctypes.c_int64),  # receive queues to wait for instead of sleeping
        ("wait_seconds", ctypes.c_int64),  # a struct timespec: 0 and
        ("wait_nanoseconds", ctypes.c_int64),
    ]


WAIT_AT = ControlStruct.wait_seconds.offset
Control = view(ControlStruct)
