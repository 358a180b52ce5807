"""Line tables for compiled code (``DPVS_PERF_LINES=1``): which source line each instruction is of.

The machine code stays the same, byte for byte, but profilers then see through inlining.
``debug=True`` of numba alone is no help: it turns optimisations off to keep variables visible.
"""

from __future__ import annotations

from typing import Any

from numba.core.debuginfo import DIBuilder


class LineTables(DIBuilder):
    """Tells LLVM functions and lines, and nothing of variables."""

    def initialize(self) -> None:
        """Ask for line tables (with inlined functions) only."""
        self.emission_kind = "LineTablesOnly"
        super().initialize()

    def mark_variable(self, *arguments: Any, **options: Any) -> None:
        """Variables have no place in line tables."""


def ask(flags: Any) -> None:
    """Set the flags of numba's compiler that make it emit line tables."""
    flags.debuginfo = flags.dbg_directives_only = True
    flags.dbg_extend_lifetimes = flags.dbg_optnone = False
