"""``perf/flame``: where the time of a worker goes, as a flame graph.

The worker runs the released machine code; it was only compiled with line tables, so that inlined
functions can be told apart (runtime/perfmap_lines.py).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from perf import flame_record, flame_stacks, network, options, ways
from perf.errors import PerfError
from perf.flame_code import Code
from perf.flame_host import loaded_worker
from perf.flame_svg import svg
from perf.replay_cases import generate
from perf.report import OUT, Report
from runtime import perfmap

TABLE = 131071
HEAD = ("function", "itself %", "with callees %")
TOP = 25


@contextlib.contextmanager
def _worker(pid: int | None, job: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """(pid, what it does) of the worker to record: a running one, or one made for it."""
    if pid is not None:
        yield pid, f"process {pid}"
        return
    with tempfile.TemporaryDirectory(prefix="dpvs-perf-") as scrap:
        case = generate(
            Path(scrap), job["flows"], job["mode"], job["proto"], False, job["both"], TABLE,
            ways.family_of(job),
        )  # fmt: skip
        more = {"pcap": str(case.path), "mac": case.mac.hex(), "frames": case.frames}
        with loaded_worker({**job, **more, "table": TABLE}) as made:
            what = f"{job['mode']} {job['proto'].upper()}, {job['flows']:,} flows"
            yield made, f"{what}{', both directions' if job['both'] else ''}"


def _record(
    pid: int, seconds: float, frequency: int, event: str, keep: Path | None
) -> tuple[Counter[flame_stacks.Stack], bool]:
    """Stacks of a process, and whether inlined functions could be told."""
    try:
        perfmap.write_map(pid)  # for people who look at the recording with perf report
        with tempfile.TemporaryDirectory(prefix="dpvs-perf-") as scrap:
            data = keep or Path(scrap) / "perf.data"
            flame_record.record(pid, seconds, frequency, event, data)
            code = Code(pid)
            mappings = perfmap.file_mappings(pid)
            samples = flame_record.read(data)
        return flame_stacks.collapse(samples, code, mappings), code.has_lines
    except perfmap.PerfMapError as error:
        raise PerfError(str(error)) from error
    finally:
        if keep is None:
            perfmap.map_path(pid).unlink(missing_ok=True)


def _report(stacks: Counter[flame_stacks.Stack]) -> Report:
    report = Report("flame", HEAD)
    for frame, own, whole in flame_stacks.shares(stacks):
        data = {"function": frame.name, "kind": frame.kind, "self": own, "total": whole}
        if len(report.rows) < TOP:
            report.add([frame.name, f"{100 * own:.1f}", f"{100 * whole:.1f}"], data)
        else:
            report.data.append(data)
    return report


def _notes(event: str, samples: int, frequency: int, lines: bool, changes: int) -> list[str]:
    clock = "hardware cycle counter" if event == flame_record.HARDWARE else "software clock"
    inlined = (
        "Inlined functions are told apart by line tables; the machine code is the released one."
        if lines
        else "Without line tables (DPVS_PERF_LINES=1) inlined functions count for their callers."
    )
    return [
        f"{samples:,} samples, {clock} ({event}) at {frequency:,} Hz"
        + (f"; {changes:,} configuration changes a second." if changes else "."),
        inlined + " C functions are unwound by perf.",
        "Compiled code has no frame pointers: callers of a compiled function are the shortest way "
        "from the loop in the call graph of the machine code.",
    ]


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
              help="The SVG file (default: beside the tables in perf/out).")  # fmt: skip
@click.option("--pid", type=click.IntRange(1), help="Record this running worker instead.")
@click.option("--flows", type=click.IntRange(1, 100_000), default=1024, show_default=True)
@click.option("--mode", type=click.Choice(ways.MODES), default="fullnat", show_default=True)
@click.option("--proto", type=click.Choice(list(network.PROTOCOLS)), default="udp")
@click.option("--both", is_flag=True, help="Each client frame is followed by its reply.")
@click.option("--changes", type=click.IntRange(0, 10_000), default=1000, show_default=True,
              help="Configuration changes a second while it is recorded.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0.2, 600), default=5.0, show_default=True)
@click.option("--frequency", type=click.IntRange(10, 20_000), default=1999, show_default=True,
              help="Samples a second.")  # fmt: skip
@click.option("--keep", type=click.Path(path_type=Path, dir_okay=False),
              help="Leave perf's recording here.")  # fmt: skip
@options.CPU
def command(
    output: Path | None, pid: int | None, flows: int, mode: str, proto: str, both: bool,
    changes: int, seconds: float, frequency: int, keep: Path | None, cpu: int | None,
) -> None:  # fmt: skip
    """Record a worker under load and draw a flame graph (SVG)."""
    flame_record.need()
    event = flame_record.event()
    job = {
        "flows": flows, "mode": mode, "proto": proto, "both": both, "changes": changes, "cpu": cpu,
    }  # fmt: skip
    with _worker(pid, job) as (chosen, what):
        stacks, lines = _record(chosen, seconds, frequency, event, keep)
    report = _report(stacks)
    count = sum(stacks.values())
    report.notes += _notes(event, count, frequency, lines, 0 if pid else changes)
    path = report.save(OUT)
    target = output or path.with_suffix(".svg")
    about = f"{report.about['date']}, {report.about['cpu']}, commit {report.about['commit']}."
    try:
        target.write_text(svg(stacks, f"A dpvs worker: {what}", [*report.notes, about]))
    except OSError as error:
        raise PerfError(f"{target}: {error.strerror}") from error
    click.echo(report.text() + f"\nwritten: {target}, {path} and .json")
