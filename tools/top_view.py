"""The screen of ``dpvs top`` as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from tools.top_sample import PortView, View, WorkerView

WORKER_HEAD = (
    *("worker", "load", "in/s", "out/s", "busy polls/s", "idle polls/s", "handed in/s"),
    *("handed out/s", "conns", "longest away, us", "packets in", "packets out"),
)
PORT_HEAD = ("port", "in/s", "out/s", "bit/s in", "bit/s out", "lost/s", "packets in",
             "packets out")  # fmt: skip


def scaled(value: float) -> str:
    """A rate with three or four digits and k, M or G."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor * 0.99995:
            return f"{value / factor:.3f}"[:5].rstrip(".") + letter
    return f"{value:.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns, the first to the left."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _worker(name: str, w: WorkerView) -> list[str]:
    return [
        name if not w.state or w.state == "up" else f"{name} ({w.state})", f"{100 * w.load:.1f}%",
        scaled(w.packets_in), scaled(w.packets_out), scaled(w.busy_polls), scaled(w.idle_polls),
        scaled(w.handed_in), scaled(w.handed_out), str(w.connections), f"{w.excursion_us:.0f}",
        str(w.total_in), str(w.total_out),
    ]  # fmt: skip


def _stages(name: str, w: WorkerView, stages: Sequence[str]) -> list[str]:
    if w.stages is None:
        return [name, *("-" for _ in stages), "-"]
    cells = [f"{w.stages[stage]:.1f}" for stage in stages]
    return [name, *cells, f"{sum(w.stages.values()):.1f}"]


def _port(p: PortView) -> list[str]:
    return [
        p.name, scaled(p.packets_in), scaled(p.packets_out), scaled(8 * p.bytes_in),
        scaled(8 * p.bytes_out), scaled(p.lost), str(p.total_in), str(p.total_out),
    ]  # fmt: skip


def _drops(view: View) -> list[str]:
    total = view.total
    seen = [name for name, count in total.drop_totals.items() if count]
    if not seen:
        return ["no packet was dropped"]
    seen.sort(key=lambda name: (-total.drops[name], -total.drop_totals[name], name))
    rows = [[name, scaled(total.drops[name]), str(total.drop_totals[name])] for name in seen]
    return table(("drop reason", "drops/s", "since start"), rows)


def render(view: View, stages: bool) -> list[list[str]]:
    """The blocks of the screen; the first is the title, each other begins with its heading."""
    several = len(view.workers) > 1
    named = [(str(w.cid), w) for w in view.workers]
    everybody = [*named, *([("all", view.total)] if several else [])]
    title = f"dpvs {view.name}: up {view.uptime} s, over the last {view.seconds:.1f} s"
    blocks = [[title], table(WORKER_HEAD, [_worker(*row) for row in everybody])]
    if stages:
        head = ("cycles a packet", *view.stages, "sum")
        blocks.append(table(head, [_stages(*row, view.stages) for row in everybody]))
    ports = [*view.ports, *([view.port_total] if len(view.ports) > 1 else [])]
    blocks.append(table(PORT_HEAD, [_port(p) for p in ports]))
    blocks.append(_drops(view))
    return blocks
