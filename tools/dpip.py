"""dpip: devices, addresses, routes and neighbours of a running dpvs.

Syntax and output are those of the dpip that comes with DPVS. Every error is one line on the error
stream and exit status 1, also where that one exits with 0.
"""

import sys
from collections.abc import Callable
from typing import Any, TextIO

from tools.cli import dpip_addr, dpip_link, dpip_link_set, dpip_neigh, dpip_route
from tools.cli.dpip_args import ABSENT_OBJECTS, Invocation, read_invocation
from tools.cli.entry import console_command
from tools.cli.session import REPLY_FAULTS, Session, UsageError
from tools.client import ControlError, DaemonDown, Transport

VERSION = "dpip-v1.0.0\n"
INTERRUPTED_STATUS = 130

HELP = """\
Usage: dpip [OPTION]... OBJECT {COMMAND | help} [WORD]...
OBJECT:  link, addr, route, neigh
COMMAND: add, del, set (change), show (list), flush; not every object has all of them
Options may stand anywhere:
    -4, -6, -f, --family inet|inet6
    -s, --stats, --statistics       with counters
    -i, --interval SECONDS          as rates, again and again
    -c, --count NUMBER              that many times
    -v, --verbose                   with details
    -C, --color
    -F, --force
    -h, --help
    -V, --version
    --name NAME                     talk to the dpvs instance of this name (also: DPVS_NAME)
"""

Command = Callable[[Session, Invocation], int]

_OBJECTS: dict[str, tuple[str, dict[str, Command]]] = {
    "link": (
        dpip_link.HELP,
        {
            "show": dpip_link.show,
            "set": dpip_link_set.change,
            "add": dpip_link_set.add,
            "del": dpip_link_set.delete,
        },
    ),
    "addr": (
        dpip_addr.HELP,
        {
            "show": dpip_addr.show,
            "add": dpip_addr.add,
            "set": dpip_addr.change,
            "del": dpip_addr.delete,
            "flush": dpip_addr.flush,
        },
    ),
    "route": (
        dpip_route.HELP,
        {
            "show": dpip_route.show,
            "add": dpip_route.add,
            "del": dpip_route.delete,
            "flush": dpip_route.flush,
        },
    ),
    "neigh": (
        dpip_neigh.HELP,
        {"show": dpip_neigh.show, "add": dpip_neigh.add, "del": dpip_neigh.delete},
    ),
}


def run(argv: list[str], transport: Transport, out: TextIO, err: TextIO, **rest: Any) -> int:
    """Run one command line (without program name) and return the exit status.

    Nothing is raised but what writing to `out` or `err` raises. `rest` are further fields of
    Session, for callers that replace the clock.
    """
    session = Session(transport, out, err, **rest)
    if not argv:
        session.err.write(HELP)
        return 0
    try:
        call = read_invocation(argv)
        command = _choose(session, call)
        return command if isinstance(command, int) else command(session, call)
    except UsageError as fault:
        session.complain(f"dpip: {fault}")
        return fault.status
    except ControlError as fault:
        session.complain(f"dpip: {fault}")
    except DaemonDown as fault:
        session.complain(f"dpip: {fault} (is dpvs running?)")
    except REPLY_FAULTS as fault:
        session.complain(f"dpip: corrupted response. ({type(fault).__name__}: {fault})")
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    return 1


def _choose(session: Session, call: Invocation) -> Command | int:
    """The command to run, or the exit status where there is only something to print."""
    if call.version:
        session.out.write(VERSION)
        return 0
    if not call.object:
        session.err.write(HELP)
        return 0 if call.help else 1
    if call.object in ABSENT_OBJECTS:
        raise UsageError(f"{call.object}: not supported by this version", 1)
    text, commands = _OBJECTS[call.object]
    if call.help or call.command in ("", "help"):
        session.err.write(text)
        return 1 if not call.command and not call.help else 0
    if call.command not in commands:
        raise UsageError(f"not support: {call.object} has no command '{call.command}'", 1)
    return commands[call.command]


main = console_command("dpip", run)

if __name__ == "__main__":
    sys.exit(main())
