"""Entry of the master process: claim the instance, build it, serve, leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from netdev import eal
from netdev.eal import DpdkError
from runtime import log
from runtime.config_report import ConfigError
from runtime.jit import PROGRAM
from runtime.shm import InstanceBusy, InstanceError, SegmentError, claim_instance, recover_stale
from runtime.supervise import WorkerNotReady
from tools import launch, settings
from tools.control.errors import ControlError
from tools.daemon import hugepages, plan
from tools.daemon.commands import CommandFailed
from tools.daemon.master import Master
from tools.daemon.ports import available_cpus, check_queues
from tools.settings_memory import huge_pages

FAILURES = (
    DpdkError, ConfigError, InstanceBusy, InstanceError, SegmentError, WorkerNotReady,
    CommandFailed, ControlError, OSError, ValueError,
)  # fmt: skip


class Reporter:
    """Progress lines to whoever started us; silent once they are gone."""

    def __init__(self, fd: int) -> None:
        self._pipe = os.fdopen(fd, "w", buffering=1) if fd >= 0 else None

    def say(self, line: str) -> bool:
        """One line ``progress ...``, ``ready`` or ``failed ...``; False when nobody listens."""
        if self._pipe is None:
            return False
        try:
            self._pipe.write(line.replace("\n", "\\n") + "\n")
        except (OSError, ValueError):
            self._pipe = None
        return self._pipe is not None

    def done(self) -> None:
        """Close the pipe: the starter may go."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def precompile(report: Reporter) -> None:
    """Fill the compile cache with visible progress, unless it is complete."""
    if PROGRAM.exists():
        return
    report.say("progress compiling the packet path (once per version)")
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "0"}
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "tools.daemon.precompile"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert child.stdout is not None
    for number, line in enumerate(child.stdout):
        if number % 20 == 0 or line.startswith("done"):
            report.say(f"progress compile: {line.strip()}")
    if child.wait() != 0:
        raise DpdkError("the packet path does not compile on this machine; the log says why")


def run(name: str, config: str, report: Reporter) -> None:
    """Run one instance until it is stopped.  Raises one of FAILURES when it cannot start."""
    loaded = settings.load(config, cpus=available_cpus())
    for warning in loaded.warnings:
        report.say(f"progress warning: {warning}")
    conf = loaded.settings
    check_queues(conf)
    with claim_instance(name) as claim:
        for removed in recover_stale(name).removed:
            report.say(f"progress removed what a dead daemon left: {removed}")
        eal.remove_files(plan.file_prefix(name))
        sink = log.setup(0, conf.global_defs.log_level, conf.global_defs.log_file)
        if conf.global_defs.huge:
            hugepages.ensure(max(huge_pages(conf), conf.global_defs.hugepages))
        precompile(report)
        asyncio.run(_serve(name, conf, config, sink, report))
        launch.tidy(name, failed=False, claim=claim)


async def _serve(
    name: str, conf: settings.Settings, config: str, sink: log.Log, report: Reporter
) -> None:
    def ready() -> None:
        report.say("ready")
        report.done()

    def progress(text: str) -> None:
        report.say(f"progress {text}")

    master = Master(name, conf, config, sink, progress)
    try:
        master.open_dpdk()
        master.open_state()
        await master.serve(ready)
    finally:
        master.close()


def main() -> int:
    """``NAME CONFIG PIPE_FD``; exit status 0 after a clean stop, 1 when it could not start."""
    name, config, fd = sys.argv[1], sys.argv[2], int(sys.argv[3])
    report = Reporter(fd)
    os.chdir(Path(config).resolve().parent)
    try:
        run(name, str(Path(config).resolve()), report)
    except FAILURES as error:
        if not report.say(f"failed {error}"):
            print(f"dpvs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
