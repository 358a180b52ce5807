"""`tools/demo`: a balancer between real clients and servers on this machine, start to end."""

from __future__ import annotations

import io
import shlex
import sys

import click

from tools import demo_check, lab_needs, lab_scrap
from tools import lab_two_arm as net
from tools.lab import Lab
from tools.lab_balancer import Balancer, program, setup_commands, stop
from tools.lab_node import LabError
from tools.lab_two_arm import TwoArm

LAB = "demo"


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n== {text}")


def describe(network: TwoArm, mode: str) -> None:
    """Print what hosts there are."""
    title("The network (namespaces on this machine)")
    print(f"{network.client.netns:<18} {net.CLIENT_HOST}, asks for {net.VIP}:80")
    print(f"{network.lb.netns:<18} dpvs, mode {mode}, dpdk0 {net.LB_WAN}, dpdk1 {net.LB_LAN}")
    for address, server in network.servers.items():
        print(f"{server.netns:<18} {address}, nginx")


def show_requests(network: TwoArm, count: int) -> demo_check.Answers:
    """Do the requests and print the share of each server."""
    argv = network.client.enter(demo_check.request_command(count))
    print(f"# {shlex.join(argv)}")
    answers = demo_check.request(network.client, count)
    print(f"{answers.got} of {count} answered, each on its own connection")
    for name, number in sorted(answers.servers.items()):
        print(f"  {name:<6} {number:>6}  {'#' * round(60 * number / max(answers.got, 1))}")
    seen = ", ".join(sorted(answers.sources)) or "nobody"
    print(f"The servers saw as their client: {seen}")
    return answers


def ping(network: TwoArm) -> list[str]:
    """Ping the virtual address; what is wrong."""
    words = ["ping", "-c", "3", "-i", "0.2", "-W", "10", net.VIP]
    print(f"# {shlex.join(network.client.enter(words))}")
    done = network.client.call(*words)
    print(done.stdout.strip())
    return [] if done.returncode == 0 else [f"{net.VIP} does not answer ping"]


def demonstrate(balancer: Balancer, mode: str, requests: int) -> list[str]:
    """Set the service up, use it, look at it. Returns what went wrong."""
    network = balancer.network
    network.answer_by(mode)
    title("Set up ports, routes and a virtual service")
    for line in setup_commands(mode, balancer.workers, list(network.servers)):
        balancer.operate(line)
    title("Ping the virtual address")
    wrong = ping(network)
    title(f"{requests} requests with curl")
    answers = show_requests(network, requests)
    title("What the operator sees")
    balancer.operate("ipvsadm -Ln")
    stats = balancer.operate("ipvsadm -Ln --stats -X")
    balancer.operate("ipvsadm -Lnc", show=6)
    balancer.operate("dpip link show")
    names = [server.name for server in network.servers.values()]
    counted = demo_check.service_connections(stats)
    return wrong + demo_check.complaints(answers, mode, balancer.workers, names, counted)


def invite(network: TwoArm) -> None:
    """Print how to go on with a demonstration that was kept."""
    name = lab_scrap.instance(LAB)
    title("The lab keeps running")
    print(f"  ip netns exec {network.client.netns} curl http://{net.VIP}/")
    print(f"  DPVS_NAME={name} {program('ipvsadm')} -Ln")
    print(f"  DPVS_NAME={name} {program('dpip')} link show -s")
    print("  tools/demo --down        # ends it and removes everything")


def take_down() -> None:
    """End a demonstration that was kept, or whose program was killed."""
    if not lab_scrap.leftovers(LAB):
        print("no demonstration is running")
        return
    try:
        stop(lab_scrap.instance(LAB))
    except LabError as error:
        print(f"demo: {error}; its processes are killed", file=sys.stderr)
    lab_scrap.sweep(LAB)
    print("the demonstration is ended and removed")


def perform(mode: str, requests: int, workers: int, keep: bool) -> list[str]:
    """Build the lab, demonstrate, and remove it unless it is to be kept."""
    with Lab(LAB) as lab:
        network = TwoArm(lab)
        describe(network, mode)
        balancer = Balancer(network, workers=workers, loud=True)
        title("Start the balancer")
        try:
            balancer.start()
            wrong = demonstrate(balancer, mode, requests)
        except LabError:
            print(balancer.log_tail(), file=sys.stderr)
            raise
        if keep and not wrong:
            invite(network)
            lab.keep()
    return wrong


@click.command()
@click.option("--mode", type=click.Choice(net.MODES), default="fullnat", show_default=True)
@click.option("--requests", type=click.IntRange(1, 100_000), default=300, show_default=True)
@click.option("--workers", type=click.IntRange(1, 2), default=1, show_default=True)
@click.option("--keep", is_flag=True, help="leave everything running at the end")
@click.option("--down", is_flag=True, help="end what --keep left running")
def main(mode: str, requests: int, workers: int, keep: bool, down: bool) -> None:
    """Show the balancer at work: one client, three nginx servers, a few hundred requests.

    Needs root. Touches nothing outside network namespaces of its own.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # in order with what its programs print
        sys.stdout.reconfigure(line_buffering=True)
    try:
        if down:
            take_down()
            return
        if lab_scrap.kept(LAB):
            raise LabError("one is running already: tools/demo --down ends it")
        if lacking := lab_needs.missing():
            raise LabError("cannot run here: " + "; ".join(lacking))
        wrong = perform(mode, requests, workers, keep)
    except (LabError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\ndemo: interrupted, everything is removed", file=sys.stderr)
        sys.exit(130)
    if not keep:
        wrong += [f"left behind: {thing}" for thing in lab_scrap.leftovers(LAB)]
    for sentence in wrong:
        print(f"demo: FAILED: {sentence}", file=sys.stderr)
    if wrong:
        sys.exit(1)
    print("\nAll well." + ("" if keep else " Everything is removed again."))


if __name__ == "__main__":
    main()
