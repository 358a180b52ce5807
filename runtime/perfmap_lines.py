"""Line tables for compiled code (``DPVS_PERF_LINES=1``): which source line each instruction is of.

The machine code stays the same, byte for byte, but profilers then see through inlining.
``debug=True`` of numba alone is no help: it turns optimisations off to keep variables visible.
"""

from __future__ import annotations

from typing import Any

from numba.core.cpu import CPUContext, CPUTargetOptions
from numba.core.debuginfo import DIBuilder
from numba.core.options import TargetOptions


class LineTables(DIBuilder):
    """Tells LLVM functions and lines, and nothing of variables."""

    def initialize(self) -> None:
        """Ask for line tables (with inlined functions) only."""
        self.emission_kind = "LineTablesOnly"
        super().initialize()

    def mark_variable(self, *arguments: Any, **options: Any) -> None:
        """Variables have no place in line tables."""


def enable() -> dict[str, bool]:
    """Teach numba; returns the options of ``njit`` that ask for line tables."""
    # numba has this switch for GPUs only.
    CPUTargetOptions.lineinfo = TargetOptions.Mapping("dbg_directives_only")
    CPUContext.DIBuilder = LineTables
    return {
        "debug": True, "lineinfo": True, "_dbg_extend_lifetimes": False, "_dbg_optnone": False,
    }  # fmt: skip
