"""Last step before a worker's own program: what must be set before exec, then exec.

Run as a script by ``runtime.supervise_process`` with an isolated interpreter, so that it needs only
the standard library: ``supervise_launch.py PARENT_PID aslr|noaslr COMMAND...``.  A process of its
own, because running Python between fork and exec is not safe in a master with DPDK's threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)
_ADDR_NO_RANDOMIZE = 0x0040000  # personality(2)
_QUERY = 0xFFFFFFFF


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; kept across exec.

    Raises ProcessLookupError when ``parent`` is no longer the parent, OSError from prctl.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the call: then no signal will ever come.
    if os.getppid() != parent:
        raise ProcessLookupError(f"parent {parent} has gone")


def randomise_addresses(on: bool) -> bool:
    """Switch address-space randomisation for the programs this process execs; False if refused.

    DPDK secondary processes must map the primary's memory at the same addresses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    current = libc.personality(ctypes.c_ulong(_QUERY))
    if current < 0:
        return False
    wanted = current & ~_ADDR_NO_RANDOMIZE if on else current | _ADDR_NO_RANDOMIZE
    return wanted == current or libc.personality(ctypes.c_ulong(wanted)) >= 0


def main(arguments: list[str]) -> int:
    """Apply ``arguments`` (see the module text) and become the command; 1 when that fails."""
    parent, aslr, *command = arguments
    try:
        die_with_parent(int(parent))
        if not randomise_addresses(aslr == "aslr"):
            print("worker: address randomisation cannot be switched off here", file=sys.stderr)
        os.execv(command[0], command)
    except OSError as problem:
        print(f"worker: cannot start {command[0]}: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
