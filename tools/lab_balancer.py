"""A balancer in a lab: its configuration file, starting and stopping it, operating it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from tools import lab_scrap
from tools import lab_two_arm as net
from tools.lab import Lab
from tools.lab_node import LabError, call, run
from tools.lab_two_arm import TwoArm

HUGEPAGES = 256
START_SECONDS = 600  # a first start compiles the packet path

CONFIG = """\
! two tap ports in place of network cards, {workers} worker(s) with a queue pair on each
global_defs {{
    name {name}
    hugepages {hugepages}
    cpu_isolation off
    log_level INFO
    log_file {log}
}}
netif_defs {{
    pktpool_size 16383
{devices}}}
worker_defs {{
    worker master {{
        type master
        cpu_id {master_cpu}
    }}
{worker_blocks}}}
ipvs_defs {{
    conn {{
        conn_pool_size 131071
    }}
}}
"""

DEVICE = """\
    device {port} {{
        port tap iface={tap} mac={mac}
        rx {{
            queue_number {workers}
        }}
        tx {{
            queue_number {workers}
        }}
    }}
"""

WORKER = """\
    worker worker{number} {{
        type slave
        cpu_id {cpu}
        idle adaptive
{ports}    }}
"""

WORKER_PORT = """\
        port {port} {{
            rx_queue_ids {queue}
            tx_queue_ids {queue}
        }}
"""

# As burnt in: neighbours know them after a restart.
MACS = {"dpdk0": "02:00:00:00:01:00", "dpdk1": "02:00:00:00:01:01"}
PORTS = {"dpdk0": net.WAN_TAP, "dpdk1": net.LAN_TAP}


def config(name: str, workers: int, log: Path) -> str:
    """The text of dpvs.conf for a balancer called `name` in the two-arm network."""
    master_cpu, *others = sorted(os.sched_getaffinity(0))
    cpus = [*others, master_cpu]  # the master is rarely busy and shares its cpu last
    blocks = []
    for queue in range(workers):
        ports = "".join(WORKER_PORT.format(port=port, queue=queue) for port in PORTS)
        cpu = cpus[queue % len(cpus)]
        blocks.append(WORKER.format(number=queue + 1, cpu=cpu, ports=ports))
    return CONFIG.format(
        name=name,
        workers=workers,
        hugepages=HUGEPAGES,
        log=log,
        master_cpu=master_cpu,
        devices="".join(
            DEVICE.format(port=port, tap=tap, mac=MACS[port], workers=workers)
            for port, tap in PORTS.items()
        ),
        worker_blocks="".join(blocks),
    )


def program(name: str) -> str:
    """Path of the installed command `name`: it stands beside the running Python.

    Raises LabError when the project is not installed there.
    """
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise LabError(f"no command {name} beside {sys.executable}: run tools/setup.sh first")
    return str(path)


class Balancer:
    """One instance of the daemon, running in the `lb` host of a two-arm network.

    The instance is called lab-<lab>. With `loud` it prints each command line and its output.
    """

    def __init__(self, network: TwoArm, *, workers: int = 1, loud: bool = False) -> None:
        lab: Lab = network.lab
        self.network = network
        self.name = lab_scrap.instance(lab.name)
        self.loud = loud
        self.workers = workers
        self.config = lab.directory / "dpvs.conf"
        self.log = lab.directory / "dpvs.log"
        self.config.write_text(config(self.name, workers, self.log))
        self.environment = dict(os.environ, DPVS_NAME=self.name)

    def start(self) -> None:
        """Start the daemon, wait until it is ready, and plug its ports in.

        The daemon is stopped when the lab ends. Raises LabError when it does not start.
        """
        words = ["dpvs", "start", "--config", str(self.config)]
        if self.loud:
            print(f"# {shlex.join(self.network.lb.enter(words))}", flush=True)
        argv = self.network.lb.enter([program(words[0]), *words[1:]])
        self.network.lab.on_exit(self.stop)
        # When loud, its progress is worth seeing as it comes.
        run(argv, timeout=START_SECONDS, env=self.environment, capture=not self.loud)
        self.network.plug_taps()

    def stop(self) -> None:
        """Stop the daemon if it runs; LabError when it refuses."""
        stop(self.name)

    def operate(self, line: str, *, show: int | None = None) -> str:
        """Run an operator's command line (`ipvsadm -Ln`, `dpip addr show`); its output.

        When loud, only the first `show` lines of output are printed. Raises LabError when the
        command fails.
        """
        if self.loud:
            print(f"# {line}" + (f" | head -{show}" if show else ""))
        words = shlex.split(line)
        output = run([program(words[0]), *words[1:]], env=self.environment)
        if self.loud and output:
            print("\n".join(output.splitlines()[:show]))
        return output

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the daemon's log, for a failure message."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


def running(name: str) -> bool:
    """Whether a daemon called `name` answers."""
    return call([program("dpvs"), "status", "--name", name]).returncode == 0


def stop(name: str) -> None:
    """Stop the daemon called `name` if it answers; LabError when it refuses."""
    if running(name):
        run([program("dpvs"), "stop", "--name", name])


def setup_commands(mode: str, workers: int, servers: list[str]) -> list[str]:
    """The operator's commands that set up ports, routes and one TCP service, in order.

    `mode` is one of lab_two_arm.MODES; `servers` are the real servers' addresses. FullNAT gets
    one local address for each worker.
    """
    service = f"-t {net.VIP}:80"
    letter = {"fullnat": "b", "nat": "m", "dr": "g", "tunnel": "i"}[mode]
    lines = [
        f"dpip addr add {net.LB_WAN}/{net.LINK_PLEN} dev dpdk0",
        f"dpip addr add {net.VIP}/32 dev dpdk0",
        f"dpip addr add {net.LB_LAN}/{net.LINK_PLEN} dev dpdk1",
        f"dpip route add default via {net.CLIENT_LINK} dev dpdk0",
        f"ipvsadm -A {service} -s rr",
    ]
    lines += [f"ipvsadm -a {service} -r {server}:80 -{letter}" for server in servers]
    if mode == "fullnat":
        lines += [
            f"ipvsadm -P {service} -z {address} -F dpdk1"
            for address in net.local_addresses(workers)
        ]
    return lines
