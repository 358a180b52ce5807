"""ipvsadm: services, real servers, local addresses and connections of a running dpvs.

The syntax and the output are those of the ipvsadm that comes with DPVS; where that one reports
errors badly, this one says in one line what was wrong and exits with a non-zero status.
"""

import sys
from collections.abc import Callable
from typing import Any, TextIO

from tools.cli import ipvs_access as access
from tools.cli import ipvs_changes as changes
from tools.cli import ipvs_timeouts as timeouts
from tools.cli.entry import console_command
from tools.cli.ipvs_connections import list_connections
from tools.cli.ipvs_help import HELP, VERSION
from tools.cli.ipvs_laddrs import add_laddr, del_laddr, list_laddrs
from tools.cli.ipvs_line import Line, read_line
from tools.cli.ipvs_listing import list_services
from tools.cli.ipvs_rules import rule_words, save_rules
from tools.cli.session import REPLY_FAULTS, Session, UsageError
from tools.client import ControlError, DaemonDown, Transport

NOT_SUPPORTED = -14
DOWN_STATUS = 2
INTERRUPTED_STATUS = 130


def run(argv: list[str], transport: Transport, out: TextIO, err: TextIO, **rest: Any) -> int:
    """Run one command line (without program name) and return the exit status.

    Nothing is raised but what writing to `out` or `err` raises. `rest` are further fields of
    Session, for callers that replace the resolver or standard input.
    """
    return _execute(Session(transport, out, err, **rest), argv or ["-L"])


def _execute(session: Session, argv: list[str]) -> int:
    try:
        return _dispatch(session, argv)
    except DaemonDown as fault:
        session.complain(f"Can't initialize ipvs: {fault}")
        session.complain("Are you sure that dpvs is running?")
        return DOWN_STATUS
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS


def _dispatch(session: Session, argv: list[str], where: str = "") -> int:
    """Run one command line; `where` stands before its error message, if it has one."""
    try:
        line = read_line(argv, session.names)
        if line.command == "restore" and where:
            raise UsageError("the 'restore' command cannot stand among restored rules")
    except UsageError as fault:
        session.complain(f"ipvsadm: {where}{fault}")
        return fault.status
    try:
        return _COMMANDS[line.command](session, line)
    except ControlError as fault:
        session.complain(f"ipvsadm: {where}{fault}")
        return fault.code & 0xFF or 1
    except REPLY_FAULTS as fault:
        session.complain(f"ipvsadm: {where}corrupted response ({type(fault).__name__}: {fault})")
        return 1


def _restore(session: Session, line: Line) -> int:
    """-R: run the lines of standard input; the status is that of the first line that failed."""
    status = 0
    try:
        for number, text in enumerate(session.stdin, 1):
            if words := rule_words(text):
                failed = _dispatch(session, words, f"line {number}: ")
                status = status or failed
    except UnicodeDecodeError as fault:
        session.complain(f"ipvsadm: standard input is not text: {fault}")
        return 2
    return status


def _print(text: str) -> Callable[[Session, Line], int]:
    def command(session: Session, line: Line) -> int:
        session.out.write(text)
        return 0

    return command


def _list(session: Session, line: Line) -> int:
    if "connection" in line.given:
        return list_connections(session, line)
    if "timeout" in line.given:
        return timeouts.show_timeouts(session, line)
    if "daemon" in line.given:
        return _refuse(session, line)
    return list_services(session, line)


def _refuse(session: Session, line: Line) -> int:
    """What the grammar has but DPVS never did: the reference answers with nothing at all."""
    raise ControlError(
        NOT_SUPPORTED,
        "not support",
        "dpvs has no connection synchronisation",
    )


_COMMANDS: dict[str, Callable[[Session, Line], int]] = {
    "add-service": changes.add_service,
    "edit-service": changes.edit_service,
    "delete-service": changes.delete_service,
    "clear": changes.flush_services,
    "zero": changes.zero_counters,
    "add-server": changes.add_server,
    "edit-server": changes.edit_server,
    "delete-server": changes.delete_server,
    "add-laddr": add_laddr,
    "del-laddr": del_laddr,
    "get-laddr": list_laddrs,
    "add-blklst": access.change_list("blklst", "add"),
    "del-blklst": access.change_list("blklst", "del"),
    "get-blklst": access.show_list("blklst"),
    "add-whtlst": access.change_list("whtlst", "add"),
    "del-whtlst": access.change_list("whtlst", "del"),
    "get-whtlst": access.show_list("whtlst"),
    "list": _list,
    "save": save_rules,
    "restore": _restore,
    "set": timeouts.set_timeouts,
    "start-daemon": _refuse,
    "stop-daemon": _refuse,
    "help": _print(HELP),
    "version": _print(VERSION),
}

main = console_command("ipvsadm", run)

if __name__ == "__main__":
    sys.exit(main())
