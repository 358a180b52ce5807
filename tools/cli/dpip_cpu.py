"""How dpip shows the cores: the master, the workers, and cores that only receive."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tools.cli.dpip_tables import INDENT, Layout, counter_table, with_units

_COUNTERS: Layout = (
    tuple((key, key) for key in ("lcore_loop", "pktburst", "zpktburst", "fpktburst")),
    tuple((key, key) for key in ("z2hpktburst", "h2fpktburst", "dropped")),
    tuple((key, key) for key in ("ipackets", "ibytes", "opackets", "obytes")),
)
_UNITS = {
    "lcore_loop": "lps",
    "ipackets": "pps",
    "opackets": "pps",
    "ibytes": "Bps",
    "obytes": "Bps",
}

# Roles in the order of their groups; the spelling of the headings is that of DPVS.
_GROUPS = {
    "master": "<< Controll Plane >>",
    "kni": "<< Controll Plane >>",
    "worker": "<< Data Plane >>",
    "isolate_rx": "<< Isolate RX Lcores >>",
}
_ROLES = list(_GROUPS)
_CELL, _ISOLATED_CELL = 16, 32

Row = dict[str, Any]


@dataclass
class CpuView:
    """`link show cpuN` of one core (`named`) or `link show cpu` of all, under headings."""

    named: int | None
    stats: bool

    request = "cpu.show"
    rates = with_units(_COUNTERS, _UNITS, "nps")

    def fields(self) -> dict[str, Any]:
        """Fields of the request."""
        return {"cpu": self.named, "stats": self.stats}

    def ordered(self, rows: list[Row]) -> list[Row]:
        """Cores by group and number; the first of a group gets the heading of the group."""
        if self.named is not None:
            return list(rows)
        ordered = sorted(rows, key=lambda row: (_ROLES.index(row["role"]), row["id"]))
        headed = []
        for heading, group in groupby(ordered, key=lambda row: _GROUPS[row["role"]]):
            first, *others = group
            headed += [{**first, "heading": heading}, *others]
        return headed

    def basic(self, row: Row) -> str:
        """The core and its queues."""
        heading = f"{row['heading']}\n" if "heading" in row else ""
        width = _ISOLATED_CELL if row["role"] == "isolate_rx" else _CELL
        queues = "".join(f"{cell:<{width}}" for cell in row["queues"]) or "none"
        return (
            f"{heading}{row['id'] + 1}: cpu{row['cpu']}: socket {row['socket']}\n"
            f"{INDENT}queues {queues}\n"
        )

    def counters(self, row: Row) -> str:
        """What -s adds."""
        return counter_table(_COUNTERS, row["stats"])

    def details(self, row: Row) -> str:
        """What -v adds: nothing so far."""
        return ""
