"""`dpvs doctor`: is this host ready for the daemon, and if not, which command makes it so?"""

import os
from collections.abc import Iterable
from pathlib import Path

import click

from runtime.config_report import ConfigError
from tools.doctor_cpu import cpu_checks
from tools.doctor_daemon import instance_check, privilege_checks
from tools.doctor_host import FAIL, OK, WARN, Check, Host
from tools.doctor_memory import memory_checks
from tools.doctor_nic import nic_checks
from tools.doctor_software import dpdk_checks, python_checks
from tools.settings import Settings, load

DEFAULT_CONFIG = "/etc/dpvs.conf"
_DEFAULT_NAME = "dpvs"


def run_checks(
    settings: Settings | None, root: str | Path = "/", name: str | None = None
) -> list[Check]:
    """Check the host below `root` for a configuration (None: what can be said without one).

    `name` is the instance; without it that of DPVS_NAME or of the settings. Nothing is changed.
    """
    host = Host(root)
    configured = settings.global_defs.name if settings else None
    name = name or os.environ.get("DPVS_NAME") or configured or _DEFAULT_NAME
    running, instance = instance_check(host, name)
    checks = [*python_checks(), *dpdk_checks(host, settings), *privilege_checks(host, settings)]
    checks += memory_checks(host, settings, running=running)
    checks += cpu_checks(host, settings)
    if settings is not None:
        checks += nic_checks(host, settings)
    return [*checks, instance]


def config_checks(path: str, root: str | Path = "/") -> tuple[Settings | None, list[Check]]:
    """Read a configuration; every error and warning in it becomes a check."""
    cpus = Host(root).cpus("sys/devices/system/cpu/present") or None
    try:
        loaded = load(path, cpus=cpus)
    except ConfigError as error:
        return None, [Check("configuration", FAIL, str(item)) for item in error.problems]
    checks = [Check("configuration", WARN, str(item)) for item in loaded.warnings]
    return loaded.settings, checks or [Check("configuration", OK, path)]


def render(checks: Iterable[Check]) -> str:
    """The checks as text: one line each, the command that mends it below, a summary at the end."""
    listed = list(checks)
    width = max((len(check.name) for check in listed), default=0)
    lines = []
    for check in listed:
        lines.append(f"{check.status:<4}  {check.name:<{width}}  {check.text}")
        if check.fix and check.status != OK:
            lines.append(f"{'':<4}  {'':<{width}}  run: {check.fix}")
    count = {status: sum(check.status == status for check in listed) for status in (OK, WARN, FAIL)}
    summary = f"{count[OK]} ok, {count[WARN]} to look at, {count[FAIL]} to mend"
    return "\n".join((*lines, summary))


@click.command()
@click.option(
    "--config",
    "-c",
    metavar="FILE",
    help=f"Check for this configuration (default: {DEFAULT_CONFIG} if it exists).",
)
@click.option("--name", metavar="NAME", help="Instance (default: $DPVS_NAME, or the file's name).")
@click.option("--root", default="/", hidden=True, help="Look at the host below this folder.")
def doctor(config: str | None, name: str | None, root: str) -> None:
    """Check whether this host is ready, and show the command that mends what is not.

    Exit status 1 if something has to be mended before the daemon can start.
    """
    settings: Settings | None = None
    checks: list[Check] = []
    if config is None and Host(root).exists(DEFAULT_CONFIG.lstrip("/")):
        config = str(Host(root).path(DEFAULT_CONFIG.lstrip("/")))
    if config is not None:
        settings, checks = config_checks(config, root)
    checks += run_checks(settings, root, name)
    click.echo(render(checks))
    raise SystemExit(1 if any(check.status == FAIL for check in checks) else 0)
