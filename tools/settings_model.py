"""Root of the dpvs.conf schema: all blocks of the file as one typed object."""

# ruff: noqa: RUF009 - the calls declare fields, they make no shared value

import shlex
from dataclasses import dataclass, replace

from runtime.config_schema import RawLine, block, raw
from tools.settings_ipvs import IpvsDefs
from tools.settings_net import Device, GlobalDefs, NetifDefs
from tools.settings_stack import (
    NO_IPSET,
    CtrlDefs,
    IpsetDefs,
    Ipv4Defs,
    Ipv6Defs,
    NeighDefs,
    SaPool,
    TimerDefs,
)
from tools.settings_workers import WorkerDefs


def command_problem(text: str) -> str:
    """What is wrong with a line of the commands block, or an empty string."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        return f"'{text}': {str(error).lower()}"
    if words[:2] == ["dpvs", "scheduler"]:
        return ""
    if len(words) < 2 or words[0] not in ("dpip", "ipvsadm"):
        return f"'{text}' is neither a dpip nor an ipvsadm command"
    return ""


@dataclass(frozen=True)
class Settings:
    """A whole configuration; each field is a top-level block."""

    global_defs: GlobalDefs = block(GlobalDefs, "the instance as a whole")
    netif_defs: NetifDefs = block(NetifDefs, "packet buffers and network devices")
    worker_defs: WorkerDefs = block(WorkerDefs, "cores and their queues")
    timer_defs: TimerDefs = block(TimerDefs, "timers")
    neigh_defs: NeighDefs = block(NeighDefs, "neighbours (ARP, IPv6 neighbour discovery)")
    ipset_defs: IpsetDefs = block(IpsetDefs, "ipsets", inert=NO_IPSET)
    ipv4_defs: Ipv4Defs = block(Ipv4Defs, "IPv4")
    ipv6_defs: Ipv6Defs = block(Ipv6Defs, "IPv6")
    ctrl_defs: CtrlDefs = block(CtrlDefs, "control")
    ipvs_defs: IpvsDefs = block(IpvsDefs, "load balancer")
    sa_pool: SaPool = block(SaPool, "local addresses of FullNAT")
    commands: tuple[RawLine, ...] = raw(
        "commands",
        "operator commands, one dpip or ipvsadm command a line, executed in order at start; "
        "a change needs a restart (or give the command by hand)",
        command_problem,
    )

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices workers can use, in port order: those outside bonds, then the bonds.

        A bond stands here as its primary member under the bond's name, because bonding itself
        is not supported.
        """
        netif = self.netif_defs
        by_name = {device.name: device for device in netif.devices}
        members = {slave for bond in netif.bondings for slave in bond.slaves}
        found = [device for device in netif.devices if device.name not in members]
        for bond in netif.bondings:
            if bond.leader in by_name:
                leader = by_name[bond.leader]
                found.append(replace(leader, name=bond.name, kni_name=bond.kni_name))
        return tuple(found)
