"""``dpvs``: start, stop and look at the load balancer."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import click

from tools import client, scheduler_cli
from tools.doctor import doctor
from tools.launch import default_name, launch, wait_gone
from tools.one_line import OneLineGroup
from tools.top import top

VERSION = "1.10.2"
STOP_SECONDS = 60.0  # longest wait for the end of a daemon that was stopped


@click.group("dpvs", cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "-v", "--version", message="dpvs version: %(version)s")
def main() -> None:
    """Layer-4 load balancer over DPDK."""


main.add_command(doctor)
main.add_command(top)

NAME = click.option("--name", default=None, help="Instance name (default: $DPVS_NAME or dpvs).")


def _fail(text: str) -> None:
    click.echo(f"dpvs: {text}", err=True)
    sys.exit(1)


def _client(name: str | None) -> client.ControlClient:
    return client.ControlClient(client.socket_path(name or default_name()))


@main.command()
@click.option(
    "-c", "--config", default="/etc/dpvs.conf", show_default=True, help="Configuration file."
)
@NAME
@click.option("--foreground", is_flag=True, help="Stay in the terminal until stopped.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def start(config: str, name: str | None, foreground: bool, quiet: bool) -> None:
    """Start the daemon; returns when it forwards packets."""
    failure = launch(config, name, foreground, None if quiet else click.echo)
    if failure:
        _fail(failure)


@main.command()
@NAME
def stop(name: str | None) -> None:
    """Stop the daemon and remove all it made."""
    chosen = name or default_name()
    try:
        connection = _client(chosen)
        pid = connection.call("info")["pid"]
        connection.call("stop")
    except (client.DaemonDown, client.ControlError, ValueError) as error:
        _fail(str(error))
        return
    if not wait_gone(pid, STOP_SECONDS):
        _fail(f"pid {pid} has not ended after {STOP_SECONDS:g} s")


@main.command()
@NAME
def reload(name: str | None) -> None:
    """Read the configuration file again; what may change at run time does."""
    try:
        os.kill(_client(name).call("info")["pid"], signal.SIGHUP)
    except (client.DaemonDown, client.ControlError, ValueError, OSError) as error:
        _fail(str(error))


@main.command()
@NAME
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def status(name: str | None, as_json: bool) -> None:
    """Show master and workers."""
    try:
        data = _client(name).call("status")
    except (client.DaemonDown, client.ControlError, ValueError) as error:
        _fail(str(error))
        return
    click.echo(json.dumps(data, indent=2) if as_json else render_status(data))


def render_status(data: dict[str, Any]) -> str:
    """The status map as a few lines of text."""
    tables = ", ".join(f"{count} {name}" for name, count in data["tables"].items() if count)
    rows = [
        f"{data['name']}: running, pid {data['pid']}, up {data['uptime']} s, DPDK {data['dpdk']}",
        f"tables: {tables or 'empty'}",
    ]
    for worker in data["workers"]:
        last = f", last exit: {worker['last_exit']}" if worker.get("last_exit") else ""
        rows.append(
            f"worker {worker['cid']}: {worker['state']}, pid {worker['pid']}, "
            f"started {worker['starts']} time(s), in {worker['ipackets']} out "
            f"{worker['opackets']} dropped {worker['dropped']} packets{last}"
        )
    return "\n".join(rows)


@main.command()
@NAME
@click.option("-a", "--all", "everything", is_flag=True, help="Zero counters too.")
def counters(name: str | None, everything: bool) -> None:
    """Show every named counter of every worker, drop reasons first."""
    try:
        data = _client(name).call("counters")
    except (client.DaemonDown, client.ControlError, ValueError) as error:
        _fail(str(error))
        return
    for worker in data["workers"]:
        for key, value in worker["counters"].items():
            if value or everything:
                click.echo(f"worker {worker['cid']} {key} {value}")


@main.command()
@click.argument("source", metavar="IN.pcap")
@click.argument("target", metavar="OUT.pcap")
@click.option("-c", "--config", required=True, help="Configuration with devices and commands.")
@click.option("--in", "inputs", multiple=True, metavar="DEVICE=FILE", help="Input of a device.")
def replay(source: str, target: str, config: str, inputs: tuple[str, ...]) -> None:
    """Run capture files through the compiled path, without root, NIC or hugepages.

    The first device of the configuration reads IN.pcap; what each device sends is written to
    OUT.pcap (first device) or OUT.DEVICE.pcap.
    """
    from tools.replay_cli import run_replay

    failure = run_replay(source, target, config, inputs, click.echo)
    if failure:
        _fail(failure)


@main.command(
    "scheduler", add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)  # fmt: skip
@NAME
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def scheduler(name: str | None, words: tuple[str, ...]) -> None:
    """Load, show, unload or check schedulers written by yourself."""
    if words and words[0] in ("-h", "--help"):
        click.echo(scheduler_cli.USAGE, nl=False)
        return
    sys.exit(scheduler_cli.run(list(words), _client(name), sys.stdout, sys.stderr))


@main.command(
    "perf", add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)  # fmt: skip
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def benchmarks(words: tuple[str, ...]) -> None:
    """Run a benchmark of the packet path (see `dpvs perf --help`)."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "perf.main", *words])


if __name__ == "__main__":
    main()
