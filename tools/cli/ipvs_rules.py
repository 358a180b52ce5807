"""Rules as command lines: -S writes them, -R reads them back."""

from collections.abc import Iterator
from typing import Any

from tools.cli.ipvs_line import Line
from tools.cli.ipvs_listing import fetch_services
from tools.cli.ipvs_names import AddressPort, address_port, service_option, service_proto
from tools.cli.ipvs_suffixes import partial_mask
from tools.cli.session import Session

_MODES = {
    "nat": "-m",
    "tunnel": "-i",
    "local": "-g",
    "dr": "-g",
    "fullnat": "-b",
    "snat": "-J",
}


def save_rules(session: Session, line: Line) -> int:
    """-S: one line for each service and real server."""
    write = address_port(session.names, "numeric" in line.given)
    for entry in fetch_services(session, line):
        session.out.writelines(rule_lines(entry, write))
    return 0


def rule_lines(entry: dict[str, Any], write: AddressPort) -> Iterator[str]:
    """The lines that would make a service with its real servers again."""
    selected = service_option(entry["svc"], write)
    rule = f"-A {selected} -s {entry['sched']}"
    if entry.get("persistent"):
        rule += f" -p {entry['persistent']}"
        if (mask := partial_mask(entry)) is not None:
            rule += f" -M {mask}"
    if entry.get("ops"):
        rule += " --ops"
    yield rule + "\n"
    proto = service_proto(entry["svc"])
    for dest in entry["dests"]:
        server = write(dest["addr"], dest["port"], proto)
        yield f"-a {selected} -r {server} {_MODES[dest['mode']]} -w {dest['weight']}\n"


def rule_words(text: str) -> list[str]:
    """The words of one line of rules: a word "ipvsadm" is skipped, and so is a comment."""
    words = text.partition("#")[0].split()
    return [word for word in words if word != "ipvsadm"]
