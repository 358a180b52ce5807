"""Timer wheel over entry numbers, re-armed lazily: no timer work per packet.

An entry hangs in the slot of some moment at or before its real expiry.  When the slot comes up
the owner looks at the entry's own clock and either expires it or hangs it further out.  Entries
are linked through an array of (next, previous) pairs of their own, so sweeping a slot does not
touch the entries themselves until they are due.
"""

from __future__ import annotations

import ctypes

from runtime.intrinsics import load32, store32
from runtime.jit import compiled
from runtime.pointers import view

SLOTS = 4096
SLOT_SHIFT = 8  # 256 ms a slot, 17 minutes a turn
HORIZON = (SLOTS - 2) << SLOT_SHIFT
BACKWARD = 16  # slots (4 s) the clock may go back without consequence
_HEAD = 0x80000000  # marks "previous" as a slot number


class WheelStruct(ctypes.Structure):
    """Head of a wheel; ``links`` is the address of 8 bytes per entry number."""

    _fields_ = [
        ("links", ctypes.c_int64),
        ("slot", ctypes.c_int64),  # next slot number (unwrapped) to sweep
        ("armed", ctypes.c_int64),
        ("heads", ctypes.c_uint32 * SLOTS),
    ]


Wheel = view(WheelStruct)


def initialise(wheel: int, links: int, now: int) -> None:
    """Empty wheel whose first slot is that of ``now`` (ms); ``links`` must be zeroed memory."""
    ctypes.memset(wheel, 0, ctypes.sizeof(WheelStruct))
    w = Wheel(wheel)
    w.links = links
    w.slot = now >> SLOT_SHIFT


@compiled
def arm(wheel, number, delay):
    """Hang entry ``number`` (1..) so that it comes up ``delay`` ms from the wheel's slot on."""
    w = Wheel(wheel)
    if delay > HORIZON:
        delay = HORIZON
    slot = (w.slot + 1 + (delay >> SLOT_SHIFT)) & (SLOTS - 1)
    first = w.heads[slot]
    link = w.links + number * 8
    store32(link, first)
    store32(link + 4, _HEAD | slot)
    if first != 0:
        store32(w.links + first * 8 + 4, number)
    w.heads[slot] = number
    w.armed += 1
    return slot


@compiled
def disarm(wheel, number):
    """Take entry ``number`` off its slot; nothing happens when it hangs nowhere."""
    w = Wheel(wheel)
    link = w.links + number * 8
    following = load32(link)
    before = load32(link + 4)
    if before == 0:
        return 0
    if before & _HEAD:
        w.heads[before & (SLOTS - 1)] = following
    else:
        store32(w.links + before * 8, following)
    if following != 0:
        store32(w.links + following * 8 + 4, before)
    store32(link, 0)
    store32(link + 4, 0)
    w.armed -= 1
    return 1


@compiled
def due(wheel, now):
    """Number of an entry whose slot has come (taken off the wheel), or 0 when all is swept."""
    w = Wheel(wheel)
    # The clock wraps at 2**32 ms; slots count on without wrapping.
    ahead = ((now >> SLOT_SHIFT) - w.slot) & 0xFFFFFF
    if ahead >= 0x800000:
        # The clock went back.  A little is waited for; after more, go on from where it is.
        if ahead < 0x1000000 - BACKWARD:
            w.slot = now >> SLOT_SHIFT
        return 0
    while ahead > 0:
        number = w.heads[w.slot & (SLOTS - 1)]
        if number != 0:
            disarm(wheel, number)
            return number
        w.slot += 1
        ahead -= 1
    return 0
