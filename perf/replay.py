"""``perf/run replay``: a capture file replayed for ever through the unchanged worker loop.

The driver (net_pcap, infinite_rx) copies each frame of the file into a fresh mbuf and discards
what is sent.  Its own cost is measured in the same run and taken off in the columns "own".
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from ipvs.table import table_bytes
from perf import network, ways
from perf.child import in_child
from perf.errors import PerfError
from perf.huge import pages_for, reserved
from perf.options import CPU, ROUNDS, SECONDS, Counts
from perf.replay_cases import Case, examine, generate
from perf.report import Report, trio
from perf.traffic import MAX_FLOWS

HEAD = ("case", "flows", "frames", "Mpps", "cycles/packet", "driver", "own cycles", "own Mpps")
TABLE = 2097151  # conn_pool_size's default
SPARE = 8191


def parse_service(text: str) -> network.Service:
    """PROTO:ADDRESS:PORT.  Raises PerfError."""
    words = text.split(":")
    try:
        proto, address, port = words
        network.number(address)
        if proto not in network.PROTOCOLS or not 0 < int(port) < 65536:
            raise ValueError
    except ValueError:
        raise PerfError(
            f"--service {text}: not PROTO:ADDRESS:PORT, as in udp:192.0.2.1:80"
        ) from None
    return proto, address, int(port)


def measure(case: Case, table: int, rounds: int, seconds: float, cpu: int | None) -> dict[str, Any]:
    """Replay one file in a process of its own.  Raises PerfError."""
    job = {
        "pcap": str(case.path), "mode": case.mode, "services": case.services, "cpu": cpu,
        "mac": case.mac.hex(), "family": case.family, "table": table, "rounds": rounds,
        "seconds": seconds, "frames": case.frames,
    }  # fmt: skip
    slots = ways.slots_for(table, case.family)
    with reserved(pages_for(case.frames + SPARE, table_bytes(slots))):
        result: dict[str, Any] = in_child("perf.replay_run:measure", job)
    if case.flows is not None and result["connections"] != case.flows:
        raise PerfError(f"{case.name}: {result['connections']} connections instead of {case.flows}")
    return result


def add(report: Report, case: Case, result: dict[str, Any]) -> None:
    """One line of the table."""
    report.add(
        [
            case.name, f"{result['connections']:,}", f"{case.frames:,}", trio(result["mpps"], 2),
            trio(result["total"]), f"{result['source'][1]:.0f}", trio(result["own"]),
            f"{result['own_mpps'][1]:.2f}",
        ],
        {"case": case.name, "mode": case.mode, "frames": case.frames, **result},
    )  # fmt: skip


def add_stages(report: Report, results: list[tuple[str, dict[str, float]]]) -> None:
    """Table of cycles a packet by stage."""
    names = list(results[0][1])
    rows = [
        [case, *(f"{stages[name]:.1f}" for name in names), f"{sum(stages.values()):.1f}"]
        for case, stages in results
    ]
    report.table("Cycles a packet by stage (median):", ["case", *names, "sum"], rows)


@click.command()
@click.option("--pcap", type=click.Path(path_type=Path), help="Replay this file.")
@click.option("--service", "services", multiple=True, help="PROTO:ADDRESS:PORT in --pcap.")
@click.option("--flows", type=Counts(MAX_FLOWS), default="1,1024,65536", show_default=True)
@click.option("--mode", type=click.Choice(ways.MODES), default="fullnat", show_default=True)
@click.option("--proto", type=click.Choice(list(network.PROTOCOLS)), default="udp")
@click.option("--family", type=click.Choice(["4", "6"]),
              help="Of the clients' addresses  [default: 4; nat64: 6]")  # fmt: skip
@click.option("--shuffled", is_flag=True, help="Four rounds, each in a new random order.")
@click.option("--both", is_flag=True, help="Each client frame is followed by its reply.")
@click.option("--table", type=click.IntRange(64, 1 << 26), default=TABLE, show_default=True,
              help="Size of the connection table.")  # fmt: skip
@ROUNDS
@SECONDS
@CPU
@click.option("--keep", type=click.Path(path_type=Path), help="Leave generated files here.")
def command(
    pcap: Path | None, services: tuple[str, ...], flows: list[int], mode: str, proto: str,
    family: str | None, shuffled: bool, both: bool, table: int, rounds: int, seconds: float,
    cpu: int | None, keep: Path | None,
) -> None:  # fmt: skip
    """Replay a capture file (or generated flows) through the worker loop."""
    if services and pcap is None:
        raise click.UsageError("--service is for the packets of --pcap")
    if pcap is not None and (shuffled or both or family or keep):
        raise click.UsageError(
            "--shuffled, --both, --family and --keep are for generated flows, not for --pcap"
        )
    report = Report("replay", HEAD)
    stages: list[tuple[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory(prefix="dpvs-perf-") as scrap:
        folder = keep or Path(scrap)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PerfError(f"{folder}: {error.strerror}") from error
        for count in flows if pcap is None else [0]:
            if pcap is not None:
                case = examine(pcap, mode, [parse_service(text) for text in services])
            else:
                number = int(family or ways.FAMILIES[mode][0])
                case = generate(folder, count, mode, proto, shuffled, both, table, number)
            result = measure(case, table, rounds, seconds, cpu)
            add(report, case, result)
            stages.append((case.name, result["stages"]))
            if not keep and pcap is None:
                case.path.unlink()
    add_stages(report, stages)
    report.check_notes(
        f"min / median / max of {rounds} rounds of {seconds} s; driver: receive and transmit only; "
        f"table of {table:,}",
        rounds * len(report.data),
    )
    report.finish()
