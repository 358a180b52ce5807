"""Every function of the packet path: what is compiled when all of it is imported."""

from __future__ import annotations

import ipvs.apply
import ipvs.loop
import ipvs.rebuild
import runtime.pointer_ring
import runtime.ring_core
from runtime.jit import COMPILED

WHOLE = (ipvs.apply, ipvs.loop, ipvs.rebuild, runtime.pointer_ring, runtime.ring_core)
PATH = list(COMPILED)
